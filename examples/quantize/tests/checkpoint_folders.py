"""A checkpoint's folder is written whole or not at all, with all that is no weights. What is no checkpoint is called
what it is.

usage: checkpoint_folders.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import hashlib
import os
import shutil
import struct
import subprocess

from checkpoint import make, read, write
from program import expect, program, run, succeed

LLAMA = {"model_type": "llama", "torch_dtype": "bfloat16"}
L = "model.layers.0."
TENSORS = {L + f"self_attn.{p}_proj.weight": make("BF16", 128, 128) for p in "qkvo"}
TENSORS["model.embed_tokens.weight"] = make("BF16", 8, 128)
BAD = TENSORS | {L + "self_attn.v_proj.weight": ("BF16", [128, 128], b"\xc0\x7f" * (128 * 128))}  # NaN
FILES = ["tokenizer.json", "tokenizer.model", "vocab.tiktoken", "modeling_own.py", "chat_template.jinja",
         "generation_config.json",
         "preprocessor_config.json", "LICENSE", "assets/voice.txt"]
AWAY = ["pytorch_model.bin", "original/consolidated.00.pth", ".cache/huggingface/lock.txt"]


def snapshot(folder="."):
    """Every file in it with its bytes, and every folder that is empty."""
    found = {}
    for at, folders, names in os.walk(folder):
        if not folders and not names:
            found[os.path.relpath(at, folder)] = "empty"
        for name in names:
            path = os.path.join(at, name)
            if not os.path.exists(path):
                found[path] = os.readlink(path)
                continue
            with open(path, "rb") as f:
                found[os.path.relpath(path, folder)] = hashlib.sha256(f.read()).hexdigest()
    return found


def expect_refusal(rule, *arguments):
    before = snapshot()
    done = run(*arguments)
    expect(done.returncode == 1 and rule in done.stdout, f"{arguments}: not \"{rule}\" but {done.stdout}")
    expect(snapshot() == before, f"{arguments}: nothing is changed or left behind: {set(snapshot()) ^ set(before)}")


write("model", TENSORS, LLAMA, FILES + AWAY)
write("bad", BAD, LLAMA, FILES)

# All files that are no weights come along, whatever the format is.
for format in ("nf4", "bf16", "f32", "copy"):
    if format == "bf16":
        write("floats", {n: make("F32", *t[1]) for n, t in TENSORS.items()}, LLAMA | {"torch_dtype": "float32"}, FILES)
    source = "floats" if format == "bf16" else "model"
    done = succeed(source, format, "--format", format)
    manifest = [] if format == "copy" else ["model.safetensors.manifest.json"]
    expect(sorted(snapshot(format)) == sorted(FILES + ["config.json", "model.safetensors"] + manifest),
           f"{format}: {sorted(snapshot(format))}")
    expect(all(snapshot(format)[f] == snapshot(source)[f] for f in FILES), "as they are")
    for weights in AWAY[:2] if source == "model" else []:
        expect(f"left behind: {weights}\n" in done, done)
config = {f: read(f)[1] for f in ("nf4", "bf16", "f32", "copy")}
expect([config[f]["torch_dtype"] for f in ("bf16", "f32", "copy")] == ["bfloat16", "float32", "bfloat16"],
       "config.json says what the weights are")
expect("quantization_config" in config["nf4"] and snapshot("copy")["config.json"] == snapshot("model")["config.json"],
       "and how")

# A run that fails leaves a good folder as it was; one that succeeds replaces it whole.
for arguments in (["bad", "nf4", "--format", "int4_g32"], ["bad", "new", "--format", "nf4"],
                  ["bad", "new", "--format", "nf4", "--resume"], ["bad", "deep/er/new", "--format", "f32"]):
    expect_refusal("v_proj.weight (128 x 128)", *arguments)
before = snapshot("nf4")
succeed("model", "nf4", "--format", "int4_g32")
after = snapshot("nf4")
expect(set(before) == set(after) and read("nf4")[1]["quantization_config"]["quant_method"] == "compressed-tensors",
       "weights and configuration are of one kind")
os.mkdir("empty")
succeed("model", "empty/", "--format", "nf4")
expect(snapshot("empty") == before, "an empty folder is filled")
os.symlink("empty", "link")
succeed("model", "link", "--format", "nf4")
expect(os.path.islink("link") and snapshot("empty") == before, "a link stays one")
shutil.rmtree("empty")
expect_refusal("a link to nothing", "model", "link", "--format", "nf4")
os.remove("link")

# What is not ours stays.
with open("nf4/notes.md", "w") as f:
    f.write("mine\n")
expect_refusal("there is notes.md in it", "model", "nf4", "--format", "nf4")
os.mkdir("new.being-quantized")
open("new.being-quantized/mine", "w").close()
expect_refusal("it is in the way", "model", "new", "--format", "nf4")
shutil.rmtree("new.being-quantized")
os.symlink("nf4", "new.being-quantized")
expect_refusal("it is in the way", "model", "new", "--format", "nf4")
os.remove("new.being-quantized")
os.symlink("model", "same")
for place in ("model", "./model/", "same", os.path.abspath("model"), "model/small.safetensors"):
    for format in ("nf4", "copy", "f32"):
        expect_refusal("the input's own folder", "model", place, "--format", format)
expect_refusal("it is a file", "model", "model/LICENSE", "--format", "nf4")
os.remove("same")
succeed("model", "model/small", "--format", "nf4")
expect(snapshot("model/small") == before, "an output in the input's folder does not come along with itself")
shutil.rmtree("model/small")

# A run that is killed goes on, also after one with other options was refused.
whole = snapshot("f32")
child = subprocess.Popen([program, "model", "again", "--format", "f32", "--threads", "1"], stdout=subprocess.PIPE,
                         text=True)
while "tensor" not in child.stdout.readline():
    pass
child.stdout.readline()
child.kill()
child.communicate()
if child.returncode == -9 and not os.path.exists("again"):  # it may have been quicker
    expect(os.path.isdir("again.being-quantized"), "its work is beside the target")
    expect_refusal("begun with another", "model", "again", "--format", "nf4", "--resume")
    expect(" earlier\n" in succeed("model", "again", "--format", "f32", "--resume"), "what was done is taken over")
expect(snapshot("again") == whole and not os.path.exists("again.being-quantized"),
       "and is complete with the same bytes")

# The manifest in the model counts when the one beside it is missing.
os.remove("again/model.safetensors.manifest.json")
expect("there is no manifest beside the model" in succeed("--verify", "again", "--source", "model"),
       "that is said, and hashes are compared")
with open("again/model.safetensors", "r+b") as f:
    f.seek(-5, 2)
    f.write(b"\0\1\0\1\0")
done = run("--verify", "again")
expect(done.returncode == 1 and "its bytes are not those" in done.stdout, "damage is found all the same")

# Things that are no checkpoint.
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4976698672\n"
THINGS = {"git-lfs pointer": LFS, "web page": b"\n<!DOCTYPE html><html>Sign in</html>",
          "saved in the model's place": b"<?xml version='1.0'?><Error/>",
          "PyTorch": b"PK\3\4" + bytes(100), "file of PyTorch": b"\x80\2}q\0",
          "older ggml container": b"tjgg" + struct.pack("<I", 3) + bytes(100),
          "it is empty": b"", "a JSON text": b'{"error": "Repository not found"}', "an HDF5 file": b"\x89HDF\r\n\x1a\n"}
for what, data in THINGS.items():
    for name in ("thing.safetensors", "thing.gguf", "pytorch_model.bin", "ggml-model-q4_0.bin"):
        with open(name, "wb") as f:
            f.write(data)
        expect_refusal(what, name, "out", "--format", "q8_0")
        os.remove(name)
os.mkdir("part")
shutil.copytree("model", "no_tokenizer")
with open("no_tokenizer/tokenizer.model", "wb") as f:
    f.write(LFS)
done = succeed("no_tokenizer", "pointer", "--format", "nf4")
expect("no_tokenizer/tokenizer.model: it is a git-lfs pointer" in done, "what comes along is looked at: " + done)
for name, rule in (("model.safetensors", "git-lfs"), ("model.safetensors.index.json", "git-lfs"),
                   ("config.json", "git-lfs")):
    shutil.copy("model/model.safetensors", "part/model.safetensors")
    with open("part/" + name, "wb") as f:
        f.write(LFS)
    expect_refusal(rule, "part", "out", "--format", "nf4")
    os.remove("part/" + name)
shutil.copy("model/model.safetensors", "thing.gguf")
expect_refusal("it is a safetensors file", "thing.gguf", "out.gguf", "--format", "q8_0")
with open("thing.safetensors", "wb") as f:
    f.write(b"GGUF" + bytes(100))
expect_refusal("it is a GGUF file", "thing.safetensors", "out", "--format", "nf4")
expect_refusal("one part of a model", "model-00001-of-00002.safetensors", "out", "--format", "nf4")

for rule, files in (("diffusers folder", ["diffusion_pytorch_model.safetensors", "config.json"]),
                    ("diffusers folder", ["model_index.json", "unet/config.json"]),
                    ("PyTorch's files", ["pytorch_model.bin", "config.json"]),
                    ("PyTorch's files", ["pytorch_model.bin.index.json"]),
                    ("an adapter", ["adapter_model.safetensors", "adapter_config.json"]),
                    ("give the file itself: m-Q8_0.gguf", ["m-Q8_0.gguf"]),
                    ("give the file itself: own.safetensors", ["own.safetensors"]),
                    ("is the download complete?", ["model-00001-of-00002.safetensors", "x.safetensors"]),
                    ("there is no model.safetensors in it", ["config.json"])):
    for name in files:
        os.makedirs(os.path.dirname("things/" + name), exist_ok=True)
        open("things/" + name, "w").close()
    expect_refusal(rule, "things", "out", "--format", "nf4")
    shutil.rmtree("things")
print(f"{len(THINGS)} kinds of files called what they are; folders whole or not at all")
