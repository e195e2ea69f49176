#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quern quantize, judged: SmolLM2-135M through every scheme, against itself in bf16, on text that it was not calibrated on.

    python bench/quantize_smollm2.py [--groups 64 32] [--only NAMES] [--tokens 2000] [--calibration FILE] [--source FOLDER] [--out DIR] [--reuse] [--speed]

Each checkpoint is written by the binary and judged by `quern eval --reference` on bench/prose.txt, both sides with float32 inputs, so that nothing but the weights
differs. --speed adds `quern bench latency` (256 tokens in, 32 out) with the default inputs. The weights of the GGUF file lie on a grid of 4 bits in groups of 32, which flatters plain rounding:
groups of 32 are shown, groups of 64 are the judge. The source is the model decoded to bf16 (written here by numpy, norms float32), or --source (off_grid_smollm2.py). --reuse
judges checkpoints that are there already. A table of markdown.
"""
import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUERN = ROOT / "build/release/quern"
INT4, REST = ["rtn-int4", "awq-int4", "gptq-int4"], ["gptq-int8", "rtn-int8", "fp8-dynamic", "fp8-block", "w8a8-int8"]


def run(*command):
    done = subprocess.run([str(QUERN), *map(str, command)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def size_of(folder):
    return sum(p.stat().st_size for p in pathlib.Path(folder).glob("*.safetensors"))


def bf16_source(out):
    """The GGUF file as bf16 safetensors, with the config and tokenizer files that quantize writes for it."""
    if (out / "model.safetensors").exists():
        return out
    import gguf
    import numpy as np
    like = out.with_name(out.name + "_like")
    shutil.rmtree(like, ignore_errors=True)
    run("quantize", "smollm2-135m", like, "--scheme", "fp8-dynamic", "--calibration", "none")
    out.mkdir(parents=True, exist_ok=True)
    for path in like.iterdir():
        if path.suffix == ".json" and path.name != "quern-quantize.json":
            shutil.copy(path, out / path.name)
    config = json.loads((out / "config.json").read_text())
    del config["quantization_config"]
    (out / "config.json").write_text(json.dumps(config, indent=2))
    names = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
             "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    for t in gguf.GGUFReader(ROOT / "build/models/smollm2-135m/model.gguf").tensors:
        w = gguf.quants.dequantize(t.data, t.tensor_type).astype(np.float32)
        part = t.name.split(".")[-2]
        if part in heads:  # undo the order that llama.cpp rotates in
            w = w.reshape(heads[part], -1, 2, w.shape[-1]).swapaxes(1, 2).reshape(w.shape)
        layer = f"model.layers.{t.name.split('.')[1]}." if t.name.startswith("blk.") else ""
        bits = np.ascontiguousarray(w).view(np.uint32)
        data = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()
        header[f"{layer}{names[part]}.weight"] = {"dtype": "BF16", "shape": list(w.shape), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    (out / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))
    return out


def judged(source, folder, tokens, speed):
    e = json.loads(run("eval", folder, "--reference", source, "--text", ROOT / "bench/prose.txt", "--max-tokens", tokens, "--dtype", "float32", "--json"))
    row = {"mb": size_of(folder) / 1e6, "perplexity": e["perplexity"], "reference": e["reference_perplexity"],
           "difference": e["log_perplexity_difference"], "margin": e["log_perplexity_difference_margin"], "kl": e["kl_divergence"],
           "kl_margin": e["kl_divergence_margin"], "top1": e["top1_agreement"]}
    if speed:
        with tempfile.TemporaryDirectory() as where:
            run("bench", "latency", folder, "--input-len", 256, "--output-len", 32, "--num-iters", 5, "--json", f"{where}/latency.json")
            row["speed"] = json.loads(pathlib.Path(where, "latency.json").read_text())
    return row


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--groups", nargs="*", type=int, default=[64, 32])
    options.add_argument("--only", nargs="*")
    options.add_argument("--tokens", type=int, default=2000)
    options.add_argument("--calibration")
    options.add_argument("--flags", default="", help="further flags of all but rtn")
    options.add_argument("--out", type=pathlib.Path, default=ROOT / "build/bench/quantize")
    options.add_argument("--source", type=pathlib.Path)
    options.add_argument("--reuse", action="store_true")
    options.add_argument("--speed", action="store_true")
    o = options.parse_args()
    source = o.source or bf16_source(o.out / "bf16")
    rows = [(name, g) for g in o.groups for name in INT4] + [(name, o.groups[0]) for name in REST]
    if o.speed:
        rows.insert(0, ("bf16", None))
    print("| scheme | group | MB | perplexity | against the source | divergence, nats a token | same best token | time, peak memory |" + " decode, prefill, tok/s |" * o.speed)
    print("|---|---|---|---|---|---|---|---|" + "---|" * o.speed)
    for name, group in rows:
        if o.only and name not in o.only:
            continue
        folder, took = source, ""
        if name != "bf16":
            folder = o.out / f"{name}-{group}"
        if name != "bf16" and not (o.reuse and folder.exists()):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(f"{folder}.part", ignore_errors=True)
            more = [] if "fp8" in name or name == "w8a8-int8" else ["--group-size", group]
            if not name.startswith("rtn"):
                more += (["--calibration", o.calibration] if o.calibration else []) + o.flags.split()
            begin = time.monotonic()
            run("quantize", source, folder, "--scheme", name, *more)
            peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
            took = f"{time.monotonic() - begin:.0f} s, {peak:.0f} MB at most so far"
        r = judged(source, folder, o.tokens, o.speed)
        line = (f"| {name} | {group or ''} | {r['mb']:.1f} | {r['perplexity']:.3f} of {r['reference']:.3f} | {100 * r['difference']:+.2f} % ± {100 * r['margin']:.2f} "
                f"| {r['kl']:.4f} ± {r['kl_margin']:.4f} | {100 * r['top1']:.2f} % | {took} |")
        if o.speed:
            line += f" {r['speed']['decode_tok_s']:.1f}, {r['speed']['prefill_tok_s']:.0f} (others {r['speed']['noise']['other_cores']:.2f} cores) |"
        print(line, flush=True)


if __name__ == "__main__":
    main()
