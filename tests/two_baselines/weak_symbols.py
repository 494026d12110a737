"""Checks a program linked from two files of different baselines: no weak function may hold instructions that only one
of them allows.

usage: weak_symbols.py PROGRAM

Of a weak symbol that several files define the linker keeps one. So a weak function with an instruction above plain
x86-64 must be named after the instruction sets of its file, by a namespace or an ABI tag base_..., see
core/abi.hpp. No name is excepted, the standard library's and those of functions that the compiler makes itself
neither: they are compiled into their callers, or are plain.
"""
import platform
import re
import subprocess
import sys

if platform.machine() != "x86_64":
    sys.exit("skipped: the check knows the instructions of x86-64 alone")


def lines_of(*command, text=None):
    return subprocess.run(command, input=text, text=True, capture_output=True, check=True).stdout.splitlines()


def above_baseline(code):
    """By the encoding: all of AVX, AVX-512, FMA and BMI is VEX or EVEX; of what came before, all from SSSE3 on has
    opcodes of three bytes."""
    code = code.lstrip(b"\x66\xf2\xf3\x2e\x36\x3e\x26\x64\x65\x67")
    if code and code[0] & 0xF0 == 0x40:  # REX
        code = code[1:]
    return code[:1] in (b"\xc4", b"\xc5", b"\x62") or code[:2] in (b"\x0f\x38", b"\x0f\x3a")


def bases(name):
    """The baselines that a mangled name holds: each with its length in front."""
    return {name[m.end():m.end() + int(m[0])] for m in re.finditer(r"\d+(?=base_)", name)}


weak = {}  # address -> mangled name
for line in lines_of("nm", sys.argv[1]):
    if symbol := re.match(r"([0-9a-f]+) [WVu] (.+)", line):
        weak[int(symbol[1], 16)] = symbol[2]

wide, current = {}, None  # mangled name -> the first instruction above the baseline
for line in lines_of("objdump", "--disassemble", "--wide", sys.argv[1]):
    if label := re.match(r"([0-9a-f]+) <", line):
        current = weak.get(int(label[1], 16))
    elif current and current not in wide and (code := re.match(r" *[0-9a-f]+:\t((?:[0-9a-f]{2} )+) *\t(.+)", line)):
        if above_baseline(bytes.fromhex(code[1])):
            wide[current] = code[2]

own = sorted(set().union(*map(bases, wide)))
print(f"{len(weak)} weak symbols; {len(wide)} have instructions above the baseline, "
      f"in {' and '.join(own) or 'no namespace'}")
wrong = [name for name in wide if not bases(name)]
if wrong:
    found = zip(lines_of("c++filt", text="\n".join(wrong)), wrong)
    sys.exit(f"{len(wrong)} of them outside of a baseline's namespace:\n"
             + "\n".join(f"  {name}\n    {wide[symbol]}" for name, symbol in found))
if len(own) < 2:
    sys.exit("skipped: this machine adds nothing to its baseline")
