"""A small reader and writer of GGUF files, independent of the library under test."""
import mmap
import struct

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
# Block elements and bytes of ggml's types.
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144),
          13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18),
          21: (256, 110), 22: (256, 82), 23: (256, 136), 28: (1, 8),
          29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 41: (128, 18), 42: (64, 18)}


class Reader:
    """metadata: {key: value}; tensors: {name: (type, ne, bytes)}, in the file's order."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.bytes = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.at = 4
        assert self.bytes[:4] == b"GGUF" and self.number("I") == 3
        tensor_count, pair_count = self.number("Q"), self.number("Q")
        self.metadata, self.kinds = {}, {}
        for _ in range(pair_count):
            key = self.text()
            self.kinds[key] = self.number("I")
            self.metadata[key] = self.value(self.kinds[key])
        found = []
        for _ in range(tensor_count):
            name = self.text()
            ne = [self.number("Q") for _ in range(self.number("I"))]
            found.append((name, self.number("I"), ne, self.number("Q")))
        alignment = self.metadata.get("general.alignment", 32)
        start = -(-self.at // alignment) * alignment
        self.tensors = {}
        for name, kind, ne, offset in found:
            self.tensors[name] = (kind, ne, memoryview(self.bytes)[start + offset:start + offset + size_of(kind, ne)])

    def number(self, code):
        size = struct.calcsize("<" + code)
        self.at += size
        return struct.unpack("<" + code, self.bytes[self.at - size:self.at])[0]

    def text(self):
        size = self.number("Q")
        self.at += size
        return self.bytes[self.at - size:self.at].decode("utf-8", "replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind != 9:
            return self.number(NUMBERS[kind])
        element, count = self.number("I"), self.number("Q")
        return [self.value(element) for _ in range(count)]


def size_of(kind, ne):
    elements = 1
    for n in ne:
        elements *= n
    return elements // BLOCKS[kind][0] * BLOCKS[kind][1]


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, value):
    if isinstance(value, list):  # of tuples as below, or of texts
        is_text = isinstance(value[0], (str, bytes))
        kind = 8 if is_text else next(k for k, code in NUMBERS.items() if code == value[0][0])
        elements = (text(v) if kind == 8 else struct.pack("<" + v[0], v[1]) for v in value)
        return text(key) + struct.pack("<IIQ", 9, kind, len(value)) + b"".join(elements)
    if isinstance(value, (str, bytes)):
        return text(key) + struct.pack("<I", 8) + text(value)
    if isinstance(value, float):
        return text(key) + struct.pack("<If", 6, value)
    if isinstance(value, tuple):  # (code of the struct module, number)
        kind = next(k for k, code in NUMBERS.items() if code == value[0])
        return text(key) + struct.pack("<I" + value[0], kind, value[1])
    return text(key) + struct.pack("<II", 4, value)


def write(path, metadata, tensors):
    """tensors: [(name, type, ne, bytes)]; bytes None: a hole in the file, which reads as zeros and takes no room."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(pair(k, v) for k, v in metadata.items())
    offset = 0
    for name, kind, ne, _ in tensors:
        head += text(name) + struct.pack("<I", len(ne)) + b"".join(struct.pack("<Q", n) for n in ne)
        head += struct.pack("<IQ", kind, offset)
        offset += -(-size_of(kind, ne) // 32) * 32
    with open(path, "wb") as f:
        f.write(head)
        f.seek(-len(head) % 32, 1)
        for name, kind, ne, data in tensors:
            if data is None:
                f.seek(size_of(kind, ne), 1)
            else:
                assert len(data) == size_of(kind, ne), name
                f.write(data)
            f.seek(-f.tell() % 32, 1)
        f.truncate(f.tell())
