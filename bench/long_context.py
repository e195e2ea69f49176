#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A long prompt through a tiny model with its position limit raised, against transformers in chunks of 512 with its cache, both in float32.

    python bench/long_context.py [--golden kimi_k2] [--tokens 32768] [--answer 24] [--chunks 512,2048]

quern serves the golden's checkpoint and takes the prompt in steps of each size of --chunks: all must give the same bits, with keys and values in float32.
Compared with transformers are the log-probabilities of the best tokens of the prompt's last position and of every token that follows, along
transformers' own greedy choice while both agree. Prints the largest difference and what memory the server took.
Needs torch and transformers. Ends with 1 where a bound is broken.
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time
import urllib.request

from common import ROOT, quiet_machine
from served import Served

BOUND = 2e-3  # of a log-probability
TOP = 5


def model_folder(folder, golden, positions):
    shutil.copytree(ROOT / "tests/golden" / golden, folder)
    config = json.loads((folder / "config.json").read_text())
    config.get("text_config", config)["max_position_embeddings"] = positions
    (folder / "config.json").write_text(json.dumps(config))
    return config


def prompt_of(vocabulary, tokens):
    """Ordinary tokens, the same for every run: a congruential sequence."""
    ids, state = [], 1
    for _ in range(tokens):
        state = (1103515245 * state + 12345) % 2**31
        ids.append((state >> 8) % vocabulary)
    return ids


def reference(folder, ids, answer, chunk=512):
    """[(greedy id, {id: log-probability})] of the tokens that follow."""
    import torch
    import transformers

    torch.set_num_threads(2)
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "kimi_k2":  # transformers knows the architecture by its first name
        config = transformers.DeepseekV3Config(**{k: v for k, v in config.items() if k != "model_type"})
        model = transformers.DeepseekV3ForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32).eval()
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    cache, out, step = transformers.DynamicCache(), [], torch.tensor([ids])
    with torch.no_grad():
        for begin in range(0, len(ids), chunk):
            last = model(step[:, begin:begin + chunk], past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1]
        for _ in range(answer):
            scores = last.float().log_softmax(-1)
            best = scores.topk(TOP)
            out.append((int(best.indices[0]), dict(zip(best.indices.tolist(), best.values.tolist()))))
            last = model(torch.tensor([[out[-1][0]]]), past_key_values=cache, use_cache=True).logits[0, -1]
    return out


def ours(folder, ids, answer, chunk):
    """The same from a server, with its memory in MiB and the seconds that it took."""
    server = Served.quern(folder, "--dtype", "float32", "--kv-cache-dtype", "float32", "--max-num-batched-tokens", chunk, "--max-num-seqs", 1,
                          "--log-level", "info", "--no-enable-prefix-caching")
    try:
        body = {"prompt": ids, "max_tokens": answer, "temperature": 0, "ignore_eos": True, "logprobs": TOP, "return_tokens_as_token_ids": True}
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        begin = time.monotonic()
        with urllib.request.urlopen(request, timeout=3600) as reply:
            scores = json.load(reply)["choices"][0]["logprobs"]
        took, memory = time.monotonic() - begin, server.memory_mib()
    finally:
        server.stop()
    number = lambda name: int(name.removeprefix("token_id:"))
    tokens = [number(name) for name in scores["tokens"]]
    return [(t, {number(k): v for k, v in top.items()}) for t, top in zip(tokens, scores["top_logprobs"])], memory, took


def compared(got, expected):
    """(largest difference, tokens compared): as far as both chose alike."""
    worst, count = 0.0, 0
    for (own_id, own), (id, scores) in zip(got, expected):
        worst = max([worst, *(abs(own[k] - v) for k, v in scores.items() if k in own)])
        count += 1
        if own_id != id:
            best = sorted(scores.values())
            print(f"token {count}: {own_id} here, {id} there; margin {best[-1] - best[-2]:.2e}")
            worst = max(worst, (best[-1] - best[-2]) / 2)
            break
    return worst, count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--golden", default="kimi_k2")
    parser.add_argument("--tokens", type=int, default=32768)
    parser.add_argument("--answer", type=int, default=24)
    parser.add_argument("--chunks", default="512,2048")
    options = parser.parse_args()
    with quiet_machine(), tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch) / "model"
        config = model_folder(folder, options.golden, 2 * options.tokens)
        vocabulary = min(512, config.get("text_config", config)["vocab_size"])
        ids = prompt_of(vocabulary, options.tokens)
        runs = []
        for chunk in map(int, options.chunks.split(",")):
            runs.append(ours(folder, ids, options.answer, chunk))
            print(f"steps of {chunk}: {runs[-1][2]:.1f} s for {len(ids)} tokens and {options.answer} more, server {runs[-1][1]:.0f} MiB", flush=True)
        same = all(run[0] == runs[0][0] for run in runs)
        print("every step size gives the same bits" if same else "step sizes differ")
        worst, count = compared(runs[0][0], reference(folder, ids, options.answer))
    print(f"against transformers: {count} tokens, largest difference of a log-probability {worst:.2e} (bound {BOUND})")
    return 0 if same and worst <= BOUND else 1


if __name__ == "__main__":
    sys.exit(main())
