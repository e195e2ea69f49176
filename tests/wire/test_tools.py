# SPDX-License-Identifier: Apache-2.0
"""Tool calls and reasoning over HTTP, with the official client. The embedded model knows no tools: forced calls stand on the grammar alone."""
import json

import openai
import pytest

from conftest import GOLDEN, Server, run

WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": {
    "type": "object", "additionalProperties": False, "required": ["city", "days"],
    "properties": {"city": {"enum": ["Paris", "Oslo", "Zürich"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}}}}}
CLOCK = {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}
QUESTION = [{"role": "user", "content": "What is the weather in Oslo?"}]


def check_call(call):
    assert call.type == "function" and call.id
    arguments = json.loads(call.function.arguments)
    if call.function.name == "now":
        assert arguments == {}
        return
    assert call.function.name == "get_weather"
    assert set(arguments) == {"city", "days"} and arguments["city"] in ("Paris", "Oslo", "Zürich") and 1 <= arguments["days"] <= 9


def joined(stream):
    """The calls, the content and the finish reason that a client makes of a stream."""
    calls, content, finish = [], "", None
    for chunk in stream:
        choice = chunk.choices[0]
        content += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for piece in choice.delta.tool_calls or []:
            if piece.index == len(calls):
                calls.append({"name": piece.function.name, "arguments": ""})
            calls[piece.index]["arguments"] += piece.function.arguments or ""
    return calls, content, finish


@pytest.mark.parametrize("temperature", [0, 1.3])
def test_a_required_call_obeys_its_schema(smollm, temperature):
    answer = smollm.client().chat.completions.create(model=smollm.model, messages=QUESTION, tools=[WEATHER, CLOCK], tool_choice="required",
                                                     parallel_tool_calls=False, temperature=temperature, seed=3, max_tokens=200, n=3)
    for choice in answer.choices:
        assert choice.finish_reason == "tool_calls" and choice.message.content is None
        assert len(choice.message.tool_calls) == 1
        check_call(choice.message.tool_calls[0])


def test_a_named_call_is_that_one_streamed_and_whole(smollm):
    client = smollm.client()
    fields = dict(model=smollm.model, messages=QUESTION, tools=[CLOCK, WEATHER], temperature=0.8, seed=5, max_tokens=200,
                  tool_choice={"type": "function", "function": {"name": "get_weather"}})
    whole = client.chat.completions.create(**fields).choices[0]
    assert [c.function.name for c in whole.message.tool_calls] == ["get_weather"]
    check_call(whole.message.tool_calls[0])
    calls, content, finish = joined(client.chat.completions.create(stream=True, **fields))
    assert calls == [{"name": c.function.name, "arguments": c.function.arguments} for c in whole.message.tool_calls]
    assert content == "" and finish == whole.finish_reason == "tool_calls"


def test_calls_and_results_of_earlier_turns_are_taken(smollm):
    messages = QUESTION + [
        {"role": "assistant", "content": None, "reasoning_content": "I look it up.", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\": \"Oslo\", \"days\": 1}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "rain"}]
    answer = smollm.client().chat.completions.create(model=smollm.model, messages=messages, tools=[CLOCK], tool_choice="required",
                                                     parallel_tool_calls=False, temperature=0, max_tokens=100)
    assert answer.choices[0].message.tool_calls[0].function.name == "now"


def test_tools_that_the_model_is_not_shown_are_refused(smollm):
    with pytest.raises(openai.BadRequestError) as refused:
        smollm.client().chat.completions.create(model=smollm.model, messages=QUESTION, tools=[WEATHER], max_tokens=4)
    assert refused.value.param == "tools"


def test_wrong_choices_are_refused(smollm):
    for choice in ("maybe", {"type": "function", "function": {"name": "other"}}):
        with pytest.raises(openai.BadRequestError) as refused:
            smollm.client().chat.completions.create(model=smollm.model, messages=QUESTION, tools=[WEATHER], tool_choice=choice)
        assert refused.value.param == "tool_choice"


@pytest.mark.parametrize("flags, named", [((), '"hermes" (found in the chat template)'),
                                          (("--enable-auto-tool-choice", "--tool-call-parser", "glm45"), '"glm45" (as asked for)')])
def test_the_log_names_the_parsers(flags, named):
    server = Server(GOLDEN / "qwen2_tied", "--chat-template", GOLDEN / "chat_qwen2_5/chat_template.jinja", "--max-model-len", 1024, *flags)
    client = server.client()
    try:
        # Random weights: what is promised is that an answer comes, tools shown.
        assert client.chat.completions.create(model=server.model, messages=QUESTION, tools=[WEATHER], max_tokens=8).choices[0].finish_reason
        forced = client.chat.completions.create(model=server.model, messages=QUESTION, tools=[WEATHER, CLOCK], tool_choice="required",
                                                temperature=1, seed=1, max_tokens=300, parallel_tool_calls=False)
        check_call(forced.choices[0].message.tool_calls[0])
    finally:
        _, log = server.stop()
    assert named in log


def test_an_unknown_parser_is_named():
    code, _, err = run("serve", "smollm2-135m", "--tool-call-parser", "mistral")
    assert code != 0 and "--tool-call-parser" in err and "hermes" in err
