# SPDX-License-Identifier: Apache-2.0
"""quern run-batch: lines in, lines out, and an interrupted run that goes on."""
import json
import os
import signal
import subprocess
import time

import pooling_folders
from conftest import QUERN, ROOT, run


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def chat(i, **fields):
    body = {"model": "smollm2-135m", "messages": [{"role": "user", "content": f"Count from {i}."}], "temperature": 0, "max_tokens": 8, **fields}
    return {"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def write(path, items):
    path.write_text("".join((i if isinstance(i, str) else json.dumps(i)) + "\n" for i in items))


def test_every_line_gets_its_answer(tmp_path):
    completion = {"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"prompt": "1, 2,", "max_tokens": 4, "temperature": 0}}
    response = {"custom_id": "p", "method": "POST", "url": "/v1/responses", "body": {"input": "hi", "max_output_tokens": 4}}
    write(tmp_path / "in", [chat(0), completion, "", response, "no json", chat(1, temperature=-1), {"custom_id": "u", "url": "/v1/embeddings", "body": {}},
                            chat(2, model="gpt-9"), chat(3, n=2)])
    code, _, err = run("run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", "smollm2-135m", "--max-model-len", 512)
    assert code == 0, err
    answers = {a["custom_id"]: a for a in lines_of(tmp_path / "out")}
    assert len(answers) == 8 and not (tmp_path / "out.part").exists()
    assert answers["r0"]["response"]["body"]["choices"][0]["message"]["content"] and answers["r0"]["error"] is None
    assert answers["c"]["response"]["body"]["object"] == "text_completion"
    assert answers["p"]["response"]["body"]["object"] == "response"
    assert answers[None]["error"]["line"] == 5 and answers[None]["response"] is None
    assert answers["r1"]["response"]["status_code"] == 400 and "temperature" in answers["r1"]["error"]["message"]
    assert answers["u"]["response"]["status_code"] == 404 and "--runner pooling" in answers["u"]["error"]["message"]
    assert answers["r2"]["response"]["status_code"] == 404
    assert len(answers["r3"]["response"]["body"]["choices"]) == 2
    code, _, err = run("run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", "smollm2-135m")
    assert code == 2 and "--overwrite" in err


def test_vectors_in_a_batch(tmp_path):
    folder = pooling_folders.make("last", tmp_path)
    embed = {"custom_id": "e", "url": "/v1/embeddings", "body": {"input": pooling_folders.TEXTS}}
    rank = {"custom_id": "k", "url": "/v1/rerank", "body": {"query": "fox", "documents": ["The fox.", "Hello."]}}
    write(tmp_path / "in", [embed, rank, chat(0)])
    code, _, err = run("run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", folder, "--runner", "pooling", "--dtype", "float32")
    assert code == 0, err
    answers = {a["custom_id"]: a for a in lines_of(tmp_path / "out")}
    vectors = [item["embedding"] for item in answers["e"]["response"]["body"]["data"]]
    expected = json.loads((ROOT / "tests/data/pooling/expected.json").read_text())["last"]
    assert max(abs(a - b) for got, wanted in zip(vectors, expected, strict=True) for a, b in zip(got, wanted, strict=True)) < 1e-4
    assert len(answers["k"]["response"]["body"]["results"]) == 2
    assert answers["r0"]["response"]["status_code"] == 404 and "--runner generate" in answers["r0"]["error"]["message"]


def test_an_interrupted_run_goes_on(tmp_path):
    count = 24
    write(tmp_path / "in", [chat(i, max_tokens=48, ignore_eos=True) for i in range(count)])
    command = ["run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", "smollm2-135m", "--max-model-len", "512", "--concurrency", "2"]
    part = tmp_path / "out.part"
    process = subprocess.Popen([QUERN, *map(str, command)], stderr=subprocess.PIPE, cwd=ROOT)
    while process.poll() is None and (not part.exists() or part.read_bytes().count(b"\n") < 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    before = part.read_text()
    assert 2 <= before.count("\n") < count and not (tmp_path / "out").exists()
    part.write_text(before + '{"id": "cut off in the mi')
    code, _, err = run(*command)
    assert code == 0, err
    text = (tmp_path / "out").read_text()
    assert text.startswith(before)  # what was answered is not asked again
    assert sorted(a["custom_id"] for a in lines_of(tmp_path / "out")) == sorted(f"r{i}" for i in range(count))


def test_duplicates_and_foreign_leftovers_are_refused(tmp_path):
    write(tmp_path / "in", [chat(0), chat(1), chat(0)])
    code, _, err = run("run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", "smollm2-135m")
    assert code == 2 and "line 1 and in line 3" in err
    write(tmp_path / "in", [chat(0)])
    (tmp_path / "out.part").write_text('{"id": "x", "custom_id": "other", "response": null, "error": null}\n')
    code, _, err = run("run-batch", "-i", tmp_path / "in", "-o", tmp_path / "out", "smollm2-135m")
    assert code == 2 and "other" in err and os.path.exists(tmp_path / "out.part")
    code, _, err = run("run-batch", "-i", tmp_path / "none", "-o", tmp_path / "out2", "smollm2-135m")
    assert code == 3 and "none" in err
