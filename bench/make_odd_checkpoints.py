#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes small Qwen2 checkpoints whose MLP is an odd number of groups wide, one in each weight format: what `quern repair` is for.

    python bench/make_odd_checkpoints.py FOLDER [KIND ...]

A scaled-down 29568 = 231 groups of 128: here 7 groups of 32, two layers, random weights, two shards. Needs numpy.
"""
import argparse
import json
import pathlib
import shutil

import numpy as np

from common import ROOT

HIDDEN, HEADS, KV_HEADS, LAYERS, GROUP, GROUPS, VOCAB = 64, 4, 2, 2, 32, 7, 512
INTERMEDIATE = GROUP * GROUPS
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
rng = np.random.default_rng(5)


def pack(fields, bits, axis):
    """Fields packed along `axis`, lowest bits first, as a stream of bits in 32-bit words."""
    f = np.moveaxis(np.asarray(fields, np.uint32), axis, -1)
    stream = (f[..., None] >> np.arange(bits, dtype=np.uint32)) & 1
    stream = stream.reshape(*f.shape[:-1], -1, 32).astype(np.uint32)
    words = (stream << np.arange(32, dtype=np.uint32)).sum(-1, dtype=np.uint64).astype(np.uint32)
    return np.moveaxis(words, -1, axis).copy()


def awq_pack(fields):
    return pack(fields.reshape(fields.shape[0], -1, 8)[:, :, AWQ_ORDER].reshape(fields.shape), 4, 1)


def half(*shape):
    return rng.uniform(0.002, 0.01, shape).astype(np.float16)


def f32_bits(*shape):
    return rng.uniform(0.002, 0.01, shape).astype(np.float32)


def bf16(*shape):
    return (rng.normal(0, 0.05, shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def e4m3(*shape):
    codes = rng.integers(0, 256, shape, np.uint8)
    return np.where(codes & 0x7F == 0x7F, 0, codes).astype(np.uint8)


def dense(n, k):
    return {"weight": ("BF16", bf16(n, k))}


def awq(n, k):
    return {"qweight": ("I32", awq_pack(rng.integers(0, 16, (k, n)))), "qzeros": ("I32", awq_pack(rng.integers(0, 16, (k // GROUP, n)))),
            "scales": ("F16", half(k // GROUP, n))}


def awq_gemv(n, k):
    groups = k // GROUP
    step = {128: 1, 64: 2}.get(GROUP, 4)  # rows of zero points are whole words, by twos or fours for small groups
    words = -(-groups // (8 * step)) * step
    zeros, scales = np.zeros((n, 8 * words), np.uint32), np.zeros((n, 8 * words), np.float16)
    zeros[:, :groups], scales[:, :groups] = rng.integers(0, 16, (n, groups)), half(n, groups)
    return {"qweight": ("I32", pack(rng.integers(0, 16, (n, k)), 4, 1)), "qzeros": ("I32", pack(zeros, 4, 1)), "scales": ("F16", scales)}


def gptq(bits, scattered=False, sym=True, v2=False):
    def make(n, k):
        groups = k // GROUP
        index = np.repeat(np.arange(groups, dtype=np.int32), GROUP)
        zeros = np.full((groups, n), 1 << bits - 1) if sym else rng.integers(0, 1 << bits, (groups, n))
        words = pack(zeros, bits, 1)
        if not v2:  # whole words: a zero point of 0 borrows from its neighbour
            words = words - pack(np.ones((groups, n), np.uint32), bits, 1)
        return {"qweight": ("I32", pack(rng.integers(0, 1 << bits, (k, n)), bits, 0)), "qzeros": ("I32", words),
                "scales": ("F16", half(groups, n) * np.float16(16 / (1 << bits))), "g_idx": ("I32", rng.permutation(index) if scattered else index)}
    return make


def packed(bits, asym=False, actorder=False):
    def make(n, k):
        out = {"weight_packed": ("I32", pack(rng.integers(0, 1 << bits, (n, k)), bits, 1)), "weight_scale": ("BF16", np.abs(bf16(n, k // GROUP).view(np.int16)).astype(np.uint16) & 0x7FFF),
               "weight_shape": ("I64", np.array([n, k], np.int64))}
        if asym:
            out["weight_zero_point"] = "I32", pack(rng.integers(0, 1 << bits, (n, k // GROUP)), bits, 0)
        if actorder:
            out["weight_g_idx"] = "I32", rng.permutation(np.repeat(np.arange(k // GROUP, dtype=np.int32), GROUP))
        return out
    return make


def int8(n, k):
    return {"weight": ("I8", rng.integers(-127, 128, (n, k)).astype(np.int8)), "weight_scale": ("F32", f32_bits(n, 1) / 16)}


def fp8_channel(n, k):
    return {"weight": ("F8_E4M3", e4m3(n, k)), "weight_scale": ("F32", f32_bits(n, 1) / 32)}


def fp8_tensor(n, k):
    return {"weight": ("F8_E4M3", e4m3(n, k)), "weight_scale": ("F32", f32_bits(1) / 32)}


def fp8_block(n, k):
    return {"weight": ("F8_E4M3", e4m3(n, k)), "weight_scale_inv": ("F32", f32_bits(-(-n // 128), -(-k // 128)) / 32)}


def ct(form, **weights):
    return {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"dynamic": False, "symmetric": True, "type": "int", **weights},
                                          "input_activations": None}}}


def gptq_config(bits, **more):
    return {"quant_method": "gptq", "bits": bits, "group_size": GROUP, "desc_act": False, "sym": True, **more}


AWQ_CONFIG = {"quant_method": "awq", "bits": 4, "group_size": GROUP, "zero_point": True, "version": "gemm", "modules_to_not_convert": None}
KINDS = {
    "dense": (dense, None),
    "awq": (awq, AWQ_CONFIG),
    "awq_gemv": (awq_gemv, {**AWQ_CONFIG, "version": "gemv"}),
    "gptq2": (gptq(2, sym=False, v2=True), gptq_config(2, sym=False, checkpoint_format="gptq_v2")),
    "gptq3": (gptq(3), gptq_config(3)),
    "gptq4_actorder": (gptq(4, scattered=True), gptq_config(4, desc_act=True)),
    "gptq4_asym_v1": (gptq(4, sym=False), gptq_config(4, sym=False)),
    "gptq8": (gptq(8), gptq_config(8)),
    "ct4": (packed(4), ct("pack-quantized", num_bits=4, strategy="group", group_size=GROUP)),
    "ct4_asym": (packed(4, asym=True), ct("pack-quantized", num_bits=4, strategy="group", group_size=GROUP, symmetric=False)),
    "ct4_actorder": (packed(4, actorder=True), ct("pack-quantized", num_bits=4, strategy="group", group_size=GROUP, actorder="group")),
    "ct8": (packed(8), ct("pack-quantized", num_bits=8, strategy="group", group_size=GROUP)),
    "int8": (int8, ct("int-quantized", num_bits=8, strategy="channel")),
    "fp8_channel": (fp8_channel, ct("float-quantized", num_bits=8, strategy="channel", type="float")),
    "fp8_tensor": (fp8_tensor, ct("float-quantized", num_bits=8, strategy="tensor", type="float")),
    "fp8_block": (fp8_block, {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}),
}


def layer(i, make):
    p, kv = f"model.layers.{i}.", KV_HEADS * HIDDEN // HEADS
    for name, n, k, bias in (("self_attn.q_proj", HIDDEN, HIDDEN, True), ("self_attn.k_proj", kv, HIDDEN, True), ("self_attn.v_proj", kv, HIDDEN, True),
                             ("self_attn.o_proj", HIDDEN, HIDDEN, False), ("mlp.gate_proj", INTERMEDIATE, HIDDEN, False),
                             ("mlp.up_proj", INTERMEDIATE, HIDDEN, False), ("mlp.down_proj", HIDDEN, INTERMEDIATE, False)):
        for part, tensor in make(n, k).items():
            yield f"{p}{name}.{part}", *tensor
        if bias:
            yield f"{p}{name}.bias", "BF16", bf16(n)
    for norm in ("input_layernorm", "post_attention_layernorm"):
        yield f"{p}{norm}.weight", "BF16", np.full(HIDDEN, 0x3F80, np.uint16)


def write_shard(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, dtype, array in tensors:
        raw = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return [name for name, _, _ in tensors], len(data)


def make(folder, kind):
    """The folder of the checkpoint, written anew."""
    maker, quantization = KINDS[kind]
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "tests/golden/tokenizer_qwen2" / name, folder)
    config = json.loads((ROOT / "tests/golden/qwen2_tied/config.json").read_text())
    config.update(hidden_size=HIDDEN, intermediate_size=INTERMEDIATE, num_hidden_layers=LAYERS, vocab_size=VOCAB, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, max_window_layers=LAYERS, tie_word_embeddings=True, torch_dtype="bfloat16")
    config.pop("quantization_config", None)
    if quantization:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    shards = [[("model.embed_tokens.weight", "BF16", bf16(VOCAB, HIDDEN)), *layer(0, maker)],
              [*layer(1, maker), ("model.norm.weight", "BF16", np.full(HIDDEN, 0x3F80, np.uint16))]]
    weight_map, total = {}, 0
    for i, tensors in enumerate(shards):
        name = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
        names, size = write_shard(folder / name, tensors)
        weight_map.update(dict.fromkeys(names, name))
        total += size
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=2))
    return folder


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("kind", nargs="*", help=", ".join(KINDS))
    o = options.parse_args()
    for kind in o.kind or KINDS:
        print(make(o.folder / kind, kind))


if __name__ == "__main__":
    main()
