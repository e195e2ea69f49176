# SPDX-License-Identifier: Apache-2.0
"""Ranks as processes: their answers, and what becomes of streams when one is lost. Numbers of time are printed, not judged."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest

from conftest import QUERN, ROOT, Server, run

MODEL = "smollm2-135m"
FLAGS = ["--dtype", "float32", "--max-model-len", 512, "--max-num-seqs", 8]
PROMPTS = ["The history of the steam engine begins", "A recipe for bread:", "In the year 1969,", "The capital of France is",
           "Once upon a time there was a", "Water boils at", "The theory of evolution says that", "My favourite season is"]


def workers(server):
    """The process ids of the workers that a process has started, by rank."""
    out = {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int(re.search(r"^PPid:\s+(\d+)", (folder / "status").read_text(), re.M)[1])
        except (OSError, TypeError):
            continue
        if parent == server.process.pid and command[:2] == [b"quern", b"worker"]:
            out[int(folder.name)] = command
    return sorted(out)


def shared_memory():
    """Who holds shared memory of ranks: it has no name, so it ends with its last holder."""
    out = set()
    for maps in pathlib.Path("/proc").glob("[0-9]*/maps"):
        try:
            out |= {maps} if "memfd:quern-ranks" in maps.read_text() else set()
        except OSError:
            continue
    return out - held_before


held_before = set()
held_before = shared_memory()


class Stream(threading.Thread):
    """One streamed completion at temperature 0."""

    def __init__(self, server, prompt, tokens=60):
        super().__init__()
        body = {"model": MODEL, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "stream": True, "ignore_eos": True}
        self.request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        self.text, self.comments, self.error, self.is_done, self.longest_pause = "", [], None, False, 0.0
        self.has_begun = threading.Event()
        self.start()

    def run(self):
        last = time.monotonic()
        with urllib.request.urlopen(self.request, timeout=120) as answer:
            for line in answer:
                line = line.decode().strip()
                if line.startswith(":"):
                    self.comments.append(line)
                elif line == "data: [DONE]":
                    self.is_done = True
                elif line.startswith("data: "):
                    event = json.loads(line[6:])
                    if "error" in event:
                        self.error = event["error"]
                        continue
                    for choice in event["choices"]:
                        self.text += choice["text"]
                    if self.has_begun.is_set():
                        self.longest_pause = max(self.longest_pause, time.monotonic() - last)
                    last = time.monotonic()
                    self.has_begun.set()
        self.has_begun.set()


def stream_all(server, disturb=None, tokens=60):
    streams = [Stream(server, prompt, tokens) for prompt in PROMPTS]
    for stream in streams:
        assert stream.has_begun.wait(60)
    if disturb:
        disturb()
    for stream in streams:
        stream.join(120)
        assert not stream.is_alive()
    return streams


def wait_until(holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def status_of(server, path):
    try:
        with urllib.request.urlopen(server.url + path, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def text_of(*flags):
    code, out, err = run("run", MODEL, PROMPTS[0], *FLAGS[:2], "--temperature", 0, "--max-tokens", 40, *flags)
    assert code == 0, err
    return out


@pytest.fixture
def serve():
    """Starts servers, and ends those that a failed test leaves."""
    started = []

    def start(*flags):
        started.append(Server(MODEL, *FLAGS, *flags))
        return started[-1]

    yield start
    for server in started:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def expected():
    """The undisturbed answers of one rank."""
    server = Server(MODEL, *FLAGS)
    texts = [stream.text for stream in stream_all(server)]
    server.stop()
    assert all(texts)
    return texts


TCP = ["--rank-transport", "tcp"]


@pytest.mark.parametrize("flags", [["-tp", 2], ["-tp", 3], ["-tp", 3, "--tensor-parallel-split", "2,1,1"], ["-pp", 2], ["-tp", 2, "-pp", 2],
                                   ["-tp", 2, *TCP], ["-pp", 2, *TCP], ["-tp", 2, "-pp", 2, *TCP]])
def test_text_is_that_of_one_rank(flags):
    assert text_of(*flags) == text_of()


def test_a_killed_worker_costs_a_pause_and_no_token(serve, expected):
    server = serve("-tp", 2)
    before = workers(server)
    assert len(before) == 2
    assert json.loads(server.get("/health")) == {"status": "ok"}
    streams = stream_all(server, lambda: os.kill(before[1], signal.SIGKILL))
    assert [s.text for s in streams] == expected
    assert all(s.is_done and s.error is None for s in streams)
    assert server.metric("quern:worker_losses_total") == 1 and server.metric("quern:worker_epoch") == 2
    print(f"recovery after SIGKILL: {server.metric('quern:worker_recovery_seconds_total'):.2f} s, "
          f"longest pause of a stream {max(s.longest_pause for s in streams):.2f} s")
    after = workers(server)
    assert len(after) == 2 and not set(before) & set(after)
    code, log = server.stop()
    assert code == 0
    assert re.search(rf"rank 1 \(this host, pid {before[1]}\) is lost: was killed by signal 9 \(Killed\)", log)
    wait_until(lambda: not shared_memory())


def test_a_stopped_worker_is_noticed(serve, expected):
    server = serve("-tp", 2)
    stopped = workers(server)[0]
    seen = []

    def stop():
        os.kill(stopped, signal.SIGSTOP)
        wait_until(lambda: status_of(server, "/ready")[0] == 503)
        seen.append(status_of(server, "/health"))

    streams = stream_all(server, stop)
    assert [s.text for s in streams] == expected
    assert seen[0][0] == 200  # and says "recovering" unless that was over already
    assert any(": recovering" in s.comments or s.longest_pause < 6 for s in streams)
    print(f"recovery after SIGSTOP: longest pause of a stream {max(s.longest_pause for s in streams):.2f} s, of which "
          f"{server.metric('quern:worker_recovery_seconds_total'):.2f} s after it was noticed")
    code, log = server.stop()
    assert code == 0 and "gave no sign of life" in log


def test_streams_fail_if_asked(serve):
    server = serve("-tp", 2, "--on-worker-loss", "fail")
    streams = stream_all(server, lambda: os.kill(workers(server)[0], signal.SIGKILL), tokens=200)
    for stream in streams:
        assert stream.error and stream.error["code"] == "unavailable" and "a worker was lost" in stream.error["message"]
    assert Stream(server, PROMPTS[0], 5).join(60) is None
    assert server.stop()[0] == 0


def test_an_idle_worker_is_replaced_and_three_losses_end_the_server(serve):
    server = serve("-tp", 2)
    for epoch in (2, 3):
        os.kill(workers(server)[0], signal.SIGKILL)
        wait_until(lambda: server.metric("quern:worker_epoch") == epoch and server.metric("quern:workers_recovering") == 0)
        assert status_of(server, "/health") == (200, '{"status":"ok"}')
    os.kill(workers(server)[0], signal.SIGKILL)
    _, log = server.process.communicate(timeout=60)
    assert server.process.returncode == 75 and "losses_in_a_minute=3" in log


def test_nothing_outlives_the_front(serve):
    server = serve("-tp", 2)
    pids = workers(server)
    assert shared_memory()
    server.process.send_signal(signal.SIGKILL)
    server.process.communicate(timeout=60)
    wait_until(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids))
    wait_until(lambda: not shared_memory())


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Node:
    """A further machine, at 127.0.0.2."""

    def __init__(self, flags):
        self.process = subprocess.Popen([QUERN, "serve", MODEL, *map(str, [*FLAGS, *flags]), "--node-rank", "1", "--node-addr", "127.0.0.2"], stderr=subprocess.PIPE,
                                        text=True, cwd=ROOT)

    def end(self, how=None):
        if how:
            self.process.send_signal(how)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture
def cluster(tmp_path):
    """Flags that both machines are started with, and the head's rank port."""
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length\n")
    secret.chmod(0o600)
    port = free_port()
    return ["-tp", 2, "--nnodes", 2, "--head-addr", f"127.0.0.1:{port}", "--cluster-secret-file", secret], port


