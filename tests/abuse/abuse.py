#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts quern, abuses it from a seed for a while, then holds it to what it was before.

  tests/abuse/abuse.py [--minutes 10] [--seed 1] [--binary build/asan/quern] [--model tests/golden/qwen2_tied] [--threads 8]

Afterwards: the process lives, no sanitizer has reported, /health says ok, no request runs and no KV block is in use, descriptors and memory are back,
and a good request is answered as before, within its normal time. Needs nothing but Python's library. Exit code 0: all of it held.
"""
import argparse
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SANITIZER = re.compile(r"(ERROR|WARNING): (Address|Thread|Leak|Memory)Sanitizer|runtime error:|QUERN_CHECK|check failed|terminate called")
GOOD = {"prompt": [1, 2, 3, 4], "max_tokens": 16, "ignore_eos": True, "temperature": 0}


def head(path, length, *more, method="POST", kind="application/json"):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Type: {kind}"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, *more, "", ""]).encode()


def request(body, path="/v1/completions", *more):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(path, len(body), *more) + body


class Attacker:
    """One thread's share of the abuse. Every attack takes a random stream and leaves no socket open."""

    def __init__(self, port, seed, until):
        self.port, self.random, self.until = port, random.Random(seed), until
        self.counts, self.statuses, self.faults = {}, {}, []

    # -- means

    @contextlib.contextmanager
    def connection(self, receive_buffer=0):
        with socket.socket() as s:
            if receive_buffer:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            s.settimeout(20)
            s.connect(("127.0.0.1", self.port))
            yield s

    def reset(self, s):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def read_answers(self, s, most=1 << 22, name=""):
        """Reads until the server closes or is quiet for a moment; notes each status line."""
        data = b""
        s.settimeout(0.5)
        with contextlib.suppress(OSError):
            while len(data) < most and (piece := s.recv(65536)):
                data += piece
        for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data):
            self.statuses[int(status)] = self.statuses.get(int(status), 0) + 1
            if status == b"500":
                self.faults.append(f"{name}: 500: {data[:300]!r}")
        return data

    def send(self, s, data):
        with contextlib.suppress(OSError):
            s.sendall(data)
            return True
        return False

    def bytes(self, most):
        return self.random.randbytes(self.random.randint(0, most))

    def fields(self):
        r = self.random
        odd = [None, True, -1, 0, 1, 1e308, -1e308, 2**31, 2**63, 2**64, -2**63, 0.5, "", "x", "\0", "\ud83d\ude00", [], {}, [[]], [None], {"a": {"b": []}},
               "9" * 50, [1] * 1000, "y" * 5000]
        names = ["temperature", "top_p", "top_k", "min_p", "n", "max_tokens", "min_tokens", "stop", "stop_token_ids", "bad_words", "allowed_token_ids",
                 "logit_bias", "logprobs", "seed", "echo", "stream", "stream_options", "priority", "response_format", "prompt", "model", "ignore_eos",
                 "presence_penalty", "repetition_penalty", "best_of", "structured_outputs", "tools", "tool_choice", "messages", "suffix", "user"]
        return {**GOOD, **{r.choice(names): r.choice(odd) for _ in range(r.randint(1, 4))}}

    # -- attacks

    def wrong_fields(self):
        with self.connection() as s:
            for _ in range(self.random.randint(1, 8)):
                path = self.random.choice(["/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"])
                self.send(s, request(self.fields(), path))
            self.read_answers(s, name="wrong_fields")

    def broken_json(self):
        text = bytearray(json.dumps(self.fields()).encode())
        for _ in range(self.random.randint(1, 6)):
            at = self.random.randrange(len(text))
            how = self.random.random()
            if how < 0.4:
                text[at] = self.random.randrange(256)
            elif how < 0.7:
                del text[at:at + self.random.randint(1, 9)]
            else:
                text[at:at] = self.random.choice([b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\\ud800", b"1e999", b"NaN", b"\0", b"[[[[", b'"', b"\xef\xbb\xbf"])
            if not text:
                break
        with self.connection() as s:
            self.send(s, request(bytes(text), self.random.choice(["/v1/completions", "/v1/chat/completions"])))
            self.read_answers(s, name="broken_json")

    def deep_or_giant_json(self):
        r = self.random
        body = r.choice([b"[" * 100_000, b'{"a":' * 50_000, b"[" * 2000 + b"]" * 2000, b'{"prompt": "' + b"x" * 3_000_000 + b'"}',
                         json.dumps({**GOOD, "prompt": [7] * 200_000}).encode(), json.dumps({str(i): i for i in range(20_000)}).encode(),
                         json.dumps({**GOOD, "logit_bias": {str(i): 1 for i in range(50_000)}}).encode(),
                         json.dumps({"messages": [{"role": "user", "content": "x"}] * 20_000}).encode()])
        with self.connection() as s:
            self.send(s, request(body, r.choice(["/v1/completions", "/v1/chat/completions", "/tokenize"])))
            self.read_answers(s, name="deep_or_giant_json")

    def broken_http(self):
        r = self.random
        whole = bytearray(request(GOOD))
        for _ in range(r.randint(1, 5)):
            at = r.randrange(min(len(whole), 120))
            whole[at:at + r.randint(0, 3)] = r.choice([b"", b"\r", b"\n", b"\0", b" ", b":", b"\xff", self.bytes(8), b"\r\n\r\n", b"HTTP/9.9", b"%00"])
        with self.connection() as s:
            self.send(s, bytes(whole))
            self.read_answers(s, name="broken_http")

    def noise(self):
        with self.connection() as s:
            self.send(s, self.random.choice([self.bytes(4000), b"\x16\x03\x01" + self.bytes(300), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n" * 2000,
                                             b"GET /" + b"a" * 200_000, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 20_000]))
            self.read_answers(s, name="noise")

    def smuggling(self):
        more = self.random.choice([["Transfer-Encoding: chunked"], ["Content-Length: 3"], ["Transfer-Encoding: gzip, chunked"], ["Host: other"],
                                   ["Transfer-Encoding : chunked"], ["Expect: 200-ok"], ["Connection: upgrade", "Upgrade: h2c"]])
        with self.connection() as s:
            self.send(s, request(GOOD, "/v1/completions", *more))
            self.read_answers(s, name="smuggling")

    def chunks(self):
        """Chunk bombs: tiny ones, wrong sizes, endless extensions and trailers."""
        r = self.random
        body = json.dumps(GOOD).encode()
        tiny = b"".join(b"1\r\n" + bytes([c]) + b"\r\n" for c in body)
        bomb = r.choice([tiny + b"0\r\n\r\n", b"1\r\n \r\n" * r.randint(1000, 100_000) + tiny + b"0\r\n\r\n", b"ffffffffffffffffff\r\n", b"-1\r\n", b"zz\r\nxx",
                         b"1;" + b"x" * 200_000, tiny + b"0\r\n" + b"T: v\r\n" * 50_000, b"7fffffff\r\n" + self.bytes(4000), tiny])
        with self.connection() as s:
            self.send(s, head("/v1/completions", None, "Transfer-Encoding: chunked") + bomb)
            self.read_answers(s, name="chunks")

    def multipart(self):
        r = self.random
        part = b'--b\r\nContent-Disposition: form-data; name="file"; filename="../../etc/passwd"\r\n\r\n' + self.bytes(200) + b"\r\n"
        body = r.choice([part * 500, part + b"--b--\r\n", part[:r.randrange(len(part))], b"--b--" * 100, self.bytes(3000)])
        kind = r.choice(["multipart/form-data; boundary=b", "multipart/form-data", 'multipart/form-data; boundary="', "text/plain", "application/json; x=\"" + "y" * 900])
        path = r.choice(["/v1/audio/transcriptions", "/v1/completions", "/v1/files"])
        with self.connection() as s:
            self.send(s, head(path, len(body), kind=kind) + body)
            self.read_answers(s, name="multipart")

    def vanish(self):
        """Leaves at a random point: in the head, the body, during prefill, in the stream."""
        r = self.random
        whole = request({**GOOD, "prompt": [5] * r.randint(1, 400), "max_tokens": 400, "n": r.choice([1, 1, 4]), "stream": r.random() < 0.7})
        with self.connection() as s:
            self.send(s, whole[:r.randint(1, len(whole))] if r.random() < 0.4 else whole)
            if r.random() < 0.5:
                s.settimeout(r.random() * 0.3 + 0.001)
                with contextlib.suppress(OSError):
                    s.recv(r.randint(1, 3000))
            if r.random() < 0.5:
                self.reset(s)

    def half_closed(self):
        with self.connection() as s:
            self.send(s, request({**GOOD, "stream": True}))
            with contextlib.suppress(OSError):
                s.shutdown(self.random.choice([socket.SHUT_WR, socket.SHUT_RD]))
            self.read_answers(s, name="half_closed")

    def flood(self):
        """Many connections at once, each with a request; some wait for their answers, some do not."""
        with contextlib.ExitStack() as stack:
            sockets = []
            for _ in range(self.random.randint(10, 60)):
                with contextlib.suppress(OSError):
                    s = stack.enter_context(self.connection())
                    self.send(s, request({**GOOD, "max_tokens": self.random.randint(1, 60), "stream": self.random.random() < 0.5}))
                    sockets.append(s)
            for s in sockets[:self.random.randint(0, len(sockets))]:
                self.read_answers(s, most=2000, name="flood")

    def slow_head(self):
        with contextlib.ExitStack() as stack:
            slow = []
            for _ in range(self.random.randint(1, 30)):
                with contextlib.suppress(OSError):
                    slow.append(stack.enter_context(self.connection()))
            for byte in b"GET /health HTTP/1.1\r\nX: "[:self.random.randint(1, 25)]:
                for s in slow:
                    self.send(s, bytes([byte]))
                time.sleep(0.01)

    def slow_body(self):
        body = json.dumps(GOOD).encode()
        with self.connection() as s:
            self.send(s, head("/v1/completions", len(body) + self.random.choice([0, 0, 1, 100_000])))
            for at in range(0, len(body), 7):
                self.send(s, body[at:at + 7])
                time.sleep(0.005)
            self.read_answers(s, name="slow_body")

    def slow_reader(self):
        with self.connection(receive_buffer=2048) as s:
            self.send(s, request({**GOOD, "max_tokens": 400, "n": 8, "logprobs": 5, "stream": True}))
            end = time.monotonic() + self.random.random()
            while time.monotonic() < end:
                with contextlib.suppress(OSError):
                    s.recv(64)
                time.sleep(0.02)

    def pipeline(self):
        """Every one of several requests in one packet is answered."""
        count = self.random.randint(2, 20)
        good = request({**GOOD, "max_tokens": 2})
        other = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
        mixed = [self.random.choice([good, other]) for _ in range(count - 1)] + [b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"]
        with self.connection() as s:
            self.send(s, b"".join(mixed))
            s.settimeout(120)
            data = b""
            with contextlib.suppress(OSError):
                while piece := s.recv(65536):
                    data += piece
        answered = data.count(b"HTTP/1.1 2") + data.count(b"HTTP/1.1 429") + data.count(b"HTTP/1.1 503")
        # A connection that was turned away gets one answer.
        if answered != count and b"too many connections" not in data:
            self.faults.append(f"pipeline: {count} requests, {answered} answers: {data[:200]!r}")

    def odd_paths(self):
        path = "".join(self.random.choice(["/", "..", ".", "%2e", "%00", "%", "v1", "models", "health", "\\", "?", "#", "//", "%ff", "é", "x" * 500])
                       for _ in range(self.random.randint(1, 12)))
        with self.connection() as s:
            method = self.random.choice(["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "get", "X" * 500])
            self.send(s, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.read_answers(s, name="odd_paths")

    def run(self):
        attacks = [self.wrong_fields, self.broken_json, self.deep_or_giant_json, self.broken_http, self.noise, self.smuggling, self.chunks, self.multipart,
                   self.vanish, self.vanish, self.half_closed, self.flood, self.slow_head, self.slow_body, self.slow_reader, self.pipeline, self.odd_paths]
        while time.monotonic() < self.until:
            attack = self.random.choice(attacks)
            self.counts[attack.__name__] = self.counts.get(attack.__name__, 0) + 1
            try:
                attack()
            except OSError as e:
                # Refused or reset connections are the server's good right; a dead server shows at the end.
                self.counts[f"({type(e).__name__})"] = self.counts.get(f"({type(e).__name__})", 0) + 1


class Target:
    """The server under abuse."""

    def __init__(self, binary, model, flags):
        self.log = open(ROOT / "build/abuse.log", "w+")
        # The address sanitizer keeps freed memory aside, 256 MiB of it unless told: that would pass for a leak below.
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1:exitcode=99:quarantine_size_mb=16",
                       "TSAN_OPTIONS": f"exitcode=99:suppressions={ROOT}/tests/tsan-suppressions.txt", "UBSAN_OPTIONS": "print_stacktrace=1"}
        self.process = subprocess.Popen([binary, "serve", model, "--port", "0", *flags], stdout=subprocess.PIPE, stderr=self.log, text=True, cwd=ROOT,
                                        env=environment)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{binary} did not start:\n" + pathlib.Path(self.log.name).read_text()[-4000:])
        self.port = json.loads(line)["port"]

    def ask(self, data, timeout=300):
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as s:
            s.sendall(data)
            answer = b""
            while piece := s.recv(65536):
                answer += piece
            return answer

    def get(self, path):
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()).partition(b"\r\n\r\n")[2].decode()

    def metric(self, name):
        return sum(float(v) for v in re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics"), re.M))

    def good_answer(self):
        """Text and seconds of a good request."""
        began = time.monotonic()
        answer = self.ask(request(GOOD, "/v1/completions", "Connection: close"))
        body = json.loads(answer.partition(b"\r\n\r\n")[2])
        return body["choices"][0]["text"], time.monotonic() - began

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return "no end within 120 s of SIGTERM"


def attack(target, seed, seconds, threads):
    until = time.monotonic() + seconds
    attackers = [Attacker(target.port, seed * 1000 + i, until) for i in range(threads)]
    workers = [threading.Thread(target=a.run) for a in attackers]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    counts, statuses, faults = {}, {}, []
    for a in attackers:
        for total, part in ((counts, a.counts), (statuses, a.statuses)):
            for key, n in part.items():
                total[key] = total.get(key, 0) + n
        faults += a.faults
    return counts, statuses, faults


def settle(target, descriptors):
    """Waits (bounded) until what was under way is over."""
    end = time.monotonic() + 180
    while time.monotonic() < end:
        if target.process.poll() is not None:
            return
        if target.metric("vllm:num_requests_running") + target.metric("vllm:num_requests_waiting") == 0 and target.descriptors() <= descriptors + 2:
            return
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=0.33)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--binary", default="build/release/quern")
    parser.add_argument("--model", default="tests/golden/qwen2_tied")
    parser.add_argument("--threads", type=int, default=8)
    o = parser.parse_args()
    target = Target(o.binary, o.model, ["--max-num-seqs", "8", "--max-connections", "256", "--max-model-len", "512", "--keep-alive-timeout", "5"])
    problems = []
    try:
        text, _ = target.good_answer()
        normal = statistics.median(target.good_answer()[1] for _ in range(9))
        descriptors = target.descriptors()
        attack(target, o.seed + 7, min(5, o.minutes * 15), o.threads)  # buffers grow to their working size
        settle(target, descriptors)
        resident = target.resident_mib()
        counts, statuses, faults = attack(target, o.seed, o.minutes * 60, o.threads)
        settle(target, descriptors)
        problems += faults[:10]
        if target.process.poll() is not None:
            sys.exit(f"the server ended under abuse: exit code {target.process.returncode}\n" + pathlib.Path(target.log.name).read_text()[-6000:])
        if json.loads(target.get("/health")) != {"status": "ok"}:
            problems.append("/health: " + target.get("/health"))
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "quern:kv_blocks_used"):
            if target.metric(name) != 0:
                problems.append(f"{name} is {target.metric(name)} afterwards")
        answers = [target.good_answer() for _ in range(9)]
        after = statistics.median(seconds for _, seconds in answers)
        if any(t != text for t, _ in answers):
            problems.append(f"a good request has another answer than before: {answers[0][0]!r}, not {text!r}")
        if o.minutes >= 1 and after > normal * 3 + 0.25:  # a short run is a test, and tests measure no time
            problems.append(f"a good request takes {after:.3f} s, before {normal:.3f} s")
        if target.descriptors() > descriptors + 2:
            problems.append(f"{target.descriptors()} descriptors, before {descriptors}")
        # Memory may still grow a little with the largest request seen; a leak grows with time.
        grown = target.resident_mib() - resident
        if grown > max(0.25 * resident, 64):
            problems.append(f"resident memory grew by {grown:.0f} MiB from {resident:.0f} MiB")
        print(f"seed {o.seed}, {o.minutes * 60:.0f} s, {o.threads} threads; attacks {dict(sorted(counts.items()))}; statuses {dict(sorted(statuses.items()))}")
        print(f"good request {normal * 1000:.0f} ms before, {after * 1000:.0f} ms after; descriptors {descriptors} → {target.descriptors()}; "
              f"memory {resident:.0f} → {resident + grown:.0f} MiB")
    finally:
        code = target.stop()
    if code != 0:
        problems.append(f"exit code {code} after SIGTERM")
    log = pathlib.Path(target.log.name).read_text()
    if report := SANITIZER.search(log):
        problems.append("the log has a report:\n" + log[report.start():report.start() + 4000])
    for problem in problems:
        print("PROBLEM:", problem)
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
