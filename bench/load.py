#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many chat streams at once for some minutes: is one lost, does memory stay flat, how long do clients wait?

  ./dev bench load [--streams 256] [--minutes 5] [--model smollm2-135m] [--peer LLAMA_SERVER --peer-model FILE.gguf]

Each of the streams asks, reads its answer to the end and asks again; prompts and lengths come from the seed. A stream is lost if its status is not 200 or
it ends before [DONE]. quern's KV pool is small enough to be full within the first minute (pages are touched when they are first used): what grows after
that is no cache. With --peer the same load goes to llama-server afterwards, in the same run. Needs nothing but Python's library.
"""
import argparse
import asyncio
import json
import random
import time

from common import quiet_machine
from served import Served

WORDS = "river stone light paper garden winter engine letter music window market silver forest bridge doctor island".split()


class Tally:
    def __init__(self):
        self.first, self.gaps, self.whole, self.lost, self.done, self.tokens = [], [], [], [], 0, 0


def body_of(rng, model):
    words = " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 60)))
    return {"model": model, "stream": True, "max_tokens": rng.randint(16, 64), "temperature": 0.7, "seed": rng.randrange(1 << 30),
            "messages": [{"role": "user", "content": f"Tell me something about these: {words}."}]}


async def one_answer(port, body, tally, patience_s):
    data = json.dumps(body).encode()
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(data) + data)
        await writer.drain()
        status = await asyncio.wait_for(reader.readline(), patience_s)
        if b" 200 " not in status:
            tally.lost.append(status.decode().strip() + " " + (await asyncio.wait_for(reader.read(2000), patience_s)).decode(errors="replace")[-300:])
            return
        last = None
        while line := await asyncio.wait_for(reader.readline(), patience_s):
            if line.startswith(b"data: [DONE]"):
                tally.done += 1
                tally.whole.append(time.monotonic() - began)
                return
            if not line.startswith(b"data: {") or not has_text(line):
                continue
            now = time.monotonic()
            tally.tokens += 1
            if last is None:
                tally.first.append(now - began)
            else:
                tally.gaps.append(now - last)
            last = now
        tally.lost.append("the stream ended before [DONE]")
    except (OSError, asyncio.TimeoutError) as e:
        tally.lost.append(f"{type(e).__name__}: {e}")
    finally:
        writer.close()


def has_text(line):
    choices = json.loads(line[6:]).get("choices")
    return bool(choices) and bool(choices[0]["delta"].get("content"))


async def stream(port, seed, model, until, tally):
    rng = random.Random(seed)
    while time.monotonic() < until:
        await one_answer(port, body_of(rng, model), tally, 600)


async def load(port, o, model):
    tally = Tally()
    until = time.monotonic() + o.minutes * 60
    await asyncio.gather(*(stream(port, o.seed * 100_000 + i, model, until, tally) for i in range(o.streams)))
    return tally


def percentile(values, p):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))] if ordered else float("nan")


def report(name, o, tally, server):
    memory = server.resident_mib
    thirds = [memory[len(memory) * i // 6] for i in range(6)] + memory[-1:] if memory else []
    result = {"server": name, "streams": o.streams, "minutes": o.minutes, "answers": tally.done, "lost": len(tally.lost),
              "tokens_per_second": round(tally.tokens / sum([o.minutes * 60]), 1),
              "first_token_s": {"p50": round(percentile(tally.first, .5), 3), "p99": round(percentile(tally.first, .99), 3)},
              "gap_s": {"p50": round(percentile(tally.gaps, .5), 4), "p99": round(percentile(tally.gaps, .99), 4)},
              "resident_mib": [round(m) for m in thirds]}
    print(json.dumps(result))
    for lost in tally.lost[:5]:
        print("LOST:", lost)
    return not tally.lost


def run(name, server, o, model):
    try:
        asyncio.run(one_answer(server.port, body_of(random.Random(0), model), Tally(), 600))  # warm
        server.watch_memory()
        tally = asyncio.run(load(server.port, o, model))
        return report(name, o, tally, server)
    finally:
        server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2, help="of the peer")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--kv-cache", default="1200M", help="of quern")
    parser.add_argument("--peer", help="a llama-server program")
    parser.add_argument("--peer-model", default="build/models/smollm2-135m/model.gguf")
    o = parser.parse_args()
    with quiet_machine():
        flags = ["--max-num-seqs", o.streams, "--max-model-len", 512, "--max-connections", o.streams + 64, "--disable-log-requests",
                 "--kv-cache-memory-bytes", o.kv_cache]
        held = run("quern", Served.quern(o.model, *flags), o, "smollm2-135m" if o.model == "smollm2-135m" else o.model)
        if o.peer:
            run("llama-server", Served.llama_server(o.peer, o.peer_model, o.streams, o.threads), o, "peer")
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