def greeting(build):
    return b"QRNK" + bytes([1]) + bytes(32) + build.ljust(64, b"\0")


def knock(port, bytes_):
    """What the rank port says to these bytes until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(bytes_)
        out = b""
        try:
            while piece := s.recv(4096):
                out += piece
        except ConnectionError:
            pass
        return out


def test_two_machines(serve, expected, cluster):
    flags, port = cluster
    node = Node(flags)  # comes before the head
    server = serve(*flags)
    assert [s.text for s in stream_all(server)] == expected

    def disturb():  # strangers at the rank port change nothing; a lost worker costs a pause
        assert knock(port, b"GET / HTTP/1.1\r\n\r\n".ljust(200)) == b""
        other_build = knock(port, greeting(b"another"))
        assert other_build[:1] == bytes([2])
        reply = knock_with_wrong_secret(port, other_build[-64:])
        assert reply[-1:] == bytes([3])
        os.kill(workers(node)[0], signal.SIGKILL)

    streams = stream_all(server, disturb)
    assert [s.text for s in streams] == expected and all(s.is_done for s in streams)
    print(f"recovery of a worker on another machine: {server.metric('quern:worker_recovery_seconds_total'):.2f} s, "
          f"longest pause {max(s.longest_pause for s in streams):.2f} s")
    code, log = server.stop()
    assert code == 0
    for words in ("not a rank of quern", "another build", "another secret", "node 1, 127.0.0.1", "was killed by signal 9"):
        assert words in log, words
    code, log = node.end()
    assert code == 0
    assert not shared_memory()


def knock_with_wrong_secret(port, build):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as s:
        s.sendall(greeting(build.rstrip(b"\0")))
        reply = b""
        while len(reply) < 129:
            reply += s.recv(4096)
        assert reply[:1] == b"\0"
        s.sendall(bytes(32) + (2).to_bytes(2, "little") + b"{}")
        return s.recv(10)


def test_a_machine_that_dies_and_comes_back(serve, expected, cluster):
    flags, _ = cluster
    nodes = [Node(flags)]
    server = serve(*flags)

    def disturb():
        nodes[0].end(signal.SIGKILL)
        nodes.append(Node(flags))

    streams = stream_all(server, disturb)
    assert [s.text for s in streams] == expected
    server.process.send_signal(signal.SIGKILL)  # and a head that dies leaves no worker on other machines
    server.process.communicate()
    wait_until(lambda: not workers(nodes[1]) and not shared_memory())
    nodes[1].end(signal.SIGKILL)


def test_machines_that_do_not_belong_together(cluster, tmp_path):
    flags, port = cluster
    other = tmp_path / "other"
    other.write_text("a secret of another launch")
    server = subprocess.Popen([QUERN, "serve", MODEL, "--port", "0", *map(str, flags)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    code, _, err = run("serve", MODEL, *flags[:-1], other, "--node-rank", 1)
    assert code == 2 and "chmod 600" in err
    other.chmod(0o600)
    wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)))
    code, _, err = run("serve", MODEL, *flags[:-1], other, "--node-rank", 1)
    assert code == 2 and "another secret" in err
    server.kill()
    server.communicate()
    flags = [f for f in flags if f != f"127.0.0.1:{port}"]
    at = flags.index("--head-addr")
    code, _, err = run("serve", MODEL, *flags[:at + 1], f"0.0.0.0:{port}", *flags[at + 1:])
    assert code == 2 and "wildcard" in err
    assert run("serve", MODEL, "-tp", 2, "--nnodes", 2)[0] == 2


def test_ranks_that_cannot_be(tmp_path):
    code, _, err = run("serve", MODEL, "-dp", 2, "-tp", 2, "--nnodes", 2, "--head-addr", "127.0.0.1:1")
    assert code == 3 and "--data-parallel-size" in err and "ray" in err
    code, _, err = run("serve", MODEL, "-tp", 3, "--nnodes", 2, "--node-ranks", "3,0", "--head-addr", "127.0.0.1:1")
    assert code == 2 and "--node-ranks" in err
    code, _, err = run("serve", MODEL, "-tp", 2, "--tensor-parallel-split", "1,2,3")
    assert code == 2 and "--tensor-parallel-split" in err
    assert run("serve", MODEL, "-tp", 65)[0] == 2
    code, _, err = run("run", MODEL, "hi", "-tp", 2, "--nnodes", 2, "--head-addr", "127.0.0.1:1", "--node-rank", 1)
    assert code == 2 and "quern serve" in err
