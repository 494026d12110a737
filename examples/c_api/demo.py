#!/usr/bin/env python3
"""qlib from Python through its C interface, by ctypes alone: quantizes, decodes, multiplies, runs GPTQ, and checks the
numbers.

usage: demo.py LIBRARY        (libqlib_c.so)
"""
import ctypes as c
import json
import math
import random
import struct
import sys

lib = c.CDLL(sys.argv[1])
Floats, Size, Number = c.POINTER(c.c_float), c.c_size_t, c.c_uint32
PLAIN, SEARCH, REFERENCE = range(3)
AUTOMATIC, INTEGER, EXACT = range(3)


class Error(c.Structure):
    _fields_ = [("code", c.c_int), ("text", c.c_char * 252)]


class Report(c.Structure):
    _fields_ = [("loss", c.c_double), ("loss_rtn", c.c_double), ("rows_rounded", Size), ("damping", c.c_float),
                ("rung", c.c_int),
                ("dead_columns", Size)]


Task = c.CFUNCTYPE(None, c.c_void_p, Size, Size)
Run = c.CFUNCTYPE(None, c.c_void_p, Size, Task, c.c_void_p)


class Executor(c.Structure):
    _fields_ = [("context", c.c_void_p), ("workers", Size), ("run", Run)]


def declare(name, *arguments, returns=c.c_int):
    function = getattr(lib, name)
    function.argtypes, function.restype = arguments, returns
    return function


ErrorOut, RunWith = c.POINTER(Error), c.POINTER(Executor)
version = declare("qlib_version", returns=c.c_char_p)
format_count = declare("qlib_format_count", returns=Size)
format_at = declare("qlib_format_at", Size, returns=Number)
format_name = declare("qlib_format_name", Number, returns=c.c_char_p)
format_named = declare("qlib_format_named", c.c_char_p, c.POINTER(Number), ErrorOut)
describe = declare("qlib_describe", Number, c.c_char_p, Size, returns=Size)
wire_size = declare("qlib_wire_size", Number, Size, Size, c.POINTER(Size), ErrorOut)
quantize = declare("qlib_quantize", Number, Floats, Size, Size, Floats, c.c_int, c.c_void_p, Size, RunWith, ErrorOut)
dequantize = declare("qlib_dequantize", Number, c.c_void_p, Size, Size, Size, Floats, RunWith, ErrorOut)
qgemm = declare("qlib_qgemm", Floats, Floats, Size, Number, c.c_void_p, Size, Size, Size, c.c_int, RunWith, ErrorOut)
hessian_create = declare("qlib_hessian_create", Size, c.POINTER(c.c_void_p), ErrorOut)
hessian_add = declare("qlib_hessian_add", c.c_void_p, Floats, Size, RunWith, ErrorOut)
hessian_destroy = declare("qlib_hessian_destroy", c.c_void_p, returns=None)
gptq = declare("qlib_gptq", Number, Floats, Size, Size, c.c_void_p, c.c_float, c.c_int, c.c_void_p, Size,
               c.POINTER(Report), RunWith, ErrorOut)
chunk = declare("qlib_quantize_chunk", c.c_int, Floats, c.c_void_p, c.c_int64, c.c_int64, c.c_int64, Floats,
                returns=Size)


class QlibError(Exception):
    pass


def call(function, *arguments):
    error = Error()
    code = function(*arguments, c.byref(error))
    if code:
        assert code == error.code
        raise QlibError(error.text.decode())


def floats(values):
    values = list(values)
    return (c.c_float * len(values))(*values)


def number(name):
    n = Number()
    call(format_named, name.encode(), c.byref(n))
    return n.value


def size_of(fmt, rows, cols):
    n = Size()
    call(wire_size, fmt, rows, cols, c.byref(n))
    return n.value


class Quantized:
    """rows x cols weights in a format."""

    def __init__(self, fmt, rows, cols):
        self.fmt, self.rows, self.cols = fmt, rows, cols
        self.bytes = c.create_string_buffer(size_of(fmt, rows, cols))

    def quantize(self, W, importance=None, fit=SEARCH, run=None):
        call(quantize, self.fmt, W, self.rows, self.cols, importance, fit, self.bytes, len(self.bytes), run)
        return self

    def gptq(self, W, hessian, fit=SEARCH):
        report = Report()
        call(gptq, self.fmt, W, self.rows, self.cols, hessian, 0.01, fit, self.bytes, len(self.bytes), c.byref(report),
             None)
        return report

    def floats(self):
        out = (c.c_float * (self.rows * self.cols))()
        call(dequantize, self.fmt, self.bytes, len(self.bytes), self.rows, self.cols, out, None)
        return out

    def multiply(self, X, n, mode=AUTOMATIC):
        Y = (c.c_float * (n * self.rows))()
        call(qgemm, Y, X, n, self.fmt, self.bytes, len(self.bytes), self.rows, self.cols, mode, None)
        return Y


def check(what, ok):
    print(f"{'ok   ' if ok else 'WRONG'} {what}")
    check.failed |= not ok


check.failed = False


def fails(what, text, function, *arguments):
    try:
        function(*arguments)
        check(f"{what}: nothing was said", False)
    except QlibError as e:
        check(f"{what}: \"{e}\"", text in str(e))


def signal_to_noise(x, y):
    noise = sum((a - b) ** 2 for a, b in zip(x, y))
    return 10 * math.log10(sum(a * a for a in x) / noise) if noise else math.inf  # F32 loses nothing


def product(X, W, n, rows, cols):
    return [sum(X[i * cols + k] * W[r * cols + k] for k in range(cols)) for i in range(n) for r in range(rows)]


