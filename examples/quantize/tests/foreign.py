"""Files of strangers: not finite, no model, no UTF-8, not to be reckoned with; and outputs that would cost an input.

usage: foreign.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import json
import os
import resource
import shutil
import signal
import struct
import subprocess

import gguf_file
import safetensors_file
from program import expect, program, refuse, run, succeed

NAN, INF = float("nan"), float("inf")
F32, F16, Q8_0 = 0, 1, 8
LLAMA = {"general.architecture": "llama", "llama.block_count": 1, "llama.attention.head_count": 4}


def floats(code, values):
    return struct.pack(f"<{len(values)}{code}", *values)


def matrix(name="blk.0.attn_v.weight"):
    return name, F16, [256, 4], floats("e", [0.01 * (i % 7 - 3) for i in range(1024)])


def write(path, *tensors, metadata=LLAMA):
    gguf_file.write(path, metadata, [matrix(), *tensors])


def content(path):
    with open(path, "rb") as f:
        return f.read()


# Every float that goes into an output is looked at, where a tensor is copied too.
for bad in (NAN, INF, -INF):
    write("m.gguf", ("blk.0.ffn_norm.weight", F32, [64, 2], floats("f", [1.0] * 100 + [bad] + [1.0] * 27)))
    for options in (["--preset", "Q8_0"], ["--format", "copy"]):
        refuse("blk.0.ffn_norm.weight (2 x 64): the weight in row 1, column 36 is not finite", "m.gguf", "b.gguf",
               *options)
KINDS = {1: floats("e", [1, NAN]), 30: b"\x80\x3f\xc0\x7f", 28: floats("d", [1, NAN])}
for kind, data in KINDS.items():
    write("m.gguf", ("t", kind, [2], data))
    refuse("t (2): the weight in row 0, column 1 is not finite", "m.gguf", "b.gguf", "--format", "q8_0")
write("m.gguf", ("t.weight", Q8_0, [64, 2], (floats("e", [1]) + bytes(32)) * 3 + floats("e", [NAN]) + bytes(32)))
refuse("t.weight (2 x 64): the scale of the weights from row 1, column 32 on is not finite", "m.gguf", "b.gguf",
       "--format", "copy")
large = [1.0] * (5 << 20)  # more than is copied at once
large[-1] = NAN
write("m.gguf", ("t", F32, [len(large)], floats("f", large)))
refuse(f"row 0, column {len(large) - 1} is not finite", "m.gguf", "b.gguf", "--format", "q8_0")
write("m.gguf", metadata=LLAMA | {"llama.rope.freq_base": NAN})
refuse("llama.rope.freq_base: it is a NaN", "m.gguf", "b.gguf", "--format", "q8_0")
os.makedirs("checkpoint")
for kind, data in (("F64", floats("d", [1, INF])), ("F8_E5M2", b"\x00\x7c"), ("BF16", b"\x00\x00\x80\xff")):
    safetensors_file.write("checkpoint/model.safetensors", {
        "a.weight": ("F32", [32, 32], floats("f", [0.5] * 1024)), "b": (kind, [2], data)})
    done = run("checkpoint", "out", "--format", "copy")
    expect(done.returncode == 1 and "row 0, column 1 is not finite" in done.stdout, done.stdout)
    shutil.rmtree("out", ignore_errors=True)

# Numbers that rules divide by or count up to.
write("m.gguf")
for key, value in (("block_count", 1 << 63), ("block_count", 65537), ("expert_count", 1 << 62),
                   ("attention.head_count", (1 << 64) - 1),
                   ("attention.head_count_kv", 1 << 63)):
    write("m.gguf", metadata=LLAMA | {"llama." + key: ("Q", value)})
    for preset in ("Q2_K", "Q4_K_M", "Q3_K_M", "IQ4_XS"):
        refuse(f"llama.{key}: {value}, it must be from 0 to ", "m.gguf", "b.gguf", "--preset", preset)
    succeed("m.gguf", "a.gguf", "--format", "q8_0")  # which needs no such number
write("m.gguf", metadata=LLAMA | {"split.count": ("Q", 1 << 63)})
refuse("split.count: 9223372036854775808 parts, it must be from 1 to 65535", "m.gguf", "b.gguf", "--format", "q8_0")

# What is no model is named.
IMATRIX = [("blk.0.attn_v.weight.in_sum2", F32, [256], floats("f", [1.0] * 256)),
           ("blk.0.attn_v.weight.counts", F32, [1], floats("f", [1.0]))]
gguf_file.write("m.gguf", {"general.type": "imatrix"}, IMATRIX)
refuse("m.gguf: an importance matrix, not a model: give it with --imatrix", "m.gguf", "b.gguf", "--preset", "Q8_0")
with open("m.dat", "wb") as f:
    f.write(struct.pack("<ii", 1, 5) + b"a.wei" + struct.pack("<ii", 1, 4) + floats("f", [1.0] * 4))
refuse("m.dat: an importance matrix, not a model: give it with --imatrix", "m.dat", "b.gguf", "--preset", "Q8_0")
gguf_file.write("m.gguf", {"general.architecture": "controlvector"},
                [("direction.1", F32, [64], floats("f", [1.0] * 64))])
refuse("m.gguf: a control vector", "m.gguf", "b.gguf", "--preset", "Q8_0")
gguf_file.write("m.gguf", LLAMA | {"tokenizer.ggml.tokens": ["a", "b"]}, [])
refuse("m.gguf: a vocabulary without weights", "m.gguf", "b.gguf", "--preset", "Q8_0")
gguf_file.write("m.gguf", LLAMA, [("blk.0.attn_norm.weight", F32, [64], floats("f", [1.0] * 64))])
refuse("none of its 1 tensors is a matrix of weights", "m.gguf", "b.gguf", "--preset", "Q8_0")
LORA = {"general.architecture": "llama", "general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 16.0}
factors = [("blk.0.attn_v.weight.lora_a", F16, [256, 4], matrix()[3]),
           ("blk.0.attn_v.weight.lora_b", F16, [4, 256], matrix()[3])]
gguf_file.write("m.gguf", LORA, factors)
refuse("m.gguf: an adapter (LoRA), not a model", "m.gguf", "b.gguf", "--preset", "Q4_K_M")
succeed("m.gguf", "a.gguf", "--format", "q8_0")
expect([t[0] for t in gguf_file.Reader("a.gguf").tensors.values()] == [Q8_0, F16],
       "an adapter's factors are quantized where rows are whole blocks")
gguf_file.write("m.gguf", {"general.architecture": "clip", "general.type": "mmproj", "clip.vision.block_count": 1},
                [matrix("v.blk.0.attn_q.weight"), matrix("v.position_embd.weight"), matrix("mm.0.weight")])
succeed("m.gguf", "a.gguf", "--preset", "Q8_0")
expect([t[0] for t in gguf_file.Reader("a.gguf").tensors.values()] == [Q8_0, Q8_0, F16],
       "a projector is quantized like a model")

# Texts that are no UTF-8, or that terminals obey.
latin = b"blk.0.\xff\x1b]0;owned\x07.weight"
gguf_file.write("m.gguf", LLAMA, [(latin, *matrix()[1:])])
done = subprocess.run([program, "m.gguf", "a.gguf", "--format", "q8_0"], capture_output=True)
expect(done.returncode == 0 and b"\x1b" not in done.stdout and rb"blk.0.\xFF\x1B]0;owned\x07.weight" in done.stdout,
       repr(done))
succeed("--verify", "a.gguf", "--source", "m.gguf")
expect(latin in content("a.gguf"), "names are as they were")
gguf_file.write("m.gguf", LLAMA, [(latin, F32, [64, 4], floats("f", [NAN] * 256))])
done = subprocess.run([program, "m.gguf", "b.gguf", "--format", "q8_0"], capture_output=True)
expect(done.returncode == 1 and b"\x1b" not in done.stdout + done.stderr and
       rb"\x1B]0;owned\x07.weight (4 x 64)" in done.stderr, repr(done))
write("m.gguf")
gguf_file.write("imatrix.gguf", {"general.type": "imatrix", "imatrix.datasets": [b"C:\\textes\\donn\xe9es.txt"]},
                IMATRIX)
succeed("m.gguf", "a.gguf", "--preset", "Q4_0", "--imatrix", "imatrix.gguf")
metadata = gguf_file.Reader("a.gguf").metadata
expect(json.loads(metadata["quantize.manifest"])["imatrix"]["datasets"] == ["C:\\textes\\donn\\xE9es.txt"],
       "the manifest is UTF-8")
expect(metadata["quantize.imatrix.dataset"] == "C:\\textes\\donn\\xE9es.txt", "and so are the metadata")
succeed("--verify", "a.gguf", "--source", "m.gguf", "--imatrix", "imatrix.gguf")
shutil.copy("m.gguf", b"donn\xe9es.gguf")
succeed(b"donn\xe9es.gguf", b"r\xe9sultat.gguf", "--format", "q8_0", "--tensor-type", b"\xe9|.*=q4_0")
succeed("--verify", b"r\xe9sultat.gguf", "--source", b"donn\xe9es.gguf")

# Names longer than ggml's.
long = "model.diffusion_model.input_blocks.4.1.transformer_blocks.0.attn2.to_q.weight"
gguf_file.write("m.gguf", {"general.architecture": "sdxl"}, [(long, *matrix()[1:]), (1020 * "n" + ".w", *matrix()[1:])])
text = succeed("m.gguf", "a.gguf", "--preset", "Q8_0")
expect("warning: 2 tensors have names of more than 63 bytes" in text and long in gguf_file.Reader("a.gguf").tensors,
       text)
succeed("--verify", "a.gguf", "--source", "m.gguf")
gguf_file.write("m.gguf", LLAMA, [(1025 * "n", *matrix()[1:])])
refuse("a name of 1025 bytes, 1024 are allowed", "m.gguf", "b.gguf", "--preset", "Q8_0")

# Manifests with anything in them.
TENSOR = {"name": "blk.0.attn_v.weight", "format": "q8_0", "method": "round-to-nearest", "sha256": "00", "sqnr": 1}
GOOD = {"manifest": 1, "source": [{"file": "m", "sha256": "00"}], "options": {"fit": "search"}, "tensors": [TENSOR]}
write("m.gguf")
broken = ["[" * 100000, "null", "1", '"x"', "[]", "{}", '{"manifest":{}}', '{"manifest":1}', "{" + '"manifest":1,"a":' +
          "[" * 50000]
for key in GOOD:
    broken += [json.dumps({k: v for k, v in GOOD.items() if k != key})]
    broken += [json.dumps(GOOD | {key: v}) for v in (None, 7, "x", [], [[]], [1], {}, {"fit": 1})]
for key in TENSOR:
    broken += [json.dumps(GOOD | {"tensors": [t]}) for t in
               [{k: v for k, v in TENSOR.items() if k != key}] +
               [TENSOR | {key: v} for v in (None, 7, "x\x1b", [], {})]]
broken += [json.dumps(GOOD | {"tensors": [TENSOR | {k: v}]}) for k in ("pieces", "importance", "requantized")
           for v in (None, 7, [], [1], "x", True)]
broken += [json.dumps(GOOD | {"imatrix": v}) for v in (None, {}, [], {"sha256": 1})]
broken += [json.dumps(GOOD | {"options": {"fit": "search", k: v}}) for k in ("prune_layers", "include_weights")
           for v in (None, [-1], ["x"], 3, [0], [1 << 40])]
for text in broken:
    gguf_file.write("bad.gguf", LLAMA | {"quantize.manifest": text}, [matrix()])
    for beside in (b"", text.encode(), b"\xff{"):
        with open("bad.gguf.manifest.json", "wb") as f:
            f.write(beside)
        for more in ([], ["--source", "m.gguf"], ["--source", "m.gguf", "--imatrix", "imatrix.gguf"]):
            done = subprocess.run([program, "--verify", "bad.gguf", *more], capture_output=True, text=True)
            said = done.stdout + done.stderr
            expect(done.returncode == 1 and "json.exception" not in said and "\x1b" not in said and
                   ".gguf" in done.stderr, f"{text[:200]}: {said}")
    if beside != b"" and len(text) > 1000:
        os.remove("bad.gguf.manifest.json")

# An output is no input, whatever it is called.
write("m.gguf")
before = content("m.gguf")
os.symlink("m.gguf", "link.gguf")
os.link("m.gguf", "hard.gguf")
os.makedirs("folder")
os.symlink("../m.gguf", "folder/deep.gguf")
for name in ("m.gguf", "./m.gguf", "folder/../m.gguf", "link.gguf", "hard.gguf", "folder/deep.gguf",
             os.path.abspath("m.gguf")):
    refuse("that is read, and would be lost", "m.gguf", name, "--format", "copy")
    refuse("that is read, and would be lost", name, "m.gguf", "--preset", "Q8_0")
refuse("imatrix.gguf that is read, and would be lost", "m.gguf", "imatrix.gguf", "--preset", "Q8_0", "--imatrix",
       "./imatrix.gguf")
expect(content("m.gguf") == before and os.path.islink("link.gguf"), "nothing has changed")
os.makedirs("c")
safetensors_file.write("c/model.safetensors",
                       {"model.layers.0.self_attn.q_proj.weight": ("F32", [32, 32], floats("f", [0.5] * 1024))})
with open("c/config.json", "w") as f:
    f.write("{}")
os.symlink("c", "same")
for name in ("c", "./c/", "same", "c/other.safetensors", "c/model.safetensors", "same/model.safetensors"):
    refuse("it is the input's own folder", "c", name, "--format", "int4_g32")
expect(sorted(os.listdir("c")) == ["config.json", "model.safetensors"], "nothing has changed")
os.mkfifo("pipe")
refuse("pipe: it exists and is no file that could be replaced, but a device, pipe or socket", "m.gguf", "pipe",
       "--preset", "Q8_0")

# Names of the user's that once were used for unfinished files.
os.makedirs("parts")
shutil.copy("m.gguf", "parts/o.gguf.part")
succeed("parts/o.gguf.part", "parts/o.gguf", "--preset", "Q8_0")
expect(content("parts/o.gguf.part") == before, "an input is not written over while it is read")
with open("secret", "w") as f:
    f.write("precious")
os.symlink("../secret", "parts/p.gguf.part")
succeed("m.gguf", "parts/p.gguf", "--preset", "Q8_0")
expect(content("secret") == b"precious" and not os.path.islink("parts/p.gguf"), "a link is not followed")


# A disk that is full: the error names the file; what was done is kept where it can be gone on with.
def with_little_room(*arguments):
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          preexec_fn=limit)


done = with_little_room("--synthetic", "full.gguf")
expect(done.returncode == 1 and "full.gguf" in done.stdout and "File too large" in done.stdout and
       not os.path.exists("full.gguf"), done.stdout)
succeed("--synthetic", "s.gguf")
done = with_little_room("s.gguf", "full.gguf", "--preset", "Q4_K_M")
expect(done.returncode == 1 and "full.gguf.unfinished-" in done.stdout and "--resume goes on from there" in done.stdout,
       done.stdout)
succeed("s.gguf", "full.gguf", "--preset", "Q4_K_M", "--resume")
left = [n for n in os.listdir() if ".unfinished-" in n]
expect(not left, f"nothing is left behind: {left}")
print("floats, numbers, kinds, texts, manifests, places and a full disk: as they should be")
