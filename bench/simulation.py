#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`quern simulate` against this machine: a step's time is fitted to one load, and two others are predicted that the fit has not seen, and one
beyond what the server can do.

    python bench/simulation.py [--model smollm2-135m] [--num-prompts 60]

A server runs with --step-log under each load of `quern bench serve` in turn. The first load's log alone is fitted; times and lengths of the others
are replayed under the virtual clock. In the last one the queue grows all the time, and a small error of the steps becomes a large one of the waiting. Prints predicted and measured figures and their difference. Run it on a quiet machine.
"""
import argparse
import json
import pathlib
import shutil
import subprocess
import tempfile

from common import ROOT, quern, quiet_machine
from served import Served

# Requests a second, tokens in, tokens out, how much both vary. The fit sees every length that the others have, in another mixture and at another rate: what a
# context costs beyond those that were measured is nobody's to say.
LOADS = {"fit": ("3.5", "420", "50", "0.95"), "short, many": ("5", "120", "60", "0.3"),
         "longer prompts, fewer": ("2", "600", "30", "0.8"), "more than it can do": ("8", "120", "60", "0.3")}
FLAGS = ["--max-model-len", "2048", "--max-num-seqs", "16", "--max-num-batched-tokens", "512", "--no-enable-prefix-caching"]
COMPARED = ["mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "mean_e2el_ms", "output_throughput"]


def measured(options, folder, name, rate, input_len, output_len, ratio):
    log, result = folder / f"{name}.csv", folder / f"{name}.json"
    server = Served.quern(options.model, *FLAGS, "--step-log", log)
    try:
        quern("bench", "serve", "--port", server.port, "--tokenizer", options.tokenizer, "--request-rate", rate, "--num-prompts", options.num_prompts,
              "--random-input-len", input_len, "--random-output-len", output_len, "--random-range-ratio", ratio, "--num-warmups", 2, "--seed", 1, "--json", result,
              stderr=subprocess.DEVNULL)
    finally:
        server.stop()
    return log, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokenizer", default=str(ROOT / "build/models/smollm2-135m/model.gguf"))
    parser.add_argument("--num-prompts", type=int, default=60)
    options = parser.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp())
    with quiet_machine():  # figures of a busy one say nothing
        runs = {name: measured(options, folder, name.split()[0].strip(","), *load) for name, load in LOADS.items()}
    step_log = runs["fit"][0]
    print(f"{'load':24} {'figure':20} {'simulated':>10} {'measured':>10} differs")
    for name, (_, result) in runs.items():
        flags = [flag for flag in FLAGS if flag != "--no-enable-prefix-caching"]
        said = json.loads(quern("simulate", "--step-log", step_log, "--trace", result, *flags, "--no-enable-prefix-caching", "--json"))
        real = json.loads(result.read_text())
        for figure in COMPARED:
            print(f"{name:24} {figure:20} {said[figure]:10.2f} {real[figure]:10.2f} {100 * (said[figure] / real[figure] - 1):+.1f} %")
        print(f"{name:24} noise: other processes kept {real.get('noise', {}).get('other_cores', 0):.2f} cores busy", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
