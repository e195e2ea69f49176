# SPDX-License-Identifier: Apache-2.0
"""The official client against the embedded chat model and a small vision model."""
import base64
import concurrent.futures
import time

import openai
import pytest

from conftest import GOLDEN

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


def streamed(chunks):
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def test_capital_of_france_streamed_and_whole(smollm):
    client = smollm.client()
    whole = client.chat.completions.create(model=smollm.model, messages=QUESTION, temperature=0, max_tokens=32)
    text = whole.choices[0].message.content
    assert "Paris" in text
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.completion_tokens > 0 and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    stream = client.chat.completions.create(model=smollm.model, messages=QUESTION, temperature=0, max_tokens=32, stream=True,
                                            stream_options={"include_usage": True})
    chunks = list(stream)
    assert streamed(chunks) == text
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens and not chunks[-1].choices
    assert chunks[0].choices[0].delta.role == "assistant"


def test_sixteen_at_once_equal_one_alone(smollm):
    client = smollm.client()

    def ask(i):
        answer = client.chat.completions.create(model=smollm.model, temperature=0, max_tokens=24,
                                                messages=[{"role": "user", "content": f"Count from {i} to {i + 5}."}])
        return answer.choices[0].message.content

    alone = [ask(i) for i in range(16)]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        assert list(pool.map(ask, range(16))) == alone


def test_seed_decides(smollm):
    client = smollm.client()

    def ask(seed):
        return client.chat.completions.create(model=smollm.model, messages=QUESTION, temperature=1.5, seed=seed, max_tokens=24).choices[0].message.content

    assert ask(7) == ask(7)
    assert len({ask(s) for s in range(6)}) > 1


def test_stop_strings_and_length(smollm):
    client = smollm.client()
    text = client.completions.create(model=smollm.model, prompt="1, 2, 3, 4,", temperature=0, max_tokens=24).choices[0].text
    stop = text.strip()[4:8]
    cut = client.completions.create(model=smollm.model, prompt="1, 2, 3, 4,", temperature=0, max_tokens=24, stop=[stop]).choices[0]
    assert cut.text == text[:text.index(stop)] and cut.finish_reason == "stop"
    assert client.completions.create(model=smollm.model, prompt="1, 2, 3, 4,", temperature=0, max_tokens=3).choices[0].finish_reason == "length"


def test_choices_and_logprobs(smollm):
    client = smollm.client()
    answer = client.chat.completions.create(model=smollm.model, messages=QUESTION, temperature=1, seed=3, n=3, max_tokens=8, logprobs=True, top_logprobs=4)
    assert [c.index for c in answer.choices] == [0, 1, 2]
    for choice in answer.choices:
        assert len(choice.logprobs.content) > 0
        for token in choice.logprobs.content:
            assert token.logprob <= 0 and len(token.top_logprobs) == 4
            best = [t.logprob for t in token.top_logprobs]
            assert best == sorted(best, reverse=True)


def test_completions_of_text_ids_and_lists(smollm):
    client = smollm.client()
    ids = smollm_ids(smollm, "The sky is")
    by_text, by_ids = (client.completions.create(model=smollm.model, prompt=p, temperature=0, max_tokens=8).choices[0].text for p in ("The sky is", ids))
    assert by_text == by_ids
    both = client.completions.create(model=smollm.model, prompt=["The sky is", "Water is"], temperature=0, max_tokens=8, echo=True)
    assert both.choices[0].text == "The sky is" + by_text and both.choices[1].text.startswith("Water is")
    with pytest.raises(openai.BadRequestError, match="suffix"):
        client.completions.create(model=smollm.model, prompt="a", suffix="b", max_tokens=1)


