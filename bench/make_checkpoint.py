#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Qwen2 checkpoint of a published shape with random weights, for timing: speeds are those of a real one, texts mean nothing.

    python bench/make_checkpoint.py {0.5b,1.5b,7b,72b-2} {awq,gptq8,bf16} [FOLDER]

awq: int4, groups of 128, zero points; gptq8: int8, groups of 128, symmetric; norms, embeddings and head stay bf16, as published. The tokenizer
is the small one of tests/golden/tokenizer_qwen2. Needs numpy. Memory stays below 100 MB: values are made and written in chunks. The folder is
build/bench/qwen2_SHAPE_TYPE unless named; one that is complete is left alone.
"""
import argparse
import dataclasses
import json
import pathlib
import shutil

import numpy as np

from common import ROOT, WORK

GROUP = 128
CHUNK = 1 << 23  # elements made at one time


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    tied: bool

    @property
    def head(self):
        return self.hidden // self.heads

    def linears(self):
        """(name, out, in, has a bias) of one layer."""
        d, kv = self.hidden, self.kv_heads * self.head
        yield "self_attn.q_proj", d, d, True
        yield "self_attn.k_proj", kv, d, True
        yield "self_attn.v_proj", kv, d, True
        yield "self_attn.o_proj", d, d, False
        yield "mlp.gate_proj", self.intermediate, d, False
        yield "mlp.up_proj", self.intermediate, d, False
        yield "mlp.down_proj", d, self.intermediate, False


SHAPES = {
    "0.5b": Shape(896, 24, 14, 2, 4864, 151936, True),
    "1.5b": Shape(1536, 28, 12, 2, 8960, 151936, True),
    "7b": Shape(3584, 28, 28, 4, 18944, 152064, False),
    "72b-2": Shape(8192, 2, 64, 8, 29568, 4096, True),  # two layers of the 72B, a small vocabulary
}
rng = np.random.default_rng(0)


def bf16(count):
    """Bit patterns of values uniform in +-0.035: a standard deviation of 0.02."""
    x = (rng.random(count, np.float32) - np.float32(0.5)) * np.float32(0.07)
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def words(count):
    return rng.integers(0, 1 << 32, count, np.uint32)


def scales(deviation):
    """Float16 around the scale that gives codes of this standard deviation weights of 0.02."""
    return lambda count: (rng.uniform(0.8, 1.2, count) * 0.02 / deviation).astype(np.float16)


def constant(value, dtype):
    return lambda count: np.full(count, value, dtype)


def awq(name, n, k):
    yield name + ".qweight", "I32", (k, n // 8), words
    yield name + ".qzeros", "I32", (k // GROUP, n // 8), constant(0x88888888, np.uint32)
    yield name + ".scales", "F16", (k // GROUP, n), scales(4.6)


def gptq8(name, n, k):
    yield name + ".qweight", "I32", (k // 4, n), words
    yield name + ".qzeros", "I32", (k // GROUP, n // 4), constant(0x7F7F7F7F, np.uint32)  # version 1 stores 128 - 1
    yield name + ".scales", "F16", (k // GROUP, n), scales(73.9)
    made = [0]

    def group_index(count):  # chunks come in order
        made[0] += count
        return (np.arange(made[0] - count, made[0]) // GROUP).astype(np.int32)
    yield name + ".g_idx", "I32", (k,), group_index


def plain(name, n, k):
    yield name + ".weight", "BF16", (n, k), bf16


LINEARS = {"awq": awq, "gptq8": gptq8, "bf16": plain}
QUANTIZATION = {
    "awq": {"bits": 4, "group_size": GROUP, "quant_method": "awq", "version": "gemm", "zero_point": True, "modules_to_not_convert": None},
    "gptq8": {"bits": 8, "group_size": GROUP, "quant_method": "gptq", "desc_act": False, "sym": True},
}


def tensors(shape, kind):
    """(name, dtype, shape, how `count` values are made) in file order."""
    one = constant(0x3F80, np.uint16)
    yield from plain("model.embed_tokens", shape.vocab, shape.hidden)
    for i in range(shape.layers):
        p = f"model.layers.{i}."
        for name, n, k, has_bias in shape.linears():
            yield from LINEARS[kind](p + name, n, k)
            if has_bias:
                yield p + name + ".bias", "BF16", (n,), constant(0, np.uint16)
        yield p + "input_layernorm.weight", "BF16", (shape.hidden,), one
        yield p + "post_attention_layernorm.weight", "BF16", (shape.hidden,), one
    yield "model.norm.weight", "BF16", (shape.hidden,), one
    if not shape.tied:
        yield from plain("lm_head", shape.vocab, shape.hidden)


def write_safetensors(path, listed):
    """`listed`: tensors as above. The file appears whole or not at all."""
    width = {"I32": 4, "F16": 2, "BF16": 2}
    header, offset = {}, 0
    for name, dtype, dims, _ in listed:
        size = width[dtype] * int(np.prod(dims))
        header[name] = {"dtype": dtype, "shape": list(dims), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_suffix(".part")
    with open(part, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for _, _, dims, make in listed:
            left = int(np.prod(dims))
            while left > 0:
                count = min(left, CHUNK)
                out.write(make(count).tobytes())
                left -= count
    part.rename(path)


def config(shape, kind):
    out = json.loads((ROOT / "tests/golden/qwen2_tied/config.json").read_text())
    out.update(hidden_size=shape.hidden, intermediate_size=shape.intermediate, num_hidden_layers=shape.layers, vocab_size=shape.vocab,
               num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, max_position_embeddings=32768, max_window_layers=shape.layers,
               tie_word_embeddings=shape.tied, torch_dtype="bfloat16")
    if kind in QUANTIZATION:
        out["quantization_config"] = QUANTIZATION[kind]
    return out


def make(shape_name, kind, folder=None):
    """The folder of the checkpoint, written if it is not there."""
    folder = pathlib.Path(folder) if folder else WORK / f"qwen2_{shape_name}_{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "tests/golden/tokenizer_qwen2" / name, folder)
    shape = SHAPES[shape_name]
    (folder / "config.json").write_text(json.dumps(config(shape, kind), indent=1))
    weights = folder / "model.safetensors"
    if not weights.exists():
        write_safetensors(weights, list(tensors(shape, kind)))
    return folder


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("shape", choices=SHAPES)
    options.add_argument("type", choices=LINEARS)
    options.add_argument("folder", nargs="?")
    o = options.parse_args()
    folder = make(o.shape, o.type, o.folder)
    print(f"{folder}: {(folder / 'model.safetensors').stat().st_size / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
