# SPDX-License-Identifier: Apache-2.0
"""quern bench: what it writes and how it fails; no times are judged."""
import json
import signal
import socket
import subprocess

import pytest

from conftest import GOLDEN, QUERN, ROOT, Server, run

TINY = GOLDEN / "qwen2_tied"
SMALL = ["--num-prompts", 5, "--random-input-len", 12, "--random-output-len", 6]
TIMES = ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"]


@pytest.fixture(scope="module")
def tiny():
    server = Server(TINY, "--max-model-len", 256)
    yield server
    assert server.stop()[0] == 0


def bench(tmp_path, name, *arguments):
    """The result of a bench that succeeds, and what it printed."""
    out = tmp_path / "result.json"
    code, text, err = run("bench", name, "--json", out, *arguments)
    assert code == 0, err
    return json.loads(out.read_text()), text


def check_head(result, name):
    assert result["bench"] == name
    assert {"date", "version", "commit", "command", "machine"} <= set(result)
    assert {"cpu", "isa", "threads"} <= set(result["machine"])


def check_load(run, requests=5):
    assert run["completed"] == requests and run["failed"] == 0 and not any(run["errors"])
    assert run["total_input_tokens"] == 12 * requests and run["total_output_tokens"] == 6 * requests
    assert run["output_throughput"] == pytest.approx(6 * requests / run["duration"])
    assert run["total_token_throughput"] == pytest.approx(18 * requests / run["duration"])
    assert run["request_throughput"] == pytest.approx(requests / run["duration"])
    for name in TIMES:
        for statistic in ("mean", "median", "std", "p50", "p90", "p99"):
            assert f"{statistic}_{name}" in run
        assert 0 <= run[f"p50_{name}"] <= run[f"p90_{name}"] <= run[f"p99_{name}"]
    assert run["median_ttft_ms"] <= run["median_e2el_ms"]
    assert run["input_lens"] == [12] * requests and run["output_lens"] == [6] * requests
    assert {"wall_s", "own_cpu_s", "other_cores"} <= set(run["noise"])


def test_serve_against_a_running_server(tiny, tmp_path):
    before = tiny.metric("vllm:generation_tokens_total")
    result, text = bench(tmp_path, "serve", "--base-url", tiny.url, *SMALL, "--num-warmups", 0)
    check_head(result, "serve")
    check_load(result)
    assert result["request_rate"] == "inf" and result["model_id"] == tiny.model
    assert tiny.metric("vllm:generation_tokens_total") - before == 30
    assert "Mean TTFT (ms):" in text and "Output token throughput (tok/s):" in text


def test_serve_on_a_server_of_its_own_at_several_rates(tmp_path):
    page = tmp_path / "report.html"
    result, _ = bench(tmp_path, "serve", TINY, *SMALL, "--request-rate", "100,200", "--max-concurrency", 2, "--goodput", "e2el:60000", "--report", page,
                      "--", "--max-model-len", 256, "--max-num-seqs", 2)
    check_head(result, "serve")
    assert [r["request_rate"] for r in result["runs"]] == [100, 200]
    for r in result["runs"]:
        check_load(r)
        assert r["max_concurrent_requests"] <= 2 and r["request_goodput"] == pytest.approx(r["request_throughput"])
    assert page.read_text().count("<svg") == 3 and "<script" not in page.read_text()


def test_serve_asks_chats_too(tiny, tmp_path):
    result, _ = bench(tmp_path, "serve", "--base-url", tiny.url + "/v1/", "--backend", "openai-chat", "--num-prompts", 2, "--random-input-len", 8,
                      "--random-output-len", 4, "--temperature", 1)
    assert result["completed"] == 2 and result["total_output_tokens"] == 8


def test_latency_and_throughput(tmp_path):
    result, text = bench(tmp_path, "latency", TINY, "--input-len", 16, "--output-len", 5, "--batch-size", "1,3", "--num-iters", 2, "--threads", 1)
    check_head(result, "latency")
    assert [r["batch_size"] for r in result["runs"]] == [1, 3]
    assert all(len(r["latencies"]) == 2 and r["decode_tok_s"] > 0 and r["prefill_tok_s"] > 0 for r in result["runs"])
    assert result["roofs"]["read_gb_s"] > 0 and "decode tok/s" in text
    result, _ = bench(tmp_path, "throughput", TINY, "--num-prompts", 3, "--input-len", 16, "--output-len", 5)
    check_head(result, "throughput")
    assert result["num_requests"] == 3 and result["total_num_tokens"] == 3 * 21


