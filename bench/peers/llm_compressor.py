#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quern quantize beside llm-compressor, the quantizer of vLLM's makers, on the CPU: the same model, bits, groups and texts.

    python bench/peers/llm_compressor.py SOURCE OUT [--group 64] [--quern build/release/quern]

SOURCE is a folder of bf16 safetensors (bench/off_grid_smollm2.py makes one). Both round it by GPTQ to symmetric int4 over the first 16 x 512 tokens of one text, one after
the other, with two threads; both results, compressed-tensors, are judged by `quern eval --reference SOURCE` on bench/prose.txt with float32 inputs. Wall time and peak memory
are those of the whole process. Needs llmcompressor from PyPI (tried with 0.14.0.1 on torch 2.14.0); prints a table of markdown.
"""
import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEQUENCES, LENGTH = 16, 512


def peer(source, out, group, text):
    """Runs in a process of its own."""
    import datasets
    import torch
    import transformers
    from llmcompressor import oneshot
    from llmcompressor.modifiers.gptq import GPTQModifier
    torch.set_num_threads(2)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=f"{source}/tokenizer.json")
    ids = tokenizer(pathlib.Path(text).read_text(), add_special_tokens=False)["input_ids"][:SEQUENCES * LENGTH]
    rows = [ids[i:i + LENGTH] for i in range(0, len(ids), LENGTH)]
    data = datasets.Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(r) for r in rows]})
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group}
    recipe = GPTQModifier(config_groups={"group_0": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"], dampening_frac=0.01)
    oneshot(model=model, dataset=data, recipe=recipe, max_seq_length=LENGTH, num_calibration_samples=len(rows))
    model.save_pretrained(out, save_compressed=True)
    for path in pathlib.Path(source).glob("tokenizer*.json"):
        shutil.copy(path, out)


def timed(command):
    """(seconds, MiB at most) of a process."""
    began = time.monotonic()
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        sys.exit(f"{command[0]} {command[1]} failed: {status}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source")
    options.add_argument("out", type=pathlib.Path)
    options.add_argument("--group", type=int, default=64)
    options.add_argument("--tokens", type=int, default=2000)
    options.add_argument("--quern", default=ROOT / "build/release/quern")
    options.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    o = options.parse_args()
    text = o.out.parent / "calibration.txt"
    if o.as_peer:
        return peer(o.source, str(o.out), o.group, text)
    sys.path.insert(0, str(ROOT / "bench"))
    from off_grid_smollm2 import docstrings
    o.out.mkdir(parents=True, exist_ok=True)
    (o.out / "calibration.txt").write_text("\n\n".join(docstrings()[::-1])[:120_000])
    print("| | perplexity | against the source | divergence, nats a token | same best token | time | peak memory |\n|---|---|---|---|---|---|---|")
    ours = [o.quern, "quantize", o.source, o.out / "quern", "--scheme", "gptq-int4", "--symmetric", "--group-size", o.group, "--format", "compressed-tensors",
            "--calibration", o.out / "calibration.txt", "--calibration-tokens", SEQUENCES * LENGTH, "--threads", 2]
    theirs = [sys.executable, __file__, o.source, o.out / "peer", "--group", o.group, "--as-peer"]
    for name, command in (("quern", ours), ("quern --act-order", [*ours[:3], o.out / "quern-act", *ours[4:], "--act-order"]), ("llm-compressor", theirs)):
        folder = o.out / "peer" if command is theirs else command[3]
        for old in (folder, pathlib.Path(f"{folder}.part")):
            shutil.rmtree(old, ignore_errors=True)
        seconds, memory = timed(command)
        e = json.loads(subprocess.run([str(o.quern), "eval", str(folder), "--reference", o.source, "--text", str(ROOT / "bench/prose.txt"), "--max-tokens", str(o.tokens),
                                       "--dtype", "float32", "--json"], check=True, capture_output=True, text=True).stdout)
        print(f"| {name} | {e['perplexity']:.3f} of {e['reference_perplexity']:.3f} | {100 * e['log_perplexity_difference']:+.2f} % ± "
              f"{100 * e['log_perplexity_difference_margin']:.2f} | {e['kl_divergence']:.4f} ± {e['kl_divergence_margin']:.4f} | {100 * e['top1_agreement']:.2f} % "
              f"| {seconds:.0f} s | {memory:.0f} MiB |", flush=True)


if __name__ == "__main__":
    main()
