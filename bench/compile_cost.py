#!/usr/bin/env python3
"""What qlib costs the compiler: user CPU time, peak memory and bytes of code, at -O2, beside what they may be.

usage: compile_cost.py [--compiler g++] [--fast | --all] [--check] [--keep FOLDER]

  --fast   leaves out the slope of instantiate.hpp
  --all    adds all formats of instantiate.hpp: minutes
  --check  exits with 1 when anything costs more than 1.5 times its bar: other work on the machine costs time too
  --keep   the sources and objects stay in this folder
"""
import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

include = Path(__file__).resolve().parent.parent / "include"
tolerance = 1.5

# In this order programs get more of them: ggml's and others mixed, and every family among them.
formats = ["q4_k", "q8_0", "nf4", "fp8_e4m3_row", "q6_k", "mxfp4", "int4_g128_asym", "iq4_xs", "nvfp4_modelopt", "q4_0",
           "iq3_s", "ternary_g80"]
few, many = 4, len(formats)

program = """
#include <qlib/dequantize.hpp>
#include <qlib/formats.hpp>
#include <qlib/gptq.hpp>
#include <qlib/qgemm.hpp>
#include <qlib/quantize.hpp>

using qlib::matrix_view;
template <class F>
bool use(matrix_view<const float> W, const qlib::hessian& h, matrix_view<const float> X, matrix_view<float> Y) {
    const auto rounded = qlib::quantize<F>(W);
    const auto q = qlib::gptq<F>(W, h);
    return rounded && q && qlib::dequantize(*rounded, Y) && qlib::qgemm(Y, X, q->weights);
}
"""


def program_of(names):
    """A program that quantizes, decodes, multiplies and runs GPTQ, in these formats."""
    return program + "".join(f"template bool use<qlib::{name}>(matrix_view<const float>, const qlib::hessian&, "
                             "matrix_view<const float>, matrix_view<float>);\n" for name in names)


def instantiation_of(names):
    """The source file of a program that chooses among these formats at run time; None: all."""
    return "#include <qlib/instantiate.hpp>\n" + (f"QLIB_INSTANTIATE({', '.join(names)})\n" if names else "")


@dataclass
class cost:
    seconds: float
    megabytes: float
    kilobytes: float  # of code and constants

    def each(self, fewer, formats):
        """Of one of the formats that this has more than `fewer`. Memory is that of the whole."""
        return cost((self.seconds - fewer.seconds) / formats, self.megabytes,
                    (self.kilobytes - fewer.kilobytes) / formats)


@dataclass
class line:
    what: str
    cost: cost
    bars: dict = field(default_factory=dict)

    def cell(self, name, digits):
        value, bar = getattr(self.cost, name), self.bars.get(name)
        return f"{value:.{digits}f}" + (f" (<= {bar:g})" if bar else "")

    def excess(self):
        return [f"{self.what}: {getattr(self.cost, name):.2f} {name}, {tolerance} times the bar of {bar:g} are exceeded"
                for name, bar in self.bars.items() if getattr(self.cost, name) > tolerance * bar]


class compiler:
    def __init__(self, path, folder):
        self.path, self.folder = path, folder

    def measure(self, name, text, *arguments):
        source, target = self.folder / f"{name}.cpp", self.folder / f"{name}.o"
        source.write_text(text)
        command = [self.path, "-std=c++20", f"-I{include}", *arguments, str(source)]
        if "-fsyntax-only" not in arguments:
            command += ["-c", "-o", str(target)]
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)  # of the driver and all that it started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            sys.exit(f"{' '.join(command)} failed")
        code = 0
        if target.exists():
            table = subprocess.run(["size", str(target)], check=True, capture_output=True, text=True).stdout
            code = int(table.splitlines()[1].split()[0])
        return cost(used.ru_utime, used.ru_maxrss / 1024, code / 1000)

    def parse(self, header, seconds):
        text = f"#include <qlib/{header}>\n"
        best = min((self.measure("parse", text, "-fsyntax-only") for _ in range(3)), key=lambda c: c.seconds)
        return line(f"{header}, parsed", best, {"seconds": seconds})

    def slope(self, what, make, bars):
        counts = [self.measure(f"{what}{n}".replace(".", "_"), make(formats[:n]), "-O2") for n in (few, many)]
        return line(f"{what}, each format from {few} to {many}", counts[1].each(counts[0], many - few), bars)

    def lines(self, fast, everything):
        for header, seconds in (("gptq.hpp", 0.8), ("qlib.hpp", 1.6), ("any.hpp", 0.4)):
            yield self.parse(header, seconds)
        yield line("program of one format", self.measure("program1", program_of(formats[:1]), "-O2"), {"seconds": 5})
        yield self.slope("program", program_of, {"seconds": 1.5, "kilobytes": 60})
        if not fast:
            yield self.slope("instantiate.hpp", instantiation_of, {"seconds": 2.3, "kilobytes": 90})
        if everything:
            bars = {"seconds": 110, "megabytes": 1200}
            yield line("instantiate.hpp, all formats", self.measure("all", instantiation_of(None), "-O2"), bars)


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--compiler", default="g++")
    parser.add_argument("--fast", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    excesses = []
    with tempfile.TemporaryDirectory() as folder:
        folder = options.keep or Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"| {options.compiler} -O2 (bars in brackets) | user CPU, s | peak memory, MB | code, kB |")
        print("|---|---|---|---|", flush=True)
        for entry in compiler(options.compiler, folder).lines(options.fast, options.all):
            print(f"| {entry.what} | {entry.cell('seconds', 2)} | {entry.cell('megabytes', 0)} "
                  f"| {entry.cell('kilobytes', 0) if entry.cost.kilobytes else ''} |", flush=True)
            excesses += entry.excess()
    if options.check and excesses:
        sys.exit("\n".join(excesses))


main()
