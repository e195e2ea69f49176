#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SmolLM2 after some steps of training, so that its weights lie on no grid of 4 bits any more: the source that quantizers are judged on.

    python bench/off_grid_smollm2.py SOURCE OUT [--steps 160]

SOURCE is the bf16 folder that quantize_smollm2.py makes. The linear layers are trained on the text of Python's own documentation strings, in float32 master weights with AdamW, rounded to
bf16 at the end. Prints how many groups of 32 hold no more values than 4 bits tell apart, before and after, and how far weights moved in steps of such a group's grid. Needs torch,
transformers (bench only).
"""
import argparse
import importlib
import pathlib
import pkgutil
import random
import shutil

import torch
import transformers
from safetensors.torch import load_file, save_file


def docstrings():
    """Documentation of the standard library's modules, functions and classes."""
    texts = []
    for module in sorted(m.name for m in pkgutil.iter_modules() if not m.name.startswith(("_", "idle", "test", "antigravity", "this", "turtle"))):
        try:
            loaded = importlib.import_module(module)
        except BaseException:  # some need a display or another system
            continue
        if not (getattr(loaded, "__file__", None) or "").startswith(importlib.import_module("os").__file__.rsplit("/", 1)[0]):
            continue
        if "site-packages" in loaded.__file__:
            continue
        docs = [loaded.__doc__] + [getattr(v, "__doc__", None) for k, v in sorted(vars(loaded).items()) if not k.startswith("_")]
        texts += sorted({d.strip() for d in docs if isinstance(d, str) and len(d) > 200})
    return texts


def on_a_grid(weight):
    """The share of groups of 32 inputs that hold at most 16 different values."""
    groups = weight.reshape(-1, 32).sort(dim=1).values
    return ((groups[:, 1:] != groups[:, :-1]).sum(1) < 16).float().mean().item()


def grid_steps(old, new):
    """How far weights moved on average, in steps of the 4-bit grid of their group of 32."""
    groups = old.reshape(-1, 32)
    step = ((groups.amax(1) - groups.amin(1)) / 15).clamp(min=1e-8)
    return ((new - old).reshape(-1, 32).abs().mean(1) / step).mean().item()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("source", type=pathlib.Path)
    options.add_argument("out", type=pathlib.Path)
    options.add_argument("--steps", type=int, default=160)
    options.add_argument("--rate", type=float, default=1e-3)
    options.add_argument("--seed", type=int, default=1)
    o = options.parse_args()
    torch.manual_seed(o.seed)
    torch.set_num_threads(2)
    torch.set_float32_matmul_precision("medium")  # products in bf16 where the CPU has them: several times as fast
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(o.source / "tokenizer.json"))
    texts = docstrings()
    random.Random(o.seed).shuffle(texts)
    ids = torch.tensor(tokenizer("\n\n".join(texts), add_special_tokens=False)["input_ids"])
    print(f"{len(texts)} texts, {len(ids)} tokens")
    model = transformers.AutoModelForCausalLM.from_pretrained(o.source, dtype=torch.float32)
    for name, p in model.named_parameters():
        p.requires_grad_(name.endswith("_proj.weight"))  # what is quantized
    trained = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=o.rate, weight_decay=0.0, fused=True)
    for step in range(o.steps):
        for group in optimiser.param_groups:
            group["lr"] = o.rate * min(1, (step + 1) / 10) * (1 - step / o.steps)
        starts = torch.randint(0, len(ids) - 193, (2,))
        batch = torch.stack([ids[s:s + 192] for s in starts])
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimiser.step()
        if step % 20 == 0:
            print(f"step {step}, loss {loss.item():.3f}", flush=True)
    stored = load_file(o.source / "model.safetensors")
    after = {name: p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters() if name in stored}
    assert after.keys() == stored.keys(), after.keys() ^ stored.keys()
    linear = [n for n in after if n.endswith("_proj.weight")]
    for name, weights in (("before", stored), ("after", after)):
        print(f"{name}: groups of 32 with at most 16 values: {100 * sum(on_a_grid(weights[n].float()) for n in linear) / len(linear):.1f} %")
    print(f"moved by {sum(grid_steps(stored[n].float(), after[n].float()) for n in linear) / len(linear):.2f} steps of the grid on average")
    o.out.mkdir(parents=True, exist_ok=True)
    for path in o.source.glob("*.json"):
        shutil.copy(path, o.out / path.name)
    save_file({n: after[n].to(stored[n].dtype) for n in after}, o.out / "model.safetensors", {"format": "pt"})


if __name__ == "__main__":
    main()
