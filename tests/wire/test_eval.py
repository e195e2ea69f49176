# SPDX-License-Identifier: Apache-2.0
"""quern eval and compare as typed: scores that agree with what the server says of the same tokens, intervals, and what is wrong with a file said before anything is loaded."""
import base64
import json
import math
import re

import pytest

from conftest import GOLDEN, ROOT, run

TINY = GOLDEN / "qwen2_tied"
CHOICES = [
    {"id": "france", "prompt": "The capital of France is", "choices": [" Paris", " a small green frog", " Rome"], "answer": 0},
    {"prompt": "Question: What do cows drink?\nAnswer:", "choices": [" water", " petrol"], "answer": " water"},
    {"prompt": "The opposite of hot is", "choices": [" blue", " cold", " seven"], "answer": 1},
    {"prompt": "Two and two make", "choices": [" four", " green"], "answer": 1},
]
ANSWERS = [
    {"messages": [{"role": "user", "content": "What is the capital of France? Answer in one word."}], "answer": ".*paris.*", "match": "regex", "ignore_case": True,
     "max_tokens": 16},
    {"prompt": "1, 2, 3, 4,", "answer": "5, 6", "match": "prefix", "max_tokens": 8},
    {"prompt": "1, 2, 3, 4,", "answer": r"\d+", "match": "regex", "max_tokens": 8, "stop": ","},
    {"prompt": "1, 2, 3, 4,", "answer": ["six", "seven"], "max_tokens": 4},
]


def write(path, items):
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def evaluate(*arguments, command="eval"):
    code, out, err = run(command, *arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tasks")
    return write(folder / "choices.jsonl", CHOICES), write(folder / "answers.jsonl", ANSWERS)


@pytest.fixture(scope="module")
def judged(files):
    return evaluate("smollm2-135m", "--max-model-len", 512, "--tasks", *files)


def wilson(right, count, z=1.959963984540054):
    p = right / count
    middle, half = (p + z * z / 2 / count) / (1 + z * z / count), z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / 4 / count ** 2)
    return max(0, middle - half), min(1, middle + half)


def test_rows_intervals_and_answers(judged):
    rows = {(row["task"], row["metric"]): row for row in judged["tasks"]}
    assert list(rows) == [("choices", "acc"), ("choices", "acc_norm"), ("answers", "exact_match")]
    assert rows["choices", "acc"]["right"] == 3 and rows["choices", "acc"]["score"] == 0.75  # the last line's answer is wrong on purpose
    assert rows["answers", "exact_match"]["right"] == 3
    for row in judged["tasks"]:
        assert row["interval"] == pytest.approx(wilson(row["right"], row["questions"]), abs=1e-9)
    assert "perplexity" not in judged and len(judged["answers"]) == 8
    assert judged["answers"][0]["id"] == "france" and "Paris" in judged["answers"][4]["answer"]


def test_choices_have_the_log_probabilities_that_the_server_states(judged, smollm):
    client = smollm.client()
    for item, answer in zip(CHOICES, judged["answers"]):
        for choice, logprob in zip(item["choices"], answer["logprobs"]):
            scored = client.completions.create(model=smollm.model, prompt=item["prompt"] + choice, max_tokens=1, echo=True, logprobs=0).choices[0].logprobs
            behind = [value for offset, value in zip(scored.text_offset, scored.token_logprobs)
                      if len(item["prompt"]) <= offset < len(item["prompt"] + choice)]
            assert logprob == pytest.approx(sum(behind), abs=1e-4)


def test_the_cache_of_prefixes_changes_no_bit(files, judged):
    other = evaluate("smollm2-135m", "--max-model-len", 512, "--tasks", files[0], "--no-enable-prefix-caching", "--max-num-seqs", 1)
    assert [a["logprobs"] for a in other["answers"]] == [a["logprobs"] for a in judged["answers"][:4]]


