"""Compares quantize with llama.cpp's own quantizer, its function llama_model_quantize, tensor by tensor and byte by byte.

usage: llama_cpp_bytes.py QUANTIZE FOLDER_OF_LIBRARIES FOLDER_TO_WRITE_IN [FOLDER_OF_MODELS]

Small models of many kinds are made up, so that every rule for a preset's mixture is reached; trained models are used where they are there.
"""
import ctypes
import glob
import os
import random
import struct
import subprocess
import sys

import gguf_file

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15,
              "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "Q2_K_S": 21, "IQ4_NL": 25, "IQ4_XS": 30, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "Q1_0": 40, "Q2_0": 41}


class Imatrix(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("output_type", ctypes.c_int32), ("embedding_type", ctypes.c_int32),
                ("allow_requantize", ctypes.c_bool), ("quantize_output", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
                ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.POINTER(Imatrix)), ("overrides", ctypes.c_void_p),
                ("tensor_types", ctypes.c_void_p), ("prune", ctypes.c_void_p), ("later_members", ctypes.c_char * 256)]


class LlamaCpp:
    def __init__(self, folder):
        self.library = ctypes.CDLL(next(p for p in glob.glob(folder + "/libllama.*") if "common" not in p), mode=ctypes.RTLD_GLOBAL)
        self.log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(lambda level, text, user: None)
        self.library.llama_log_set(self.log, None)
        self.library.llama_backend_init()
        self.library.llama_model_quantize_default_params.restype = Parameters

    def quantize(self, source, target, preset, imatrix, pure):
        p = self.library.llama_model_quantize_default_params()
        if (p.output_type, p.quantize_output, p.dry_run) != (p.embedding_type, True, False):
            raise SystemExit("skipped: this llama.cpp's parameters are laid out otherwise")
        p.threads, p.file_type, p.pure = 1, FILE_TYPES[preset], pure
        rows = [Imatrix(name.encode(), (ctypes.c_float * len(v))(*v), len(v)) for name, v in imatrix.items()]
        p.imatrix = (Imatrix * (len(rows) + 1))(*rows, Imatrix(None, None, 0)) if rows else None
        if self.library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(p)) != 0:
            raise SystemExit(f"llama.cpp does not quantize {source} to {preset}")


def write_imatrix(path, imatrix):
    """llama.cpp's older form, with sums over two calls."""
    with open(path, "wb") as f:
        f.write(struct.pack("<i", len(imatrix)))
        for name, values in imatrix.items():
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 2, len(values)))
            f.write(struct.pack(f"<{len(values)}f", *(2 * v for v in values)))


def make_model(path, architecture, layers, heads, kv_heads, cols=256, tied=False, experts=0, fused=False, shared=False):
    rng = random.Random(f"{architecture} {layers} {kv_heads} {experts}")
    metadata = {"general.architecture": architecture, "general.file_type": 1}
    for key, value in {"block_count": layers, "context_length": 64, "embedding_length": cols, "feed_forward_length": cols, "attention.head_count": heads,
                       "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5,
                       "vocab_size": 4}.items():
        metadata[f"{architecture}.{key}"] = value
    if experts:
        metadata |= {f"{architecture}.expert_count": experts, f"{architecture}.expert_used_count": 2}
    pool = struct.pack("<65536e", *(rng.gauss(0, 0.05) for _ in range(65536)))  # weights are cut out of it
    tensors = []

    def add(name, rows, depth=1):
        count = cols * rows * depth
        start = rng.randrange(65536 - count)
        tensors.append((name, 1, [cols, rows] if depth == 1 else [cols, rows, depth], pool[2 * start:2 * (start + count)]))

    add("token_embd.weight", 4)
    if not tied:
        add("output.weight", 4)
    tensors.append(("output_norm.weight", 0, [cols], struct.pack(f"<{cols}f", *[1.0] * cols)))
    for i in range(layers):
        for part in (["attn_qkv"] if fused else ["attn_q", "attn_k", "attn_v"]) + ["attn_output"]:
            add(f"blk.{i}.{part}.weight", 2)
        suffixes = ["_exps"] if experts else [""]
        for part in ("ffn_gate", "ffn_up", "ffn_down"):
            for suffix in suffixes + (["_shexp"] if shared else []):
                add(f"blk.{i}.{part}{suffix}.weight", 2, experts if suffix == "_exps" else 1)
        if experts:
            add(f"blk.{i}.ffn_gate_inp.weight", experts)
    rng.shuffle(tensors)
    gguf_file.write(path, metadata, tensors)


