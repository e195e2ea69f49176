# SPDX-License-Identifier: Apache-2.0
"""The other dialects with the clients that people use for them: openai's responses, anthropic, langchain, litellm."""
import base64
import json
import os
import urllib.error
import urllib.request

import anthropic
import openai
import pytest

from conftest import Server

QUESTION = "What is the capital of France? Answer in one word."
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def post(server, path, body, headers=()):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json", **dict(headers)})
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.fixture
def claude(smollm):
    return anthropic.Anthropic(base_url=smollm.url, api_key="none", max_retries=0, timeout=120)


# Responses.

def test_response_whole_and_streamed_are_the_same(smollm):
    client = smollm.client()
    asked = dict(model=smollm.model, input=QUESTION, instructions="You are a guide.", temperature=0, max_output_tokens=32)
    whole = client.responses.create(**asked)
    assert whole.status == "completed" and "Paris" in whole.output_text
    assert whole.usage.total_tokens == whole.usage.input_tokens + whole.usage.output_tokens
    events = list(client.responses.create(**asked, stream=True))
    assert [e.sequence_number for e in events] == list(range(len(events)))
    types = [e.type for e in events]
    assert types[:4] == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"]
    assert types[-4:] == ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.completed"]
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    assert events[-1].response.usage.output_tokens == whole.usage.output_tokens


def test_response_stream_helper_puts_it_together(smollm):
    with smollm.client().responses.stream(model=smollm.model, input=QUESTION, temperature=0, max_output_tokens=32) as stream:
        for _ in stream:
            pass
        final = stream.get_final_response()
    assert "Paris" in final.output_text


def test_response_that_is_cut_off_says_so(smollm):
    answer = smollm.client().responses.create(model=smollm.model, input="Count to one hundred.", temperature=0, max_output_tokens=3)
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens"
    assert answer.usage.output_tokens == 3


def test_conversation_goes_on_by_id(smollm):
    client = smollm.client()
    first = client.responses.create(model=smollm.model, input="My name is Ada.", temperature=0, max_output_tokens=16)
    second = client.responses.create(model=smollm.model, input="What is my name?", previous_response_id=first.id, temperature=0, max_output_tokens=16)
    by_hand = client.responses.create(model=smollm.model, temperature=0, max_output_tokens=16, store=False, input=[
        {"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "What is my name?"}])
    assert second.output_text == by_hand.output_text and second.usage.input_tokens == by_hand.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert [i.role for i in items] == ["user", "assistant", "user"]
    assert len(client.responses.input_items.list(second.id, limit=1).data) == 1
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(second.id)
    client.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(by_hand.id)


def test_response_logprobs(smollm):
    answer = smollm.client().responses.create(model=smollm.model, input=QUESTION, temperature=0, max_output_tokens=4, top_logprobs=2,
                                              include=["message.output_text.logprobs"])
    scores = answer.output[0].content[0].logprobs
    assert len(scores) > 0 and len(scores[0].top_logprobs) == 2 and scores[0].logprob <= 0


def test_response_refusals_name_the_field(smollm):
    for field, extra in {"background": {"background": True}, "tools[0].type": {"tools": [{"type": "web_search"}]},
                         "truncation": {"truncation": "auto"}, "previous_response_id": {"previous_response_id": "resp_0"},
                         "max_tokens": {"max_tokens": 3}, "instructoins": {"instructoins": "x"}}.items():
        status, body = post(smollm, "/v1/responses", {"input": "hi", **extra})
        assert status in (400, 404) and body["error"]["param"] == field, (field, body)
    status, body = post(smollm, "/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AA"}]}]})
    assert status == 400 and "input[0].content[0]" in body["error"]["message"], body


# Messages.

def test_message_whole_and_streamed_are_the_same(smollm, claude):
    asked = dict(model=smollm.model, max_tokens=32, extra_body={"temperature": 0}, system="You are a guide.", messages=[{"role": "user", "content": QUESTION}])
    whole = claude.messages.create(**asked)
    assert "Paris" in whole.content[0].text and whole.stop_reason == "end_turn" and whole.role == "assistant"
    with claude.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert final.stop_reason == whole.stop_reason
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.usage.input_tokens + final.usage.cache_read_input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens
    count = claude.messages.count_tokens(model=smollm.model, system=asked["system"], messages=asked["messages"])
    assert count.input_tokens == whole.usage.input_tokens + whole.usage.cache_read_input_tokens


