"""Checks that objects of two versions share nothing of qlib: of what both define the linker would keep one.

usage: two_versions.py OBJECT OBJECT
"""
import re
import subprocess
import sys


def shared_with_others(path):
    """The symbols that a linker may take from another file, functions and variables."""
    listed = subprocess.run(["nm", path], text=True, capture_output=True, check=True).stdout
    return set(re.findall(r"^[0-9a-f]+ [WVu] (\S*4qlib\S*)$", listed, re.M))


one, other = (shared_with_others(path) for path in sys.argv[1:])
print(f"{len(one)} and {len(other)} weak symbols of qlib")
if common := sorted(one & other):
    sys.exit(f"{len(common)} of them are in both:\n" + "\n".join(common[:10]))
if not one or not other:
    sys.exit("nothing was compared")