def test_prompts_are_scored(smollm):
    client = smollm.client()
    ids = smollm_ids(smollm, "The sky is blue. The sky is blue. The sky is")
    ask = dict(model=smollm.model, prompt=ids, temperature=0)
    scored = client.completions.create(**ask, max_tokens=1, echo=True, logprobs=1).choices[0].logprobs
    assert len(scored.tokens) == len(ids) + 1 == len(scored.token_logprobs) == len(scored.text_offset)
    assert scored.token_logprobs[0] is None and scored.top_logprobs[0] is None
    assert all(l <= 0 for l in scored.token_logprobs[1:])
    assert scored.token_logprobs[-1] == max(scored.top_logprobs[-1].values())
    # The second time the sentence is no surprise.
    assert sum(scored.token_logprobs[6:11]) > sum(scored.token_logprobs[1:6])
    only = client.completions.create(**ask, max_tokens=0, echo=True, logprobs=1)
    assert only.choices[0].logprobs.token_logprobs == scored.token_logprobs[:-1]
    assert only.choices[0].logprobs.text_offset == scored.text_offset[:-1]
    assert only.usage.completion_tokens == 0 and only.choices[0].finish_reason == "length"
    listed = client.completions.create(**ask, max_tokens=1, extra_body={"prompt_logprobs": 2}).choices[0].prompt_logprobs
    assert listed[0] is None and len(listed) == len(ids)
    assert [e[str(i)]["logprob"] for e, i in zip(listed[1:], ids[1:])] == scored.token_logprobs[1:-1]
    chat = client.chat.completions.create(model=smollm.model, messages=QUESTION, max_tokens=1, extra_body={"prompt_logprobs": 0})
    assert chat.prompt_logprobs[0] is None and all(e["rank"] >= 1 for entry in chat.prompt_logprobs[1:] for e in entry.values())
    with pytest.raises(openai.BadRequestError, match="prompt_logprobs"):
        client.completions.create(**ask, stream=True, extra_body={"prompt_logprobs": 1})
    with pytest.raises(openai.BadRequestError, match="priority"):
        client.completions.create(**ask, extra_body={"priority": 1})


def smollm_ids(server, text):
    import json
    import urllib.request
    body = json.dumps({"model": server.model, "prompt": text}).encode()
    request = urllib.request.Request(server.url + "/tokenize", body, {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request, timeout=60))["tokens"]


def test_models_and_errors(smollm):
    client = smollm.client()
    assert [m.id for m in client.models.list()] == [smollm.model]
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=QUESTION)
    with pytest.raises(openai.BadRequestError, match="2048") as too_long:
        client.chat.completions.create(model=smollm.model, messages=[{"role": "user", "content": "word " * 4000}])
    assert too_long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError, match="temperature"):
        client.chat.completions.create(model=smollm.model, messages=QUESTION, temperature=-1)
    with pytest.raises(openai.BadRequestError, match="response_format"):
        client.chat.completions.create(model=smollm.model, messages=QUESTION, response_format={"type": "yaml"})


def test_a_client_that_leaves_frees_its_blocks(smollm):
    client = smollm.client()
    stream = client.chat.completions.create(model=smollm.model, messages=[{"role": "user", "content": "Write a very long story."}], temperature=0,
                                            max_tokens=1800, stream=True, extra_body={"ignore_eos": True})
    for _, chunk in zip(range(5), stream):
        assert chunk
    assert smollm.metric("vllm:num_requests_running") >= 1
    stream.close()
    end = time.time() + 20
    while smollm.metric("vllm:num_requests_running") > 0:
        assert time.time() < end, "the request still runs 20 s after its client left"
        time.sleep(0.05)
    assert smollm.metric("vllm:kv_cache_usage_perc") == 0


def data_url(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def ask_about(client, urls, **options):
    content = [{"type": "image_url", "image_url": {"url": u}} for u in urls] + [{"type": "text", "text": "What is this?"}]
    return client.chat.completions.create(model="qwen2vl", temperature=0, max_tokens=12, messages=[{"role": "user", "content": content}],
                                          extra_body={"ignore_eos": True}, **options)


def test_pictures(pictures):
    client = pictures.client()
    one = data_url(GOLDEN / "qwen2_vl/inputs/image_a.png")
    other = data_url(GOLDEN / "qwen2_vl/inputs/image_b.jpg")
    first = ask_about(client, [one])
    assert first.choices[0].message.content == ask_about(client, [one]).choices[0].message.content
    assert streamed(ask_about(client, [one], stream=True)) == first.choices[0].message.content
    assert ask_about(client, [one, other]).usage.prompt_tokens > first.usage.prompt_tokens
    assert first.choices[0].message.content != ask_about(client, [other]).choices[0].message.content


def test_bad_pictures(pictures):
    client = pictures.client()
    with pytest.raises(openai.BadRequestError):
        ask_about(client, ["data:image/png;base64,AAAA"])
    for url in ("http://127.0.0.1:1/x.png", "http://example.com/x.png", "file:///etc/passwd", "http://[::1]/x.png", "ftp://x/y.png"):
        with pytest.raises(openai.BadRequestError):
            ask_about(client, [url])
    assert pictures.metric("vllm:num_requests_running") == 0


def test_a_text_model_refuses_pictures(smollm):
    with pytest.raises(openai.BadRequestError, match=r"messages\[0\]"):
        content = [{"type": "image_url", "image_url": {"url": data_url(GOLDEN / "qwen2_vl/inputs/image_a.png")}}]
        smollm.client().chat.completions.create(model=smollm.model, messages=[{"role": "user", "content": content}])
