#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""One conversation of 300 tool calls in a row, on a tiny shape with random weights and a context of 128K.

    python bench/tool_conversation.py [--calls 300] [--quern build/release/quern]

Each turn forces a call (tool_choice "required"), checks its form and its arguments, answers it and goes on. Prints, for every 50th turn, the
length of the prompt, the tokens of it that the prefix cache had and the time; ends with 1 if a turn broke the form or found nothing in the cache.
"""
import argparse
import json
import pathlib
import shutil
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


def model_folder(folder):
    """The tied Qwen2 of the goldens, told that its context is longer: rotary positions need no weights."""
    shutil.copytree(GOLDEN / "qwen2_tied", folder, dirs_exist_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 131072
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def ask(url, messages, turn):
    body = {"messages": messages, "tools": TOOLS, "tool_choice": "required", "parallel_tool_calls": False, "temperature": 1.0, "seed": turn,
            "max_tokens": 400}
    request = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as answer:
        return json.load(answer)


def problem_of(choice):
    if choice["finish_reason"] != "tool_calls":
        return f"finish_reason {choice['finish_reason']}"
    calls = choice["message"].get("tool_calls") or []
    if len(calls) != 1 or choice["message"]["content"]:
        return f"{len(calls)} calls, content {choice['message']['content']!r}"
    try:
        arguments = json.loads(calls[0]["function"]["arguments"])
    except ValueError as error:
        return f"{error} in {calls[0]['function']['arguments']!r}"
    right = (set(arguments) == {"city", "days", "note"} and arguments["city"] in ("Paris", "Oslo", "Zürich") and 1 <= arguments["days"] <= 9
             and len(arguments["note"]) <= 12)
    return None if right else f"arguments {arguments}"


def converse(url, calls):
    messages, failures, without_hits = [{"role": "user", "content": "Watch the weather."}], [], 0
    begin = time.monotonic()
    for turn in range(calls):
        answer = ask(url, messages, turn)
        choice, usage = answer["choices"][0], answer["usage"]
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        if problem := problem_of(choice):
            failures.append(f"turn {turn}: {problem}")
            break
        without_hits += turn > 0 and cached == 0
        if turn % 50 == 0 or turn == calls - 1:
            print(f"turn {turn}: {usage['prompt_tokens']} prompt tokens, {cached} of them cached, {time.monotonic() - begin:.1f} s", flush=True)
        messages += [{"role": "assistant", "content": None, "tool_calls": choice["message"]["tool_calls"]},
                     {"role": "tool", "tool_call_id": choice["message"]["tool_calls"][0]["id"], "content": json.dumps({"rain": turn % 2 == 0})}]
    print(f"{turn + 1 - len(failures)} calls in form, {len(failures)} not; turns behind the first without a cached token: {without_hits}; "
          f"{time.monotonic() - begin:.1f} s")
    print(*failures, sep="\n", end="")
    return 1 if failures or without_hits else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--quern", default=str(ROOT / "build/release/quern"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = model_folder(pathlib.Path(folder) / "model")
        server = subprocess.Popen([options.quern, "serve", str(model), "--port", "0", "--max-model-len", "131072", "--chat-template",
                                   str(GOLDEN / "chat_qwen2_5/chat_template.jinja")], stdout=subprocess.PIPE, text=True, cwd=ROOT)
        try:
            ready = json.loads(server.stdout.readline())
            return converse(f"http://127.0.0.1:{ready['port']}", options.calls)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    sys.exit(main())
