"""Options that users of llama-quantize know: arguments by position, rules for tensors, layers, metadata and files.

usage: options.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import json
import random
import struct

import gguf_file
from program import expect, refuse, run, succeed

rng = random.Random(5)
F32, F16, Q4_0, Q8_0, Q2_K, Q4_K, Q6_K = 0, 1, 2, 8, 10, 12, 14
COLS, LAYERS = 256, 4


def weights(cols, rows):
    return F16, [cols, rows], struct.pack(f"<{cols * rows}e", *(rng.gauss(0, 0.05) for _ in range(cols * rows)))


def norm():
    return F32, [COLS], struct.pack(f"<{COLS}f", *[1.0] * COLS)


METADATA = {"general.architecture": "llama", "llama.block_count": LAYERS, "llama.attention.head_count": 4,
            "llama.context_length": ("Q", 64),
            "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.expert_count": 0}
MODEL = {"token_embd.weight": weights(COLS, 8), "output.weight": weights(COLS, 8), "output_norm.weight": norm()}
for i in range(LAYERS):
    MODEL |= {f"blk.{i}.{name}.weight": weights(COLS, 8)
              for name in ("attn_v", "attn_output", "ffn_down", "ffn_gate_inp")}
    MODEL |= {f"blk.{i}.attn_norm.weight": norm()}
gguf_file.write("model.gguf", METADATA, [(name, *t) for name, t in MODEL.items()])
tied = {name: t for name, t in MODEL.items() if name != "output.weight"}
gguf_file.write("tied.gguf", METADATA, [(name, *t) for name, t in tied.items()])


def types(path):
    return {name: t[0] for name, t in gguf_file.Reader(path).tensors.items()}


def content(path):
    with open(path, "rb") as f:
        return f.read()


# Arguments by position, names and numbers.
succeed("model.gguf", "named.gguf", "--preset", "Q4_K_M")
for arguments in (["a.gguf", "Q4_K_M"], ["a.gguf", "q4_k_m", "2"], ["a.gguf", "15"], ["a.gguf", "Q4_K"],
                  ["a.gguf", "--preset", "q4_k"],
                  ["a.gguf", "--preset", "15"]):
    succeed("model.gguf", *arguments)
    expect(types("a.gguf") == types("named.gguf") and Q6_K in types("a.gguf").values(),
           f"{arguments}: as --preset Q4_K_M")
succeed("model.gguf", "Q8_0", "1")
succeed("model.gguf", "a.gguf", "--format", "q8_0")
expect(types("ggml-model-Q8_0.gguf") == types("a.gguf"), "without an output's name it is llama-quantize's")
expect(gguf_file.Reader("a.gguf").metadata["general.file_type"] == 7, "the file's type is said")
for name, type in (("BF16", 30), ("32", 30), ("Q4_0", Q4_0), ("q6_k", Q6_K), ("iq4_nl", 20)):
    succeed("model.gguf", "a.gguf", name)
    expect(types("a.gguf")["blk.1.ffn_down.weight"] == type, name)
for name in ("COPY", "copy"):
    succeed("model.gguf", "a.gguf", name)
    expect(types("a.gguf") == {n: t[0] for n, t in MODEL.items()}, "all is copied")
refuse("99: is no preset and no format", "model.gguf", "a.gguf", "99")
refuse("is no number of threads", "model.gguf", "a.gguf", "Q4_0", "many")
refuse("5", "model.gguf", "a.gguf", "Q4_0", "1", "5")
refuse("there is nothing to quantize", "model.gguf", "b.gguf", "F16")

# Rules for tensors.
text = succeed("model.gguf", "a.gguf", "--preset", "Q4_0", "--tensor-type", "attn_v=q8_0", "--tensor-type",
               r"blk\.[01]\.ffn=Q2_K",
               "--tensor-type", "ffn_down=F16", "--tensor-type", "output.weight=bf16")
expect("--tensor-type attn_v=q8_0: 4 tensors\n" in text, text)
expect("ffn=Q2_K: 2 tensors, and not 2 more, which engines need as they are" in text, text)
found = types("a.gguf")
expect(found["output.weight"] == 30 and found["blk.0.attn_output.weight"] == Q4_0, "a match begins where a word does")
expect([found[f"blk.{i}.ffn_down.weight"] for i in range(4)] == [Q2_K, Q2_K, F16, F16],
       "the first rule that matches counts")
manifest = json.loads(gguf_file.Reader("a.gguf").metadata["quantize.manifest"])
rules = {t["name"]: t.get("rule") for t in manifest["tensors"]}
expect(rules["blk.2.attn_v.weight"] == "--tensor-type attn_v=q8_0" and rules["token_embd.weight"] is None and
       rules["blk.0.ffn_gate_inp.weight"] is None, "the manifest says which rule was followed, and where")
succeed("model.gguf", "a.gguf", "COPY", "--tensor-type", "attn_v=q8_0")
expect({n for n, t in types("a.gguf").items() if t != MODEL[n][0]} == {f"blk.{i}.attn_v.weight" for i in range(4)},
       "and the rest is copied")
refuse("--tensor-type attn_x=q8_0: it decides about no tensor", "model.gguf", "b.gguf", "Q4_0", "--tensor-type",
       "attn_x=q8_0")
refuse("--tensor-type ffn_down=q8_0: it decides about no tensor", "model.gguf", "b.gguf", "Q4_0", "--tensor-type",
       "ffn=q6_k",
       "--tensor-type", "ffn_down=q8_0")
refuse("none can have another format, as engines need them as they are: blk.0.ffn_gate_inp.weight (8 x 256) and 3 more",
       "model.gguf", "b.gguf",
       "Q4_0", "--tensor-type", "ffn_gate_inp=q8_0")
with open("rules", "w") as f:
    f.write("attn_v=q8_0\n  ffn_down=q2_k output=copy\n")
succeed("model.gguf", "a.gguf", "Q4_0", "--tensor-type-file", "rules", "--tensor-type", "blk.3=q6_k")
found = types("a.gguf")
expect((found["blk.0.attn_v.weight"], found["blk.3.attn_v.weight"], found["blk.2.ffn_down.weight"],
        found["output.weight"]) == (Q8_0, Q6_K, Q2_K, F16),
       "rules of a file come behind those of the command line")
refuse("it is the file rules that is read", "model.gguf", "rules", "Q4_0", "--tensor-type-file", "rules")

# The output and the embedding.
succeed("model.gguf", "a.gguf", "Q4_K_S", "--output-tensor-type", "f32", "--token-embedding-type", "Q8_0",
        "--tensor-type", ".*=q2_k")
found = types("a.gguf")
expect((found["output.weight"], found["token_embd.weight"], found["blk.0.attn_v.weight"]) == (F32, Q8_0, Q2_K),
       "these come before other rules")
succeed("tied.gguf", "a.gguf", "Q4_K_S", "--output-tensor-type", "q8_0")
expect(types("a.gguf")["token_embd.weight"] == Q8_0, "an embedding that serves as the output has the output's format")
succeed("model.gguf", "a.gguf", "Q4_K_S", "--leave-output-tensor")
expect(types("a.gguf")["output.weight"] == F16, "the output is left")
refuse("--leave-output-tensor: it decides about no tensor", "tied.gguf", "b.gguf", "Q4_K_S", "--leave-output-tensor")

# No other format, and formats on top of others.
gguf_file.write("narrow.gguf", METADATA, [("blk.0.attn_v.weight", *weights(96, 4)),
                                          ("blk.0.ffn_down.weight", *weights(COLS, 4))])
succeed("narrow.gguf", "a.gguf", "Q4_K_S")
refuse("blk.0.attn_v.weight (4 x 96): its rows are no whole blocks of q5_K, which has 256 weights to one; "
       "--no-fallback forbids q5_1", "narrow.gguf", "b.gguf", "Q4_K_S", "--no-fallback")
succeed("model.gguf", "a.gguf", "Q4_K_S", "--no-fallback")
succeed("model.gguf", "eight.gguf", "--format", "q8_0")
refuse("its type is q8_0; only f32, f16 and bf16 can be quantized, others with --allow-requantize", "eight.gguf",
       "b.gguf", "--format", "q4_0")
text = succeed("eight.gguf", "four.gguf", "--format", "q4_0", "--allow-requantize")
expect("warning: 14 tensors were quantized already" in text, text)
expect(types("four.gguf")["blk.0.attn_v.weight"] == Q4_0, "what was quantized is quantized again")
succeed("--verify", "four.gguf", "--source", "eight.gguf")
for name in ("q2_K", "q3_K", "q6_K", "iq4_xs", "tq2_0", "mxfp4", "q5_1"):
    succeed("model.gguf", "a.gguf", "--format", name)
    succeed("a.gguf", "c.gguf", "--format", "q5_0", "--allow-requantize")

# Layers, metadata.
gguf_file.write("layers.gguf", METADATA | {"llama.attention.head_count_kv": [("I", n) for n in (4, 2, 1, 4)]},
                [(name, *t) for name, t in MODEL.items()])
succeed("layers.gguf", "a.gguf", "--format", "q8_0")
succeed("layers.gguf", "pruned.gguf", "--format", "q8_0", "--prune-layers", "0,2", "--override-kv",
        "llama.context_length=int:32",
        "--override-kv", "llama.rope.freq_base=float:1e6", "--override-kv", "general.name=str:a = b:c", "--override-kv",
        "x.flag=bool:true")
whole, pruned = gguf_file.Reader("a.gguf"), gguf_file.Reader("pruned.gguf")
m = pruned.metadata
expect((m["llama.block_count"], m["llama.attention.head_count_kv"]) == (2, [2, 4]),
       "layers are counted, and what is said of each")
expect((m["llama.context_length"], m["llama.rope.freq_base"], m["general.name"], m["x.flag"]) ==
       (32, 1e6, "a = b:c", True), "metadata are overridden")
expect(pruned.kinds["llama.context_length"] == 10 and pruned.kinds["llama.rope.freq_base"] == 6,
       "with the type that they had")
for old, new in ((1, 0), (3, 1)):
    for name in ("attn_v", "attn_norm", "ffn_gate_inp"):
        expect(pruned.tensors[f"blk.{new}.{name}.weight"] == whole.tensors[f"blk.{old}.{name}.weight"],
               "the others are numbered anew")
expect(len(pruned.tensors) == 3 + 2 * 5, "and the rest is gone")
succeed("--verify", "pruned.gguf", "--source", "layers.gguf")
refuse("layers.gguf: layer 4 cannot be left out: there are the layers 0 to 3", "layers.gguf", "b.gguf", "--format",
       "q8_0", "--prune-layers", "0,4")
refuse("one must stay", "layers.gguf", "b.gguf", "--format", "q8_0", "--prune-layers", "0,1,2,3")
for text in ("llama.context_length", "k=int", "k=int:x", "k=int:99999999999999999999", "k=float:nan", "k=bool:1",
             "=int:1", "k=u8:1"):
    refuse("--override-kv " + text, "model.gguf", "b.gguf", "Q4_0", "--override-kv", text)
refuse("out of the range of the key's type", "model.gguf", "b.gguf", "Q4_0", "--override-kv",
       "llama.block_count=int:-1", "--pure")
refuse("llama.block_count: 100000, it must be from 0 to 65536", "model.gguf", "b.gguf", "Q4_0", "--override-kv",
       "llama.block_count=int:100000")

# Files.
whole = types("named.gguf")
text = succeed("model.gguf", "split.gguf", "--preset", "Q4_K_M", "--split-max-size", "1M")
expect(gguf_file.Reader("split.gguf").tensors == gguf_file.Reader("named.gguf").tensors, "what fits in one file is one")
big = {"token_embd.weight": weights(COLS, 4000), "blk.0.ffn_down.weight": weights(COLS, 4000),
       "blk.1.ffn_down.weight": weights(COLS, 100)}
gguf_file.write("big.gguf", METADATA, [(name, *t) for name, t in big.items()])
succeed("big.gguf", "whole.gguf", "--format", "q8_0")
succeed("big.gguf", "split.gguf", "--format", "q8_0", "--split-max-size", "1M")
part = lambda i: f"split-{i:05}-of-00003.gguf"
parts = [gguf_file.Reader(part(i)) for i in (1, 2, 3)]
together = parts[0].tensors | parts[1].tensors | parts[2].tensors
expect(together == gguf_file.Reader("whole.gguf").tensors, "the parts have the tensors of one file")
for i, p in enumerate(parts):
    expect((p.metadata["split.no"], p.metadata["split.count"], p.metadata["split.tensors.count"]) == (i, 3, 3),
           "and say so")
expect("llama.block_count" in parts[0].metadata and "llama.block_count" not in parts[1].metadata,
       "the first has the metadata")
succeed("--verify", part(1), "--source", "big.gguf")
succeed(part(1), "joined.gguf", "--format", "copy")
expect(gguf_file.Reader("joined.gguf").tensors == together, "parts are put together")
succeed(part(1), "again.gguf", "--format", "q4_0", "--keep-split", "--allow-requantize")
kept = [gguf_file.Reader(f"again-{i:05}-of-00003.gguf") for i in (1, 2, 3)]
expect([list(k.tensors) for k in kept] == [list(p.tensors) for p in parts], "the files' borders are kept")
succeed("--verify", "again-00001-of-00003.gguf", "--source", part(1))
before = content(part(2))
refuse(part(2) + ": it is the file " + part(2) + " that is read", part(1), part(2), "--format", "copy")
refuse("that is read, and would be lost", part(1), "split.gguf", "--format", "copy", "--keep-split")
expect(content(part(2)) == before, "no part is replaced")
refuse("--split-max-size", "model.gguf", "b.gguf", "Q4_0", "--split-max-size", "1")


# Parts of an imatrix.
def write_imatrix(path, names):
    tensors = []
    for name in names:
        values = [rng.random() ** 4 for _ in range(COLS)]
        tensors += [(name + ".in_sum2", 0, [COLS], struct.pack(f"<{COLS}f", *values)),
                    (name + ".counts", 0, [1], struct.pack("<f", 1.0))]
    gguf_file.write(path, {"general.type": "imatrix", "calibration.sha256": "cd" * 32}, tensors)


write_imatrix("imatrix.gguf", [n for n in MODEL if n.startswith("blk") and "norm" not in n])
known = lambda path: {t["name"] for t in json.loads(gguf_file.Reader(path).metadata["quantize.manifest"])["tensors"]
                      if t.get("importance")}
quantized = {n for n in MODEL if n.startswith("blk") and "norm" not in n and "inp" not in n}
succeed("model.gguf", "a.gguf", "Q4_0", "--imatrix", "imatrix.gguf")
expect(known("a.gguf") == quantized, "an imatrix is used where it can be")
expect(json.loads(gguf_file.Reader("a.gguf").metadata["quantize.manifest"])["imatrix"]["text_sha256"] == "cd" * 32,
       "its text's hash is kept")
succeed("model.gguf", "a.gguf", "Q4_0", "--imatrix", "imatrix.gguf", "--include-weights", "attn_v", "--include-weights",
        "blk.1.")
expect(known("a.gguf") == {n for n in quantized if "attn_v" in n or "blk.1." in n}, "only for these")
succeed("--verify", "a.gguf", "--source", "model.gguf", "--imatrix", "imatrix.gguf")
succeed("model.gguf", "a.gguf", "Q4_0", "--imatrix", "imatrix.gguf", "--exclude-weights", "attn_v")
expect(known("a.gguf") == {n for n in quantized if "attn_v" not in n}, "not for these")
refuse("it has no entry whose name holds attn_x, as --exclude-weights says", "model.gguf", "b.gguf", "Q4_0",
       "--imatrix", "imatrix.gguf",
       "--exclude-weights", "attn_x")
refuse("--imatrix is missing", "model.gguf", "b.gguf", "Q4_0", "--exclude-weights", "attn_v")
refuse("excludes", "model.gguf", "b.gguf", "Q4_0", "--imatrix", "imatrix.gguf", "--exclude-weights", "x",
       "--include-weights", "y")
succeed("layers.gguf", "a.gguf", "Q4_0", "--imatrix", "imatrix.gguf", "--prune-layers", "1")
succeed("--verify", "a.gguf", "--source", "layers.gguf", "--imatrix", "imatrix.gguf")

done = run("--help")
expect(all(flag in done.stdout for flag in ("llama-quantize", "--prune-layers", "--keep-split",
                                            "INPUT [OUTPUT] TYPE [THREADS]")), done.stdout)
print("arguments by position, rules, layers, metadata, files and parts of an imatrix: as they should be")
