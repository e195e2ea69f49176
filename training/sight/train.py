# SPDX-License-Identifier: Apache-2.0
"""Trains quern-sight on the CPU; stops and resumes at any time.

    python training/sight/train.py --state training/state/sight --hours 2 --threads 1

Run it at the lowest priority (`chrt -i 0 nice -n 19`); a benchmark pauses it by creating STATE/pause. The state (weights,
optimiser, counters) is written every few minutes; log.jsonl holds one line per report.
"""
import argparse
import json
import multiprocessing as mp
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from data import Painter
from model import ADDED, CONFIG, Sight, byte_order, to_patches

ORDER = byte_order()
SPECIAL = {name: 256 + i for i, name in enumerate(ADDED)}


def encode(text):
    return [ORDER[b] for b in text.encode()]


def prompt_ids(question, image_tokens):
    """The rendered chat template up to the answer, and where the picture begins."""
    head = [SPECIAL["<|im_start|>"]] + encode("user\n") + [SPECIAL["<|vision_start|>"]]
    tail = ([SPECIAL["<|vision_end|>"]] + encode(question) + [SPECIAL["<|im_end|>"]] + encode("\n")
            + [SPECIAL["<|im_start|>"]] + encode("assistant\n"))
    return head + [SPECIAL["<|image_pad|>"]] * image_tokens + tail, len(head)


def positions_of(length, first, grid):
    """M-RoPE positions [3, T] of a prompt with one picture."""
    gh, gw = grid[0] // 2, grid[1] // 2
    p = torch.arange(length).repeat(3, 1)
    n = gh * gw
    p[0, first:first + n] = first
    p[1, first:first + n] = first + torch.arange(gh).repeat_interleave(gw)
    p[2, first:first + n] = first + torch.arange(gw).repeat(gh)
    p[:, first + n:] = torch.arange(length - first - n) + first + max(gh, gw)
    return p


def collate(pixels, questions, answers):
    """Rows of one question length each would be rare; the question is shared by the batch's shortest form: pad on the right."""
    patches, grid = to_patches(pixels)
    n = grid[0] * grid[1] // 4
    rows, targets = [], []
    for question, answer in zip(questions, answers):
        ids, first = prompt_ids(question, n)
        full = ids + encode(answer) + [SPECIAL["<|im_end|>"]]
        rows.append(full)
        targets.append([-100] * (len(ids) - 1) + full[len(ids):])
    longest = max(map(len, rows))
    ids = torch.tensor([r + [SPECIAL["<|endoftext|>"]] * (longest - len(r)) for r in rows])
    goal = torch.tensor([t + [-100] * (longest - len(t)) for t in targets])
    return patches, grid, ids, goal, positions_of(longest, first, grid), first


