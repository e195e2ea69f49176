# SPDX-License-Identifier: Apache-2.0
"""Trains quern-sight on the CPU; stops and resumes at any time.

    python training/sight/train.py --state training/state/sight --hours 2

One process, one thread unless asked. Run it at the lowest priority (`chrt -i 0 nice -n 19`); a benchmark pauses it by
creating STATE/pause. The state (weights, their running mean, optimiser, curriculum) is written every few minutes and on
SIGTERM; log.jsonl holds one line per report. README.md says why the steps are as they are.

    python training/sight/train.py --compact        # the running mean of the weights in bfloat16, and the curriculum, to keep in git

A folder without a state begins with what is kept there.
"""
import argparse
import json
import os
import signal
import time

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from data import Painter
from model import CONFIG, Sight, to_patches
from tokens import SPECIAL, encode, spell


KEPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kept.safetensors")


def prompt_ids(question, image_tokens):
    """The rendered chat template up to the answer, and where the picture begins."""
    head = [SPECIAL["<|im_start|>"], *encode("user\n"), SPECIAL["<|vision_start|>"]]
    tail = [SPECIAL["<|vision_end|>"], *encode(question), SPECIAL["<|im_end|>"], *encode("\n"), SPECIAL["<|im_start|>"],
            *encode("assistant\n")]
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


