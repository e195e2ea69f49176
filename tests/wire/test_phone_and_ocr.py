# SPDX-License-Identifier: Apache-2.0
"""AutoGLM's actions and HunyuanOCR's tasks, on tiny random models: over HTTP and on the command line."""
import base64
import json

import openai
import pytest

from conftest import GOLDEN, Server, run

SCREEN = "data:image/png;base64," + base64.b64encode((GOLDEN / "glm4v/inputs/image_a.png").read_bytes()).decode()
TASK = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": SCREEN}}, {"type": "text", "text": "Open the mail."}]}]
ACTION = {"structured_outputs": {"preset": "autoglm_action"}, "top_k": -1}


@pytest.fixture(scope="module")
def phone():
    server = Server(GOLDEN / "glm4v", "--tool-call-parser", "autoglm", "--reasoning-parser", "glm4v", "--max-model-len", 1024)
    yield server
    server.stop()


def check_action(call):
    arguments = json.loads(call.function.arguments)
    assert call.function.name in ("do", "finish")
    if call.function.name == "finish":
        assert set(arguments) == {"message"}
        return
    for point in [v for v in arguments.values() if isinstance(v, list)]:
        assert len(point) == 2 and all(0 <= n <= 999 for n in point)


def test_an_action_is_a_call_and_the_same_streamed(phone):
    client, whole_calls = phone.client(), 0
    for seed in range(8):
        fields = dict(model=phone.model, messages=TASK, temperature=1, top_p=1, seed=seed, max_tokens=120, extra_body=ACTION)
        whole = client.chat.completions.create(**fields).choices[0]
        name, arguments, finish = "", "", None
        for chunk in client.chat.completions.create(stream=True, **fields):
            finish = chunk.choices[0].finish_reason or finish
            for piece in chunk.choices[0].delta.tool_calls or []:
                name += piece.function.name or ""
                arguments += piece.function.arguments or ""
        assert finish == whole.finish_reason
        if whole.finish_reason == "length":  # a text that the random weights did not end
            continue
        assert whole.finish_reason == "tool_calls" and not whole.message.content
        (call,) = whole.message.tool_calls
        check_action(call)
        assert (name, arguments) == (call.function.name, call.function.arguments)
        whole_calls += 1
    assert whole_calls >= 3


def test_without_calls_the_action_is_text(phone):
    for seed in range(8):
        answer = phone.client().chat.completions.create(model=phone.model, messages=TASK, tool_choice="none", temperature=1, top_p=1, seed=seed,
                                                        max_tokens=120, extra_body=ACTION).choices[0]
        assert not answer.message.tool_calls and answer.message.content.startswith(("do(action=", "finish(message="))


def test_an_unknown_preset_is_named(phone):
    with pytest.raises(openai.BadRequestError) as refused:
        phone.client().chat.completions.create(model=phone.model, messages=TASK, extra_body={"structured_outputs": {"preset": "phone"}})
    assert refused.value.param == "structured_outputs.preset" and "autoglm_action" in str(refused.value)


def test_a_clip_is_taken(phone):
    frames = ["data:image/png;base64," + base64.b64encode((GOLDEN / f"glm4v/inputs/video_{i}.png").read_bytes()).decode() for i in range(4)]
    answer = phone.client().chat.completions.create(model=phone.model, max_tokens=4, temperature=0, messages=[
        {"role": "user", "content": [{"type": "video", "video": frames, "fps": 2}, {"type": "text", "text": "What happens in the video?"}]}])
    assert answer.usage.prompt_tokens == 43  # as in the golden case


def test_a_grammar_by_name(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text('do(action="Tap", element=[1, 2])')
    bad.write_text('do(action="Tap", element=[1])')
    code, out, _ = run("grammar", "--preset", "autoglm_action", "--instance", good)
    assert code == 0 and "accepted" in out
    code, out, _ = run("grammar", "--preset", "autoglm_action", "--instance", bad)
    assert code == 1 and "refused" in out


def test_tasks_have_their_prompts():
    model, page = GOLDEN / "hunyuan_vl", GOLDEN / "hunyuan_vl/inputs/image_a.png"
    flags = ("--image", page, "--max-tokens", 4, "--ignore-eos", "--json")
    code, out, _ = run("run", model, "--preset", "ocr", *flags)
    asked = json.loads(out)
    assert code == 0 and len(asked["ids"]) == 4
    code, out, _ = run("run", model, "提取图中的文字。", "--temperature", 0, *flags)
    assert code == 0 and json.loads(out)["ids"] == asked["ids"]
    code, out, _ = run("run", model, "price,date", "--preset", "fields", *flags)
    assert code == 0 and len(json.loads(out)["ids"]) == 4


def test_tasks_say_what_they_take():
    for arguments, said in ((("hello", "--preset", "ocr"), "fixed"), (("--preset", "fields"), "fields"), (("--preset", "poem"), "poem"), ((), "PROMPT")):
        code, _, err = run("run", GOLDEN / "hunyuan_vl", *arguments)
        assert code != 0 and said in err, arguments


def test_the_start_says_which_layout_holds(tmp_path):
    def start_of(folder):
        server = Server(folder, "--max-model-len", 512)
        return server.stop()[1]

    published = start_of(GOLDEN / "hunyuan_vl")
    assert "xdrope_layout=A position_resize=scale" in published
    for file in (GOLDEN / "hunyuan_vl").iterdir():
        if file.name != "config.json":
            (tmp_path / file.name).symlink_to(file)
    config = json.loads((GOLDEN / "hunyuan_vl/config.json").read_text())
    config["rope_scaling"]["mrope_section"] = config["rope_scaling"].pop("xdrope_section")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "xdrope_layout=B position_resize=size" in start_of(tmp_path)