def relative_error(a, b):
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b))


random.seed(1)
rows, cols, tokens = 12, 256, 400
W = floats(random.gauss(0, 0.05) for _ in range(rows * cols))
names = [format_name(format_at(i)).decode() for i in range(format_count())]
print(f"qlib {version().decode()}: {' '.join(names)}")

# Weights to bytes and back, in every format.
worst = {"Q8_0": 40, "Q6_K": 33, "Q4_K": 21, "NF4": 19, "INT4_G128_ASYM": 18}
for name in names:
    q = Quantized(number(name), rows, cols).quantize(W)
    db = signal_to_noise(W, q.floats())
    check(f"{name}: {8 * len(q.bytes) / (rows * cols):.4g} bits, {db:.1f} dB", db > worst.get(name, 4))

# Importance: columns that count more come out better.
important = floats(1000 if k % 8 == 0 else 1 for k in range(cols))
chosen = [i for i in range(rows * cols) if i % 8 == 0]
plain, weighted = (Quantized(number("Q4_K"), rows, cols).quantize(W, w).floats() for w in (None, important))
check("important columns gain", signal_to_noise([W[i] for i in chosen], [weighted[i] for i in chosen])
      > signal_to_noise([W[i] for i in chosen], [plain[i] for i in chosen]) + 1)

# Y = X W^T. Exact mode multiplies the decoded weights; integer mode rounds activations to 8 bits.
X = floats(random.gauss(0, 1) for _ in range(3 * cols))
q = Quantized(number("q4_k"), rows, cols).quantize(W)
want = product(X, q.floats(), 3, rows, cols)
check("exact product", relative_error(q.multiply(X, 3, EXACT), want) < 1e-5)
check("integer product", relative_error(q.multiply(X, 3, INTEGER), want) < 0.01)

# GPTQ, on inputs whose channels are correlated.
walk, X = 0, []
for i in range(tokens * cols):
    walk = 0.9 * walk + random.gauss(0, 1)
    X.append(walk)
X = floats(X)
hessian = c.c_void_p()
call(hessian_create, cols, c.byref(hessian))
for first in range(0, tokens, 100):  # as a model's layers bring them, batch by batch
    call(hessian_add, hessian, c.cast(c.byref(X, 4 * first * cols), Floats), 100, None)
q = Quantized(number("INT4_G128_ASYM"), 4, cols)
report = q.gptq(W, hessian)
difference = [a - b for a, b in zip(W, q.floats())]
loss = sum(y * y for y in product(X, difference, tokens, 4, cols))
check(f"GPTQ's loss {report.loss:.4g} is what it says, {loss:.4g}", abs(report.loss / loss - 1) < 1e-3)
check(f"rounding's loss was {report.loss_rtn:.4g}", report.loss < 0.5 * report.loss_rtn)
hessian_destroy(hessian)

# Threads of the caller's: here a loop that goes backwards.
backwards = Executor(None, 2,
                     Run(lambda context, count, task, data: [task(data, i, i % 2) for i in reversed(range(count))]))
forwards = Quantized(number("Q4_K"), rows, cols).quantize(W)
same = Quantized(number("Q4_K"), rows, cols).quantize(W, run=c.byref(backwards)).bytes.raw == forwards.bytes.raw
check("the same bytes by somebody else's loop", same)

# In the shape of ggml_quantize_chunk: rows at an offset, with the bytes of the reference fit.
for name in ("Q4_0", "Q5_1", "Q8_0", "Q4_K", "Q6_K", "IQ4_XS", "TQ1_0", "MXFP4", "NVFP4"):
    whole = Quantized(number(name), rows, cols).quantize(W, important, REFERENCE).bytes.raw
    tensor_scale = 4 if name == "NVFP4" else 0  # GGUF keeps it in a tensor of its own
    out = c.create_string_buffer(len(whole) - tensor_scale)
    row = len(out) // rows
    sizes = [chunk(number(name), W, out, first * cols, count, cols, important)
             for first, count in ((5, 7), (0, 1), (1, 4))]
    check(f"{name} in three chunks", sizes == [7 * row, row, 4 * row] and out.raw == whole[:len(out)])
halves = c.create_string_buffer(2 * rows * cols)
check("F16 in a chunk", chunk(1, W, halves, cols, rows - 1, cols, None) == 2 * (rows - 1) * cols
      and halves.raw[2 * cols:] == struct.pack(f"<{(rows - 1) * cols}e", *W[cols:]))
check("chunks that are none", [chunk(2, W, halves, 1, 1, cols, None), chunk(4, W, halves, 0, 1, cols, None),
                               chunk(2, W, halves, 0, 1, 31, None)] == [0, 0, 0])

# What a format is, in JSON.
length = describe(number("NF4"), None, 0)
text = c.create_string_buffer(length)
describe(number("NF4"), text, length)
check("NF4 describes itself", len(json.loads(text.raw)["levels"]) == 16)

# Errors are codes with a sentence.
fails("an unknown name", "no format", number, "q4_z")
fails("an unknown number", "", size_of, 4, 1, 256)
fails("half a block", "whole blocks", size_of, number("Q4_K"), 1, 128)
fails("a NaN", "row 0, column 3", Quantized(number("Q4_0"), 1, 32).quantize, floats([0.0] * 3 + [math.nan] * 29))
fails("too few bytes", "there are 17", call, dequantize, number("Q4_0"), halves, 17, 1, 32, (c.c_float * 32)(), None)
fails("no pointer", "NULL", call, dequantize, number("Q4_0"), None, 18, 1, 32, (c.c_float * 32)(), None)

sys.exit(check.failed)
