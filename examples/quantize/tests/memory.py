"""Quantizes a model of 8 GB, nearly all of it holes that take no room on the disk, and looks at the most memory
that was used.

usage: memory.py QUANTIZE FOLDER_TO_WRITE_IN
"""
import os
import resource
import shutil
import subprocess
import sys

import gguf_file

program, folder = map(os.path.abspath, sys.argv[1:3])
shutil.rmtree(folder, ignore_errors=True)
os.makedirs(folder)
model, output = (os.path.join(folder, name) for name in ("model.gguf", "output.gguf"))
MB = 1 << 20
cols, rows, count = 4096, 16384, 30  # 256 MiB each
metadata = {"general.architecture": "llama", "llama.block_count": count, "llama.attention.head_count": 32,
            "llama.attention.head_count_kv": 8}
gguf_file.write(model, metadata, [(f"blk.{i}.ffn_down.weight", 0, [cols, rows], None) for i in range(count)])
size = os.path.getsize(model)
assert size > 8e9 and os.stat(model).st_blocks * 512 < MB, "a sparse file of 8 GB"
try:
    child = subprocess.run([program, model, output, "--format", "q2_k", "--fit", "plain", "--tensor-type",
                            r"blk\.[0-9]\.=q4_0", "--threads", "2"],
                           stdout=subprocess.DEVNULL)
    assert child.returncode == 0
    tensors = gguf_file.Reader(output).tensors
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    largest = cols * rows * 4 + cols * rows * 4 + max(len(data) for _, _, data in tensors.values())
    print(f"{size / 1e9:.1f} GB in, {os.path.getsize(output) / 1e9:.2f} GB out, at most {most / MB:.0f} MiB of memory")
    assert most <= largest + 256 * MB, "at most the largest tensor in its source, f32 and output forms and 256 MiB"
    assert most <= 256 * MB, "and, as it is quantized in strips, less than one form of it"
    assert [kind for kind, _, _ in tensors.values()] == [2] * 10 + [10] * (count - 10)
finally:
    shutil.rmtree(folder)
