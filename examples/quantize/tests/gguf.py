"""GGUF files from outside: models in parts, an imatrix, overrides, a manifest that does not fit.

usage: gguf.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import json
import os
import random
import shutil
import struct

import gguf_file
from program import expect, run, succeed

rng = random.Random(3)


def content(path):
    with open(path, "rb") as f:
        return f.read()


def weights(*ne):
    count = 1
    for n in ne:
        count *= n
    return 1, list(ne), struct.pack(f"<{count}e", *(rng.gauss(0, 0.05) for _ in range(count)))


COLS, EXPERTS = 256, 3
METADATA = {"general.architecture": "llama", "llama.block_count": 2, "llama.attention.head_count": 4,
            "llama.expert_count": EXPERTS}
MODEL = {"token_embd.weight": weights(COLS, 6),
         "output_norm.weight": (0, [COLS], struct.pack(f"<{COLS}f", *[1.0] * COLS))}
for i in range(2):
    MODEL |= {f"blk.{i}.attn_v.weight": weights(COLS, 8), f"blk.{i}.ffn_down_exps.weight": weights(COLS, 4, EXPERTS)}
rows = [(name, *t) for name, t in MODEL.items()]
gguf_file.write("whole.gguf", METADATA, rows)

# In parts.
split = lambda no, count, tensors: {"split.no": ("H", no), "split.count": ("H", count),
                                    "split.tensors.count": ("i", tensors)}
part = lambda i: f"model-{i + 1:05}-of-00003.gguf"
for i in range(3):
    gguf_file.write(part(i), (METADATA if i == 0 else {}) | split(i, 3, len(rows)), rows[2 * i:2 * i + 2])
succeed("whole.gguf", "a.gguf", "--format", "copy")
succeed(part(0), "b.gguf", "--format", "copy")
expect(content("a.gguf") == content("b.gguf"), "parts are put together")
succeed("whole.gguf", "a.gguf", "--preset", "Q4_K_M")
succeed(part(0), "b.gguf", "--preset", "Q4_K_M")
a, b = gguf_file.Reader("a.gguf"), gguf_file.Reader("b.gguf")
expect(a.tensors == b.tensors, "and quantized")
expect([s["file"] for s in json.loads(b.metadata["quantize.manifest"])["source"]] == [part(i) for i in range(3)],
       "the manifest names all parts")
succeed("--verify", "b.gguf", "--source", part(0))
for change, rule in ((lambda: os.rename(part(2), "gone"), part(2)), (lambda: shutil.copy(part(1), part(2)), "split.no"),
                     (lambda: gguf_file.write(part(2), split(2, 3, 6), rows[:2]), "in two parts"),
                     (lambda: gguf_file.write(part(2), split(2, 3, 6), rows[:1]),
                      "6 tensors are promised, the parts have 5")):
    change()
    done = run(part(0), "c.gguf", "--format", "q8_0")
    expect(done.returncode == 1 and rule in done.stdout, f"{rule}: {done.stdout}")
done = run(part(1), "c.gguf", "--format", "q8_0")
expect(done.returncode == 1 and "ends in -00001-of-00003.gguf" in done.stdout, done.stdout)

# With an imatrix, one slice per expert; what it does not know stays without.
def write_imatrix(path, entries):
    """llama.cpp's GGUF form."""
    tensors = []
    for name, (cols, matrices) in entries.items():
        values = [rng.random() ** 4 for _ in range(cols * matrices)]
        tensors += [(name + ".in_sum2", 0, [cols, matrices], struct.pack(f"<{len(values)}f", *values)),
                    (name + ".counts", 0, [1, matrices], struct.pack(f"<{matrices}f", *[2.0] * matrices))]
    gguf_file.write(path, {"general.type": "imatrix", "imatrix.chunk_count": 5, "imatrix.chunk_size": 512,
                           "calibration.sha256": "ab" * 32}, tensors)


known = {f"blk.{i}.ffn_down_exps.weight": (COLS, EXPERTS) for i in range(2)}
write_imatrix("imatrix.gguf", known | {"token_embd.weight": (7, 1)})  # of another size: a token embedding's is not used
succeed("whole.gguf", "with.gguf", "--preset", "Q4_0", "--imatrix", "imatrix.gguf")
succeed("whole.gguf", "without.gguf", "--preset", "Q4_0")
w, wo = gguf_file.Reader("with.gguf"), gguf_file.Reader("without.gguf")
for name in MODEL:
    same = w.tensors[name] == wo.tensors[name]
    expect(same != (name in known), f"{name} is weighed where the imatrix knows it")
