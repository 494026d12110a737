"""Gives an imatrix, which has GGUF's names, to a checkpoint of Hugging Face's and to a GGUF file with experts apart.

usage: imatrix.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import json
import os
import random
import struct

import gguf_file
import safetensors_file
from program import expect, run, succeed

rng = random.Random(11)
COLS, ROWS = 64, 8
METADATA = {"general.type": "imatrix", "imatrix.chunk_count": 1, "imatrix.chunk_size": 8}


def floats(count):
    return struct.pack(f"<{count}f", *[rng.gauss(0, 0.05) for _ in range(count)])


def write_imatrix(path, entries, more={}):
    """entries: {name: [values of one matrix after the other]}."""
    tensors = []
    for name, values in entries.items():
        matrices = len(values) // COLS
        tensors += [(name + ".in_sum2", 0, [COLS, matrices], struct.pack(f"<{len(values)}f", *values)),
                    (name + ".counts", 0, [1, matrices], struct.pack(f"<{matrices}f", *[1.0] * matrices))]
    gguf_file.write(path, METADATA | more, tensors)


def importance():
    return [rng.random() ** 4 for _ in range(COLS)]


LAYER = "model.layers.0."
names = {LAYER + "self_attn.q_proj.weight": "blk.0.attn_q.weight", LAYER + "mlp.up_proj.weight": "blk.0.ffn_up.weight",
         LAYER + "self_attn.o_proj.weight": "blk.0.attn_output.weight",
         LAYER + "mlp.down_proj.weight": "blk.0.ffn_down.weight"}
experts = [f"model.layers.1.mlp.experts.{e}.gate_proj.weight" for e in range(3)]
os.mkdir("model")
MODEL = {name: ("F32", [ROWS, COLS], floats(ROWS * COLS)) for name in [*names, *experts, "model.embed_tokens.weight"]}
safetensors_file.write("model/model.safetensors", MODEL)
with open("model/config.json", "w") as f:
    json.dump({"model_type": "qwen2_moe"}, f)

# Every weight is found under its GGUF name.
known = {gguf: importance() for gguf in names.values()}
parts = [importance() for _ in experts]
write_imatrix("imatrix.gguf", known | {"blk.1.ffn_gate_exps.weight": sum(parts, [])}, {"calibration.sha256": "cd" * 32})
text = succeed("model", "a", "--format", "int4_g32", "--imatrix", "imatrix.gguf")
expect("the imatrix knows 7 of 7 tensors" in text, text)
metadata, a = safetensors_file.read("a/model.safetensors")
manifest = json.loads(metadata["quantize.manifest"])
expect(manifest["imatrix"]["text_sha256"] == "cd" * 32, "the calibration text's hash is kept")
for t in manifest["tensors"]:
    expect(t.get("importance", False) == (t["name"] in [*names, *experts]), f"the importance of {t['name']} is used")
succeed("--verify", "a", "--source", "model", "--imatrix", "imatrix.gguf")

# Parts of an imatrix are chosen by its names, not by the checkpoint's.
text = succeed("model", "some", "--format", "int4_g32", "--imatrix", "imatrix.gguf", "--exclude-weights", "blk.1.")
expect("the imatrix knows 4 of 7 tensors" in text, text)

# Each expert has a matrix of its own.
parts[1] = importance()
write_imatrix("other.gguf", known | {"blk.1.ffn_gate_exps.weight": sum(parts, [])})
succeed("model", "b", "--format", "int4_g32", "--imatrix", "other.gguf")
b = safetensors_file.read("b/model.safetensors")[1]
for name in [*names, *experts]:
    packed = name + "_packed"
    expect((a[packed] == b[packed]) == (name != experts[1]), f"{name} changes with its own importance alone")

# One for fewer experts, or of another width, is refused with the tensor's name.
for values, name in ((sum(parts[:2], []), experts[2]), ([1.0] * 3 * (COLS // 2), experts[0])):
    entry, rule = "blk.1.ffn_gate_exps.weight", name + " (8 x 64)"
    gguf_file.write("other.gguf", METADATA,
                    [(entry + ".in_sum2", 0, [len(values), 1], struct.pack(f"<{len(values)}f", *values)),
                     (entry + ".counts", 0, [1, 1], struct.pack("<f", 1.0))])
    done = run("model", "c", "--format", "int4_g32", "--imatrix", "other.gguf")
    expect(done.returncode == 1 and rule in done.stdout, f"{rule}: {done.stdout}")
write_imatrix("other.gguf", {"blk.7.attn_q.weight": importance()})
done = run("model", "c", "--format", "int4_g32", "--imatrix", "other.gguf")
expect(done.returncode == 1 and "knows none of the tensors" in done.stdout, done.stdout)

# A GGUF file of the time when experts were tensors of their own, and an imatrix of one where they are not.
gguf_file.write("split.gguf", {"general.architecture": "llama", "llama.block_count": 1, "llama.expert_count": 3},
                [(f"blk.0.ffn_up.{e}.weight", 0, [COLS, ROWS], floats(ROWS * COLS)) for e in range(3)])
write_imatrix("imatrix.gguf", {"blk.0.ffn_up_exps.weight": sum(parts, [])})
text = succeed("split.gguf", "split_q4.gguf", "--format", "q4_0", "--imatrix", "imatrix.gguf")
expect("the imatrix knows 3 of 3 tensors" in text, text)
print("an imatrix is found under GGUF's names")
