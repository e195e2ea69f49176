#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SmolLM2 as quern runs it from GGUF, against transformers in float32 on the dequantized weights.

    python bench/smollm2_parity.py [--gguf build/models/smollm2-135m/model.gguf] [--text FILE] [--tokens 4000]

Needs: torch, transformers, gguf. Prints the largest difference of first-token logits over a few prompts, and both perplexities, with float32
activations and in the machine's default mode. Both sides get quern's ids: transformers' reader of GGUF vocabularies ignores `tokenizer.ggml.pre`
and does not split digits, which the published tokenizer does; where it differs is said. The text is bench/prose.txt (written for this purpose) unless another is given.
"""
import argparse
import json
import math

import numpy as np

from common import ROOT, WORK, quern, quiet_machine

PROMPTS = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, in a village by the sea,",
           "<|im_start|>user\nWhat is 17 + 25?<|im_end|>\n<|im_start|>assistant\n", "Die Hauptstadt von Österreich heißt", "1, 1, 2, 3, 5, 8,"]


def quern_scores(gguf, text_file, tokens, *flags):
    return json.loads(quern("eval", gguf, "--text", text_file, "--max-tokens", tokens, "--json", *flags))


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--gguf", default=str(ROOT / "build/models/smollm2-135m/model.gguf"))
    args.add_argument("--text", default=str(ROOT / "bench/prose.txt"))
    args.add_argument("--tokens", type=int, default=4000)
    args.add_argument("--context", type=int, default=1000)
    o = args.parse_args()
    import os
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    folder, name = os.path.split(o.gguf)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    WORK.mkdir(parents=True, exist_ok=True)
    worst = 0.0
    with torch.inference_mode(), quiet_machine():
        for i, prompt in enumerate(PROMPTS):
            text = WORK / "prompt.txt"
            text.write_text(prompt)
            ids = quern_scores(o.gguf, text, 100000, "--last-logits", WORK / "logits.f32", "--dtype", "float32")["ids"]
            note = "" if tokenizer(prompt, add_special_tokens=False)["input_ids"] == ids else " (transformers' own ids differ)"
            ours = np.fromfile(WORK / "logits.f32", dtype=np.float32)
            theirs = model(torch.tensor([ids])).logits[0, -1].numpy()
            difference = np.abs(ours - theirs).max()
            worst = max(worst, float(difference))
            print(f"prompt {i}: {len(ids)} tokens, max |difference| {difference:.2e}, same best token: {ours.argmax() == theirs.argmax()}{note}")
        ours = quern_scores(o.gguf, o.text, o.tokens, "--context", o.context, "--dtype", "float32")
        in_default_mode = quern_scores(o.gguf, o.text, o.tokens, "--context", o.context)
        ids = ours["ids"]
        own = tokenizer(open(o.text).read(), add_special_tokens=False)["input_ids"][:o.tokens]
        print(f"text: {len(ids)} ids, transformers' own are {'the same' if own == ids else 'different'}")
        total, count = 0.0, 0
        for begin in range(0, len(ids), o.context):  # independent windows, each token but a window's first is scored
            window = torch.tensor([ids[begin:begin + o.context]])
            log_probs = model(window).logits[0, :-1].log_softmax(-1)
            total -= log_probs.gather(1, window[0, 1:, None]).sum().item()
            count += window.shape[1] - 1
    theirs = math.exp(total / count)
    print(f"first-token logits: max |difference| {worst:.2e} over {len(PROMPTS)} prompts")
    print(f"perplexity of {count} tokens: quern {ours['perplexity']:.4f}, transformers {theirs:.4f}, "
          f"difference {100 * (ours['perplexity'] / theirs - 1):+.4f} %; default mode {in_default_mode['perplexity']:.4f}, "
          f"{100 * (in_default_mode['perplexity'] / theirs - 1):+.4f} %")


if __name__ == "__main__":
    main()
