#!/usr/bin/env python3
"""Writes single_include/qlib.hpp from include/qlib. With --check: exits 1 when the file that is there is another."""
import re
import sys
from pathlib import Path

here = Path(__file__).resolve().parent
root = here.parent / "include" / "qlib"
output = here / "qlib.hpp"

# Headers that only some programs want, each behind a macro that the program defines.
optional = {"QLIB_INSTANTIATE": ["instantiate.hpp"], "QLIB_WITH_OS": ["mapped_file.hpp", "thread_pool.hpp"]}

lines = []       # what will be written
conditions = []  # the #if lines that are open
seen = {}        # header -> the conditions under which it was expanded


def needed(header, user):
    """Whether `header` must be written here: an earlier copy serves only if it stands under no #if closed by now."""
    under = seen.get(header)
    if under is not None and under == conditions[:len(under)]:
        return False
    if under is not None and isinstance(header, Path):
        sys.exit(f"{user}: {header} came before, but under {under}: include it earlier, outside of that")
    seen[header] = list(conditions)
    return True


def expand(path):
    """Appends a header's lines, its own headers in place of their #include lines."""
    for line in path.read_text().splitlines():
        if include := re.match(r'\s*#\s*include\s*(?:"(.+)"|<(.+)>)', line):
            header = (path.parent / include[1]).resolve() if include[1] else include[2]
            if str(header).endswith(".inl"):
                seen[header] = []
            elif not needed(header, path):
                continue
            if include[1]:
                expand(header)
                continue
        elif directive := re.match(r"\s*#\s*(if|el|endif|pragma once)", line):
            if directive[1] == "pragma once":
                continue
            if directive[1] != "if":
                closed = conditions.pop()
            if directive[1] != "endif":
                conditions.append(line.strip() if directive[1] == "if" else f"{closed} {line.strip()}")
        lines.append(line)


version = ".".join(re.findall(r"define QLIB_VERSION_\w+ (\d+)", (root / "core" / "abi.hpp").read_text()))
lines += [f"// qlib {version}, all of it in one file: written by amalgamate.py from include/qlib, not to be edited.",
          "//"]
lines += [f"// {line}".rstrip() for line in (here.parent / "LICENSE").read_text().splitlines()]
lines += ["#ifndef QLIB_SINGLE_HEADER", "#define QLIB_SINGLE_HEADER"]
needed(root / "qlib.hpp", output)
expand(root / "qlib.hpp")
lines += ["#endif  // QLIB_SINGLE_HEADER"]
for macro, names in optional.items():
    headers = [path for name in names for path in root.rglob(name) if path not in seen]
    if headers:  # outside of the guard above: a later include of this file may ask for them
        conditions.append(f"#if defined({macro}) && !defined({macro}_SEEN)")
        lines += [conditions[-1], f"#define {macro}_SEEN"]
        for header in headers:
            if needed(header, output):
                expand(header)
        lines += [f"#endif  // {macro}"]
        conditions.pop()

if missed := [str(path) for path in sorted(root.rglob("*")) if path.suffix in (".hpp", ".inl") and path not in seen]:
    sys.exit(f"not reached from qlib.hpp: {' '.join(missed)}")
text = re.sub(r"\n{3,}", "\n\n", "\n".join(lines) + "\n")
if "--check" in sys.argv[1:]:
    if not output.exists() or output.read_text() != text:
        sys.exit(f"{output} is stale: run {Path(__file__).name}")
else:
    output.write_text(text)
