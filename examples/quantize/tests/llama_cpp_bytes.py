"""Compares quantize with llama.cpp's own quantizer, its function llama_model_quantize, tensor by tensor and byte by
byte.

usage: llama_cpp_bytes.py QUANTIZE FOLDER_OF_LIBRARIES FOLDER_TO_WRITE_IN [FOLDER_OF_MODELS]

Small models of many kinds are made up, so that every rule for a preset's mixture is reached; trained models are used
where they are there.
"""
import ctypes
import functools
import glob
import os
import random
import re
import struct
import subprocess
import sys

import gguf_file

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
              "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "Q2_K_S": 21,
              "IQ4_NL": 25, "IQ4_XS": 30, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38, "Q1_0": 40, "Q2_0": 41,
              "IQ1_S": 24, "IQ1_M": 31, "IQ2_XXS": 19, "IQ2_XS": 20, "IQ2_S": 28, "IQ2_M": 29, "IQ3_XXS": 23,
              "IQ3_XS": 22, "IQ3_S": 26, "IQ3_M": 27}
# Where rows are whole blocks.
NEED_IMATRIX = {"Q2_K_S", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS"}
IQ1_M = 29
REFUSAL = re.compile(r"\S+\.weight.*without an imatrix")


class Imatrix(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Parameters(ctypes.Structure):
    _fields_ = [("threads", ctypes.c_int32), ("file_type", ctypes.c_int32), ("output_type", ctypes.c_int32),
                ("embedding_type", ctypes.c_int32), ("allow_requantize", ctypes.c_bool),
                ("quantize_output", ctypes.c_bool), ("only_copy", ctypes.c_bool), ("pure", ctypes.c_bool),
                ("keep_split", ctypes.c_bool), ("dry_run", ctypes.c_bool), ("imatrix", ctypes.POINTER(Imatrix)),
                ("overrides", ctypes.c_void_p),
                ("tensor_types", ctypes.c_void_p), ("prune", ctypes.c_void_p), ("later_members", ctypes.c_char * 256)]


class LlamaCpp:
    def __init__(self, folder):
        self.library = ctypes.CDLL(next(p for p in glob.glob(folder + "/libllama.*") if "common" not in p),
                                   mode=ctypes.RTLD_GLOBAL)
        log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.log = log(lambda level, text, user: None)
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
        return self.library.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(p)) == 0


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
    for key, value in {"block_count": layers, "context_length": 64, "embedding_length": cols,
                       "feed_forward_length": cols, "attention.head_count": heads,
                       "attention.head_count_kv": kv_heads, "attention.layer_norm_rms_epsilon": 1e-5,
                       "attention.layer_norm_epsilon": 1e-5, "vocab_size": 4}.items():
        metadata[f"{architecture}.{key}"] = value
    if experts:
        metadata |= {f"{architecture}.expert_count": experts, f"{architecture}.expert_used_count": 2}
    pool = struct.pack("<65536e", *(rng.gauss(0, 0.05) for _ in range(65536)))  # weights are cut out of it
    tensors = []

    def add(name, rows, depth=1):
        count = cols * rows * depth
        start = rng.randrange(65536 - count)
        tensors.append((name, 1, [cols, rows] if depth == 1 else [cols, rows, depth],
                        pool[2 * start:2 * (start + count)]))

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


class Iq1m:
    """IQ1_M under an imatrix, whose search has ties that builds of ggml decide differently: the one of GOLDEN, which
    quantize follows, and others.

    Mainline ggml without contraction (gcc 12 -O2 and -O3, for AVX2 too, clang 14 -O3) has quantize's bytes. With -mfma,
    where GCC contracts products and sums by default, a few groups differ, though GOLDEN's block does not: two weights
    of equal value and importance are an exact tie of two points, and one with 1e-6 of its group's importance, which
    random() ** 4 makes, moves a score by less than a rounding. Of 120 such blocks 119 had the same error to 2e-7; in
    one the super-scale fell to the next f16, for 0.1 %.
    Where qsort is not stable, equal weights of f16 are cut in another order, and whole groups differ.

    Each build is asked for GOLDEN's block first. If it has other bytes there, blocks of this one type may differ, but
    not in size, and what ggml itself decodes from them must be as near to the weights, under ggml's own weighting.
    """
    GOLDEN = 0x686de14388c084ad  # FNV-1a 64 of what mainline ggml d99724f2 makes of `golden_input`, 8 rows of 1024

    def __init__(self, folder):
        library = ctypes.CDLL(glob.glob(folder + "/libggml-base.*")[0])
        self.encode, self.decode = library.ggml_quantize_chunk, library.dequantize_row_iq1_m
        self.encode.argtypes = ([ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3
                                + [ctypes.c_void_p])
        self.decode.argtypes = [ctypes.c_char_p, ctypes.c_void_p, ctypes.c_int64]
        self.blocks = self.ratio = 0

    @functools.cached_property
    def is_golden(self):
        def mix(h):
            for shift, factor in ((15, 2654435761), (13, 2246822519), (16, 3266489917)):
                h = h * factor & 0xFFFFFFFF
                h ^= h >> shift
            return h

        single = lambda v: ctypes.c_float(v).value
        x = []
        for i in range(8192):
            t = single(((mix(i) + (1 << 31)) % (1 << 32) - (1 << 31)) * 2.0 ** -31)
            x.append(single(single(t * t) * t) * 0.125)
        x[:1024] = [0.0] * 256 + [0.25] * 256 + [-0.25] * 256 + [-2.0 ** -100, 2.0 ** -100] * 128
        importance = [((mix(0x10000 + c) >> 8) + 1) * 2.0 ** -24 for c in range(1024)]
        out = ctypes.create_string_buffer(8 * 4 * 56)
        self.encode(IQ1_M, (ctypes.c_float * 8192)(*x), out, 0, 8, 1024, (ctypes.c_float * 1024)(*importance))
        h = 1469598103934665603
        for b in out.raw:
            h = (h ^ b) * 1099511628211 & 0xFFFFFFFFFFFFFFFF
        return h == self.GOLDEN

    def errors(self, source, importance, encoded):
        """Of each block, under weights importance * sqrt(sigma^2 + x^2)."""
        cols, rows = source[1][:2]
        weights = struct.unpack(f"<{len(source[2]) // 2}e", source[2])
        y = (ctypes.c_float * len(weights))()
        self.decode(bytes(encoded), y, len(weights))
        for b in range(0, len(weights), 256):
            x, first = weights[b:b + 256], b // (cols * rows) * cols + b % cols
            sigma2 = 2 * sum(v * v for v in x) / 256
            yield sum(importance[first + i] * (sigma2 + v * v) ** 0.5 * (v - y[b + i]) ** 2 for i, v in enumerate(x))

    def as_good(self, source, importance, theirs, ours):
        if source[0] != 1 or len(theirs[2]) != len(ours[2]) or self.is_golden:
            return False
        for i, (a, b) in enumerate(zip(*(self.errors(source, importance, t[2]) for t in (theirs, ours)))):
            if theirs[2][56 * i:56 * i + 56] == ours[2][56 * i:56 * i + 56]:
                continue
            self.blocks += 1
            self.ratio += b / a
            if not 0.95 < b / a < 1.05:
                return False
        return True

    def conclude(self):
        if self.blocks != 0:
            mean = self.ratio / self.blocks
            print(f"{self.blocks} blocks of IQ1_M are others than this build of ggml's, which has not the golden "
                  f"bytes; their error is {mean:.5f} of its")
            if not 0.999 < mean < 1.001:
                raise SystemExit("they should be as good")


class Comparison:
    def __init__(self, program, llama, iq1m, folder):
        self.program, self.llama, self.folder, self.done, self.tensors, self.types = program, llama, folder, 0, 0, set()
        self.refused, self.iq1m = 0, iq1m

    def run(self, model, preset, imatrix=None, pure=False, refused=False):
        theirs, ours, imatrix_path = (os.path.join(self.folder, n) for n in ("theirs.gguf", "ours.gguf", "imatrix.dat"))
        title = f"{os.path.basename(model)} {preset}{' with an imatrix' if imatrix else ''}{' pure' if pure else ''}"
        if self.llama.quantize(model, theirs, preset, imatrix or {}, pure) == refused:
            raise SystemExit(f"{title}: llama.cpp {'does' if refused else 'refuses'}")
        command = [self.program, model, ours, "--preset", preset, "--fit", "reference", "--threads", "1"]
        command += ["--pure"] if pure else []
        if imatrix:
            write_imatrix(imatrix_path, imatrix)
            command += ["--imatrix", imatrix_path]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if refused:
            if done.returncode == 0 or not REFUSAL.search(done.stderr):
                raise SystemExit(f"{title}: llama.cpp refuses, and quantize says: {done.stderr}")
            self.refused += 1
            return
        if done.returncode != 0:
            raise SystemExit(f"{title}: {done.stderr}")
        a, b = gguf_file.Reader(theirs), gguf_file.Reader(ours)
        if list(a.tensors) != list(b.tensors):
            raise SystemExit(f"{title}: the order of the tensors differs")
        for name in a.tensors:
            if a.tensors[name] != b.tensors[name] and not self.differs_as_builds_do(model, name, imatrix, a, b):
                kinds = [f.tensors[name][0] for f in (a, b)]
                raise SystemExit(f"{title}: {name}: " + ("the bytes differ" if kinds[0] == kinds[1]
                                                         else f"llama.cpp's type {kinds[0]}, ours {kinds[1]}"))
        for key, value in a.metadata.items():
            if b.metadata.get(key) != value:
                raise SystemExit(f"{title}: {key} is {b.metadata.get(key)}, llama.cpp says {value}")
        self.done += 1
        self.tensors += len(a.tensors)
        self.types |= {t[0] for t in a.tensors.values()}
        for path in (theirs, ours):
            os.remove(path)

    def differs_as_builds_do(self, model, name, imatrix, a, b):
        theirs, ours = a.tensors[name], b.tensors[name]
        if theirs[:2] != ours[:2] or theirs[0] != IQ1_M or not imatrix:
            return False
        return self.iq1m.as_good(gguf_file.Reader(model).tensors[name], imatrix[name], theirs, ours)


def main():
    program, libraries, folder = map(os.path.abspath, sys.argv[1:4])
    models = sys.argv[4] if len(sys.argv) > 4 else ""
    if not glob.glob(libraries + "/libllama.*"):
        print(f"skipped: there is no llama.cpp in {libraries}")
        return
    os.makedirs(folder, exist_ok=True)
    comparison = Comparison(program, LlamaCpp(libraries), Iq1m(libraries), folder)
    path = lambda name: os.path.join(folder, name + ".gguf")
    kinds = {
        "groups": dict(architecture="llama", layers=32, heads=32, kv_heads=8),
        "each": dict(architecture="llama", layers=16, heads=8, kv_heads=8),
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
            if how["layers"] == 80 and "_K" not in preset and (name != "70b" or preset[:3] in ("IQ1", "IQ2")):
                continue  # only what is special about 80 layers
            if preset in NEED_IMATRIX and how.get("cols") != 288:
                comparison.run(path(name), preset, refused=True)
                comparison.run(path(name), preset, dict(imatrix, **{"blk.1.attn_q.weight": [1.0] * 256}))
                continue
            comparison.run(path(name), preset)
            if name in ("groups", "tied", "mixtral"):
                comparison.run(path(name), preset, imatrix)
        comparison.run(path(name), "Q4_K_M", pure=True)
        os.remove(path(name))
    for model in ("stories15M/stories15M-f16.gguf", "stories260K/stories260K-f32.gguf"):
        if os.path.exists(os.path.join(models, model)):
            source = os.path.join(models, model)
            imatrix = make_imatrix(source)
            for preset in ("Q2_K", "Q3_K_L", "Q4_K_M", "Q5_K_M") + (("Q4_0", "IQ4_XS") if "15M" in model else ()):
                comparison.run(source, preset)
                comparison.run(source, preset, imatrix)
    comparison.iq1m.conclude()
    print(f"{comparison.refused} refused alike; {comparison.done} quantized models, "
          f"{comparison.tensors} tensors of {len(comparison.types)} types: the same bytes as llama.cpp's")


main()
