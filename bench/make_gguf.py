#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a GGUF file of a Qwen2 shape with random weights, for timing; every tensor has the type that the usual quantizer gives it.

    python bench/make_gguf.py {0.5b,1.5b,7b} {q4_0,q4_k_m,q8_0} [FILE]

Blocks are made directly: random codes, scales that give weights a standard deviation of about 0.02. The vocabulary is that of
tests/golden/tokenizer_qwen2, padded to the shape's. Needs numpy, gguf. The file is build/bench/qwen2_SHAPE_TYPE.gguf unless named;
one that is there is left alone.
"""
import argparse
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

from common import ROOT, WORK
from make_checkpoint import SHAPES

# The parts of a block in file order, as published in the gguf package's quants.py, and the values of its scales.
BLOCKS = {
    Type.Q4_0: (32, [("d", "<f2"), ("q", "u1", 16)], {"d": 0.02 / 4.6}),
    Type.Q5_0: (32, [("d", "<f2"), ("h", "u1", 4), ("q", "u1", 16)], {"d": 0.02 / 9.2}),
    Type.Q8_0: (32, [("d", "<f2"), ("q", "i1", 32)], {"d": 0.02 / 74}),
    Type.Q4_K: (256, [("d", "<f2"), ("m", "<f2"), ("s", "u1", 12), ("q", "u1", 128)], {"d": 0.02 / 4.6 / 32, "m": 0.02 / 4.6 * 7.5 / 32}),
    Type.Q6_K: (256, [("l", "u1", 128), ("h", "u1", 64), ("s", "i1", 16), ("d", "<f2")], {"d": 0.02 / 18.5 / 74}),
}
FILE_TYPE = {"q4_0": 2, "q4_k_m": 15, "q8_0": 7}
BASE = {"q4_0": Type.Q4_0, "q4_k_m": Type.Q4_K, "q8_0": Type.Q8_0}
TOP = {"q4_0": Type.Q6_K, "q4_k_m": Type.Q6_K, "q8_0": Type.Q8_0}  # embeddings and head
NARROW = {Type.Q4_K: Type.Q5_0, Type.Q6_K: Type.Q8_0}  # for rows that are no whole number of 256
rng = np.random.default_rng(0)


def blocks(rows, cols, kind):
    """Random rows as bytes [rows, bytes of a row]."""
    elements, parts, scales = BLOCKS[kind]
    layout = np.dtype(parts)
    count = rows * cols // elements
    out = np.frombuffer(bytearray(rng.bytes(count * layout.itemsize)), layout)
    for name, value in scales.items():
        out[name] = (rng.random(count, np.float32) * np.float32(0.4) + np.float32(0.8)) * np.float32(value)
    return out.view(np.uint8).reshape(rows, cols // elements * layout.itemsize)


def has_more_bits(layer, layers):
    """Layers whose values and down projections the K mix keeps in 6 bits: the outer eighths, and each third between them."""
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def matrices(shape, kind):
    """(name, rows, cols, block type or None for a float32 vector) in file order."""
    def fit(block, cols):
        return block if cols % BLOCKS[block][0] == 0 else NARROW[block]
    d, f, kv = shape.hidden, shape.intermediate, shape.kv_heads * shape.head
    base, top = BASE[kind], TOP[kind]
    yield "token_embd.weight", shape.vocab, d, fit(top if shape.tied else base, d)
    for i in range(shape.layers):
        p = f"blk.{i}."
        high = Type.Q6_K if kind == "q4_k_m" and has_more_bits(i, shape.layers) else base
        yield p + "attn_norm.weight", d, 1, None
        for name, rows, block in (("q", d, base), ("k", kv, base), ("v", kv, high)):
            yield p + f"attn_{name}.weight", rows, d, fit(block, d)
            yield p + f"attn_{name}.bias", rows, 1, None
        yield p + "attn_output.weight", d, d, fit(base, d)
        yield p + "ffn_norm.weight", d, 1, None
        yield p + "ffn_gate.weight", f, d, fit(base, d)
        yield p + "ffn_up.weight", f, d, fit(base, d)
        yield p + "ffn_down.weight", d, f, fit(high, f)
    yield "output_norm.weight", d, 1, None
    if not shape.tied:
        yield "output.weight", shape.vocab, d, fit(top, d)


def add_vocabulary(writer, size):
    tokenizer = json.loads((ROOT / "tests/golden/tokenizer_qwen2/tokenizer.json").read_text())
    names = {i: token for token, i in tokenizer["model"]["vocab"].items()}
    special = {t["id"]: t["content"] for t in tokenizer["added_tokens"]}
    tokens = [special.get(i, names.get(i, f"<unused{i}>")) for i in range(size)]
    kinds = [gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL if i in names else gguf.TokenType.UNUSED for i in range(size)]
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
    ends = {content: i for i, content in special.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(merges)
    writer.add_eos_token_id(ends["<|im_end|>"])
    writer.add_add_bos_token(False)


def write(shape, kind, path):
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_name(f"random-{kind}")
    writer.add_block_count(shape.layers)
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.intermediate)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_freq_base(1e6)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_file_type(FILE_TYPE[kind])
    add_vocabulary(writer, shape.vocab)
    for name, rows, cols, block in matrices(shape, kind):
        if block is None:
            writer.add_tensor_info(name, (rows,), np.dtype(np.float32), 4 * rows)
        else:
            row_bytes = cols // BLOCKS[block][0] * np.dtype(BLOCKS[block][1]).itemsize
            writer.add_tensor_info(name, (rows, row_bytes), np.dtype(np.uint8), rows * row_bytes, raw_dtype=block)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name, rows, cols, block in matrices(shape, kind):
        vector = np.ones if "norm" in name else np.zeros
        writer.write_tensor_data(vector(rows, np.float32) if block is None else blocks(rows, cols, block))
    writer.close()


def make(shape_name, kind, path=None):
    """The path of the file, written if it is not there."""
    path = pathlib.Path(path) if path else WORK / f"qwen2_{shape_name}_{kind}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        write(SHAPES[shape_name], kind, part)
        part.rename(path)
    return path


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("shape", choices=SHAPES)
    options.add_argument("type", choices=BASE)
    options.add_argument("file", nargs="?")
    o = options.parse_args()
    path = make(o.shape, o.type, o.file)
    print(f"{path}: {path.stat().st_size / 1e9:.3f} GB")


if __name__ == "__main__":
    main()
