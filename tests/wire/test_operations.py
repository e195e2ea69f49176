# SPDX-License-Identifier: Apache-2.0
"""What operators rely on: the board's metrics, the description of the API, logs, faults of clients and of the machine."""
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from conftest import GOLDEN, QUERN, ROOT, Server, run

MODEL = GOLDEN / "qwen2_tied"


@pytest.fixture(scope="module")
def tiny():
    server = Server(MODEL, "--max-model-len", 512)
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    assert server.stop()[0] == 0


def post(server, path, body, **headers):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.load(answer), answer.headers


def test_every_metric_of_the_board_exists(tiny):
    post(tiny, "/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 4})
    board = (ROOT / "docs/grafana.json").read_text()
    asked = set(re.findall(r"(?:vllm|quern):[a-z0-9_]+|http_[a-z_]+|process_[a-z_]+", board))
    end = time.monotonic() + 5
    while True:  # a request is counted once its last byte is out, which its client may be ahead of
        served = set(re.findall(r"^([a-z0-9_]+(?::[a-z0-9_]+)?)(?:\{| )", tiny.get("/metrics"), re.M))
        if asked <= served or time.monotonic() > end:
            break
    assert len(asked) > 15 and asked <= served, asked - served


def test_load_and_information(tiny):
    assert json.loads(tiny.get("/load")) == {"server_load": 0, "running": 0, "waiting": 0}
    info = json.loads(tiny.get("/server_info"))
    assert info["max_model_len"] == 512 and info["kv_cache"]["blocks"] > 0 and info["kv_cache"]["blocks_used"] == 0


def test_the_api_is_described(tiny):
    document = json.loads(tiny.get("/openapi.json"))
    assert document["openapi"].startswith("3.1") and "/v1/chat/completions" in document["paths"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"] and "200" in operation["responses"], (method, path)


def test_a_client_that_leaves_during_prefill_is_forgotten_within_a_step(smollm):
    body = json.dumps({"model": smollm.model, "prompt": "word " * 1900, "max_tokens": 100, "ignore_eos": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", smollm.port), timeout=60) as s:
        s.sendall(head + body)
        end = time.time() + 60
        while smollm.metric("vllm:num_requests_running") == 0:
            assert time.time() < end, "the request never ran"
        steps = smollm.metric("quern:steps_total")
    while smollm.metric("vllm:num_requests_running") > 0:
        assert time.time() < end, "the request still runs after its client left"
    # Those that were under way or on their way; an answer of 100 tokens would have taken a hundred.
    assert smollm.metric("quern:steps_total") - steps <= 12
    assert smollm.metric("quern:kv_blocks_used") == 0


def test_log_lines_tell_no_prompt_and_take_no_line_breaks():
    server = Server(MODEL, "--api-key", "sk-very-secret")
    try:
        answer, headers = post(server, "/v1/completions", {"prompt": "my planted prompt", "max_tokens": 2}, **{"Authorization": "Bearer sk-very-secret", "X-Request-Id": "mine-1"})
        assert headers["X-Request-Id"] == "mine-1"
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as s:
            s.sendall(b"GET /a%20b\xff\x1b[31m HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: evil\x1b[31m id\r\nConnection: close\r\n\r\n")
            while s.recv(65536):
                pass
    finally:
        code, log = server.stop()
    assert code == 0 and "id=mine-1" in log and "status=200" in log
    assert "planted" not in log and "sk-very-secret" not in log and "\x1b" not in log and "evil" not in log


def test_a_full_disk_for_logs_does_not_end_the_server():
    with open("/dev/full", "w") as full:
        process = subprocess.Popen([QUERN, "serve", MODEL, "--port", "0"], stdout=subprocess.PIPE, stderr=full, text=True, cwd=ROOT)
        try:
            port = json.loads(process.stdout.readline())["port"]
            for _ in range(20):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=60) as answer:
                    assert answer.status == 200
        finally:
            process.terminate()
            assert process.wait(timeout=60) == 0


def test_settings_in_yaml(tmp_path):
    config = tmp_path / "server.yaml"
    config.write_text("served-model-name: [one, two]\nmax_model_len: 256\nallowed-origins: ['https://a.example']\n")
    server = Server(MODEL, "--config", config)
    try:
        assert [m["id"] for m in json.loads(server.get("/v1/models"))["data"]] == ["one", "two"]
        assert json.loads(server.get("/server_info"))["max_model_len"] == 256
    finally:
        server.stop()
    config.write_text("port: 1\nx: {y: z}\n")
    code, _, log = run("serve", MODEL, "--config", config)
    assert code != 0 and "line 2" in log


def test_abuse_leaves_it_as_it_was():
    done = subprocess.run([sys.executable, "tests/abuse/abuse.py", "--minutes", "0.33", "--binary", QUERN], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