def test_a_reference_is_compared_question_by_question(files, tmp_path):
    code, out, err = run("eval", TINY, "--reference", TINY, "--tasks", files[0])
    assert code == 0 and "difference +0.0 [" in out and "p = 1" in out, err
    rows = evaluate(TINY, "--against-float32", "--dtype", "bfloat16", "--tasks", files[0])["tasks"]
    for row in rows:
        assert row["difference"] == pytest.approx(row["score"] - row["reference_score"])
        assert row["difference_interval"][0] < 0 < row["difference_interval"][1]


def test_pictures_beside_the_file(tmp_path):
    model = GOLDEN / "qwen2_vl"
    picture = model / "inputs/image_a.png"
    (tmp_path / "a.png").write_bytes(picture.read_bytes())
    data = "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()

    def item(url, **rest):
        return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "What is it?"}]}], **rest}

    tasks = [write(tmp_path / "choice.jsonl", [item(url, choices=["a cat", "a dog"], answer=1) for url in ("a.png", data)]),
             write(tmp_path / "said.jsonl", [item(url, answer="x", max_tokens=4) for url in ("a.png", data)])]
    answers = evaluate(model, "--max-model-len", 2048, "--tasks", *tasks)["answers"]
    assert answers[0]["logprobs"] == answers[1]["logprobs"] and answers[0]["logprobs"][0] != answers[0]["logprobs"][1]
    assert answers[2]["answer"] == answers[3]["answer"] != ""


@pytest.mark.parametrize("line,said", [
    ("{", "line 2"),
    ('{"prompt": "a", "choices": ["b"], "answer": 0}', "choices: expected at least 2"),
    ('{"prompt": "a", "choices": ["b", "c"], "answer": 5}', "answer: expected an index from 0 to 1"),
    ('{"prompt": "a", "answer": "x"}', "choices: there are none"),
    ('{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "../x.png"}}]}], "choices": ["b", "c"], "answer": 0}',
     "messages[0].content[0]: ../x.png: no such file"),
])
def test_a_bad_line_is_named_before_anything_is_loaded(line, said, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(CHOICES[0]) + "\n" + line + "\n")
    code, _, err = run("eval", "org/no-such-model", "--tasks", path)
    assert code == 2 and f"{path}: line 2" in err and said in err, err


def test_files_and_flags_that_do_not_fit(tmp_path, files):
    assert run("eval", TINY, "--tasks", tmp_path / "none.jsonl")[0] == 3
    code, _, err = run("eval", TINY, "--tasks", files[0], "--last-logits", tmp_path / "x")
    assert code == 2 and "--text" in err
    long = write(tmp_path / "long.jsonl", [{"prompt": "word " * 400, "choices": ["a", "b"], "answer": 0}])
    code, _, err = run("eval", TINY, "--max-model-len", 64, "--tasks", long)
    assert code == 2 and f"{long}: line 1" in err


def test_the_built_in_text(tmp_path):
    text = tmp_path / "prose.txt"
    text.write_bytes((ROOT / "bench/prose.txt").read_bytes())
    built_in, own = evaluate(TINY, "--max-tokens", 300), evaluate(TINY, "--max-tokens", 300, "--text", text)
    assert built_in == own
    low, high = own["perplexity_interval"]
    assert low < own["perplexity"] < high and own["bits_per_byte"] > 0
    assert evaluate(TINY, "--max-tokens", 300, "--seed", 1)["perplexity_interval"] != [low, high]
    both = evaluate(TINY, "--max-tokens", 300, "--reference", TINY)
    assert both["kl_divergence"] == 0 and both["top1_agreement"] == 1 and both["reference_perplexity"] == own["perplexity"]
    assert both["top1_agreement_interval"][0] < 1 == both["top1_agreement_interval"][1]


