#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One 1024 x 1024 picture through the Qwen2-VL-2B shape with random weights: tower, prefill, 64 decoded tokens.

    python bench/qwen2_vl_2b.py [--threads 2] [--size 1024] [--tokens 64] [--no-peer]

Writes the checkpoint (4.4 GB, bf16) to build/bench/qwen2_vl_2b once. Prints seconds, shares of the measured roofs and the same
for transformers (bf16 and float32, the better one is compared) in one run. Needs numpy, pillow, safetensors; the peer needs torch, transformers.
"""
import argparse
import json
import shutil
import time

import numpy as np

from common import ROOT, WORK, quern, quiet_machine, roofs

D, F, L, H, G, E, V = 1536, 8960, 28, 12, 2, 128, 151936
DEPTH, VD, PATCH = 32, 1280, 14
FOLDER = WORK / "qwen2_vl_2b"


def config():
    golden = json.loads((ROOT / "tests/golden/qwen2_vl/config.json").read_text())
    golden.update(hidden_size=D, intermediate_size=F, num_hidden_layers=L, num_attention_heads=H, num_key_value_heads=G, vocab_size=V,
                  tie_word_embeddings=True, max_position_embeddings=32768, rope_scaling={"type": "mrope", "mrope_section": [16, 24, 24]})
    golden["vision_config"].update(depth=DEPTH, embed_dim=VD, num_heads=16, hidden_size=D)
    return golden


def shapes():
    yield "model.embed_tokens.weight", (V, D)
    for i in range(L):
        p = f"model.layers.{i}."
        for name, rows in (("q", H * E), ("k", G * E), ("v", G * E)):
            yield p + f"self_attn.{name}_proj.weight", (rows, D)
            yield p + f"self_attn.{name}_proj.bias", (rows,)
        yield p + "self_attn.o_proj.weight", (D, H * E)
        yield p + "mlp.gate_proj.weight", (F, D)
        yield p + "mlp.up_proj.weight", (F, D)
        yield p + "mlp.down_proj.weight", (D, F)
        yield p + "input_layernorm.weight", (D,)
        yield p + "post_attention_layernorm.weight", (D,)
    yield "model.norm.weight", (D,)
    yield "visual.patch_embed.proj.weight", (VD, 3, 2, PATCH, PATCH)
    for i in range(DEPTH):
        p = f"visual.blocks.{i}."
        for name, shape in (("attn.qkv", (3 * VD, VD)), ("attn.proj", (VD, VD)), ("mlp.fc1", (4 * VD, VD)), ("mlp.fc2", (VD, 4 * VD))):
            yield p + name + ".weight", shape
            yield p + name + ".bias", shape[:1]
        for name in ("norm1", "norm2"):
            yield p + name + ".weight", (VD,)
            yield p + name + ".bias", (VD,)
    yield "visual.merger.ln_q.weight", (VD,)
    yield "visual.merger.ln_q.bias", (VD,)
    for name, shape in (("0", (4 * VD, 4 * VD)), ("2", (D, 4 * VD))):
        yield f"visual.merger.mlp.{name}.weight", shape
        yield f"visual.merger.mlp.{name}.bias", shape[:1]


def values(name, shape, rng):
    """bfloat16 bit patterns: norms 1, biases 0, the rest uniform in +-0.02."""
    if name.endswith("bias"):
        return np.zeros(shape, np.uint16)
    if "norm" in name or "ln_q" in name:
        return np.full(shape, 0x3F80, np.uint16)
    x = (rng.random(shape, np.float32) - np.float32(0.5)) * np.float32(0.04)
    return (x.view(np.uint32) >> 16).astype(np.uint16)


def pixel_limits():
    """The published limits in the place of the golden's small ones."""
    config = json.loads((ROOT / "tests/golden/qwen2_vl/preprocessor_config.json").read_text())
    config.update(min_pixels=3136, max_pixels=12845056)
    config.pop("size", None)
    return config


