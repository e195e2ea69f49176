# SPDX-License-Identifier: Apache-2.0
"""`quern serve --distributed-executor-backend ray` on one machine, and on several made of namespaces with a real Ray cluster: equal texts, and what becomes
of streams when a worker, a seat, a link or a machine is lost. Seconds are printed, not judged."""
import json
import os
import subprocess
import threading
import time
import urllib.request

import pytest
from machines import PORT, QUERN, ROOT, VENV, Network, inside, why_not

MODEL = "smollm2-135m"
FLAGS = ["--dtype", "float32", "--max-model-len", "512", "--max-num-seqs", "8", "--port", "8000", "--threads", "1"]
PROMPTS = ["The history of the steam engine begins", "A recipe for bread:", "In the year 1969,", "The capital of France is"]
TOKENS = 60
HOST = "198.18.77.1"


def ready_line(process):
    line = process.stdout.readline()
    assert line, "it did not start:\n" + process.stderr.read()[-3000:]
    return json.loads(line)


class Log:
    """What a process writes to a pipe, read as it comes."""

    def __init__(self, process):
        self.lines = []
        threading.Thread(target=self.read, args=(process.stderr,), daemon=True).start()

    def read(self, pipe):
        for line in pipe:
            self.lines.append(line)

    def text(self):
        return "".join(self.lines)


def completion(url, prompt, model=MODEL):
    """The text, and the longest pause between two pieces of it, by the official client."""
    import openai
    client = openai.OpenAI(base_url=url + "/v1", api_key="none", max_retries=0, timeout=180)
    text, last, pause = "", None, 0.0
    for piece in client.completions.create(model=model, prompt=prompt, max_tokens=TOKENS, temperature=0, stream=True, extra_body={"ignore_eos": True}):
        now = time.monotonic()
        pause, last = max(pause, now - (last or now)), now
        text += piece.choices[0].text if piece.choices else ""
    return text, pause