def collate(grid, questions, answers):
    """(ids [B, T], goal [B, T - begin], positions [3, T], first, begin): padded on the right, so that positions agree.

    Logits at `begin` and later predict answers; where they do not, goal is -100.
    """
    rows, goals = [], []
    for question, answer in zip(questions, answers):
        prompt, first = prompt_ids(question, grid[0] * grid[1] // 4)
        said = spell(answer) + [SPECIAL["<|im_end|>"]]
        rows.append(prompt + said[:-1])
        goals.append([-100] * (len(prompt) - 1) + said)
    longest, begin = max(map(len, rows)), min(g.count(-100) for g in goals)
    ids = torch.tensor([r + [SPECIAL["<|endoftext|>"]] * (longest - len(r)) for r in rows])
    goal = torch.tensor([(g + [-100] * (longest - len(g)))[begin:] for g in goals])
    return ids, goal, positions_of(longest, first, grid), first, begin


def run(model, sample, answering):
    """(loss, share of letters right or None, share of answers right or None) of one batch.

    An answer is right if greedy decoding would give it: every token is the most likely one after the right ones before.
    """
    pixels, questions, answers, slots = sample
    patches, grid = to_patches(pixels)
    features, tokens = model.look(patches, grid)
    loss, letters, exact = torch.zeros(()), None, None
    if slots is not None:
        names, places = (logits.flatten(0, 1).float() for logits in model.slots(features, grid))
        goal, place = (part.flatten() for part in torch.from_numpy(slots).long().unbind(1))
        loss = loss + F.cross_entropy(names, goal) + 0.5 * F.cross_entropy(places, place)
        logits, drawn = names, goal > 0
        letters = (logits.argmax(-1) == goal)[drawn].float().mean().item()
    if answering:
        ids, goal, positions, first, begin = collate(grid, questions, answers)
        logits = model.answer(tokens, ids, positions, first, begin).float()
        loss = loss + F.cross_entropy(logits.flatten(0, 1), goal.flatten(), ignore_index=-100)
        exact = ((logits.argmax(-1) == goal) | (goal < 0)).all(-1).float().mean().item()
    return loss, letters, exact


class Curriculum:
    """Raises dirt while letters are recognised and reach while answers are right; lets the answers begin.

    The samples are drawn fresh, so what a training batch gets right is a held-out measure of its level. Batches that only
    name letters cost a third of others and carry the tower; they stay on, one in three, after the answers have begun.
    """

    def __init__(self):
        self.seen, self.dirt, self.reach, self.letters, self.exact, self.answering = 0, 0.0, 0.14, 0.0, 0.0, False

    def batch(self, painter, count, step):
        """(sample, whether it is to be answered)."""
        if self.answering and step % 3:
            return painter.batch(count, self.reach, self.dirt), True
        return painter.lines(count, painter.rng.randint(3, 6), (3, 12), self.dirt), False

    def learn(self, count, letters, exact):
        self.seen += count
        if exact is None:
            self.letters += 0.03 * (letters - self.letters)
            self.answering |= self.letters > 0.8
            self.dirt = min(1.0, self.dirt + 0.002 * (self.letters > 0.8))
        elif letters is not None:
            self.exact += 0.02 * (exact - self.exact)
            # Long lines teach more letters for the same prompt: reach rises well before short ones are perfect.
            if self.exact > 0.5 and self.reach < 1:
                self.reach, self.exact = min(1.0, self.reach + 1 / 15), 0.4


def judged():
    """The fixed samples of the report: {name: batch}, easy and full dirt, in faces trained on and others."""
    def lines(held_out, cells, lengths, dirt):
        return Painter(99, held_out).lines(128, cells, lengths, dirt)
    return {"easy_4": lines(False, 4, (1, 4), 0.0), "exact_8": lines(False, 8, (1, 8), 1.0),
            "exact_8_new_fonts": lines(True, 8, (1, 8), 1.0)}


@torch.no_grad()
def report(model, samples, answering):
    line = {}
    for name, sample in samples.items():
        _, letters, exact = run(model, sample, answering)
        line[name] = exact and round(exact, 4)
        line[name + "_letters"] = round(letters, 4)
    return line


def read_kept():
    """(weights, curriculum) that are kept in git."""
    with safe_open(KEPT, "pt") as kept:
        return {name: kept.get_tensor(name).float() for name in kept.keys()}, json.loads(kept.metadata()["level"])


def load_mean(folder):
    """The running mean of the weights in a state's folder, or of what is kept."""
    path = os.path.join(folder, "state.pt")
    return torch.load(path)["mean"] if os.path.exists(path) else read_kept()[0]


class Trainer:
    def __init__(self, options):
        self.o, self.level = options, Curriculum()
        self.model, self.mean = Sight(), Sight()
        self.mean.load_state_dict(self.model.state_dict())
        self.optimiser = torch.optim.AdamW(self.model.parameters(), lr=1.0, betas=(0.9, 0.98), weight_decay=0.02, fused=True)
        self.path, self.steps = os.path.join(options.state, "state.pt"), 0
        if not os.path.exists(self.path) and os.path.exists(KEPT):
            self.begin_with_kept()
        elif os.path.exists(self.path):
            state = torch.load(self.path)
            self.model.load_state_dict(state["model"])
            self.mean.load_state_dict(state["mean"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.level.__dict__.update(state["level"])
        self.painter = Painter(options.seed * 1_000_003 + self.level.seen)

    def rate(self):
        """Warms up after every start, then falls with the root of the samples seen: it needs no planned end."""
        return self.o.rate * min(1.0, (self.steps + 1) / 100) * min(1.0, (self.o.knee / (1 + self.level.seen)) ** 0.5)

    def step(self):
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        sample, answered = self.level.batch(self.painter, self.o.batch, self.steps)
        with torch.autocast("cpu", torch.bfloat16):
            loss, letters, exact = run(self.model, sample, answered)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.level.learn(self.o.batch, letters, exact)
        self.steps += 1
        if self.steps % 10 == 0:
            with torch.no_grad():
                keep = 0.98 if self.level.seen > 50_000 else 0.8
                torch._foreach_lerp_(list(self.mean.parameters()), list(self.model.parameters()), 1 - keep)
        return loss.item()

    def begin_with_kept(self):
        weights, level = read_kept()
        self.level.__dict__.update(level)
        for model in (self.model, self.mean):
            model.load_state_dict(weights)

    def keep(self):
        weights = {name: weight.to(torch.bfloat16).contiguous() for name, weight in self.mean.state_dict().items()}
        save_file(weights, KEPT, {"format": "pt", "level": json.dumps(self.level.__dict__)})

    def save(self):
        torch.save({"model": self.model.state_dict(), "mean": self.mean.state_dict(), "level": self.level.__dict__,
                    "optimiser": self.optimiser.state_dict(), "config": CONFIG}, self.path + ".part")
        os.replace(self.path + ".part", self.path)

    def train(self):
        samples, stopped = judged(), []
        signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
        end = saved = time.time()
        end += self.o.hours * 3600
        mark, seen, losses = (time.time(), time.process_time()), self.level.seen, []
        while time.time() < end and not stopped:
            if os.path.exists(os.path.join(self.o.state, "pause")):
                time.sleep(1)
                continue
            losses.append(self.step())
            now = time.time(), time.process_time()
            if now[0] - mark[0] > self.o.every:
                done = self.level.seen - seen
                line = {**self.level.__dict__, "loss": sum(losses) / len(losses), "per_s": done / (now[0] - mark[0]),
                        "per_cpu_s": done / (now[1] - mark[1]), "rate": self.rate()}
                line = {k: round(v, 5) if isinstance(v, float) else v for k, v in line.items()}
                line.update(report(self.mean, samples, self.level.answering))
                print(json.dumps(line), flush=True)
                with open(os.path.join(self.o.state, "log.jsonl"), "a") as log:
                    log.write(json.dumps(line) + "\n")
                mark, seen, losses = (time.time(), time.process_time()), self.level.seen, []
            if now[0] - saved > 240:
                self.save()
                saved = time.time()
        self.save()


def main():
    args = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    args.add_argument("--state", default="training/state/sight")
    args.add_argument("--hours", type=float, default=24)
    args.add_argument("--threads", type=int, default=1)
    args.add_argument("--batch", type=int, default=32)
    args.add_argument("--rate", type=float, default=2e-3)
    args.add_argument("--knee", type=float, default=2e5, help="samples after which the rate falls")
    args.add_argument("--every", type=float, default=120, help="seconds between reports")
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--compact", action="store_true", help="write kept.safetensors from the state, and train no more")
    options = args.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    os.makedirs(options.state, exist_ok=True)
    trainer = Trainer(options)
    size = sum(p.numel() for p in trainer.model.parameters())
    print(f"{size / 1e6:.2f} M parameters, {trainer.level.seen} samples seen", flush=True)
    if options.compact:
        trainer.keep()
    else:
        trainer.train()


if __name__ == "__main__":
    main()
