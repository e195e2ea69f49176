#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What other people's code makes of checkpoints that quern quantize wrote: transformers with compressed-tensors loads them, or their own unpacking is applied.

    python bench/quantize_reference.py FOLDER...

Needs torch, transformers and compressed-tensors from PyPI (bench only, never in CI). compressed-tensors checkpoints are loaded by transformers on the CPU, which unpacks them with
compressed-tensors' code. AWQ and GPTQ checkpoints need packages with GPU kernels: their layers are unpacked here by the layout's published formula in torch, and put into a plain
model of transformers. Logits of a fixed prompt in float32 are compared with `quern eval --last-logits --dtype float32`; the bound is 2e-3 x max(1, largest).
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
import transformers
from safetensors.torch import load_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUERN = ROOT / "build/release/quern"
TEXT = "The harbour woke slowly. First the gulls, then the winches, then the low voices of men who had learned not to waste words before breakfast."
AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]  # where output j of eight lies in its word


def fields(words, bits):
    """The codes of int32 words, lowest bits first: one more axis behind."""
    shifts = torch.arange(0, 32, bits, dtype=torch.int64)
    return (words.to(torch.int64)[..., None] & 0xFFFFFFFF) >> shifts & ((1 << bits) - 1)


def unpacked(tensors, name, config):
    bits, words, zeros, scales = config["bits"], tensors[name + ".qweight"], tensors[name + ".qzeros"], tensors[name + ".scales"].float()
    if config["quant_method"] == "awq":
        codes = fields(words, 4)[..., AWQ_ORDER].flatten(1)
        zeros = fields(zeros, 4)[..., AWQ_ORDER].flatten(1)
        groups = torch.arange(codes.shape[0]) // (codes.shape[0] // scales.shape[0])
    else:
        codes = fields(words, bits).transpose(1, 2).flatten(0, 1)
        zeros = fields(zeros, bits).flatten(1) + (0 if config["checkpoint_format"] == "gptq_v2" else 1)
        groups = tensors[name + ".g_idx"].long()
    return ((codes - zeros[groups]) * scales[groups]).T.contiguous()


def plain_model(folder, config):
    stated = config.pop("quantization_config")
    tensors = {k: v for path in sorted(folder.glob("*.safetensors")) for k, v in load_file(path).items()}
    for name in [k[:-8] for k in tensors if k.endswith(".qweight")]:
        tensors[name + ".weight"] = unpacked(tensors, name, stated)
        for part in ("qweight", "qzeros", "scales", "g_idx"):
            tensors.pop(f"{name}.{part}", None)
    if stated["quant_method"] == "fp8":
        for name in [k[:-17] for k in tensors if k.endswith(".weight_scale_inv")]:
            w, s = tensors[name + ".weight"].float(), tensors.pop(name + ".weight_scale_inv")
            tensors[name + ".weight"] = w * s.repeat_interleave(128, 0)[:w.shape[0]].repeat_interleave(128, 1)[:, :w.shape[1]]
    with tempfile.TemporaryDirectory() as bare:
        (pathlib.Path(bare) / "config.json").write_text(json.dumps(config))
        model = transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(bare), dtype=torch.float32)
    missing, unexpected = model.load_state_dict({k: v.float() for k, v in tensors.items()}, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    model.tie_weights()
    return model


def main():
    failed = 0
    for folder in map(pathlib.Path, sys.argv[1:]):
        config = json.loads((folder / "config.json").read_text())
        method = config["quantization_config"]["quant_method"]
        if method == "compressed-tensors":
            model, how = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32), "transformers with compressed-tensors"
        else:
            model, how = plain_model(folder, config), "unpacked by formula, transformers"
        with tempfile.TemporaryDirectory() as scratch:
            text, out = pathlib.Path(scratch) / "text", pathlib.Path(scratch) / "logits"
            text.write_text(TEXT)
            done = subprocess.run([QUERN, "eval", folder, "--text", text, "--dtype", "float32", "--last-logits", out, "--json"], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            ids, ours = json.loads(done.stdout)["ids"], np.fromfile(out, np.float32)
        tokenizer = folder / "tokenizer.json"
        if tokenizer.exists():
            theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tokenizer)).encode(TEXT, add_special_tokens=False)
            assert theirs == ids, f"{folder}: transformers reads other ids from tokenizer.json"
        with torch.no_grad():
            logits = model.eval()(torch.tensor([ids])).logits[0, -1].float().numpy()
        difference, largest = float(np.abs(logits - ours).max()), float(np.abs(logits).max())
        is_good = difference <= 2e-3 * max(1, largest)
        failed += not is_good
        print(f"{folder.name}: {how}: largest difference {difference:.2e}, largest logit {largest:.2f}: {'agrees' if is_good else 'DIFFERS'}", flush=True)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