def test_message_stops(smollm, claude):
    asked = dict(model=smollm.model, extra_body={"temperature": 0}, messages=[{"role": "user", "content": "Count: 1, 2, 3, 4,"}])
    cut = claude.messages.create(max_tokens=2, **asked)
    assert cut.stop_reason == "max_tokens" and cut.usage.output_tokens == 2
    whole = claude.messages.create(max_tokens=24, **asked).content[0].text
    stop = whole[4:7]
    ended = claude.messages.create(max_tokens=24, stop_sequences=[stop], **asked)
    assert ended.stop_reason == "stop_sequence" and ended.stop_sequence == stop
    assert (ended.content[0].text if ended.content else "") == whole[:whole.index(stop)]


def test_message_carries_on_what_is_begun(smollm, claude):
    answer = claude.messages.create(model=smollm.model, max_tokens=8, extra_body={"temperature": 0}, messages=[
        {"role": "user", "content": "What is the capital of France?"}, {"role": "assistant", "content": "The capital of France is"}])
    assert "Paris" in answer.content[0].text


def test_message_errors_have_their_own_shape(smollm, claude):
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}}
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(model=smollm.model, max_tokens=8, messages=[{"role": "user", "content": [{"type": "text", "text": "see"}, image]}])
    assert caught.value.body["error"]["type"] == "invalid_request_error"
    assert "messages[0].content[1]" in caught.value.body["error"]["message"]
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="claude", max_tokens=8, messages=[{"role": "user", "content": "hi"}])
    status, body = post(smollm, "/v1/messages", {"model": smollm.model, "messages": [{"role": "user", "content": "hi"}]}, {"anthropic-version": "2023-06-01"}.items())
    assert status == 400 and body["type"] == "error" and "max_tokens" in body["error"]["message"]


def test_message_sees_a_picture(pictures):
    claude = anthropic.Anthropic(base_url=pictures.url, api_key="none", max_retries=0, timeout=120)
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PIXEL).decode()}}
    asked = dict(model=pictures.model, messages=[{"role": "user", "content": [image, {"type": "text", "text": "?"}]}])
    with_picture = claude.messages.count_tokens(**asked).input_tokens
    assert with_picture > claude.messages.count_tokens(model=pictures.model, messages=[{"role": "user", "content": "?"}]).input_tokens
    answer = claude.messages.create(max_tokens=4, **asked)
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens == with_picture


# What is asked about a prompt.

def test_render_shows_the_prompt_that_is_run(smollm):
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 1, "temperature": 0}
    status, shown = post(smollm, "/v1/chat/completions/render", body)
    assert status == 200
    prompt = shown["prompts"][0]
    assert QUESTION in prompt["prompt"] and prompt["media"] == [] and prompt["sampling_params"]["max_tokens"] == 1
    _, answer = post(smollm, "/v1/chat/completions", {**body, "return_token_ids": True})
    assert answer["prompt_token_ids"] == prompt["token_ids"]
    status, shown = post(smollm, "/v1/completions/render", {"prompt": ["a b", [1, 2]]})
    assert status == 200 and shown["prompts"][1]["token_ids"] == [1, 2] and shown["prompts"][0]["prompt"] == "a b"
    assert post(smollm, "/v1/messages/render", {**body})[1]["prompts"][0]["token_ids"] == prompt["token_ids"]


def test_tokenizer_info(smollm):
    info = json.loads(smollm.get("/tokenizer_info"))
    assert info["vocab_size"] == 49152 and "im_start" in info["chat_template"]


# Clients that speak these dialects for others.

def test_langchain(smollm):
    from langchain_openai import ChatOpenAI
    for options in ({}, {"use_responses_api": True}):
        model = ChatOpenAI(model=smollm.model, base_url=smollm.url + "/v1", api_key="none", temperature=0, max_tokens=32, max_retries=0, **options)
        whole = model.invoke(QUESTION)
        assert "Paris" in str(whole.content)
        streamed = None
        for chunk in model.stream(QUESTION):
            streamed = chunk if streamed is None else streamed + chunk
        assert "Paris" in str(streamed.content)


