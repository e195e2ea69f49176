# SPDX-License-Identifier: Apache-2.0
"""Starts quern as a user would and hands tests the address. Nothing here leaves the loopback interface."""
import json
import os
import pathlib
import re
import signal
import subprocess
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERN = os.environ.get("QUERN", str(ROOT / "build/release/quern"))
GOLDEN = ROOT / "tests/golden"


class Server:
    """A `quern serve` process that has said it is ready."""

    def __init__(self, model, *flags, env=None):
        self.process = subprocess.Popen([QUERN, "serve", str(model), "--port", "0", *map(str, flags)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("quern serve did not start:\n" + self.process.stderr.read())
        self.ready = json.loads(line)
        self.port = self.ready["port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self.model = self.ready["model"]

    def get(self, path):
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum of a metric over its labels."""
        values = re.findall(rf"^{re.escape(name)}(?:\{{[^}}]*\}})? (\S+)$", self.get("/metrics"), re.M)
        assert values, f"/metrics has no {name}"
        return sum(map(float, values))

    def client(self, **options):
        import openai
        return openai.OpenAI(base_url=self.url + "/v1", api_key=options.pop("api_key", "none"), max_retries=0, timeout=120, **options)

    def stop(self, how=signal.SIGTERM):
        """The exit code and what was logged."""
        self.process.send_signal(how)
        _, log = self.process.communicate(timeout=60)
        return self.process.returncode, log


@pytest.fixture(scope="session")
def smollm():
    server = Server("smollm2-135m", "--max-model-len", 2048, "--max-num-seqs", 16)
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    code, _ = server.stop()
    assert code == 0


@pytest.fixture(scope="session")
def pictures():
    """The tiny random Qwen2-VL: its words mean nothing, its wire behaviour does."""
    server = Server(GOLDEN / "qwen2_vl", "--served-model-name", "qwen2vl", "--tensor-parallel-size", 1, "--max_num_seqs", 16,
                    "--max-model-len", 2048, env={"VLLM_WORKER_MULTIPROC_METHOD": "spawn"})
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


def run(*arguments, **options):
    """Runs quern to its end: (exit code, stdout, stderr)."""
    done = subprocess.run([QUERN, *map(str, arguments)], capture_output=True, text=True, cwd=ROOT, timeout=120, **options)
    return done.returncode, done.stdout, done.stderr
