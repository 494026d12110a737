"""Quantizes a model in safetensors, and decodes what was written by the rules of compressed-tensors and bitsandbytes.

usage: safetensors.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import json
import math
import os
import struct
import subprocess

import safetensors_file
from checkpoint import make
from program import expect, program, run

MODEL = {
    "lm_head.weight": make("BF16", 20, 256), "model.embed_tokens.weight": make("BF16", 20, 256),
    "model.norm.weight": make("F32", 256), "model.layers.0.mlp.up_proj.weight": make("BF16", 24, 256),
    "model.layers.0.mlp.down_proj.weight": make("F16", 160, 24),
    "model.layers.0.self_attn.q_proj.weight": make("F32", 16, 256),
    "model.layers.0.self_attn.q_proj.bias": make("F32", 16),
    "model.layers.0.self_attn.position_ids": ("I64", [1, 4], struct.pack("<4q", 0, 1, 2, 3)),
}
LINEAR = [name for name in MODEL if "_proj.weight" in name]
os.mkdir("model")
names = sorted(MODEL)
shards = {"model-00001-of-00002.safetensors": names[:4], "model-00002-of-00002.safetensors": names[4:]}
for file, of_file in shards.items():
    safetensors_file.write("model/" + file, {n: MODEL[n] for n in of_file})
for file, value in (("config.json", {"model_type": "llama", "torch_dtype": "bfloat16"}), ("tokenizer.json", {"a": 1}),
                    ("model.safetensors.index.json",
                     {"metadata": {}, "weight_map": {n: f for f, ns in shards.items() for n in ns}})):
    with open("model/" + file, "w") as f:
        json.dump(value, f)


def int4(tensors, layer, group, symmetric):
    """compressed-tensors: codes of 4 bits from the lowest on, plus 8."""
    rows, cols = struct.unpack("<2q", tensors[layer + ".weight_shape"][2])
    dtype, shape, raw = tensors[layer + ".weight_scale"]
    groups = -(-cols // group)
    expect(shape == [rows, groups] and tensors[layer + ".weight_packed"][1] == [rows, -(-cols // 8)],
           "the shapes are those of the format")
    scales = safetensors_file.floats(dtype, raw)
    words = struct.unpack(f"<{rows * -(-cols // 8)}I", tensors[layer + ".weight_packed"][2])
    zeros = [8] * (rows * groups)
    if not symmetric:
        packed = struct.unpack(f"<{-(-rows // 8) * groups}I", tensors[layer + ".weight_zero_point"][2])
        zeros = [packed[r // 8 * groups + g] >> 4 * (r % 8) & 15 for r in range(rows) for g in range(groups)]
    return [((words[r * -(-cols // 8) + c // 8] >> 4 * (c % 8) & 15) - zeros[r * groups + c // group])
            * scales[r * groups + c // group]
            for r in range(rows) for c in range(cols)]


def nf4(tensors, layer, double):
    """bitsandbytes: blocks of 64 weights along storage, the first code in the high bits."""
    get = lambda suffix: tensors[layer + ".weight" + suffix]
    state = json.loads(get(".quant_state.bitsandbytes__nf4")[2])
    levels, codes = safetensors_file.floats("F32", get(".quant_map")[2]), get("")[2]
    if double:
        second = safetensors_file.floats("F32", get(".nested_absmax")[2])
        table = safetensors_file.floats("F32", get(".nested_quant_map")[2])
        absmax = [table[code] * second[i // 256] + state["nested_offset"] for i, code in enumerate(get(".absmax")[2])]
    else:
        absmax = safetensors_file.floats("F32", get(".absmax")[2])
    return [levels[codes[i // 2] >> (0 if i % 2 else 4) & 15] * absmax[i // 64]
            for i in range(math.prod(state["shape"]))]


FORMATS = {"int4_g32": lambda t, n: int4(t, n, 32, True), "int4_g128": lambda t, n: int4(t, n, 128, True),
           "int4_g128_asym": lambda t, n: int4(t, n, 128, False),
           "nf4": lambda t, n: nf4(t, n, False), "nf4_dq": lambda t, n: nf4(t, n, True)}
for name, decode in FORMATS.items():
    done = run("model", name, "--format", name)
    expect(done.returncode == 0, done.stdout)
    metadata, tensors = safetensors_file.read(name + "/model.safetensors")
    manifest = json.loads(metadata["quantize.manifest"])
    scores = {t["name"]: t.get("sqnr") for t in manifest["tensors"]}
    expect(len(manifest["source"]) == 2 and metadata["format"] == "pt", "the manifest names both files")
    group = 1 if name.startswith("nf4") else int(name.split("_")[1][1:])
    # Loaders would take other groups from their shapes.
    ragged = [tensor for tensor in LINEAR if MODEL[tensor][1][1] % group != 0]
    for tensor in MODEL:
        if tensor not in LINEAR or tensor in ragged:
            expect(tensors[tensor] == MODEL[tensor], tensor + " is as it was")
            continue
        weights = safetensors_file.floats(MODEL[tensor][0], MODEL[tensor][2])
        decoded = decode(tensors, tensor.removesuffix(".weight"))
        noise = sum((a - b) ** 2 for a, b in zip(weights, decoded))
        expect(len(weights) == len(decoded), "the size of " + tensor)
        sqnr = 10 * math.log10(sum(a * a for a in weights) / noise)
        expect(abs(sqnr - scores[tensor]) < 0.02 and sqnr > 15,
               f"{name}: {tensor} decodes with {sqnr:.2f} dB, reported were {scores[tensor]}")
    with open(name + "/config.json") as f:
        config = json.load(f)["quantization_config"]
    if name.startswith("nf4"):
        expect(config["bnb_4bit_use_double_quant"] == (name == "nf4_dq")
               and config["llm_int8_skip_modules"] == ["lm_head"], "bitsandbytes' config")
    else:
        weights = config["config_groups"]["group_0"]["weights"]
        expect(weights["group_size"] == group, "compressed-tensors' config")
        expect(weights["symmetric"] == ("asym" not in name), "compressed-tensors' config")
        left = ["lm_head"] + [tensor.removesuffix(".weight") for tensor in ragged]
        expect(config["ignore"] == left, "what is not quantized is named")
    expect(os.path.exists(name + "/tokenizer.json"), "the tokenizer comes along")
    checked = run("--verify", name, "--source", "model")
    expect(checked.returncode == 0 and "as its manifest says" in checked.stdout, checked.stdout)

with open("int4_g32/model.safetensors", "rb") as f:
    whole = f.read()
child = subprocess.Popen([program, "model", "again", "--format", "int4_g32", "--threads", "1"], stdout=subprocess.PIPE,
                         text=True)
while not child.stdout.readline().startswith("tensor "):  # the table's head
    pass
for _ in range(3):
    child.stdout.readline()
child.kill()
child.communicate()
if child.returncode == -9 and not os.path.exists("again/model.safetensors"):  # it may have been quicker
    done = run("model", "again", "--format", "int4_g32", "--resume")
    expect(done.returncode == 0 and " earlier\n" in done.stdout, "an interrupted run goes on")
with open("again/model.safetensors", "rb") as f:
    expect(f.read() == whole, "and writes the same bytes")

for arguments, rule in ((["model", "x", "--preset", "Q4_K_M"], "tokenizer"),
                        (["model", "x.gguf", "--format", "nf4"], "tokenizer"),
                        (["model", "x", "--format", "q4_k"], "tokenizer"),
                        (["model", "x", "--format", "nf5"], "no such format"),
                        (["model", "x", "--format", "nf4", "--tensor-type", "q_proj=int4_g32"],
                         "one quantized format only")):
    done = run(*arguments)
    expect(done.returncode == 1 and rule in done.stdout and not os.path.exists("x"), f"{arguments}: {done.stdout}")
done = run("model", "mixed", "--format", "int4_g32", "--tensor-type", "q_proj=copy", "--tensor-type", "up_proj=f16",
           "--tensor-type", "lm_head=int4_g32")
tensors = safetensors_file.read("mixed/model.safetensors")[1]
expect(tensors["model.layers.0.mlp.up_proj.weight"][0] == "F16" and "lm_head.weight_packed" in tensors,
       "each tensor its own format: " + done.stdout)
print(f"{len(FORMATS)} formats decoded by their own rules")