def test_litellm(smollm, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # else it asks the network for prices
    import litellm
    litellm.telemetry = False
    asked = dict(messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=32, api_key="none", num_retries=0)
    whole = litellm.completion(model="openai/" + smollm.model, api_base=smollm.url + "/v1", **asked)
    assert "Paris" in whole.choices[0].message.content
    pieces = litellm.completion(model="openai/" + smollm.model, api_base=smollm.url + "/v1", stream=True, **asked)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == whole.choices[0].message.content
    claude = litellm.completion(model="anthropic/" + smollm.model, api_base=smollm.url, **asked)
    assert claude.choices[0].message.content == whole.choices[0].message.content


# Keys.

def test_keys_of_both_dialects_and_what_is_kept():
    server = Server("smollm2-135m", "--max-model-len", 512, "--api-key", "one,two", "--max-stored-responses", 2)
    try:
        asked = dict(model=server.model, max_tokens=4, messages=[{"role": "user", "content": "hi"}])
        assert anthropic.Anthropic(base_url=server.url, api_key="two", max_retries=0).messages.create(**asked).usage.output_tokens > 0
        with pytest.raises(anthropic.AuthenticationError) as caught:
            anthropic.Anthropic(base_url=server.url, api_key="three", max_retries=0).messages.create(**asked)
        assert caught.value.body["error"]["type"] == "authentication_error"
        mine, other = server.client(api_key="one"), server.client(api_key="two")
        kept = [mine.responses.create(model=server.model, input="hi", max_output_tokens=4) for _ in range(3)]
        assert mine.responses.retrieve(kept[2].id).id == kept[2].id
        for client, response in ((other, kept[2]), (mine, kept[0])):  # another key's; pushed out
            with pytest.raises(openai.NotFoundError):
                client.responses.retrieve(response.id)
    finally:
        server.stop()


# Tools and structure, by the same grammar as in chat.

SCHEMA = {"type": "object", "additionalProperties": False, "required": ["city"], "properties": {"city": {"enum": ["Paris", "Oslo"]}}}


def test_response_calls_a_tool(smollm):
    client = smollm.client()
    tool = {"type": "function", "name": "get_weather", "description": "The weather", "parameters": SCHEMA, "strict": True}
    asked = dict(model=smollm.model, tools=[tool], parallel_tool_calls=False, temperature=0.7, max_output_tokens=100, extra_body={"seed": 3})
    for choice in ("required", {"type": "function", "name": "get_weather"}):
        whole = client.responses.create(input="Is it warm in Oslo?", tool_choice=choice, **asked)
        call = whole.output[-1]
        assert call.type == "function_call" and call.name == "get_weather" and json.loads(call.arguments)["city"] in ("Paris", "Oslo")
        events = list(client.responses.create(input="Is it warm in Oslo?", tool_choice=choice, stream=True, **asked))
        assert "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta") == call.arguments
        done = next(e for e in events if e.type == "response.function_call_arguments.done")
        assert done.arguments == call.arguments and events[-1].response.output[-1].arguments == call.arguments
    # The answer of the tool goes back by the id of the call, with the conversation kept here.
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "warm"}
    after = client.responses.create(input=[output], previous_response_id=whole.id, tool_choice="none", **asked)
    assert after.status in ("completed", "incomplete") and after.output[-1].type == "message"


def test_response_keeps_to_a_schema(smollm):
    answer = smollm.client().responses.create(model=smollm.model, input="Name a city.", temperature=1.2, max_output_tokens=60, text={
        "format": {"type": "json_schema", "name": "city", "schema": SCHEMA, "strict": True}})
    assert json.loads(answer.output_text)["city"] in ("Paris", "Oslo")


def test_message_calls_a_tool(smollm, claude):
    tool = {"name": "get_weather", "description": "The weather", "input_schema": SCHEMA}
    asked = dict(model=smollm.model, max_tokens=100, tools=[tool], extra_body={"temperature": 0.7, "seed": 3},
                 tool_choice={"type": "any", "disable_parallel_tool_use": True})
    question = {"role": "user", "content": "Is it warm in Oslo?"}
    whole = claude.messages.create(messages=[question], **asked)
    use = whole.content[-1]
    assert whole.stop_reason == "tool_use" and use.type == "tool_use" and use.name == "get_weather" and use.input["city"] in ("Paris", "Oslo")
    with claude.messages.stream(messages=[question], **asked) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use" and final.content[-1].input == use.input
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "warm"}]}
    again = claude.messages.create(messages=[question, {"role": "assistant", "content": whole.content}, result], **asked)
    assert again.content[-1].type == "tool_use"


def test_litellm_and_langchain_call_a_tool(smollm, monkeypatch):
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    import litellm
    from langchain_openai import ChatOpenAI
    tool = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": SCHEMA}}
    answer = litellm.completion(model="openai/" + smollm.model, api_base=smollm.url + "/v1", api_key="none", tools=[tool], tool_choice="required",
                                messages=[{"role": "user", "content": QUESTION}], temperature=0, max_tokens=100)
    assert json.loads(answer.choices[0].message.tool_calls[0].function.arguments)["city"] in ("Paris", "Oslo")
    model = ChatOpenAI(model=smollm.model, base_url=smollm.url + "/v1", api_key="none", temperature=0, max_tokens=100, max_retries=0)
    called = model.bind_tools([tool], tool_choice="get_weather").invoke(QUESTION)
    assert called.tool_calls[0]["name"] == "get_weather" and called.tool_calls[0]["args"]["city"] in ("Paris", "Oslo")