def make_imatrix(path):
    rng = random.Random(1)
    values = {}
    for name, (kind, ne, data) in gguf_file.Reader(path).tensors.items():
        if len(ne) > 1 and name not in ("output.weight", "blk.1.attn_q.weight"):  # one is not known
            count = ne[0] * (ne[2] if len(ne) > 2 else 1)
            values[name] = [struct.unpack("<f", struct.pack("<f", rng.random() ** 4))[0] for _ in range(count)]
    return values


class Comparison:
    def __init__(self, program, llama, folder):
        self.program, self.llama, self.folder, self.done, self.tensors, self.types = program, llama, folder, 0, 0, set()

    def run(self, model, preset, imatrix=None, pure=False):
        theirs, ours, imatrix_path = (os.path.join(self.folder, n) for n in ("theirs.gguf", "ours.gguf", "imatrix.dat"))
        self.llama.quantize(model, theirs, preset, imatrix or {}, pure)
        command = [self.program, model, ours, "--preset", preset, "--fit", "reference", "--threads", "1"] + (["--pure"] if pure else [])
        if imatrix:
            write_imatrix(imatrix_path, imatrix)
            command += ["--imatrix", imatrix_path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        a, b = gguf_file.Reader(theirs), gguf_file.Reader(ours)
        title = f"{os.path.basename(model)} {preset}{' with an imatrix' if imatrix else ''}{' pure' if pure else ''}"
        if list(a.tensors) != list(b.tensors):
            raise SystemExit(f"{title}: the order of the tensors differs")
        for name in a.tensors:
            if a.tensors[name] != b.tensors[name]:
                kinds = [f.tensors[name][0] for f in (a, b)]
                raise SystemExit(f"{title}: {name}: " + ("the bytes differ" if kinds[0] == kinds[1] else f"llama.cpp's type {kinds[0]}, ours {kinds[1]}"))
        for key, value in a.metadata.items():
            if b.metadata.get(key) != value:
                raise SystemExit(f"{title}: {key} is {b.metadata.get(key)}, llama.cpp says {value}")
        self.done += 1
        self.tensors += len(a.tensors)
        self.types |= {t[0] for t in a.tensors.values()}
        for path in (theirs, ours):
            os.remove(path)


def main():
    program, libraries, folder = map(os.path.abspath, sys.argv[1:4])
    models = sys.argv[4] if len(sys.argv) > 4 else ""
    if not glob.glob(libraries + "/libllama.*"):
        print(f"skipped: there is no llama.cpp in {libraries}")
        return
    os.makedirs(folder, exist_ok=True)
    comparison = Comparison(program, LlamaCpp(libraries), folder)
    path = lambda name: os.path.join(folder, name + ".gguf")
    kinds = {
        "groups": dict(architecture="llama", layers=32, heads=32, kv_heads=8),
        "70b": dict(architecture="llama", layers=80, heads=64, kv_heads=8),
        "65b": dict(architecture="llama", layers=80, heads=64, kv_heads=64, tied=True),
        "qwen2": dict(architecture="qwen2", layers=80, heads=64, kv_heads=8),
        "tied": dict(architecture="llama", layers=9, heads=8, kv_heads=8, cols=288, tied=True),
        "mixtral": dict(architecture="llama", layers=16, heads=8, kv_heads=2, experts=8),
        "many": dict(architecture="llama", layers=16, heads=8, kv_heads=8, experts=16, shared=True),
        "falcon": dict(architecture="falcon", layers=32, heads=8, kv_heads=1, fused=True),
    }
    for name, how in kinds.items():
        make_model(path(name), **how)
        imatrix = make_imatrix(path(name))
        for preset in FILE_TYPES:
            if how.get("cols") == 288 and preset in ("Q1_0", "Q2_0"):
                continue  # llama.cpp has no replacement
            if name in ("65b", "qwen2") and "_K" not in preset:
                continue  # only what is special about 80 layers
            if preset != "Q2_K_S":
                comparison.run(path(name), preset)
            if name in ("groups", "tied", "mixtral") or preset == "Q2_K_S":
                comparison.run(path(name), preset, dict(imatrix, **{"blk.1.attn_q.weight": [1.0] * how.get("cols", 256)}) if preset == "Q2_K_S" else imatrix)
        comparison.run(path(name), "Q4_K_M", pure=True)
        os.remove(path(name))
    for model in ("stories15M/stories15M-f16.gguf", "stories260K/stories260K-f32.gguf"):
        if os.path.exists(os.path.join(models, model)):
            source = os.path.join(models, model)
            imatrix = make_imatrix(source)
            for preset in ("Q2_K", "Q3_K_L", "Q4_K_M", "Q5_K_M") + (("Q4_0", "IQ4_XS") if "15M" in model else ()):
                comparison.run(source, preset)
                comparison.run(source, preset, imatrix)
    print(f"{comparison.done} quantized models, {comparison.tensors} tensors of {len(comparison.types)} types: the same bytes as llama.cpp's")


main()
