"""Compiles every header first and alone, and the single header without any flag, with each compiler.

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

jobs = []
for compiler in compilers:
    jobs.append([compiler, "-c", "-o", os.devnull, root / "single_include" / "qlib.hpp"])
    for header in sorted(include.rglob("*.hpp")):
        jobs.append([compiler, "-fsyntax-only", "-fno-exceptions", "-fno-rtti", *warnings, f"-I{include}", header])


def compile_alone(job):
    *command, header = job
    done = subprocess.run([*command, "-std=c++20", "-x", "c++", "-"], input=f'#include "{header}"\n', text=True, capture_output=True)
    return done.returncode == 0 or print(f"{command[0]}: {header.relative_to(root)}\n{done.stderr}")


with ThreadPoolExecutor(os.cpu_count()) as pool:
    passed = [bool(ok) for ok in pool.map(compile_alone, jobs)]
print(f"{sum(passed)} of {len(passed)} compiled")
sys.exit(not all(passed))
