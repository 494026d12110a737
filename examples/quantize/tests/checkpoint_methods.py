"""Checkpoints that are quantized already: refused under their method's name, or decoded where that is FP8 with scales.

usage: checkpoint_methods.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import os
import struct

import safetensors_file
from checkpoint import make, read, write
from program import expect, run, succeed

LLAMA = {"model_type": "llama", "torch_dtype": "bfloat16"}
Q = "model.layers.0.self_attn.q_proj."
PLAIN = {"model.norm.weight": make("F32", 128), "lm_head.weight": make("BF16", 8, 128),
         "model.layers.0.mlp.up_proj.weight": make("BF16", 64, 128)}

# What it is called in the error: its tensors, and what config.json says.
METHODS = {
    "GPTQ, 4 bits": ({Q + "qweight": make("I32", 16, 128), Q + "qzeros": make("I32", 1, 16),
                      Q + "scales": make("F16", 1, 128)},
                     {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    "GPTQ or AWQ": ({Q + "qweight": make("I32", 16, 128), Q + "scales": make("F16", 1, 128)}, {}),
    "AWQ, 4 bits": ({Q + "qweight": make("I32", 128, 16), Q + "scales": make("F16", 1, 128)},
                    {"quantization_config": {"quant_method": "awq", "bits": 4}}),
    "MLX, 4 bits": ({Q + "weight": make("U32", 128, 16), Q + "scales": make("F16", 128, 2),
                     Q + "biases": make("F16", 128, 2)},
                    {"quantization": {"group_size": 64, "bits": 4}}),
    "MLX": ({Q + "weight": make("U32", 128, 16), Q + "scales": make("F16", 128, 2), Q + "biases": make("F16", 128, 2)},
            {}),
    "compressed-tensors, pack-quantized": ({Q + "weight_packed": make("I32", 128, 16),
                                            Q + "weight_scale": make("BF16", 128, 1)},
                                           {"quantization_config": {"quant_method": "compressed-tensors",
                                                                    "format": "pack-quantized"}}),
    "compressed-tensors, int-quantized": ({Q + "weight": make("I8", 128, 128),
                                           Q + "weight_scale": make("BF16", 128, 1)},
                                          {"compression_config": {"quant_method": "compressed-tensors",
                                                                  "format": "int-quantized"}}),
    "bitsandbytes, 4 bits": ({Q + "weight": make("U8", 8192, 1), Q + "weight.absmax": make("F32", 256),
                              Q + "weight.quant_map": make("F32", 16)},
                             {"text_config": {"quantization_config": {"quant_method": "bitsandbytes",
                                                                      "load_in_4bit": True}}}),
    "LLM.int8()": ({Q + "weight": make("I8", 128, 128), Q + "SCB": make("F32", 128)}, {}),
    "NVFP4": ({Q + "weight": make("U8", 128, 64), Q + "weight_scale": make("F8_E4M3", 128, 8),
               Q + "weight_scale_2": make("F32")}, {}),
    "MXFP4": ({"model.layers.0.mlp.experts.down_proj_blocks": make("U8", 2, 64, 2, 16),
               "model.layers.0.mlp.experts.down_proj_scales": make("U8", 2, 64, 2)},
              {"quantization_config": {"quant_method": "mxfp4"}}),
    "own-way": ({Q + "weight": make("BF16", 128, 128)}, {"quantization_config": {"quant_method": "own-way"}}),
    "codes of type U8": ({Q + "weight": make("U8", 128, 64), Q + "other": make("F16", 128, 1)}, {}),
}
for name, (tensors, config) in METHODS.items():
    write("in", PLAIN | tensors, LLAMA | config)
    for format in ("int4_g32", "bf16"):
        done = run("in", "out", "--format", format)
        expect(done.returncode == 1 and name in done.stdout.split("quantized already: ")[-1].split(" (says")[0],
               f"{name} is refused under its name: {done.stdout}")
        expect("dequantize" in done.stdout and not os.path.exists("out"), "with what to do, and nothing is written")
    succeed("in", "out", "--format", "copy")
    expect(read("out") == read("in"), "a copy is one of everything, with its configuration")
    os.system("rm -r in out")


def e4m3(code):
    sign, exponent, mantissa = -1 if code & 128 else 1, code >> 3 & 15, code & 7
    return sign * (mantissa * 2.0 ** -9 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 10))


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


# The shape of the scales, their tensor and type, config.json, and weights that share a scale (rows, columns).
SCALES = [
    ((2, 2), "weight_scale_inv", "F32", {"quant_method": "fp8", "weight_block_size": [128, 128]}, (128, 128)),
    ((2, 2), "weight_scale_inv", "BF16", None, (128, 128)),
    ((4, 5), "weight_scale", "F32", {"quant_method": "fp8", "weight_block_size": [48, 32]}, (48, 32)),
    ((), "weight_scale", "F32", {"quant_method": "modelopt", "quant_algo": "FP8"}, (160, 160)),
    ((1,), "weight_scale", "F16", {"quant_method": "compressed-tensors", "format": "float-quantized"}, (160, 160)),
    ((160, 1), "weight_scale", "BF16", {"quant_method": "fbgemm_fp8"}, (1, 160)),
    ((160, 2), "weight_scale", "F32", {"quant_method": "compressed-tensors", "format": "float-quantized",
                                       "config_groups": {"group_0": {"weights": {"group_size": 80}}}}, (1, 80)),
    ((2, 2), "scale", "F8_E8M0", {"quant_method": "fp8"}, (128, 128)),
    ((160, 5), "weight_scale", "U8", {"quant_method": "modelopt", "quant_algo": "MXFP8"}, (1, 32)),
]
for shape, suffix, dtype, quantization, (rows, cols) in SCALES:
    codes, scales = make("F8_E4M3", 160, 160), make(dtype, *shape)
    is_power = dtype in ("F8_E8M0", "U8")
    if is_power:
        scales = dtype, list(shape), bytes([120, 127, 130, 0x7D][i % 4] for i in range(len(scales[2])))
    config = LLAMA | ({"quantization_config": quantization} if quantization else {})
    write("in", PLAIN | {Q + "weight": codes, Q + suffix: scales, Q + "input_scale": make("F32")}, config)
    succeed("in", "out", "--format", "f32")
    tensors, config = read("out")
    expect("quantization_config" not in config and Q + suffix not in tensors and Q + "input_scale" not in tensors,
           "nothing speaks of FP8 any more")
    values = [2.0 ** (b - 127) for b in scales[2]] if is_power else safetensors_file.floats(dtype, scales[2])
    per_row = -(-160 // cols)
    want = [single(e4m3(c) * values[i // 160 // rows * per_row + i % 160 // cols]) for i, c in enumerate(codes[2])]
    expect(safetensors_file.floats("F32", tensors[Q + "weight"][2]) == want,
           f"FP8 times its scales, {shape} {suffix} of {dtype}")
    for format in ("int4_g32", "nf4"):
        succeed("in", format, "--format", format)
        tensors, config = read(format)
        method = config["quantization_config"]
        expect(Q[:-1] not in method.get("ignore", method.get("llm_int8_skip_modules")),
               "an FP8 layer is quantized, not ignored")
        expect("as its manifest says" in succeed("--verify", format, "--source", "in"), "and can be verified")
    os.system("rm -r in out int4_g32 nf4")

# What stays is decoded too, as config.json no longer says that it is FP8.
write("in", PLAIN | {"lm_head.weight": make("F8_E4M3", 8, 128), "lm_head.weight_scale": make("F32", 1)}, LLAMA)
succeed("in", "out", "--format", "nf4")
expect(read("out")[0]["lm_head.weight"][0] == "BF16", "the output layer is floats again")
os.system("rm -r in out")

# Experts in one tensor, which stay together as floats, aloud.
E = "model.layers.0.mlp.experts.down_proj"
for end, shape, (rows, cols) in (("_scale_inv", (3, 2, 1), (128, 128)), ("_scale", (3,), (160, 96)),
                                 ("_scale", (3, 160), (1, 96)), ("_scale", (3, 160, 1), (1, 96)),
                                 ("_scale", (1,), (480, 96))):
    codes, scales = make("F8_E4M3", 3, 160, 96), make("F32", *shape)
    write("in", PLAIN | {E: codes, E + end: scales}, LLAMA)
    expect(E in succeed("in", "out", "--format", "nf4"), "experts are listed")
    tensors, _ = read("out")
    values, along = safetensors_file.floats("F32", scales[2]), -(-96 // cols)
    of_expert = 0 if len(values) == 1 else len(values) // 3
    place = lambda i: i // 15360 * of_expert + i // 96 % 160 // rows * along + i % 96 // cols
    want = [e4m3(c) * values[place(i)] for i, c in enumerate(codes[2])]
    got = safetensors_file.floats("BF16", tensors[E][2])
    expect(E + end not in tensors and all(abs(a - b) <= abs(b) / 256 for a, b in zip(got, want)), f"experts, {shape}")
    os.system("rm -r in out")

FP8 = {Q + "weight": make("F8_E4M3", 128, 128)}
for tensors, rule in ((FP8, "without its scales"),
                      (FP8 | {Q + "weight_scale_inv": make("F32", 3, 1)}, "do not fit"),
                      (FP8 | {Q + "weight_scale": make("U8", 128, 3)}, "do not fit"),
                      ({Q + "weight": make("U8", 128, 64), Q + "weight_scale": make("U8", 128, 4)}, "codes of type U8"),
                      ({E: make("F8_E4M3", 2, 64, 64)}, "without its scales"),
                      ({E: make("F8_E4M3", 2, 64, 64), E + "_scale": make("F32", 64, 2)}, "do not fit"),
                      ({E: make("F8_E4M3", 2, 3, 4, 4)}, "only matrices of layers")):
    write("in", PLAIN | tensors, LLAMA)
    done = run("in", "out", "--format", "nf4")
    expect(done.returncode == 1 and rule in done.stdout and not os.path.exists("out"), f"{rule}: {done.stdout}")
    os.system("rm -r in")
print(f"{len(METHODS)} methods refused by name, {len(SCALES)} kinds of FP8 decoded")