def test_compare_two_checkpoints(files, tmp_path):
    quantized = tmp_path / "int8"
    code, _, err = run("quantize", TINY, quantized, "--scheme", "rtn-int8", "--group-size", "32")
    assert code == 0, err
    page = tmp_path / "page.html"
    found = evaluate(quantized, TINY, "--max-tokens", 200, "--tasks", files[0], "--device", "rtx3090", "--report", page, command="compare")
    assert found["a"]["bytes"] < found["b"]["bytes"] and found["a"]["memory_bytes"] > 0 and found["b"]["decode_tok_s"] > 0
    assert sum(found["b"]["bytes_by_kind"].values()) == found["b"]["bytes"]
    assert found["between"]["kl_divergence"] > 0 and found["a"]["perplexity"] != found["b"]["perplexity"]
    assert found["a"]["plan"]["fits"] is True and found["a"]["plan"]["device"] == "rtx3090"
    assert {row["metric"] for row in found["tasks"]} == {"acc", "acc_norm"}
    html = page.read_text()
    assert "<svg" in html and "prefers-color-scheme:dark" in html and "error of each layer" in html
    measures = {row["measure"]: row for row in found["table"]}
    assert "x" in measures["checkpoint, MB"]["A against B"]
    # Each command that is named gives what was taken from it.
    text = next(row["command"] for row in found["commands"] if row["what"] == "text").split()
    again = evaluate(*[word for word in text[2:] if word != "--json"], command=text[1])
    assert again["perplexity"] == found["a"]["perplexity"] and again["kl_divergence"] == found["between"]["kl_divergence"]


def test_compare_models_of_other_tokens(tmp_path):
    found = evaluate(TINY, GOLDEN / "llama3", "--no-speed", "--max-tokens", 100, command="compare")
    assert "other tokens" in found["between"]["note"] and "kl_divergence" not in found["between"]
    assert found["a"]["bits_per_byte"] > 0 and found["b"]["bits_per_byte"] > 0
    assert run("compare", TINY, TINY, "--text", tmp_path / "none.txt")[0] == 3
    assert run("compare", TINY, "org/no-such-model", "--no-speed")[0] == 5


def test_compare_a_checkpoint_with_a_server(files, smollm):
    code, out, err = run("compare", "smollm2-135m", smollm.url, "--no-text", "--tasks", files[1], "--", "--max-model-len", 512)
    assert code == 0, err
    row = next(line for line in out.splitlines() if line.startswith("answers exact_match"))
    assert row.count("75.0 [") == 2 and "+0.0 [" in row, out
    assert re.search(r"^decode, tokens/s +\d", out, re.M)
    code, _, err = run("compare", "smollm2-135m", "smollm2-135m", "--tasks", *files)
    assert code == 2 and "one file" in err
    code, _, err = run("compare", "smollm2-135m", smollm.url, "--tasks", files[0])
    assert code == 2 and "multiple choice" in err and str(files[0]) in err
    code, _, err = run("compare", "smollm2-135m", smollm.url + "#other", "--no-speed", "--no-text")
    assert code != 0 and "other" in err


def test_quantize_measures_what_it_wrote(files, tmp_path):
    out = tmp_path / "out"
    code, said, err = run("quantize", TINY, out, "--scheme", "rtn-int8", "--group-size", "32", "--measure", "--tasks", files[0], "--device", "2x rtx3090")
    assert code == 0 and "report.html" in said and "perplexity" in said, err
    report = json.loads((out / "quern-quantize.json").read_text())
    measured = report["measured"]
    assert measured["a"]["name"] == str(out) and measured["between"]["kl_divergence"] > 0 and measured["b"]["plan"]["devices"] == 2
    assert sum(report["bytes_by_kind"].values()) == report["bytes"] and sum(report["source_bytes_by_kind"].values()) == report["source_bytes"]
    html = (out / "report.html").read_text()
    assert "<svg" in html and "quern eval" in html and "quern bench latency" in html
    code, _, err = run("quantize", TINY, tmp_path / "no", "--scheme", "rtn-int8", "--group-size", "32", "--tasks", files[0])
    assert code == 2 and "--measure" in err
    code, _, err = run("quantize", TINY, tmp_path / "no", "--scheme", "rtn-int8", "--group-size", "32", "--measure", "--text", tmp_path / "none.txt")
    assert code == 3 and "none.txt" in err and not (tmp_path / "no").exists()
