# SPDX-License-Identifier: Apache-2.0
"""What guessing ahead (--speculative-config, ngram) is worth: the same requests to a server without it and to one with it, in turn, on text that
repeats its prompt and on text that does not. Answers must be equal. Needs no packages.

python3 bench/speculation.py [--model smollm2-135m] [--tokens 4] [--rounds 3] [--streams 1] [-- FLAG…]   (flags for both servers)"""
import argparse
import concurrent.futures
import json
import os
import signal
import subprocess
import time
import urllib.request

import common

LIST = ("Ada Lovelace, London, 1815; Grace Hopper, New York, 1906; Alan Turing, London, 1912; Kurt Goedel, Brno, 1906; Emmy Noether, Erlangen, 1882; "
        "Claude Shannon, Petoskey, 1916; Donald Knuth, Milwaukee, 1938; Barbara Liskov, Los Angeles, 1939.")
TASKS = {
    "copy": f"Copy the list. List: {LIST}\nCopy of the list: {LIST}\nAnother copy of the list:",
    "free": "Write a long story about a clockmaker by the sea.\nStory:",
}


class Server:
    def __init__(self, model, flags):
        self.process = subprocess.Popen([common.QUERN, "serve", model, "--port", "0", "--log-level", "error", *flags], stdout=subprocess.PIPE, text=True)
        self.port = json.loads(self.process.stdout.readline())["port"]

    def complete(self, prompt, seed):
        body = {"prompt": prompt, "max_tokens": 160, "temperature": 0, "seed": seed, "ignore_eos": True, "logprobs": 0}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        choice = json.load(urllib.request.urlopen(request, timeout=600))["choices"][0]
        return choice["text"], choice["logprobs"]["token_logprobs"]

    def metric(self, name):
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=60).read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def timed(server, prompt, streams):
    with concurrent.futures.ThreadPoolExecutor(streams) as pool:
        begin = time.monotonic()
        answers = list(pool.map(lambda i: server.complete(prompt, i), range(streams)))
        return time.monotonic() - begin, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("flags", nargs="*")
    o = parser.parse_args()
    config = {"method": "ngram", "num_speculative_tokens": o.tokens, "prompt_lookup_max": 4, "prompt_lookup_min": 1}
    with common.quiet_machine():
        plain = Server(o.model, o.flags)
        guessing = Server(o.model, [*o.flags, "--speculative-config", json.dumps(config)])
        try:
            for name, prompt in TASKS.items():
                best = [float("inf")] * 2
                drafted, accepted = (guessing.metric(f"vllm:spec_decode_num_{n}_tokens_total") for n in ("draft", "accepted"))
                for _ in range(o.rounds):
                    answers = []
                    for i, server in enumerate((plain, guessing)):
                        took, got = timed(server, prompt, o.streams)
                        best[i] = min(best[i], took)
                        answers.append(got)
                    assert answers[0] == answers[1], "answers differ"
                drafted = guessing.metric("vllm:spec_decode_num_draft_tokens_total") - drafted
                accepted = guessing.metric("vllm:spec_decode_num_accepted_tokens_total") - accepted
                print(f"{name}: {160 * o.streams / best[0]:.1f} tok/s without, {160 * o.streams / best[1]:.1f} with, {best[0] / best[1]:.2f}x; "
                      f"{accepted:.0f} of {drafted:.0f} drafted tokens accepted; load {os.getloadavg()[0]:.1f}")
        finally:
            plain.stop()
            guessing.stop()


if __name__ == "__main__":
    main()