expect(w.metadata["quantize.imatrix.file"] == "imatrix.gguf" and w.metadata["quantize.imatrix.entries_count"] == 3 and
       w.metadata["quantize.imatrix.chunks_count"] == 5, "the metadata name the imatrix")
manifest = json.loads(w.metadata["quantize.manifest"])
expect(manifest["imatrix"]["text_sha256"] == "ab" * 32, "the calibration text's hash is kept")
for t in manifest["tensors"]:
    expect(("weighted_sqnr" in t) == (t["name"] in known), "scores are weighted where that is possible")
    expect(t["name"] not in known or t["weighted_sqnr"] != t["sqnr"], "and differ then")
succeed("--verify", "with.gguf", "--source", "whole.gguf", "--imatrix", "imatrix.gguf")
expect("measured again" in succeed("--verify", "with.gguf", "--source", "whole.gguf"),
       "without the imatrix scores can be compared")
write_imatrix("imatrix.gguf", {"model.layers.0.mlp.up_proj.weight": (COLS, 1)})
done = run("whole.gguf", "c.gguf", "--preset", "Q4_0", "--imatrix", "imatrix.gguf")
expect(done.returncode == 1 and "knows none of the tensors" in done.stdout, done.stdout)
write_imatrix("imatrix.gguf", {"blk.1.attn_v.weight": (COLS + 1, 1)})
done = run("whole.gguf", "c.gguf", "--preset", "Q4_0", "--imatrix", "imatrix.gguf")
expect(done.returncode == 1
       and "blk.1.attn_v.weight (8 x 256): the imatrix has 257 values, 256 are needed" in done.stdout, done.stdout)

# What the manifest says is held against the file.
succeed("--verify", "a.gguf", "--source", "whole.gguf")
raw = bytearray(content("a.gguf"))
at = raw.rindex(a.tensors["blk.1.attn_v.weight"][2].tobytes())
raw[at + 100] ^= 4
with open("changed.gguf", "wb") as f:
    f.write(raw)
shutil.copy("a.gguf.manifest.json", "changed.gguf.manifest.json")
done = run("--verify", "changed.gguf")
expect(done.returncode == 1 and "blk.1.attn_v.weight: its bytes are not those that were written" in done.stdout,
       done.stdout)
raw[at + 100] ^= 4
raw[raw.index(b"llama.block_count") + 21] = 3
with open("changed.gguf", "wb") as f:
    f.write(raw)
done = run("--verify", "changed.gguf")
expect(done.returncode == 1 and "its header is not the one that was written" in done.stdout, done.stdout)
MODEL["token_embd.weight"] = weights(COLS, 6)
gguf_file.write("other.gguf", METADATA, [(name, *t) for name, t in MODEL.items()])
done = run("--verify", "a.gguf", "--source", "other.gguf")
expect(done.returncode == 1 and "not the file that the model was made from" in done.stdout
       and "token_embd.weight (6 x 256): quantized again it has other bytes" in done.stdout,
       done.stdout)

# A weight that is no number is named with its place, and nothing is left.
broken = bytearray(MODEL["blk.1.ffn_down_exps.weight"][2])
broken[2 * (9 * COLS + 17):2 * (9 * COLS + 17) + 2] = b"\xff\x7f"
gguf_file.write("other.gguf", METADATA, [(name, kind, ne, broken if name == "blk.1.ffn_down_exps.weight" else data)
                                         for name, (kind, ne, data) in MODEL.items()])
for name in ("q4_k", "q8_0", "bf16"):
    done = run("other.gguf", "c.gguf", "--format", name)
    expect(done.returncode == 1 and "blk.1.ffn_down_exps.weight (3 x 4 x 256)" in done.stdout
           and "row 9, column 17" in done.stdout, done.stdout)
expect(not any(n.startswith("c.gguf") for n in os.listdir()), "no file was left behind")

# A dry run prices what does not fit.
gguf_file.write("narrow.gguf", METADATA, [("blk.0.ffn_up.weight", 0, [288, 100], bytes(4 * 28800)),
                                          ("blk.1.ffn_up.weight", 0, [172, 10], bytes(4 * 1720))])
text = succeed("narrow.gguf", "--dry-run", "--preset", "Q6_K")
expect("q8_0 in place of q6_K: +6975 bytes, +1.938 bits per weight" in text, text)  # 30600 - 28800 * 210 / 256
expect("f16 in place of q6_K: +2029 bytes, +9.438 bits per weight" in text, text)   # 3440 - 1720 * 210 / 256
expect("(f16 for q6_K x 1, q8_0 for q6_K x 1): +9004 bytes, 8.923 bits per weight instead of 6.562" in text, text)
print("parts, an imatrix, manifests, a bad weight and a dry run: as they should be")
