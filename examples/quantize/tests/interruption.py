"""Kills quantize in the middle of its work, and looks at what it does then.

usage: interruption.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import glob
import os
import shutil
import subprocess

from program import expect, program, run

OPTIONS = ["--preset", "Q4_K_M", "--threads", "2"]


def content(path):
    with open(path, "rb") as f:
        return f.read()


def kill_after(lines, *arguments):
    """SIGKILL once so many tensors were reported."""
    child = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for _ in range(lines + 1):  # the first line is the table's head
        child.stdout.readline()
    child.kill()
    child.communicate()
    expect(child.returncode == -9, "the process was killed in the middle")
    expect(not os.path.exists("out.gguf"), "there is nothing under the output's name before it is complete")


expect(run("--synthetic", "model.gguf").returncode == 0, "a model is made up")
expect(run("model.gguf", "whole.gguf", *OPTIONS).returncode == 0, "it is quantized")
whole = content("whole.gguf")

for tensors in (1, 9, 17):
    kill_after(tensors, "model.gguf", "out.gguf", *OPTIONS)
    again = run("model.gguf", "out.gguf", *OPTIONS, "--resume")
    expect(again.returncode == 0 and again.stdout.count(" earlier\n") >= tensors,
           f"{tensors} tensors are taken over: {again.stdout}")
    expect(content("out.gguf") == whole, "the bytes are those of a run that was not interrupted")
    expect(sorted(os.listdir()) == ["model.gguf", "out.gguf", "out.gguf.manifest.json", "whole.gguf",
                                    "whole.gguf.manifest.json"], "nothing else is left")
    os.remove("out.gguf")

kill_after(9, "model.gguf", "out.gguf", *OPTIONS)
for change, key in ((["--fit", "plain"], "options"), (["--tensor-type", "ffn=q8_0"], "options")):
    other = run("model.gguf", "out.gguf", *OPTIONS, *change, "--resume")
    expect(other.returncode == 1 and "begun with another " + key in other.stdout,
           "other options are not taken up: " + other.stdout)
data = bytearray(content("model.gguf"))
data[-5] ^= 1
with open("model.gguf", "wb") as f:
    f.write(data)
other = run("model.gguf", "out.gguf", *OPTIONS, "--resume")
expect(other.returncode == 1 and "begun with another source" in other.stdout,
       "another source is not taken up: " + other.stdout)
data[-5] ^= 1
with open("model.gguf", "wb") as f:
    f.write(data)

# Bytes that were lost, as by a power failure, and a journal whose last line was cut short.
work, = glob.glob("out.gguf.unfinished-*")
with open(work + "/part-1", "r+b") as f:
    f.seek(30000)
    f.write(b"lost")
with open(work + "/journal", "a") as f:
    f.write('{"name":"blk.1.ffn')
again = run("model.gguf", "out.gguf", *OPTIONS, "--resume")
expect(again.returncode == 0 and content("out.gguf") == whole, "what was damaged is made again: " + again.stdout)
expect(again.stdout.count(" earlier\n") > 0, "the rest is taken over")
os.remove("out.gguf")

kill_after(9, "model.gguf", "out.gguf", *OPTIONS)
again = run("model.gguf", "out.gguf", *OPTIONS)
expect(again.returncode == 0 and " earlier\n" not in again.stdout and content("out.gguf") == whole,
       "without --resume it is begun anew")
expect(not glob.glob("out.gguf.unfinished-*"), "and what the killed run left is gone")
os.remove("out.gguf")

# What is not ours stays, whatever its name: a user's folder, one of another output, a link.
os.makedirs("out.gguf.unfinished-abcdef")
os.makedirs("out.gguf.unfinished-ABCDEF")
with open("out.gguf.unfinished-ABCDEF/journal", "w") as f:
    f.write('{"output":"other.gguf"}\n')
os.makedirs("elsewhere")
shutil.copy("out.gguf.unfinished-ABCDEF/journal", "elsewhere/journal")
os.symlink("elsewhere", "out.gguf.unfinished-linked")
for resume in ([], ["--resume"]):
    again = run("model.gguf", "out.gguf", *OPTIONS, *resume)
    expect(again.returncode == 0 and content("out.gguf") == whole, again.stdout)
    for path in ("out.gguf.unfinished-abcdef", "out.gguf.unfinished-ABCDEF/journal", "elsewhere/journal",
                 "out.gguf.unfinished-linked"):
        expect(os.path.exists(path), path + " is still there")

# Two at once: the second does not touch what the first writes.
child = subprocess.Popen([program, "model.gguf", "twice.gguf", *OPTIONS], stdout=subprocess.PIPE,
                         stderr=subprocess.DEVNULL, text=True)
child.stdout.readline()
os.kill(child.pid, 19)  # it stops where it is
try:
    for resume in ([], ["--resume"]):
        other = run("model.gguf", "twice.gguf", *OPTIONS, *resume)
        expect(other.returncode == 1 and "another process is writing it" in other.stdout, other.stdout)
finally:
    os.kill(child.pid, 18)
child.communicate()
expect(child.returncode == 0 and content("twice.gguf") == whole, "and the first one is not disturbed")
print("three interruptions, two changes and two kinds of damage: the same bytes, or a refusal")
