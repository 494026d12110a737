"""Checks that QLIB_BASE tells all instruction sets apart: core/baseline.hpp must list what the compilers report. And
that flags under which floats are computed as something else are refused.

usage: baselines.py COMPILER...
"""
import platform
import re
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
include = root / "include"
if platform.machine() != "x86_64":
    sys.exit("skipped: the flags are those of x86-64")
listed = set(re.findall(r"__\w+", (include / "qlib" / "core" / "baseline.hpp").read_text()))

# Macros that come and go with flags of the machine and say nothing of instructions, or only what another one says.
other = re.compile(r"__(ILP32|LP64|LONG_DOUBLE_\w+|ANDROID|FP_FAST_FMA\w*|\w+_LOCK_FREE|FLT16_\w+|STDC_IEC_\w+|"
                   r"MMX_WITH_SSE|ARM_(NEON_SVE_BRIDGE|ARCH_\w+|BF16_\w+|FP16_\w+))(__)?")


def output(*command, text=""):
    return subprocess.run(command, input=text, text=True, capture_output=True)


def features(compiler, flags):
    """The macros in capital letters that are 1 under `flags`; None where the compiler refuses them."""
    done = output(compiler, *flags, "-dM", "-E", "-x", "c++", "-")
    return None if done.returncode else set(re.findall(r"#define (__[A-Z0-9]\w+) 1$", done.stdout, re.M))


def base(compiler, flags):
    text = "#include <qlib/core/abi.hpp>\nQLIB_BASE\n"
    done = output(compiler, *flags, f"-I{include}", "-std=c++20", "-E", "-P", "-x", "c++", "-", text=text)
    return done.stdout.split()[-1]


def flag_sets(compiler):
    """Every processor and every single feature that a compiler knows, each as it names them."""
    about = output(sys.argv[1], "-Q", "--help=target").stdout
    yield from ([flag] for flag in re.findall(r"^\s+(-m[\w.-]+)\s+\[(?:disabled|enabled)\]", about, re.M))
    known = output(compiler, "-march=?", "-fsyntax-only", "-x", "c++", "-").stderr  # both list what there is
    yield from ([f"-march={name}"] for name in re.findall(r"[\w.-]+", known.partition(":")[2]))
    if "clang" in compiler:
        arm = "--target=aarch64-linux-gnu"
        processors = output(compiler, arm, "-mcpu=?", "-fsyntax-only", "-x", "c++", "-").stderr
        yield from ([arm, f"-mcpu={name}"] for name in re.findall(r"[\w.-]+", processors))
        names = ("dotprod i8mm bf16 fp16 fp16fml crypto rng ls64 mops tme memtag f32mm f64mm "
                 "sve sve2 sve2-aes sve2-sha3 sve2-sm4 sve2-bitperm sme")
        yield from ([arm, f"-march=armv8.2-a+{name}"] for name in names.split())


wrong = 0
for compiler in sys.argv[1:]:
    found, plain, count = set(), {}, 0
    for flags in [[], *flag_sets(compiler)]:
        here = features(compiler, flags)
        if here is None:
            continue
        target = tuple(flag for flag in flags if flag.startswith("--target"))
        usual = plain.setdefault(target, features(compiler, target))
        count += 1
        found |= {m for m in here ^ usual if not other.fullmatch(m)}
    print(f"{compiler}: {count} sets of flags, {len(found)} features")
    if missing := sorted(found - listed):
        wrong += 1
        print(f"  core/baseline.hpp does not list {' '.join(missing)}")
    for pair in ([], ["-mbmi2"]), (["-march=cascadelake"], ["-march=sapphirerapids"]), (["-mavx2"], ["-march=haswell"]):
        if len(set(base(compiler, flags) for flags in pair)) != 2:
            wrong += 1
            print(f"  one name for the flags {pair[0]} and {pair[1]}")
    abi = f'#include "{include}/qlib/core/abi.hpp"\n'
    for flags, good in (["-ffast-math"], True), (["-m32"], False), (["-m32", "-msse2", "-mfpmath=sse"], True):
        done = output(compiler, *flags, "-std=c++20", "-fsyntax-only", "-x", "c++", "-", text=abi)
        if (done.returncode == 0) != good or (not good and "-mfpmath=sse" not in done.stderr):
            wrong += 1
            print(f"  {' '.join(flags)} is {'refused' if good else 'not refused'}\n{done.stderr}")
sys.exit(wrong != 0)
