#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `quern plan` predicts of each rank's memory against what the system says it holds.

    python bench/memory_plan.py MODEL [-tp 1 2]

Starts `quern serve` at each degree, fills its KV cache with random prompts, and reads the private memory (RssAnon) of every rank from /proc.
Predicted is the plan without the embedding table, whose rows are read from the mapped file; the code of the program is file-backed and not counted.
Allowed: 3 % and 16 MiB. Exit code 1 if a rank is outside.
"""
import argparse
import concurrent.futures
import json
import pathlib
import random
import re
import subprocess
import sys
import tempfile
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from common import QUERN, quiet_machine  # noqa: E402

LENGTH, SEQUENCES = 2048, 4
FLAGS = ["--max-model-len", LENGTH, "--max-num-seqs", SEQUENCES, "--max-num-batched-tokens", 512]
MIB = 1 << 20


def private_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status).group(1))


def ranks_of(pid):
    """The workers of a server, or the server itself where it is the only rank."""
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in children] or [pid]


def fill(url, model, seed):
    ids = random.Random(seed).choices(range(300, 1500), k=LENGTH - 8)  # words of any tokenizer
    body = json.dumps({"model": model, "prompt": ids, "max_tokens": 4, "temperature": 0}).encode()
    urllib.request.urlopen(urllib.request.Request(url + "/v1/completions", body, {"Content-Type": "application/json"}), timeout=1800).read()


def predicted(model, degree):
    command = [QUERN, "plan", model, "-tp", degree, "--no-degrees", "--json", *FLAGS]
    plan = json.loads(subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout)
    parts = [rank["bytes"] for rank in plan["ranks"]]
    return [b["total"] - b["embedding_table"] - b["kv_one_sequence"] + SEQUENCES * LENGTH * b["kv_per_token"] for b in parts]


def measured(model, degree):
    with tempfile.TemporaryFile("w+") as log:
        command = [QUERN, "serve", model, "--port", 0, "-tp", degree, *FLAGS]
        server = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            ready = json.loads(server.stdout.readline())
            with concurrent.futures.ThreadPoolExecutor(SEQUENCES) as pool:
                list(pool.map(lambda seed: fill(f"http://127.0.0.1:{ready['port']}", ready["model"], seed), range(2 * SEQUENCES)))
            return [private_bytes(pid) for pid in ranks_of(server.pid)]
        finally:
            server.terminate()
            server.wait()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model")
    options.add_argument("-tp", nargs="+", type=int, default=[1, 2])
    o = options.parse_args()
    is_within = True
    with quiet_machine():
        for degree in o.tp:
            for rank, (said, held) in enumerate(zip(predicted(o.model, degree), measured(o.model, degree), strict=True)):
                holds = abs(held - said) <= 0.03 * said + 16 * MIB
                is_within &= holds
                print(f"degree {degree}, rank {rank}: predicted {said / MIB:8.1f} MiB, held {held / MIB:8.1f} MiB, "
                      f"{(held - said) / MIB:+6.1f} MiB {'within' if holds else 'OUTSIDE'}", flush=True)
    sys.exit(0 if is_within else 1)


if __name__ == "__main__":
    main()
