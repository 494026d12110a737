"""Which matrices of a checkpoint are quantized, by its architecture; that all others are named with a reason; and how
they lie.

usage: checkpoint_layers.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import os
import re

import safetensors_file
from checkpoint import make, nf4, read, sqnr, transposed, write
from program import expect, run, succeed

L = "model.layers.0."
ATTENTION = {L + f"self_attn.{p}_proj.weight": make("BF16", 64, 128) for p in "qkv"}
TOP = {"model.embed_tokens.weight": make("BF16", 8, 128), "lm_head.weight": make("BF16", 8, 128),
       "model.norm.weight": make("F32", 128)}


def experts(stem, names):
    return {f"{stem}experts.{e}.{n}.weight": make("BF16", 64, 128) for e in range(2) for n in names}


# For each: config.json, what becomes NF4, what is left alone and why.
CASES = {
    "routers": ({"model_type": "qwen2_moe"}, ATTENTION | experts(L + "mlp.", ["gate_proj", "up_proj", "down_proj"]),
                {L + "mlp.gate.weight": ([4, 128], "router"),
                 L + "mlp.shared_expert_gate.weight": ([1, 128], "router")}),
    "mixtral": ({"model_type": "mixtral"}, ATTENTION | experts(L + "block_sparse_moe.", ["w1", "w2", "w3"]),
                {L + "block_sparse_moe.gate.weight": ([4, 128], "router")}),
    "mla": ({"model_type": "deepseek_v3"}, {L + "self_attn.kv_a_proj_with_mqa.weight": make("BF16", 96, 128),
                                            L + "self_attn.q_b_proj.weight": make("BF16", 96, 128)}, {}),
    "by class": ({"model_type": "own", "architectures": ["Starcoder2ForCausalLM"]},
                 {L + "mlp.c_fc.weight": make("BF16", 64, 128)}, {}),
    "t5": ({"model_type": "t5"}, {"encoder.block.0.layer.0.SelfAttention.q.weight": make("F32", 64, 128),
                                  "encoder.block.0.layer.1.DenseReluDense.wi_0.weight": make("F32", 64, 128)},
           {"encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": ([32, 8], "embedding"),
            "shared.weight": ([8, 128], "embedding"),
            "encoder.block.0.layer.1.DenseReluDense.wo.weight": ([128, 64], "take the weights as floats")}),
    "bert": ({"model_type": "bert"}, {"encoder.layer.0.attention.self.query.weight": make("F32", 64, 128),
                                      "encoder.layer.0.output.dense.weight": make("F32", 64, 128)},
             {"pooler.dense.weight": ([64, 128], "bert"),
              "embeddings.position_embeddings.weight": ([32, 128], "embedding")}),
    "unknown": ({"model_type": "mine"}, ATTENTION,
                {L + "mixer.fc.weight": ([64, 128], "architecture mine is not known"),
                 L + "time.out_proj.weight": ([64, 128], "mine")}),
    "no type": ({}, ATTENTION, {L + "mixer.fc.weight": ([64, 128], "there is no model_type")}),
    "two parts": ({"model_type": "some_vl", "text_config": {"model_type": "phi"}},
                  ATTENTION | {"language_model." + L + "mlp.fc1.weight": make("BF16", 64, 128)},
                  {"vision_tower.layers.0.self_attn.q_proj.weight": ([64, 128], "sees or hears"),
                   "multi_modal_projector.linear_1.weight": ([64, 128], "sees")}),
    "stacks": ({"model_type": "gpt_oss"}, ATTENTION,
               {L + "mlp.experts.gate_up_proj": ([2, 64, 128], "experts in one tensor of 3 dimensions")}),
    "granite": ({"model_type": "granitemoe"}, ATTENTION,
                {L + "block_sparse_moe.input_linear.weight": ([2, 64, 128], "experts in one tensor"),
                 L + "block_sparse_moe.router.layer.weight": ([4, 128], "router")}),
}
for name, (config, quantized, left) in CASES.items():
    write("in", TOP | quantized | {n: make("BF16", *shape) for n, (shape, _) in left.items()}, config)
    for format in ("nf4", "int4_g32"):
        done = run("in", "out", "--format", format)
        expect(done.returncode == 0, f"{name}: {done.stdout}")
        tensors, written = read("out")
        method = written["quantization_config"]
        ignored = method["llm_int8_skip_modules" if format == "nf4" else "ignore"]
        for tensor in quantized:
            packed = tensor + ".absmax" if format == "nf4" else tensor.replace(".weight", ".weight_packed")
            expect(packed in tensors, f"{name}: {tensor} is quantized to {format}")
        for tensor, (shape, why) in left.items():
            expect(tensors[tensor][:2] == ("BF16", shape), f"{name}: {tensor} stays as it is")
            expect(re.search(re.escape(tensor) + r" \([0-9 x]*\): .*" + why, done.stdout),
                   f"{name}: {tensor} is named with a reason: {done.stdout}")
            module = tensor.removesuffix(".weight")
            is_lookup = why == "embedding"
            expect(is_lookup or module in ignored,
                   f"{name}: {module} is in the list of layers that loaders leave alone: {ignored}")
            if "experts" in why:
                expect("warning: 1 layer is not quantized, as experts in one tensor" in done.stdout,
                       f"{name}: experts are left out aloud: {done.stdout}")
                stem = L + "mlp.experts" if "mlp.experts" in module else module
                one = stem + ".0.down_proj"
                expect(format == "nf4" or any(i.startswith("re:") and re.match(i[3:], one) for i in ignored),
                       f"loaders that name experts one by one find them: {ignored}")
        os.system("rm -r out")
    os.system("rm -r in")

# GPT-2's Conv1D lies as inputs x outputs. bitsandbytes' loaders want it as outputs x
# inputs; in int4 transformers does not look for it.
conv = {f"h.0.{n}.weight": make("F32", 128, outputs)
        for n, outputs in (("attn.c_attn", 192), ("attn.c_proj", 128), ("mlp.c_fc", 256))}
write("in", conv | {"wte.weight": make("F32", 8, 128), "wpe.weight": make("F32", 32, 128),
                    "h.0.attn.bias": ("U8", [1, 1, 8, 8], bytes(64))}, {"model_type": "gpt2"})
succeed("in", "out", "--format", "nf4")
for tensor, (_, (inputs, outputs), data) in conv.items():
    shape, decoded = nf4(read("out")[0], tensor.removesuffix(".weight"))
    expect(shape == [outputs, inputs], f"{tensor} is {outputs} x {inputs}")
    expect(sqnr(transposed(safetensors_file.floats("F32", data), inputs, outputs), decoded) > 19,
           f"{tensor} is transposed before it is cut into blocks")
expect("as its manifest says" in succeed("--verify", "out", "--source", "in"), "and can be verified")
done = run("in", "int4", "--format", "int4_g32")
expect(done.returncode == 1 and "a Conv1D" in done.stdout and "nothing in it would be quantized" in done.stdout
       and not os.path.exists("int4"), done.stdout)
succeed("in", "bf16", "--format", "bf16")
expect(read("bf16")[0]["h.0.mlp.c_fc.weight"][:2] == ("BF16", [128, 256]), "as floats it lies as before")
os.system("rm -r in out bf16")

# Experts of Llama 4 in one tensor: quantized, loaders look for them one by one.
F = "language_model.model.layers.0.feed_forward."
stack = {F + "experts.gate_up_proj": make("F32", 2, 128, 128), F + "experts.down_proj": make("F32", 2, 64, 128)}
write("in", stack | {F + "router.weight": make("F32", 2, 128)}, {"model_type": "llama4",
                                                                 "text_config": {"model_type": "llama4_text"}})
succeed("in", "out", "--format", "nf4")
tensors = read("out")[0]
for e in range(2):
    pair = safetensors_file.floats("F32", stack[F + "experts.gate_up_proj"][2])[e * 128 * 128:(e + 1) * 128 * 128]
    down = safetensors_file.floats("F32", stack[F + "experts.down_proj"][2])[e * 64 * 128:(e + 1) * 64 * 128]
    rows = transposed(pair, 128, 128)
    for layer, shape, want in (("gate_proj", [64, 128], rows[:64 * 128]), ("up_proj", [64, 128], rows[64 * 128:]),
                               ("down_proj", [128, 64], transposed(down, 64, 128))):
        found, decoded = nf4(tensors, f"{F}experts.{e}.{layer}")
        expect(found == shape and sqnr(want, decoded) > 19, f"expert {e}'s {layer} is a matrix of its own")
expect(not set(stack) & set(tensors) and "as its manifest says" in succeed("--verify", "out", "--source", "in"),
       "and can be verified")
os.system("rm -r in out")

# Groups that do not fill rows: loaders divide the columns by the scales of a row, and would take other groups.
write("in", TOP | ATTENTION | {L + "mlp.down_proj.weight": make("BF16", 64, 172),
                               L + "mlp.up_proj.weight": make("BF16", 64, 96)}, {"model_type": "llama"})
for format, ragged in (("int4_g32", ["down"]), ("int4_g128", ["down", "up"]), ("int4_g128_asym", ["down", "up"]),
                       ("nf4", [])):
    done = run("in", format, "--format", format)
    tensors, config = read(format)
    for n in ("down", "up"):
        module = f"{L}mlp.{n}_proj"
        expect((tensors[module + ".weight"][0] == "BF16" if module + ".weight" in tensors else False) == (n in ragged),
               f"{format}: {module}")
        expect(n not in ragged or module in config["quantization_config"]["ignore"], f"{module} is named to loaders")
        expect(n not in ragged or module + ".weight" in done.stdout.split("left as they are")[1].split("\ntensor ")[0],
               "and to the user")
    expect(("not whole groups" in done.stdout) == bool(ragged), done.stdout)
done = run("in", "out", "--format", "int4_g32", "--tensor-type", "down_proj=int4_g32")
expect(done.returncode == 1 and "not whole groups of 32" in done.stdout and "down_proj=int4_g32" in done.stdout,
       f"asked for, it is refused: {done.stdout}")

# What is asked for beats what is left by custom, or is refused aloud; what does nothing is an error.
done = succeed("in", "asked", "--format", "int4_g32", "--tensor-type", "lm_head=int4_g32",
               "--tensor-type", "q_proj=copy")
tensors, config = read("asked")
expect("lm_head.weight_packed" in tensors, "the output layer is quantized when that is asked for")
expect(config["quantization_config"]["ignore"] == [L + "mlp.down_proj", L + "self_attn.q_proj"], str(config))
expect(L + "self_attn.q_proj stays as it is, but a layer that engines as vLLM join it with is quantized" in done, done)
for arguments, rule in ((["--tensor-type", "embed_tokens=int4_g32"], "embedding"),
                        (["--tensor-type", "nothing=int4_g32"], "it decides about no tensor"),
                        (["--tensor-type", ".=copy"], "nothing in it would be quantized to int4_g32")):
    done = run("in", "out", "--format", "int4_g32", *arguments)
    expect(done.returncode == 1 and rule in done.stdout and not os.path.exists("out"), f"{rule}: {done.stdout}")
succeed("in", "bf16", "--format", "f16")
done = run("bf16", "out", "--format", "f16")
expect(done.returncode == 1 and "nothing in it would be quantized to f16" in done.stdout,
       f"what is f16 already: {done.stdout}")
os.system("rm -r in")

# bitsandbytes' loaders skip all layers whose names begin like one that they are to skip.
write("in", TOP | ATTENTION | {L + "mlp.gate.weight": make("BF16", 4, 128),
                               L + "mlp.gate_proj.weight": make("BF16", 64, 128)}, {"model_type": "llama"})
done = run("in", "out", "--format", "nf4")
expect(done.returncode == 1 and "skip it too" in done.stdout and "mlp.gate_proj=copy" in done.stdout, done.stdout)
succeed("in", "out", "--format", "nf4", "--tensor-type", L + "mlp.gate_proj=copy")
print(f"{len(CASES)} architectures, Conv1D, experts in one tensor, ragged rows")