def get(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read().decode()


@pytest.fixture(scope="module")
def expected():
    server = subprocess.Popen([QUERN, "serve", MODEL, *FLAGS[:-4], "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
    url = f"http://127.0.0.1:{ready_line(server)['port']}"
    texts = [completion(url, prompt)[0] for prompt in PROMPTS]
    server.terminate()
    server.wait(30)
    return texts


def environment():
    return {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "python"), "QUERN": QUERN, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "disabled"}


def test_one_machine(expected):
    """A cluster of its own; both doors."""
    if not (VENV / "bin/ray").exists():
        pytest.skip(f"SKIPPED: no Ray in {VENV}")
    flags = [*FLAGS[:-4], "--port", "0", "--ray-address", "local", "-tp", "2"]
    for door in ([QUERN, "serve", MODEL, "--distributed-executor-backend", "ray"], [str(VENV / "bin/python"), "-m", "quern.ray", "serve", MODEL]):
        server = subprocess.Popen([*door, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment())
        ready = ready_line(server)
        log = Log(server)
        url = f"http://127.0.0.1:{ready['port']}"
        assert [completion(url, prompt)[0] for prompt in PROMPTS] == expected
        server.terminate()
        assert server.wait(60) == 0, log.text()[-3000:]


def refused(*flags):
    done = subprocess.run([QUERN, "serve", MODEL, "--distributed-executor-backend", "ray", *flags], capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=120)
    return done.returncode, done.stderr


def test_wrong_words_are_named():
    code, error = refused("-tp", "2", "--nnodes", "2", "--head-addr", "127.0.0.1:1")
    assert code == 2 and "leave out --nnodes" in error
    if not (VENV / "bin/ray").exists():
        pytest.skip(f"SKIPPED the rest: no Ray in {VENV}")
    code, error = refused("--ray-address", "127.0.0.1:1", "--ray-timeout", "2")
    assert code == 5 and "nobody answers" in error
    code, error = refused("--ray-address", "local", "-tp", "2", "--gpus-per-rank", "1", "--ray-timeout", "3")
    assert code == 75 and "no room for 2 ranks" in error


@pytest.fixture(scope="module")
def network():
    if reason := why_not():
        pytest.skip(f"SKIPPED: no machines of namespaces here: {reason}")
    net = Network(3)
    try:
        time.sleep(6)
        for number in (2, 3):
            net.join(number)
        yield net
    finally:
        net.remove()


class Server:
    """Started on machine 1 of a network; asked from there."""

    def __init__(self, network, model, *flags, ranks):
        self.network, self.url = network, f"http://{HOST}:8000"
        self.process = network.machines[0].popen(
            QUERN, "serve", model, *FLAGS, "--host", HOST, "--distributed-executor-backend", "ray", "--ray-address", f"{HOST}:{PORT}", "--strategy", "spread",
            "-tp", ranks, *flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        ready_line(self.process)
        self.log = Log(self.process)

    def texts(self, disturb=None, model=MODEL):
        """Of all prompts at one time, disturbed once all have begun; and the longest pause of each."""
        running = [inside(self.network.machines[0], completion, self.url, prompt, model) for prompt in PROMPTS]
        if disturb:
            time.sleep(1.0)
            disturb()
        for thread, _ in running:
            thread.join(180)
            assert not thread.is_alive(), self.log.text()[-3000:]
        if errors := [out["error"] for _, out in running if "error" in out]:
            raise AssertionError(self.log.text()[-3000:]) from errors[0]
        return [out["value"][0] for _, out in running], max(out["value"][1] for _, out in running)

    def get(self, path):
        thread, out = inside(self.network.machines[0], get, self.url + path)
        thread.join(30)
        return out["value"]

    def stop(self):
        subprocess.run(["pkill", "-TERM", "-P", str(self.process.pid)])
        code = self.process.wait(60)
        return code


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_on_several_machines(network, expected, ranks):
    server = Server(network, MODEL, ranks=ranks)
    try:
        assert server.texts()[0] == expected
        assert f"{ranks} machines" in server.log.text()
    finally:
        code = server.stop()
    assert code == 0, server.log.text()[-3000:]


def wait_until(holds, seconds=60):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)


def test_an_awq_checkpoint(network):
    """Random weights, float32: the same text at 1, 2 and 3 ranks."""
    model = "tests/golden/qwen2_vl_awq"
    texts = []
    for ranks in (1, 2, 3):
        server = Server(network, model, "--served-model-name", "awq", ranks=ranks)
        try:
            texts.append(server.texts(model="awq")[0])
        finally:
            assert server.stop() == 0, server.log.text()[-3000:]
    assert texts[0] == texts[1] == texts[2] and all(texts[0])


def cut(machine):
    machine.set_link("down")
    time.sleep(8)
    machine.set_link("up")


@pytest.mark.parametrize("what, disturb", [("worker, SIGKILL", lambda machine: machine.kill_all("quern worker")),
                                           ("seat (Ray's actor), SIGKILL", lambda machine: machine.kill_all("ray::Seat")), ("link down for 8 s", cut)])
def test_what_is_lost_is_replaced(network, expected, what, disturb):
    """Every stream ends with the text it would have had."""
    server = Server(network, MODEL, ranks=3)
    try:
        texts, pause = server.texts(lambda: disturb(network.machines[1]))
        assert texts == expected
        assert "workers lost" in server.log.text() and '"ok"' in server.get("/health")
        print(f"\n{what}: longest pause of a stream {pause:.2f} s", end="")
    finally:
        code = server.stop()
    assert code == 0, server.log.text()[-3000:]


def test_a_machine_that_is_lost_for_good(network, expected):
    """Three ranks become two; the machine's power is cut, so this comes last."""
    server = Server(network, MODEL, "--replan-after", "5", ranks=3)
    try:
        texts, pause = server.texts(network.machines[2].die)
        assert texts == expected
        assert "going on with 2 of 3 ranks" in server.log.text()
        print(f"\nmachine, power cut, --replan-after 5: longest pause of a stream {pause:.2f} s", end="")
        assert server.texts()[0] == expected
    finally:
        code = server.stop()
    assert code == 0, server.log.text()[-3000:]
