#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One conversation of 300 tool calls in a row, on a tiny shape with random weights and a long context.

    python bench/tool_conversation.py [--shape qwen2|kimi_k2] [--model FOLDER] [--calls 300] [--quern build/release/quern]

--model takes another model of that tokenizer, such as the full-size layer that `full_layer.py kimi_k2 --keep` leaves. Each turn forces a call (tool_choice "required"), checks its form and its arguments (Kimi: that its id counts up), answers it and goes on. Prints, for
every 50th turn, the length of the prompt, the tokens of it that the prefix cache had, and the time of the last turns; ends with 1 if a turn broke
the form or found nothing in the cache.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden"
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {
    "type": "object", "additionalProperties": False, "required": ["city", "days", "note"],
    "properties": {"city": {"enum": ["Paris", "Oslo", "Zürich"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9},
                   "note": {"type": "string", "maxLength": 12}}}}}]


# Golden models, told that their context is longer (rotary positions need no weights): folder, template, positions.
SHAPES = {"qwen2": ("qwen2_tied", "chat_qwen2_5", 131072), "kimi_k2": ("kimi_k2_int4", "chat_kimi_k2", 65536)}


def model_folder(folder, shape, model):
    folder.mkdir()
    for path in (pathlib.Path(model) if model else GOLDEN / SHAPES[shape][0]).iterdir():
        if path.is_file():
            (folder / path.name).symlink_to(path.resolve())
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = SHAPES[shape][2]
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ask(url, messages, turn):
    body = {"messages": messages, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "temperature": 1.0, "seed": turn,
            "max_tokens": 400}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def problem_of(choice, wanted_id):
    if choice["finish_reason"] != "tool_calls":
        return f"finish_reason {choice['finish_reason']}"
    calls = choice["message"].get("tool_calls") or []
    if len(calls) != 1 or choice["message"]["content"]:
        return f"{len(calls)} calls, content {choice['message']['content']!r}"
    if wanted_id and calls[0]["id"] != wanted_id:
        return f"id {calls[0]['id']}, not {wanted_id}"
    try:
        arguments = json.loads(calls[0]["function"]["arguments"])
    except ValueError as error:
        return f"{error} in {calls[0]['function']['arguments']!r}"
    right = (set(arguments) == {"city", "days", "note"} and arguments["city"] in ("Paris", "Oslo", "Zürich") and 1 <= arguments["days"] <= 9
             and len(arguments["note"]) <= 12)
    return None if right else f"arguments {arguments}"


def converse(url, calls, has_numbers):
    messages, failures, without_hits = [{"role": "user", "content": "Watch the weather."}], [], 0
    begin = mark = time.monotonic()
    tokens, last = 0, 0
    for turn in range(calls):
        answer = ask(url, messages, turn)
        choice, usage = answer["choices"][0], answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        tokens += usage["completion_tokens"]
        if problem := problem_of(choice, f"functions.get_weather:{turn}" if has_numbers else None):
            failures.append(f"turn {turn}: {problem}")
            break
        without_hits += turn > 0 and cached == 0
        if turn % 50 == 0 or turn == calls - 1:
            turns, seconds = max(1, turn - last), time.monotonic() - mark
            print(f"turn {turn}: {usage['prompt_tokens']} prompt tokens, {cached} of them cached; since the last line {tokens / turns:.0f} tokens "
                  f"and {1e3 * seconds / turns:.0f} ms a turn, {1e3 * seconds / tokens:.2f} ms a token", flush=True)
            mark, tokens, last = time.monotonic(), 0, turn
        messages += [{"role": "assistant", "content": None, "tool_calls": choice["message"]["tool_calls"]},
                     {"role": "tool", "tool_call_id": choice["message"]["tool_calls"][0]["id"], "content": json.dumps({"rain": turn % 2 == 0})}]
    print(f"{turn + 1 - len(failures)} calls in form, {len(failures)} not; turns behind the first without a cached token: {without_hits}; "
          f"{time.monotonic() - begin:.1f} s")
    print(*failures, sep="\n", end="")
    return 1 if failures or without_hits else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2")
    parser.add_argument("--model")
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--quern", default=str(ROOT / "build/release/quern"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(pathlib.Path(folder) / "model", options.shape, options.model)
        server = subprocess.Popen([options.quern, "serve", str(model), "--port", "0", "--max-model-len", str(SHAPES[options.shape][2]),
                                   "--chat-template", str(GOLDEN / SHAPES[options.shape][1] / "chat_template.jinja")], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            ready = json.loads(server.stdout.readline())
            return converse(f"http://127.0.0.1:{ready['port']}", options.calls, options.shape == "kimi_k2")
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
