# SPDX-License-Identifier: Apache-2.0
"""quern net-check between processes that stand for machines, and the plan made of it."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import GOLDEN, QUERN


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef0123456789abcdef")
    path.chmod(0o600)
    return path


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def start(number, count, port, secret, *more):
    return subprocess.Popen([QUERN, "net-check", "--nnodes", str(count), "--node-rank", str(number), "--head-addr", f"127.0.0.1:{port}", "--node-addr",
                             f"127.0.0.{number + 1}", "--cluster-secret-file", str(secret), *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    out, said = process.communicate(timeout=120)
    return process.returncode, out, said


def test_every_way_is_measured_and_a_plan_made_of_it(secret, tmp_path):
    port = free_port()
    others = [start(number, 3, port, secret) for number in (1, 2)]
    code, out, said = ended(start(0, 3, port, secret, "--json"))
    assert code == 0, said
    assert [ended(other)[0] for other in others] == [0, 0]
    found = json.loads(out)
    assert [m["address"] for m in found["machines"]] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    assert all(m["cores"] > 0 and m["memory_bytes"] > 1e8 and m["read_bytes_per_s"] > 1e8 for m in found["machines"])
    assert {(w["from"], w["to"]) for w in found["links"]} == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert all(0 < w["round_trip_s"] < 1 and w["bytes_per_s"] > 1e6 for w in found["links"])
    file = tmp_path / "map.json"
    file.write_text(out)
    done = subprocess.run([QUERN, "plan", str(GOLDEN / "qwen2_untied"), "--net-check", str(file)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "tokens/s at best" in done.stdout and "machine 0: quern serve" in done.stdout
    done = subprocess.run([QUERN, "plan", str(GOLDEN / "qwen2_untied"), "--net-check", str(file), "--json"], capture_output=True, text=True, timeout=60)
    layouts = json.loads(done.stdout)
    assert layouts[0]["works"] and {(x["tensor_parallel_size"], x["pipeline_parallel_size"]) for x in layouts} >= {(1, 1), (3, 1), (1, 3)}


def test_a_machine_that_is_lost_is_named(secret):
    port = free_port()
    first = start(1, 3, port, secret)
    head = start(0, 3, port, secret)
    for line in head.stderr:
        if "machine 1 has come" in line:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = start(2, 3, port, secret)
    code, out, _ = ended(head)
    assert code == 1 and "machine 0 does not reach machine 1" in out and "machine 2 does not reach machine 1" in out, out
    assert any(line.startswith("0 2") for line in out.splitlines()), out
    assert ended(second)[0] == 0


def test_strangers_and_wrong_flags_are_refused(secret, tmp_path):
    port = free_port()
    other = tmp_path / "other"
    other.write_text("another secret of a launch")
    other.chmod(0o600)
    head = start(0, 2, port, secret)
    time.sleep(1.5)
    stranger = start(1, 2, port, other)
    assert ended(stranger)[0] != 0
    with socket.create_connection(("127.0.0.1", port)) as garbage:
        garbage.sendall(os.urandom(512))
    friend = start(1, 2, port, secret)
    assert ended(head)[0] == 0 and ended(friend)[0] == 0
    for arguments, said in ((["--nnodes", "1", "--head-addr", "127.0.0.1:1"], "--nnodes N and --head-addr"), (["--nnodes", "2", "--head-addr", "0.0.0.0:0"], "secret"),
                            (["--nnodes", "2", "--node-rank", "2", "--head-addr", "127.0.0.1:1"], "there are ranks 0 to 1")):
        done = subprocess.run([QUERN, "net-check", *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and said in done.stderr, done.stderr


def test_a_map_that_is_none(tmp_path):
    file = tmp_path / "map.json"
    for text, said in (("[]", "is it of quern net-check?"), ('{"machines": [], "links": []}', "no machines"), ("nonsense", "map.json")):
        file.write_text(text)
        done = subprocess.run([QUERN, "plan", str(GOLDEN / "qwen2_untied"), "--net-check", str(file)], capture_output=True, text=True, timeout=60)
        assert done.returncode not in (0, 4) and said in done.stderr, done.stderr