def make_checkpoint():
    shutil.copytree(ROOT / "tests/golden/qwen2_vl", FOLDER, ignore=shutil.ignore_patterns("model*", "expected*", "inputs"), dirs_exist_ok=True)
    (FOLDER / "preprocessor_config.json").write_text(json.dumps(pixel_limits()))
    (FOLDER / "video_preprocessor_config.json").unlink(missing_ok=True)
    (FOLDER / "config.json").write_text(json.dumps(config()))
    if (FOLDER / "model.safetensors").exists():
        return
    print("writing the random checkpoint")
    header, offset = {}, 0
    for name, shape in shapes():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    rng = np.random.default_rng(0)
    part = FOLDER / "model.safetensors.part"
    with open(part, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes():
            out.write(values(name, shape, rng).tobytes())
    part.rename(FOLDER / "model.safetensors")


def work(patches, prompt, tokens):
    """(tower FLOP, prefill FLOP, bytes read per decoded token)."""
    tower = 2 * patches * (1176 * VD + DEPTH * 12 * VD * VD) + DEPTH * 4 * patches * patches * VD + 2 * patches / 4 * (16 * VD * VD + 4 * VD * D)
    linears = L * (D * H * E * 2 + 2 * D * G * E + 3 * D * F)
    prefill = 2 * prompt * linears + L * 2 * prompt * prompt * H * E + 2 * V * D
    decode_bytes = 2 * (linears + V * D) + (prompt + tokens / 2) * L * 2 * G * E * 2
    return tower, prefill, decode_bytes


def run_quern(picture, o):
    out = quern("run", FOLDER, "What is this?", "--image", picture, "--max-tokens", o.tokens, "--temperature", 0, "--ignore-eos", "--threads",
                o.threads, "--max-model-len", 4096, "--json")
    return json.loads(out)["timings"]


def run_peer(picture, o, dtype):
    import torch
    from PIL import Image
    from transformers import AutoModelForImageTextToText, AutoImageProcessor
    torch.set_num_threads(o.threads)
    model = AutoModelForImageTextToText.from_pretrained(FOLDER, dtype=getattr(torch, dtype)).eval()
    pixels = AutoImageProcessor.from_pretrained(FOLDER)(images=Image.open(picture), return_tensors="pt")
    n = int(pixels["image_grid_thw"].prod()) // 4
    ids = torch.tensor([[300] * 20 + [569] + [572] * n + [570] + [300] * 12])
    # The processor's placeholder ids are the golden tokenizer's; the peer is asked for the same amount of work.
    with torch.inference_mode():
        visual = model.model.visual
        cast = pixels["pixel_values"].to(getattr(torch, dtype))
        begin = time.perf_counter()
        visual(cast, grid_thw=pixels["image_grid_thw"])
        tower = time.perf_counter() - begin
        begin = time.perf_counter()
        out = model(input_ids=ids, use_cache=True, logits_to_keep=1)
        prefill = time.perf_counter() - begin
        begin = time.perf_counter()
        for _ in range(o.tokens):
            token = out.logits[:, -1:].argmax(-1)
            out = model(input_ids=token, past_key_values=out.past_key_values, use_cache=True, logits_to_keep=1)
        decode = time.perf_counter() - begin
    return {"encode_s": tower, "prefill_s": prefill, "decode_s": decode, "prompt_tokens": ids.shape[1], "decoded_tokens": o.tokens}


def show(name, t, patches, roof):
    tower, prefill, decode_bytes = work(patches, t["prompt_tokens"], t["decoded_tokens"])
    flops, read = roof["f32_gop_s"] * 1e9, roof["read_gb_s"] * 1e9
    rate = t["decoded_tokens"] / t["decode_s"]
    print(f"{name:24} tower {t['encode_s']:7.2f} s ({tower / t['encode_s'] / flops:6.1%} of FMA)   prefill of {t['prompt_tokens']} {t['prefill_s']:7.2f} s "
          f"({prefill / t['prefill_s'] / flops:6.1%})   decode {rate:6.2f} tok/s ({decode_bytes * rate / read:6.1%} of read)")


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--threads", type=int, default=2)
    args.add_argument("--size", type=int, default=1024)
    args.add_argument("--tokens", type=int, default=64)
    args.add_argument("--no-peer", action="store_true")
    o = args.parse_args()
    from PIL import Image
    WORK.mkdir(parents=True, exist_ok=True)
    make_checkpoint()
    picture = WORK / f"noise_{o.size}.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (o.size, o.size, 3), np.uint8)).save(picture)
    side = round(o.size / 28) * 2
    with quiet_machine():
        before = roofs(o.threads)
        ours = run_quern(picture, o)
        after = roofs(o.threads)  # shared machines drift: the better of both is the roof
        roof = {name: max(before[name], after[name]) for name in before}
        print(f"roofs with {o.threads} threads: read {roof['read_gb_s']:.1f} GB/s, FMA {roof['f32_gop_s']:.0f} GFLOP/s")
        show("quern", ours, side * side, roof)
        if o.no_peer:
            return
        best = {}
        for dtype in ("bfloat16", "float32"):
            theirs = run_peer(picture, o, dtype)
            show(f"transformers {dtype}", theirs, side * side, roof)
            best = {k: min(best.get(k, 1e9), v) for k, v in theirs.items()}
        print("against the better of both: " + ", ".join(f"{k[:-2]} {best[k] / ours[k]:.2f}x" for k in ("encode_s", "prefill_s", "decode_s")))


if __name__ == "__main__":
    main()
