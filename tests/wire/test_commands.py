# SPDX-License-Identifier: Apache-2.0
"""Commands as typed: exit codes, messages, spellings."""
import json
import os
import re
import shutil
import socket

from conftest import GOLDEN, ROOT, Server, run


def test_exit_codes_are_one_table():
    code, out, _ = run("--help")
    assert code == 0
    shown = dict(re.findall(r"^\s+(\d+)  (\S.*)$", out[out.index("Exit codes"):], re.M))
    for page, text in ("docs/exit-codes.md", (ROOT / "docs/exit-codes.md").read_text()), ("the manual", run("man")[1].replace("\\", "")):
        for number, meaning in shown.items():
            assert re.search(rf"\b{number}\b.*{re.escape(meaning)}", text, re.S), f"{page} lacks {number} {meaning}"
    assert set(shown) == {"0", "1", "2", "3", "4", "5", "6", "75", "130"}


def test_usage_errors_suggest():
    code, _, err = run("serve", "smollm2-135m", "--max-model-lem", 4)
    assert code == 2 and "--max-model-len" in err
    assert run("serve", "smollm2-135m", "--port", "99999999")[0] == 2
    assert run("no-such-command")[0] == 2
    assert run("serve", "smollm2-135m", "--dtype", "float7")[0] == 2


def test_models_that_are_not_there(tmp_path):
    code, _, err = run("chat", "org/no-such-model", "--prompt", "x", env={**os.environ, "HF_HOME": str(tmp_path)})
    assert code == 5 and "org/no-such-model" in err
    assert run("chat", str(tmp_path / "missing.gguf"), "--prompt", "x")[0] == 3
    marlin = tmp_path / "marlin"
    shutil.copytree(GOLDEN / "qwen2_vl_awq", marlin)
    config = json.loads((marlin / "config.json").read_text())
    config["quantization_config"]["version"] = "marlin"
    (marlin / "config.json").write_text(json.dumps(config))
    code, _, err = run("serve", marlin)
    assert code == 3 and "marlin" in err
    code, _, err = run("run", "smollm2-135m", "hi", "--data-parallel-size", 2)
    assert code == 3 and "--data-parallel-size" in err


def test_quantized_models_answer_in_every_mode():
    for golden in "qwen2_vl_awq", "qwen2_vl_gptq_int8", "qwen2_vl_gptq_int4_actorder":
        for flags in (), ("--cpu-activation", "int8"), ("--int8-head",):
            code, out, err = run("run", GOLDEN / golden, "--prompt", "hello", "--max-tokens", 4, "--ignore-eos", "--json", *flags)
            assert code == 0 and json.loads(out)["timings"]["decoded_tokens"] == 3, err


def test_damaged_files(tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(GOLDEN / "qwen2_tied", folder)
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[:len(whole) // 2])
    code, _, err = run("chat", folder, "--prompt", "x")
    assert code == 3 and "model.safetensors" in err
    length = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:8 + length])
    names = [n for n in header if n != "__metadata__"]
    header[names[1]]["data_offsets"] = header[names[0]]["data_offsets"]
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + length:])
    code, _, err = run("chat", folder, "--prompt", "x")
    assert code == 3 and "model.safetensors" in err
    gguf = tmp_path / "x.gguf"
    gguf.write_bytes(b"GGUF" + (3).to_bytes(4, "little") + (2 ** 62).to_bytes(8, "little") + (2 ** 62).to_bytes(8, "little"))
    code, _, err = run("chat", gguf, "--prompt", "x")
    assert code == 3 and "x.gguf" in err


def test_does_not_fit():
    code, _, err = run("serve", "smollm2-135m", "--kv-cache-memory-bytes", "1k")
    assert code == 4 and re.search(r"\d", err)


def test_a_template_that_loops_for_ever(tmp_path):
    template = tmp_path / "loop.jinja"
    template.write_text("{% for i in range(100000) %}{% for j in range(100000) %}{% set x = i * j %}{% endfor %}{% endfor %}")
    code, _, err = run("chat", "smollm2-135m", "--chat-template", template, "--prompt", "x", "--max-tokens", 1)
    assert code == 2 and "may loop for ever" in err


def test_port_in_use():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        code, _, err = run("serve", GOLDEN / "qwen2_tied", "--port", s.getsockname()[1])
    assert code == 6 and str(s) is not None and "port" in err


def test_one_prompt():
    code, out, _ = run("chat", "smollm2-135m", "--prompt", "What is the capital of France? Answer in one word.", "--temperature", 0, "--max-tokens", 32)
    assert code == 0 and "Paris" in out
    code, out, _ = run("run", GOLDEN / "qwen2_vl", "What is this?", "--image", GOLDEN / "qwen2_vl/inputs/image_a.png", "--max-tokens", 4, "--temperature", 0,
                       "--ignore-eos", "--json")
    answer = json.loads(out)
    assert code == 0 and len(answer["ids"]) == 4 and answer["timings"]["prompt_tokens"] > 16


