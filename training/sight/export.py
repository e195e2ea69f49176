# SPDX-License-Identifier: Apache-2.0
"""Writes quern-sight as a Hugging Face folder, as Qwen2-VL is published: what any engine loads.

    python training/sight/export.py OUT [--state training/state/sight]

The weights are the running mean of the state, or what is kept in git where there is no state. OUT/check holds pictures and what this network, in PyTorch,
reads in them: an engine that loads the folder must read the same. Needs no network and no transformers.
"""
import argparse
import json
import os

import torch
from PIL import Image
from safetensors.torch import save_file

from data import Painter
from model import CONFIG, MEAN, MERGE, PATCH, STD, TIME, Sight, to_patches
from tokens import ADDED, ORDER, RANKS, SPECIAL
from train import load_mean, positions_of, prompt_ids

# Qwen2's, over which PIECE is the part that our prompts need.
PIECES = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEMPLATE = ("{%- for message in messages -%}{{ '<|im_start|>' + message.role + '\n' }}"
            "{%- if message.content is string -%}{{ message.content }}{%- else -%}{%- for part in message.content -%}"
            "{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}<|vision_start|><|image_pad|><|vision_end|>"
            "{%- elif 'text' in part -%}{{ part.text }}{%- endif -%}{%- endfor -%}{%- endif -%}{{ '<|im_end|>\n' }}{%- endfor -%}"
            "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}")


def stand_in(byte):
    """GPT-2's printable stand-in of a byte: itself for 188 of them, code points from 256 on for the others."""
    place = ORDER[byte]
    return chr(byte) if place < 188 else chr(256 + place - 188)


def tokenizer():
    """(tokenizer.json, tokenizer_config.json) of tokens.py."""
    names = [""] * 256
    for byte, place in ORDER.items():
        names[place] = stand_in(byte)
    merges = []
    for left, right in RANKS:
        merges.append([names[left], names[right]])
        names.append(names[left] + names[right])
    assert len(set(names)) == len(names), "a token that two merges make has one name and two ids"
    added = [{"id": SPECIAL[name], "content": name, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for name in ADDED]
    bytes_of = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
             "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": PIECES}, "behavior": "Isolated", "invert": False}, bytes_of]},
             "post_processor": bytes_of, "decoder": {**bytes_of, "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                       "byte_fallback": False, "ignore_merges": False, "vocab": {name: i for i, name in enumerate(names)}, "merges": [" ".join(pair) for pair in merges]}}
    config = {"add_prefix_space": False, "bos_token": None, "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "unk_token": None, "errors": "replace",
              "added_tokens_decoder": {str(token["id"]): {k: v for k, v in token.items() if k != "id"} for token in added},
              "clean_up_tokenization_spaces": False, "model_max_length": CONFIG["max_position_embeddings"], "split_special_tokens": False,
              "tokenizer_class": "Qwen2Tokenizer", "chat_template": TEMPLATE}
    return whole, config


@torch.no_grad()
def read(model, pixels, question, most=64):
    """The greedy answer."""
    patches, grid = to_patches(pixels[None])
    _, tokens = model.look(patches, grid)
    ids, first = prompt_ids(question, grid[0] * grid[1] // 4)
    said = []
    while len(said) < most:
        row = torch.tensor([ids + said])
        logits = model.answer(tokens, row, positions_of(row.shape[1], first, grid), first, row.shape[1] - 1)
        said.append(logits[0, -1].argmax().item())
        if said[-1] in (CONFIG["eos_token_id"], CONFIG["bos_token_id"]):
            break
    back = {place: byte for byte, place in ORDER.items()}
    return bytes(back[i] for i in said if i < 256).decode(errors="replace")


def check(weights, out):
    """Pictures of a seed that training never had, and what the exported weights (bfloat16, in float32 arithmetic) say of them."""
    model = Sight()
    model.load_state_dict({name: w.to(torch.bfloat16).float() for name, w in weights.items()})
    os.makedirs(os.path.join(out, "check"), exist_ok=True)
    cases = []
    for i in range(12):
        painter = Painter(777 + i, held_out=i % 3 == 2)
        pixels, questions, answers, _ = painter.lines(1, 6, (3, 8), 0.5 * (i % 2))
        Image.fromarray(pixels[0]).save(os.path.join(out, "check", f"{i}.png"), optimize=True)
        cases.append({"picture": f"{i}.png", "question": questions[0], "drawn": answers[0], "read": read(model, pixels[0], questions[0])})
    with open(os.path.join(out, "check", "check.json"), "w") as file:
        file.write(json.dumps(cases, indent=1, ensure_ascii=False) + "\n")
    print(*(f"{case['drawn']!r} read as {case['read']!r}" for case in cases), sep="\n")


def export(weights, out):
    os.makedirs(out, exist_ok=True)
    pixels = PATCH * MERGE
    whole, config = tokenizer()
    files = {
        "config.json": CONFIG, "chat_template.json": {"chat_template": TEMPLATE}, "tokenizer.json": whole, "tokenizer_config.json": config,
        "generation_config.json": {"bos_token_id": CONFIG["bos_token_id"], "pad_token_id": CONFIG["bos_token_id"], "eos_token_id": [CONFIG["eos_token_id"], CONFIG["bos_token_id"]],
                                   "do_sample": False},
        # Pictures keep their size, but for sides that are no multiple of a token's.
        "preprocessor_config.json": {"min_pixels": pixels * pixels, "max_pixels": 1024 * pixels * pixels, "patch_size": PATCH, "temporal_patch_size": TIME,
                                     "merge_size": MERGE, "image_mean": MEAN, "image_std": STD, "image_processor_type": "Qwen2VLImageProcessor",
                                     "processor_class": "Qwen2VLProcessor"}}
    for name, content in files.items():
        with open(os.path.join(out, name), "w") as file:
            file.write(json.dumps(content, indent=None if name == "tokenizer.json" else 2, ensure_ascii=False) + "\n")
    kept = {name: w.to(torch.bfloat16).contiguous() for name, w in weights.items() if not name.startswith(("reader.", "counter."))}
    save_file(kept, os.path.join(out, "model.safetensors"), {"format": "pt"})


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("out")
    args.add_argument("--state", default="training/state/sight")
    options = args.parse_args()
    weights = load_mean(options.state)
    export(weights, options.out)
    check(weights, options.out)


if __name__ == "__main__":
    main()
