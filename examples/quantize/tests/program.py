"""What the tests of the program share: a fresh folder to work in, and the program's runs.

Reads from the command line: QUANTIZE FOLDER_TO_WRITE_IN
"""
import os
import shutil
import subprocess
import sys

program, folder = map(os.path.abspath, sys.argv[1:3])
shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
os.chdir(folder)


def run(*arguments):
    return subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace")


def expect(condition, what):
    if not condition:
        raise SystemExit("not so: " + what)


def refuse(rule, *arguments):
    """The program ends with an error that holds `rule`, not with a signal, and writes no file b.gguf."""
    done = run(*arguments)
    expect(done.returncode > 0 and rule in done.stdout and not os.path.exists("b.gguf"),
           f"{arguments}: \"{rule}\", but: {done.stdout}")


def succeed(*arguments):
    done = run(*arguments)
    expect(done.returncode == 0, f"{arguments}: {done.stdout}")
    return done.stdout