def test_kernels(tmp_path):
    page = tmp_path / "report.html"
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"hidden_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 256,
                                  "num_hidden_layers": 2, "vocab_size": 512}))
    result, _ = bench(tmp_path, "kernels", config, "--types", "bf16,int4", "--activations", "bf16", "--shapes", "o,down", "--rows", "1,4", "--min-time", 0,
                      "--report", page)
    check_head(result, "kernels")
    rows = result["kernels"]
    assert {(r["type"], r["shape"], r["rows"]) for r in rows} == {(t, s, n) for t in ("bf16", "int4") for s in ("o", "down") for n in (1, 4)}
    assert all(r["gb_s"] > 0 and r["kernel"] for r in rows)
    assert "roofline" in page.read_text()


def test_errors_say_what_to_do(tiny, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        code, _, err = run("bench", "serve", "--port", s.getsockname()[1], *SMALL)
    assert code == 75 and "quern serve" in err
    code, _, err = run("bench", "serve", "--base-url", tiny.url, "--random-input-len", 300)
    assert code == 2 and "max_model_len" in err and "256" in err
    assert run("bench", "serve", "--base-url", tiny.url, "--num-prompts", 0)[0] == 2
    assert run("bench", "serve", "--base-url", tiny.url, "--request-rate", 0)[0] == 2
    code, _, err = run("bench", "serve")
    assert code == 2 and "--base-url" in err
    code, _, err = run("bench", "serve", "--base-url", tiny.url, "--num-promts", 3)
    assert code == 2 and "--num-prompts" in err
    code, _, err = run("bench", "serve", tmp_path / "nothing")
    assert code != 0 and "did not start" in err
    code, _, err = run("bench", "latency", TINY, "--input-len", 100000)
    assert code == 2 and "4096" in err
    code, _, err = run("bench", "latency", TINY, "--json", tmp_path / "no/such/folder.json")
    assert code == 2 and "folder" in err


def test_a_pause_of_the_training_ends_with_the_bench(tmp_path):
    state = tmp_path / "training/state/sight"
    state.mkdir(parents=True)
    arguments = [QUERN, "bench", "serve", str(TINY), "--num-prompts", "2", "--request-rate", "0.0001", "--num-warmups", "0"]
    process = subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert "paused" in process.stderr.readline()
    assert (state / "pause").exists()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT and not (state / "pause").exists()
    (state / "pause").touch()
    done = subprocess.run([QUERN, "bench", "throughput", str(TINY), "--num-prompts", "1", "--input-len", "4", "--output-len", "2"], cwd=tmp_path,
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "paused" not in done.stderr and (state / "pause").exists()


def test_simulate_replays_what_a_server_did(tmp_path):
    """Times are the machine's; lengths and counts are not."""
    log, result, plan = tmp_path / "steps.csv", tmp_path / "result.json", tmp_path / "plan.json"
    server = Server("smollm2-135m", "--max-model-len", 512, "--max-num-seqs", 4, "--step-log", log)
    assert run("bench", "serve", "--port", server.port, "--tokenizer", ROOT / "build/models/smollm2-135m/model.gguf", "--num-prompts", 8, "--request-rate", 20,
               "--random-input-len", 60, "--random-output-len", 12, "--random-range-ratio", 0.5, "--json", result)[0] == 0
    server.stop()
    lines = log.read_text().splitlines()
    assert lines[0] == "sequences,prefill_tokens,attended,prefill_attended,microseconds" and len(lines) > 20
    real = json.loads(result.read_text())
    flags = ["--max-model-len", 512, "--max-num-seqs", 4]
    code, out, fit = run("simulate", "--step-log", log, "--trace", result, "--replicas", 2, *flags, "--json")
    assert code == 0 and "fitted to" in fit
    said = json.loads(out)
    assert (said["completed"], said["total_input_tokens"], said["total_output_tokens"]) == (8, real["total_input_tokens"], real["total_output_tokens"])
    assert 0 < said["mean_ttft_ms"] < said["mean_e2el_ms"] and said["preemptions"] == 0
    code, out, _ = run("simulate", "--step-log", log, "--trace", result, "--against", result, *flags)
    assert code == 0 and "differs" in out

    code, out, _ = run("plan", ROOT / "tests/data/configs/kimi-k2-thinking/config.json", "--device", "8x h200", "-tp", 8, "--no-degrees", "--json")
    plan.write_text(out)
    load = ["--num-prompts", 40, "--poisson", 1, "--input-len", 500, "--output-len", 50, "--seed", 3, "--json"]
    few, many = (json.loads(run("simulate", "--plan", plan, "--replicas", n, *load)[1]) for n in (1, 4))
    assert many["mean_tpot_ms"] <= few["mean_tpot_ms"] and many["replicas"] == 4
    lossy = json.loads(run("simulate", "--plan", plan, "--mtbf", 5, "--recovery", 1, *load)[1])
    assert lossy["failures"] > 0 and lossy["total_output_tokens"] == few["total_output_tokens"]
    assert run("simulate", *load)[0] == 2 and run("simulate", "--plan", plan, "--step-log", log)[0] == 2
    code, _, error = run("simulate", "--step-log", result, *load)
    assert code == 2 and "whole numbers" in error or "steps" in error
