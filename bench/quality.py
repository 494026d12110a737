"""What formats cost a trained model: size, perplexity, KL divergence, agreement on the likeliest token, and speed.

usage: quality.py QUANTIZE LLM TEXT BYTES MODEL.gguf...

Presets are files that examples/quantize writes; the other formats are made by examples/llm when it loads the model.
Perplexity and speed are those of the first BYTES of the text (0: all of it), divergence and agreement against the first
row those of its first 40 kB.
"""
import os
import re
import subprocess
import sys
import tempfile

ROWS = [("F32", None, "f32"), ("F16", None, "f16")]
ROWS += [(name, name, None) for name in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q2_K")]
ROWS += [(name, None, name.lower())
         for name in ("INT4_G32", "INT4_G32_ASYM", "INT4_G128", "INT4_G128_ASYM", "NF4", "NF4_DQ")]


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def numbers(pattern, text):
    found = re.search(pattern, text)
    if not found:
        sys.exit(f"no {pattern!r} in: {text}")
    return found.groups()


def row(quantize, llm, text, length, model, name, preset, load_as, folder):
    """One line of the table."""
    path, options, options_b = model, [], []
    if preset:
        path = os.path.join(folder, "model.gguf")
        run(quantize, model, path, "--preset", preset)
    else:
        options, options_b = ["--load-as", load_as], ["--load-b-as", load_as]
    alone = run(llm, "perplexity", path, text, "--bytes", length, *options)
    bits, size = numbers(r"([0-9.]+) bits each, ([0-9.]+) MB", alone)
    perplexity, error, speed = numbers(r"perplexity ([0-9.]+) \+/- ([0-9.]+) .*?([0-9]+) tokens per second", alone)
    pair = run(llm, "compare", model, path, text, "--load-as", "f32", *options_b, "--bytes", "40000", "--batch", "512")
    kl, kl_error, percentile = numbers(r"mean ([0-9.]+) \+/- ([0-9.]+), 99th percentile ([0-9.]+)", pair)
    top1, top1_error = numbers(r"same top-1 +([0-9.]+) \+/- ([0-9.]+)", pair)
    print(f"| {name} | {size} | {bits} | {perplexity} ± {error} "
          f"| {float(kl):.4f} ± {float(kl_error):.4f} | {float(percentile):.3f} "
          f"| {float(top1):.1f} ± {float(top1_error):.1f} % | {speed} |", flush=True)


def main(quantize, llm, text, length, *models):
    for model in models:
        print(f"\n{os.path.basename(model)}\n")
        print("| format | MB | bits per weight | perplexity | KL divergence | its 99th percentile "
              "| same top-1 | tokens/s |")
        print("|---|---|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as folder:
            for name, preset, load_as in ROWS:
                row(quantize, llm, text, length, model, name, preset, load_as, folder)


if len(sys.argv) < 6:
    sys.exit(__doc__)
main(*sys.argv[1:])
