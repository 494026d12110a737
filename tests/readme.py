"""Tries README.md as a new user does: its program with its compile line, against the output that stands there.
All other C++ there and in include/qlib/README.md must compile. Whoever reads it has a screen and a half of patience.

usage: readme.py COMPILER FOLDER
"""
import re
import subprocess
import sys
from pathlib import Path

compiler, folder = sys.argv[1], Path(sys.argv[2])
root = Path(__file__).resolve().parent.parent


def fenced(path):
    return re.findall(r"^```(\w*)\n(.*?)^```", (root / path).read_text(), re.M | re.S)


lines = (root / "README.md").read_text().splitlines()
if len(lines) > 150 or any(len(line) > 120 for line in lines):
    sys.exit("README.md has more than 150 lines, or a line of more than 120 characters")
(_, program), (_, command), (_, expected) = fenced("README.md")[:3]
others = fenced("README.md")[3:] + fenced("include/qlib/README.md")
samples = "".join(text for language, text in others if language == "cpp")

folder.mkdir(parents=True, exist_ok=True)
(folder / "first.cpp").write_text(program)
(folder / "samples.cpp").write_text(samples)
command = command.replace("g++", compiler).replace("-I include", f"-I '{root}/include'")
done = subprocess.run(command, shell=True, cwd=folder, capture_output=True, text=True)
if done.returncode != 0 or done.stdout != expected:
    sys.exit(f"README's program: {done.returncode}, {done.stdout!r} in place of {expected!r}\n{done.stderr}")
warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
options = ["-std=c++20", "-fsyntax-only", *warnings, f"-I{root}/include"]
subprocess.run([compiler, *options, "samples.cpp"], cwd=folder, check=True)
