"""What the tests of checkpoints share: small folders as Hugging Face has them, and decoders of what is written."""
import json
import math
import os
import random
import struct

import safetensors_file

rng = random.Random(7)


def pack(dtype, values):
    if dtype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    return struct.pack(f"<{len(values)}{ {'F32': 'f', 'F16': 'e'}[dtype] }", *values)


def make(dtype, *shape):
    """A tensor of bell-shaped weights, or of any codes: of FP8 those that are no NaN."""
    count = math.prod(shape)
    if dtype in ("F32", "F16", "BF16"):
        return dtype, list(shape), pack(dtype, [rng.gauss(0, 0.05) for _ in range(count)])
    codes = (rng.randrange(256) for _ in range(count * safetensors_file.BYTES[dtype]))
    return dtype, list(shape), bytes(8 if dtype == "F8_E4M3" and c & 127 == 127 else c for c in codes)


def write(folder, tensors, config, files=()):
    """A checkpoint: its weights in one file, config.json unless that is None, and other files with a line each."""
    os.makedirs(folder)
    safetensors_file.write(folder + "/model.safetensors", tensors)
    if config is not None:
        with open(folder + "/config.json", "w") as f:
            json.dump(config, f)
    for name in files:
        os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        with open(f"{folder}/{name}", "w") as f:
            f.write(name + "\n")


def read(folder):
    """Its tensors, and config.json."""
    with open(folder + "/config.json") as f:
        return safetensors_file.read(folder + "/model.safetensors")[1], json.load(f)


def nf4(tensors, layer):
    """bitsandbytes: blocks of 64 weights along storage, the first code in the high bits. Its shape and its weights."""
    get = lambda suffix: tensors[layer + ".weight" + suffix]
    state = json.loads(get(".quant_state.bitsandbytes__nf4")[2])
    levels, codes = safetensors_file.floats("F32", get(".quant_map")[2]), get("")[2]
    absmax = safetensors_file.floats("F32", get(".absmax")[2])
    count = math.prod(state["shape"])
    return state["shape"], [levels[codes[i // 2] >> (0 if i % 2 else 4) & 15] * absmax[i // 64] for i in range(count)]


def sqnr(weights, decoded):
    """In dB."""
    noise = sum((a - b) ** 2 for a, b in zip(weights, decoded))
    return 10 * math.log10(sum(a * a for a in weights) / noise)


def transposed(values, rows, cols):
    """Of a matrix of rows x cols, row by row."""
    return [values[r * cols + c] for c in range(cols) for r in range(rows)]
