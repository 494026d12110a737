"""Checks that all include arrows of the headers run down the layers below, none up and none around in a circle, and
that texts (`.inl`) are included only where they are meant to be.

usage: includes.py
"""
import re
import sys
from pathlib import Path

# The lowest first. A folder is all of its files but those that a layer names. Files of a layer may include each other.
LAYERS = [
    ["core/abi.hpp", "core/baseline.hpp"],
    ["numeric/"],
    ["core/"],
    ["room/isa.hpp", "room/target.hpp"],  # which rooms there are
    ["format/"],
    ["fit/"],
    ["store/"],
    ["kernel/", "linalg/strided.hpp", "linalg/rows.inl"],  # what rooms are compiled from
    ["encode/"],
    ["room/"],
    ["kernel/weights_ref.hpp", "encode/lattice_search.hpp", "encode/outer_values.hpp"],  # what chooses a room
    ["linalg/"],
    ["calibrate/", "evaluate/"],
    ["dense.hpp", "fp8.hpp", "integer.hpp", "iq_lattices.hpp", "iq_quants.hpp", "k_quants.hpp", "legacy_quants.hpp",
     "mx.hpp", "nf4.hpp", "ternary.hpp", "format_id.hpp", "formats.hpp"],
    ["dequantize.hpp", "quantize.hpp", "gptq.hpp", "qgemm.hpp", "plan_qgemm.hpp", "qgemm_grouped.hpp"],
    ["any.hpp", "any/", "instantiate.hpp", "file/"],
    ["qlib.hpp"],
]
# Who may include a text, besides other texts.
INCLUDE_TEXTS = re.compile(r"room/\w+\.hpp|encode/one_block\.hpp|format/(map|range)\.hpp|numeric/one_lane\.hpp")

root = Path(__file__).resolve().parent.parent / "include" / "qlib"
layer_of = {name: number for number, names in enumerate(LAYERS) for name in names}
wrong = []


def layer(file):
    return layer_of.get(file, layer_of.get(file[:file.find("/") + 1]))


def includes_of(file):
    """The headers of this library that a file includes, by their paths from its root."""
    for name in re.findall(r'^[ \t]*#[ \t]*include[ \t]+"([^"]+)"', (root / file).read_text(), re.MULTILINE):
        target = (root / file).parent.joinpath(name).resolve()
        if target.is_file() and target.is_relative_to(root):
            yield target.relative_to(root).as_posix()
        else:
            wrong.append(f"{file} includes {name}, which is no file of the library")


def find_circles(file, path=(), done=set()):
    if file in path:
        wrong.append("a circle: " + " -> ".join([*path[path.index(file):], file]))
    elif file not in done:
        for target in arrows[file]:
            find_circles(target, (*path, file))
        done.add(file)


files = sorted(f.relative_to(root).as_posix() for kind in ["*.hpp", "*.inl"] for f in root.rglob(kind))
arrows = {file: list(includes_of(file)) for file in files}
wrong += [f"no layer names {file}" for file in files if layer(file) is None]
wrong += [f"there is no {name}, which a layer names" for name in layer_of if not (root / name).exists()]
for file in files if not wrong else []:
    for target in arrows[file]:
        if layer(target) > layer(file):
            wrong.append(f"{file} includes {target}, which lies above it")
        if target.endswith(".inl") and not file.endswith(".inl") and not INCLUDE_TEXTS.fullmatch(file):
            wrong.append(f"{file} includes {target}: a text is for rooms and their like")
    find_circles(file)
print(*wrong, f"{sum(map(len, arrows.values()))} arrows between {len(files)} files, {len(wrong)} faults", sep="\n")
sys.exit(bool(wrong))
