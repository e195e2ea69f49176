#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""quern against llama.cpp, in turn (A B B A …), on the same weights or the same shape.

    python bench/peers/compare.py --peers FOLDER [--isa native|avx2] [--shape 1.5b] [--types int4 q4_0 q4_k_m q8_0 int8 bf16] [--rounds 2]

FOLDER is what llama_cpp.py filled. q4_0, q4_k_m and q8_0 are one GGUF file given to both; int4 (AWQ, groups of 128) is held against llama.cpp on
Q4_0, int8 (GPTQ) and bf16 against Q8_0 (llama.cpp's nearest). Random weights of the shape are made in build/bench on first use (numpy, gguf).
Rows: decode of 1, 4, 8, 16 sequences (64 tokens in, 32 more out), prefill of 256 and 512 tokens. Printed are the best rates of both, the median of
the ratios of each pair, quern's share of the roof measured in its own run, and the cores that other processes used meanwhile; --json keeps
all. Both get --threads threads and the same instruction set: QUERN_ISA for quern, the build of that name for llama.cpp.
"""
import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from common import QUERN, quiet_machine  # noqa: E402

THEIRS = {"int4": "q4_0", "int8": "q8_0", "bf16": "q8_0"}
OURS = {"int4": "awq", "int8": "gptq8", "bf16": "bf16"}
BATCHES, PROMPTS = [1, 4, 8, 16], [256, 512]
DECODE_IN, DECODE_OUT = 64, 32


class Noise:
    """Cores that others used, by /proc/stat, while the block ran."""

    def __enter__(self):
        self.begin = (time.monotonic(), self.machine(), self.own())
        return self

    def __exit__(self, *_):
        wall, machine, own = (after - before for after, before in zip((time.monotonic(), self.machine(), self.own()), self.begin))
        self.cores = max(0.0, (machine - own) / wall)

    @staticmethod
    def machine():
        user, nice, system, _, _, irq, softirq, steal = map(int, open("/proc/stat").readline().split()[1:9])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def own():
        return sum(u.ru_utime + u.ru_stime for u in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))


def execute(command, **environment):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment})
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def run_quern(model, o):
    """{row: tokens per second}, {row: share of its roof}"""
    rates, shares = {}, {}
    environment = {"QUERN_ISA": "avx2"} if o.isa == "avx2" else {}
    parts = [("decode", DECODE_IN, DECODE_OUT + 1, o.batches), ("prefill", ",".join(map(str, o.prompts)), 1, [1])]
    for phase, input_len, output_len, batches in parts:
        with tempfile.NamedTemporaryFile(suffix=".json") as out:
            execute([QUERN, "bench", "latency", model, "--threads", o.threads, "--input-len", input_len, "--output-len", output_len,
                     "--batch-size", ",".join(map(str, batches)), "--num-iters", o.num_iters, "--json", out.name, *o.quern_flags], **environment)
            result = json.load(open(out.name))
        for run in result.get("runs", [result]):
            row = f"decode {run['batch_size']}" if phase == "decode" else f"prefill {run['input_len']}"
            rates[row] = run[f"{phase}_tok_s_best"]
            shares[row] = run["read_share" if phase == "decode" else "op_share"]
    return rates, shares


def run_llama_cpp(model, o):
    """{row: tokens per second}: llama-bench for one sequence, llama-batched-bench for several."""
    rates, tools = {}, o.peers / o.isa / "bin"
    common = ["-m", model, "-t", o.threads]
    out = execute([tools / "llama-bench", *common, "-p", ",".join(map(str, o.prompts)), "-n", DECODE_OUT, "-r", o.num_iters, "-o", "jsonl"])
    for line in map(json.loads, out.splitlines()):
        row = f"prefill {line['n_prompt']}" if line["n_prompt"] else "decode 1"
        rates[row] = max(line["samples_ts"])
    several = [b for b in o.batches if b > 1]
    if several:
        out = execute([tools / "llama-batched-bench", *common, "-c", max(several) * (DECODE_IN + DECODE_OUT), "-npp", DECODE_IN, "-ntg", DECODE_OUT,
                       "-npl", ",".join(map(str, several)), "--output-format", "jsonl"])
        for line in out.splitlines():
            if line.startswith("{"):
                run = json.loads(line)
                rates[f"decode {run['pl']}"] = run["speed_tg"]
    return rates


def files(kind, o):
    """(quern's model, llama.cpp's model)"""
    import make_checkpoint
    import make_gguf
    theirs = make_gguf.make(o.shape, THEIRS.get(kind, kind))
    return (make_checkpoint.make(o.shape, OURS[kind]) if kind in OURS else theirs), theirs


def compare(kind, o):
    ours, theirs = files(kind, o)
    pairs = []
    for i in range(o.rounds):
        pair = {}
        for who in ("quern", "llama.cpp") if i % 2 == 0 else ("llama.cpp", "quern"):
            with Noise() as noise:
                pair[who] = run_quern(ours, o)[0:2] if who == "quern" else (run_llama_cpp(theirs, o), {})
            pair[who + " others"] = noise.cores
        pairs.append(pair)
    return {"type": kind, "quern_model": str(ours), "llama_cpp_model": str(theirs), "isa": o.isa, "pairs": pairs, "rows": summary(pairs)}


def summary(pairs):
    rows = []
    for row in pairs[0]["quern"][0]:
        ours, theirs = ([p[who][0][row] for p in pairs] for who in ("quern", "llama.cpp"))
        ratios = [a / b for a, b in zip(ours, theirs)]
        rows.append({"row": row, "quern": max(ours), "llama_cpp": max(theirs), "ratio": statistics.median(ratios), "lowest": min(ratios),
                     "highest": max(ratios), "share": max(p["quern"][1][row] for p in pairs)})
    return rows


def show(result):
    others = [p[who + " others"] for p in result["pairs"] for who in ("quern", "llama.cpp")]
    peer = pathlib.Path(result["llama_cpp_model"]).stem.split("_", 2)[-1]
    print(f"\n{result['type']} against {peer}, {result['isa']}; others used {min(others):.2f} to {max(others):.2f} cores")
    print(f"{'row':12} {'quern':>9} {'llama.cpp':>9}  ratio (lowest, highest)   share of roof")
    for r in result["rows"]:
        print(f"{r['row']:12} {r['quern']:9.2f} {r['llama_cpp']:9.2f}  {r['ratio']:5.2f} ({r['lowest']:.2f}, {r['highest']:.2f})   {r['share']:10.0%}")
    sys.stdout.flush()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--peers", type=pathlib.Path, required=True, help="folder that llama_cpp.py filled")
    options.add_argument("--isa", choices=["native", "avx2"], default="native")
    options.add_argument("--shape", default="1.5b", choices=["0.5b", "1.5b", "7b"])
    options.add_argument("--types", nargs="+", default=["int4", "q4_0", "q4_k_m", "q8_0"], choices=["int4", "int8", "bf16", "q4_0", "q4_k_m", "q8_0"])
    options.add_argument("--batches", nargs="+", type=int, default=BATCHES)
    options.add_argument("--prompts", nargs="+", type=int, default=PROMPTS)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=2, help="pairs; two make A B B A")
    options.add_argument("--num-iters", type=int, default=2, help="runs of each row within a turn; the best counts")
    options.add_argument("--quern-flags", nargs=argparse.REMAINDER, default=[], help="further flags of quern bench latency; the last option")
    options.add_argument("--json", type=pathlib.Path)
    o = options.parse_args()
    with quiet_machine():
        results = []
        for kind in o.types:
            results.append(compare(kind, o))
            show(results[-1])
    if o.json:
        o.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