def column_loss(model, features, grid, answers):
    """Connectionist temporal classification over patch columns (Graves 2006), blank = 256; lines only."""
    gh, gw = grid
    b, _, d = features.shape
    x = features.view(b, gh // 2, gw // 2, 2, 2, d).permute(0, 2, 4, 1, 3, 5).reshape(b, gw, gh * d)
    log_probs = model.reader(x).log_softmax(-1).transpose(0, 1)
    wanted = [encode(a) for a in answers]
    return F.ctc_loss(log_probs, torch.tensor([i for w in wanted for i in w]), torch.full((b,), gw),
                      torch.tensor([len(w) for w in wanted]), blank=256, zero_infinity=True)


def producer(queue, seed, level, batch):
    painter = Painter(seed)
    while True:
        queue.put(painter.batch(batch, level.value))


@torch.no_grad()
def exact(model, samples):
    """Share of answers that greedy decoding with teacher forcing gets right in every token."""
    right = total = 0
    for pixels, questions, answers, _ in samples:
        patches, grid, ids, goal, positions, first = collate(pixels, questions, answers)
        logits, _ = model(patches, grid, ids[:, :-1], positions[:, :-1], first)
        goal = goal[:, :logits.shape[1]]
        right += ((logits.argmax(-1) == goal) | (goal < 0)).all(-1).sum().item()
        total += len(answers)
    return right / total


def save(state, path):
    torch.save(state, path + ".part")
    os.replace(path + ".part", path)


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--state", default="training/state/sight")
    args.add_argument("--hours", type=float, default=24)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--batch", type=int, default=64)
    args.add_argument("--rate", type=float, default=1e-3)
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--ramp", type=float, default=1.5e6, help="samples until the curriculum is at full level")
    args.add_argument("--total", type=float, default=6e6, help="samples of the learning-rate schedule")
    o = args.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    os.makedirs(o.state, exist_ok=True)
    model = Sight()
    optimiser = torch.optim.AdamW(model.parameters(), lr=o.rate, betas=(0.9, 0.98), weight_decay=0.02)
    seen, path = 0, os.path.join(o.state, "state.pt")
    if os.path.exists(path):
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        seen = state["seen"]
    parameters = sum(p.numel() for p in model.parameters())
    print(f"{parameters / 1e6:.2f} M parameters, {seen} samples seen", flush=True)
    level = mp.Value("d", min(1.0, seen / o.ramp))
    queue = mp.Queue(8)
    worker = mp.Process(target=producer, args=(queue, o.seed * 1_000_003 + seen, level, o.batch), daemon=True)
    worker.start()
    end, saved, reported = time.time() + o.hours * 3600, time.time(), time.time()
    sums, count, since = [0.0, 0.0], 0, seen
    while time.time() < end:
        if os.path.exists(os.path.join(o.state, "pause")):
            time.sleep(1)
            continue
        level.value = min(1.0, 0.02 + seen / o.ramp)
        rate = o.rate * min(1.0, (seen + 1) / 10000) * max(0.05, 1 - seen / o.total)
        for group in optimiser.param_groups:
            group["lr"] = rate
        pixels, questions, answers, is_line = queue.get()
        patches, grid, ids, goal, positions, first = collate(pixels, questions, answers)
        logits, features = model(patches, grid, ids[:, :-1], positions[:, :-1], first)
        loss = F.cross_entropy(logits.flatten(0, 1), goal[:, :logits.shape[1]].flatten(), ignore_index=-100)
        columns = column_loss(model, features, grid, answers) if is_line else torch.zeros(())
        optimiser.zero_grad(set_to_none=True)
        (loss + 0.3 * columns).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        seen += len(answers)
        sums[0] += loss.item()
        sums[1] += columns.item()
        count += 1
        if time.time() - reported > 60:
            model.eval()
            lines = []
            for held_out in (False, True):
                painter = Painter(99, held_out)
                made = [painter.line(8 * 28, 28, 0.5) for _ in range(128)]
                pixels = np.stack([np.asarray(i) for i, _ in made])
                lines.append(exact(model, [(pixels, ["What does it say?"] * 128, [t for _, t in made], True)]))
            model.train()
            line = {"seen": seen, "level": round(level.value, 3), "loss": round(sums[0] / count, 4),
                    "columns": round(sums[1] / count, 4), "exact_8": lines[0], "exact_8_new_fonts": lines[1],
                    "samples_per_s": round((seen - since) / (time.time() - reported), 1), "rate": rate}
            print(json.dumps(line), flush=True)
            with open(os.path.join(o.state, "log.jsonl"), "a") as log:
                log.write(json.dumps(line) + "\n")
            sums, count, since, reported = [0.0, 0.0], 0, seen, time.time()
        if time.time() - saved > 240:
            save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "seen": seen, "config": CONFIG}, path)
            saved = time.time()
    save({"model": model.state_dict(), "optimiser": optimiser.state_dict(), "seen": seen, "config": CONFIG}, path)
    worker.terminate()


if __name__ == "__main__":
    main()
