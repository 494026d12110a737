"""Compiles every header first and alone, the single header without any flag, and all headers behind the macros that
others leave behind (support/foreign_macros.hpp), with each compiler; with clang also as Objective-C++.

usage: headers_alone.py COMPILER... -- WARNING...
"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

root = Path(__file__).resolve().parent.parent
include = root / "include"
split = sys.argv.index("--")
compilers, warnings = sys.argv[1:split], sys.argv[split + 1:]

headers = sorted(include.rglob("*.hpp"))
instantiate = include / "qlib" / "instantiate.hpp"
behind_macros = [root / "tests/support/foreign_macros.hpp", *(h for h in headers if h != instantiate), instantiate]
few_formats = '-DQLIB_INSTANTIATE_FORMATS(X)=X(q4_0, 2, "Q4_0")'

jobs = []  # what is compiled, language, command
for compiler in compilers:
    jobs.append(([root / "single_include" / "qlib.hpp"], "c++", [compiler, "-c", "-o", os.devnull]))
    check = [compiler, "-fsyntax-only", "-fno-exceptions", "-fno-rtti", *warnings, f"-I{include}"]
    jobs += [([header], "c++", check) for header in headers]
    for language in ["c++", "objective-c++"] if "clang" in compiler else ["c++"]:
        jobs.append((behind_macros, language, [*check, few_formats]))


def compile_alone(job):
    texts, language, command = job
    text = "".join(f'#include "{header}"\n' for header in texts)
    done = subprocess.run([*command, "-std=c++20", "-x", language, "-"], input=text, text=True, capture_output=True)
    return done.returncode == 0 or print(f"{command[0]}, {language}: {texts[0].relative_to(root)}\n{done.stderr}")


with ThreadPoolExecutor(os.cpu_count()) as pool:
    passed = [bool(ok) for ok in pool.map(compile_alone, jobs)]
print(f"{sum(passed)} of {len(passed)} compiled")
sys.exit(not all(passed))
