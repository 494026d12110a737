"""Decodes quantized matrices of any format by nothing but the JSON that describes it, and compares with what qlib
decodes.

usage: reader.py CASES_PROGRAM
"""
import json
import math
import struct
import subprocess
import sys


def rounded(x):
    """x as a float32: one operation on float32 values, done in double, rounds to the same."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


def minifloat(bits, exponent_bits, mantissa_bits, bias):
    exponent, mantissa = bits >> mantissa_bits, bits & (1 << mantissa_bits) - 1
    if exponent == 0:
        return math.ldexp(mantissa, 1 - bias - mantissa_bits)
    return math.ldexp(mantissa + (1 << mantissa_bits), exponent - bias - mantissa_bits)


def e4m3(code):
    return math.copysign(math.nan if code & 127 == 127 else minifloat(code & 127, 4, 3, 7), -1 if code > 127 else 1)


def ue4m3(code):  # as ggml reads it: 127 is zero, 255 is not
    return 0.0 if code == 127 else 480.0 if code == 255 else minifloat(code & 127, 4, 3, 7)


TYPES = {  # bytes, and the number that they mean
    "f32": (4, lambda b: struct.unpack("<f", b)[0]),
    "f16": (2, lambda b: struct.unpack("<e", b)[0]),
    "bf16": (2, lambda b: struct.unpack("<f", b"\0\0" + b)[0]),
    "e8m0": (1, lambda b: math.nan if b[0] == 255 else math.ldexp(1, b[0] - 127)),
    "half_e8m0": (1, lambda b: math.ldexp(1, b[0] - 128)),
    "e4m3": (1, lambda b: e4m3(b[0])),
    "ue4m3": (1, lambda b: ue4m3(b[0])),
}


def numbers(kind, section):
    size, value = TYPES[kind]
    return [value(section[i:i + size]) for i in range(0, len(section), size)]


def bit_string(section, width):
    stream = int.from_bytes(section, "little")
    return [stream >> i * width & (1 << width) - 1 for i in range(8 * len(section) // width)]


def codes_size(codes, n):
    if codes["layout"] == "base3":
        return -(-n // 5)
    if codes["layout"] == "planes":
        return sum(-(-n * p["width"] // 8) for p in codes["planes"])
    return -(-n * codes["bits"] // 8)


def unpack_codes(codes, section, n):
    if codes["layout"] == "sequential":
        return bit_string(section, codes["bits"])[:n]
    if codes["layout"] == "base3":
        return [section[i // 5] // 3 ** (i % 5) % 3 for i in range(n)]
    out = [0] * n
    for p in codes["planes"]:
        width, run = p["width"], p["run"]
        per_byte = 8 // width
        for e in range(n):
            byte, place = e // (per_byte * run) * run + e % run, e // run % per_byte
            if p["high_first"]:
                place = per_byte - 1 - place
            out[e] |= (section[byte] >> width * place & (1 << width) - 1) << p["shift"]
        section = section[-(-n * width // 8):]
    return out


class Format:
    def __init__(self, description):
        self.d = description
        self.levels = [rounded(float(l)) for l in description["levels"]]

    def zeros(self, field, section):
        if field["type"] == "code":
            return [self.levels[c] for c in bit_string(section, self.d["codes"]["bits"])]
        return numbers(field["type"], section)

    def outer_value(self, section):
        found = {"scales": 1.0, "zeros": 0.0}
        for f in self.d.get("outer", {}).get("fields", []):
            part = section[f["offset"]:f["offset"] + f["bytes"]]
            found[f["field"]] = (numbers(f["type"], part) if f["field"] == "scales" else self.zeros(f, part))[0]
        return found

    def sub_integers(self, section):
        subs = self.d["subs"]
        values = list(subs["base"])
        for i, (index, weight) in enumerate(subs["bit"]):
            if section[i // 8] >> i % 8 & 1:
                values[index] += weight
        return values

    def level(self, code):
        codes = self.d["codes"]
        if codes["meaning"] == "levels":
            return self.levels[code]
        return numbers(codes["meaning"], code.to_bytes(codes["bits"] // 8, "little"))[0]

    def maps(self, found, outer):
        """Scale and zero of each group."""
        d, multiplies = self.d, self.d.get("outer", {}).get("multiplies", False)
        groups = d["groups"]
        s = found.get("scales") or [1.0 if multiplies else outer["scales"]] * groups
        z = found.get("zeros") or [outer["zeros"]] * groups
        on_scales = d.get("outer", {}).get("on_scales")
        if on_scales:
            s = [rounded(v * outer["scales"] if on_scales == "times" else v / outer["scales"]) for v in s]
        if "subs" in found:
            subs, mins = found["subs"][:groups], found["subs"][groups:]
            s = [rounded(s[0] * v) for v in subs]
            z = [-rounded(z[0] * v) for v in mins] or [0.0] * groups
        return s, z

    def block(self, planes, n, outer):
        d = self.d
        found, position = {}, [0] * len(planes)
        for f in d["fields"]:
            p = f["plane"]
            size = codes_size(d["codes"], n) if f["field"] == "codes" else f["bytes"]
            section = planes[p][position[p]:position[p] + size]
            position[p] += size
            if f["field"] == "codes":
                codes = unpack_codes(d["codes"], section, n)
            elif f["field"] == "subs":
                found["subs"] = self.sub_integers(section)
            elif f["field"] == "zeros":
                found["zeros"] = self.zeros(f, section)
            else:
                found["scales"] = numbers(f["type"], section)
        s, z = self.maps(found, outer)
        out = []
        for i, code in enumerate(codes):
            g, l = i // d["group"], self.level(code)
            y = {"scaled": lambda: s[g] * l, "shifted": lambda: s[g] * rounded(l - z[g]),
                 "offset": lambda: rounded(s[g] * l) + z[g]}[d["map"]]()
            y = rounded(y)
            out.append(rounded(y * outer["scales"]) if d.get("outer", {}).get("multiplies") else y)
        return out

    def row_bytes(self, p, n):
        """Bytes of n weights of a row in plane p; the last block may be short."""
        whole, rest = divmod(n, self.d["block_weights"])
        short = 0
        if rest:
            short = sum(codes_size(self.d["codes"], rest) if f["field"] == "codes" else f["bytes"]
                        for f in self.d["fields"] if f["plane"] == p)
        return whole * self.d["planes"][p] + short

    def matrix(self, data, rows, cols):
        d = self.d
        tile = d.get("outer", {"rows": 0, "cols": 0, "bytes": 0})
        tile_rows, tile_cols = tile["rows"] or rows, tile["cols"] or cols
        across = -(-cols // tile_cols)
        wire_rows, wire_cols = (1, rows * cols) if d["flat_blocks"] and cols % d["block_weights"] else (rows, cols)
        starts, at = [], 0
        for p in range(len(d["planes"])):
            starts.append(at)
            at += wire_rows * self.row_bytes(p, wire_cols)
        out = []
        for r in range(wire_rows):
            for c in range(0, wire_cols, d["block_weights"]):
                planes = [data[start + r * self.row_bytes(p, wire_cols) + c // d["block_weights"] * d["planes"][p]:]
                          for p, start in enumerate(starts)]
                t = at + (r // tile_rows * across + c // tile_cols) * tile["bytes"]
                out += self.block(planes, min(d["block_weights"], wire_cols - c),
                                  self.outer_value(data[t:t + tile["bytes"]]))
        return out


def bits_of(x):
    return 0x7FC00000 if math.isnan(x) else struct.unpack("<I", struct.pack("<f", x))[0]


failed = count = 0
for line in subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True, text=True).stdout.splitlines():
    case = json.loads(line)
    expected = [v[0] for v in struct.iter_unpack("<I", bytes.fromhex(case["floats"]))]
    made = [bits_of(y) for y in Format(case["format"]).matrix(bytes.fromhex(case["bytes"]), case["rows"], case["cols"])]
    wrong = [i for i, (a, b) in enumerate(zip(made, expected)) if a != b]
    count += 1
    if wrong or len(made) != len(expected):
        failed += 1
        print(f"{case['format']['name']}: {len(wrong)} of {len(expected)} floats differ, {len(made)} were read; "
              f"the first at {wrong[:1]}")
print(f"{count - failed} of {count} formats decoded by their descriptions")
sys.exit(failed != 0 or count < 20)