def test_caches_of_8_bits():
    for name in "int8", "fp8":
        code, out, _ = run("chat", "smollm2-135m", "--prompt", "What is the capital of France? Answer in one word.", "--temperature", 0, "--max-tokens", 32,
                           "--kv-cache-dtype", name)
        assert code == 0 and "Paris" in out, name
    # A row of 64 numbers and its scale: 68 bytes where bf16 takes 128.
    room = {}
    for name in "int8", "bfloat16":
        _, out, _ = run("plan", "smollm2-135m", "--kv-cache-dtype", name)
        room[name] = int(re.search(r"room for (\d+) tokens", out).group(1))
    assert 1.8 < room["int8"] / room["bfloat16"] < 128 / 68 + 0.05
    code, _, err = run("plan", "smollm2-135m", "--kv-cache-dtype", "fp8_e5m2")
    assert code != 0 and "fp8_e5m2" in err and "int8" in err


def test_tokenize():
    code, out, _ = run("tokenize", "smollm2-135m", "Hello world", "--json")
    assert code == 0 and len(json.loads(out)["ids"]) == 2


def test_environment_and_config_file(tmp_path):
    config = tmp_path / "quern.toml"
    config.write_text('served-model-name = "from-file"\nmax-num-seqs = 3\n')
    server = Server(GOLDEN / "qwen2_tied", "--config", config, env={"QUERN_MAX_NUM_SEQS": "5", "VLLM_API_KEY": "secret"})
    assert server.model == "from-file"
    models = server.client(api_key="secret").models.list()
    assert [m.id for m in models] == ["from-file"]
    code, log = server.stop()
    assert code == 0 and "VLLM_API_KEY" in log and "secret" not in log


def test_verify_says_what_it_cannot_judge(tmp_path):
    assert run("verify", tmp_path)[0] == 3
    (tmp_path / "expected.json").write_text('{"format": 1, "kind": "speech", "family": "birdsong"}')
    code, out, err = run("verify", tmp_path)
    assert code == 3 and "kind speech (family birdsong)" in out + err


ODD_72B = ROOT / "tests/data/configs/qwen2-vl-72b-instruct-awq-29568"


def test_plan_deals_odd_groups_out():
    code, out, err = run("plan", ODD_72B, "--device", "2x rtx3090", "--max-model-len", 2048, "--max-num-seqs", 16, "--json")
    assert code == 0, err
    plan = json.loads(out)
    assert plan["fits"] and [rank["mlp_units"] for rank in plan["ranks"]] == [116 * 128, 115 * 128]
    refused = {row["degree"]: row["refused_elsewhere"] for row in plan["degrees"]}
    assert "14784 is not divisible by min_thread_k = 128" in refused[2][0]


def test_plan_says_what_does_not_fit():
    code, out, _ = run("plan", ODD_72B, "--device", "rtx3090", "--no-degrees")
    assert code == 4 and "does not fit" in out and "would hold it" in out
    assert run("plan", ODD_72B, "--device", "2x abacus")[0] == 2
    assert run("plan", ODD_72B, "--device", "custom")[0] == 2


def test_doctor_measures_and_predicts():
    code, out, err = run("doctor", ODD_72B, "--json")
    assert code in (0, 4), err
    told = json.loads(out)
    assert told["measured"]["read_gb_s"] > 0 and told["cores"] >= 1
    assert (code == 0) == told["model"]["fits"] and told["model"]["weight_bytes"] > 38e9
    assert all(finding["what"] and finding["command"] for finding in told["findings"])
    assert run("doctor", "no-such-model")[0] == 3


def test_the_default_cache_leaves_room_for_the_rest():
    code, _, err = run("run", "smollm2-135m", "Name a river.", "--max-tokens", 2, "--memory-utilization", 0.1)
    assert code == 0, err
    code, _, err = run("run", "smollm2-135m", "Name a river.", "--max-tokens", 2, "--memory-utilization", 0.1, "--kv-cache-memory-bytes", "400G")
    assert code == 4 and "would fit" in err


def test_experts_in_the_file_change_no_answer():
    model = ROOT / "tests/golden/kimi_k2_int4"
    ask = ["run", model, "hello there", "--max-tokens", 12, "--temperature", 0]
    expected = run(*ask, "--expert-memory", "all")
    assert expected[0] == 0 and expected[1], expected[2]
    for held in ("auto", "0", "60K"):
        assert run(*ask, "--expert-memory", held)[:2] == expected[:2], held
    assert run(*ask, "--expert-memory", "60K", "--log-level", "info")[2].count("the others stay in the file") == 2  # planned, loaded
    code, _, err = run(*ask, "--expert-memory", "lots")
    assert code == 2 and "--expert-memory" in err


def test_a_plan_leaves_experts_in_the_file():
    """GLM-4.6V-FP8 weighs 103 GiB."""
    plan = ["plan", ROOT / "tests/data/configs/glm-4.6v-fp8/config.json", "--device", "cpu", "--device-memory", "32G", "--no-degrees", "--json"]
    code, out, err = run(*plan, "--disk-bandwidth", 2)
    assert code == 0, err
    found = json.loads(out)
    assert found["fits"] and found["experts_in_file_bytes"] > 60 << 30 and 15 << 30 < found["experts_held_bytes"] < 25 << 30
    assert run(*plan, "--expert-memory", "all")[0] == 4
