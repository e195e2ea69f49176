# SPDX-License-Identifier: Apache-2.0
"""--data-parallel-size: replicas behind one address, renewed one by one under load, and where requests go."""
import os
import re
import signal
import subprocess
import threading
import time

import pytest
from conftest import GOLDEN, QUERN, ROOT, Server, run

MODEL = "smollm2-135m"
FLAGS = ["--dtype", "float32", "--max-model-len", 1024, "--max-num-seqs", 8]


@pytest.fixture(scope="module")
def replicas():
    server = Server(MODEL, *FLAGS, "-dp", 2)
    yield server
    code, log = server.stop()
    assert code == 0, log[-2000:]


def children(server):
    out = subprocess.run(["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in out]


def counters(server, name):
    """By replica."""
    return {label: float(value) for label, value in re.findall(rf'^{re.escape(name)}{{replica="(\d)"[^}}]*}} (\S+)$', server.get("/metrics"), re.M)}


def test_the_client_sees_one_server(replicas, smollm):
    client, alone = replicas.client(), smollm.client()
    names = [m.id for m in client.models.list()]
    assert names == [MODEL]
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Name three colours."}], "temperature": 0, "max_tokens": 24}
    whole = client.chat.completions.create(**body).choices[0].message.content
    pieces = "".join(piece.choices[0].delta.content or "" for piece in client.chat.completions.create(**body, stream=True) if piece.choices)
    assert whole == pieces
    with pytest.raises(Exception) as refused:
        client.chat.completions.create(**{**body, "model": "another"})
    assert refused.value.status_code == 404
    first = client.responses.create(model=MODEL, input="My name is Ada.", max_output_tokens=8)
    for _ in range(3):  # stored by one of them, asked for by its name
        assert client.responses.retrieve(first.id).id == first.id
        assert client.responses.create(model=MODEL, input="And yours?", previous_response_id=first.id, max_output_tokens=4).id
    assert '"takes_requests":true' in replicas.get("/ready")
    assert len(children(replicas)) == 2 and alone.models.list()


class Load(threading.Thread):
    """Chats until told to end; every one is to be whole."""

    def __init__(self, server, number):
        super().__init__()
        self.server, self.number, self.answers, self.failures, self.is_over = server, number, 0, [], False
        self.start()

    def run(self):
        client = self.server.client()
        while not self.is_over:
            try:
                pieces = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": f"Tell me about the number {self.number}."}],
                                                        max_tokens=16, stream=True, extra_body={"ignore_eos": True})
                ends = [piece.choices[0].finish_reason for piece in pieces if piece.choices]
                assert ends[-1] == "length", ends[-1:]
                self.answers += 1
            except Exception as error:  # noqa: BLE001  # judged below
                self.failures.append(repr(error))


def test_renewed_under_load(replicas):
    before = children(replicas)
    load = [Load(replicas, number) for number in range(6)]
    time.sleep(1)
    os.kill(replicas.process.pid, signal.SIGHUP)
    end = time.monotonic() + 90
    while set(before) & set(children(replicas)) or len(children(replicas)) < 2 or '"takes_requests":false' in replicas.get("/ready"):
        assert time.monotonic() < end, "not renewed"
        time.sleep(0.1)
    for thread in load:
        thread.is_over = True
    for thread in load:
        thread.join(60)
    assert not [failure for thread in load for failure in thread.failures]
    print(f"\n{sum(thread.answers for thread in load)} streams while both replicas were renewed, none lost", end="")


def test_a_replica_that_is_killed_comes_back(replicas):
    client = replicas.client()
    victim = children(replicas)[0]
    os.kill(victim, signal.SIGKILL)
    for _ in range(4):  # whoever is asked meanwhile, somebody answers
        assert client.completions.create(model=MODEL, prompt="Once", max_tokens=2).choices[0].text is not None
    end = time.monotonic() + 60
    while len(children(replicas)) < 2 or victim in children(replicas) or '"takes_requests":false' in replicas.get("/ready"):
        assert time.monotonic() < end, "it did not come back"
        time.sleep(0.1)


@pytest.mark.parametrize("routing", ["prefix", "round-robin"])
def test_conversations_stay_where_their_prefix_is(routing):
    """Nine conversations of six turns, two replicas: cached tokens out of all that were prompted."""
    server = Server(MODEL, *FLAGS, "-dp", 2, "--data-parallel-routing", routing)
    try:
        client = server.client()
        histories = [[{"role": "user", "content": f"Conversation {n}. " + "We talk about the weather in the mountains and at the sea. " * 6}] for n in range(9)]
        for _ in range(6):
            for history in histories:
                answer = client.chat.completions.create(model=MODEL, messages=history, max_tokens=8, temperature=0)
                history += [{"role": "assistant", "content": answer.choices[0].message.content}, {"role": "user", "content": "Go on, please."}]
        hits, queries = (sum(counters(server, f"vllm:prefix_cache_{what}_total").values()) for what in ("hits", "queries"))
        print(f"\n{routing}: {100 * hits / queries:.0f} % of prompt tokens were in the cache", end="")
        assert hits / queries > (0.75 if routing == "prefix" else 0.0)
    finally:
        server.stop()


def test_wrong_flags_end_it():
    code, _, error = run("serve", MODEL, "-dp", 2, "--tool-call-parser", "none", "--api-key", "k", "--api-key-file", "/nowhere")
    assert code != 0 and error
    code, _, error = run("serve", "no/such-model", "-dp", 2, "--port", 0)
    assert code in (3, 5), (code, error)
    code, _, error = run("chat", MODEL, "-dp", 2, "--prompt", "hi")
    assert code != 0 and "replicas are for quern serve" in error
