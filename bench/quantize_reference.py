#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What other people's code makes of checkpoints that quern quantize wrote: transformers with compressed-tensors loads them, or their own unpacking is applied.

    python bench/quantize_reference.py FOLDER...

Needs torch, transformers and compressed-tensors from PyPI (bench only, never in CI). compressed-tensors checkpoints are loaded by transformers on the CPU, which unpacks them with
compressed-tensors' code. AWQ and GPTQ checkpoints need packages with GPU kernels: their layers are unpacked on the CPU by the code of AutoAWQ and AutoGPTQ, and put into a plain model of transformers.
Those packages no longer import beside today's transformers, so one file of each is loaded from where `pip install --no-deps autoawq auto-gptq` put it; where it is absent, and
for GPTQ's second version, which AutoGPTQ does not read, the layout's published formula takes its place, and the line says so. Logits of a fixed prompt in float32 are compared with `quern eval --last-logits --dtype float32`; the bound is 2e-3 x max(1, largest).
"""
import importlib.util
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


def package_file(path):
    """A module of an installed package, its package not imported; None: not installed."""
    for folder in sys.path:
        if (found := pathlib.Path(folder, path)).exists():
            spec = importlib.util.spec_from_file_location(found.stem, found)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    return None


AUTOAWQ = package_file("awq/utils/packing_utils.py")
AUTOGPTQ = package_file("auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py")


def unpacker(config):
    """(function, whose it is) for the layers of a checkpoint."""
    if config["quant_method"] == "awq" and AUTOAWQ:
        return by_autoawq, "unpacked by AutoAWQ"
    if config["quant_method"] == "gptq" and config["checkpoint_format"] == "gptq" and AUTOGPTQ:
        return by_autogptq, "unpacked by AutoGPTQ"
    return by_formula, "unpacked by formula"


def parts_of(tensors, name):
    return tensors[name + ".qweight"], tensors[name + ".qzeros"], tensors[name + ".scales"].float()


def by_autoawq(tensors, name, config):
    words, zeros, scales = parts_of(tensors, name)
    return AUTOAWQ.dequantize_gemm(words, zeros, scales, config["bits"], words.shape[0] // scales.shape[0]).T.contiguous()


def by_autogptq(tensors, name, config):
    """Its layer answers a unit matrix with its weights."""
    words, zeros, scales = parts_of(tensors, name)
    inputs = words.shape[0] * 32 // config["bits"]
    layer = AUTOGPTQ.QuantLinear(config["bits"], config["group_size"], inputs, words.shape[1], False, weight_dtype=torch.float32)
    layer.qweight, layer.qzeros, layer.scales, layer.g_idx = words, zeros, scales, tensors[name + ".g_idx"]
    return layer(torch.eye(inputs)).T.contiguous()


def by_formula(tensors, name, config):
    bits, (words, zeros, scales) = config["bits"], parts_of(tensors, name)
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
    unpacked, how = unpacker(stated)
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
    return model, f"{how}, transformers"


def loaded_by_transformers(folder):
    """Its inputs stay float32, as ours do here, also where the checkpoint says that they are rounded when it is served: what is compared is how weights are read."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    how = "transformers with compressed-tensors"
    for module in model.modules():
        scheme = getattr(module, "quantization_scheme", None)
        if scheme is not None and scheme.input_activations is not None:
            scheme.input_activations, how = None, "transformers with compressed-tensors, inputs not rounded"
    return model, how


def main():
    failed = 0
    for folder in map(pathlib.Path, sys.argv[1:]):
        config = json.loads((folder / "config.json").read_text())
        method = config["quantization_config"]["quant_method"]
        if method == "compressed-tensors":
            model, how = loaded_by_transformers(folder)
        else:
            model, how = plain_model(folder, config)
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
