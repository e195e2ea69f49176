# SPDX-License-Identifier: Apache-2.0
"""Guesses, priorities and deadlines of the engine, through the wire."""
import json

import openai
import pytest

from conftest import Server, run

PROSE = "Repeat this list word by word, twice: red apple, green pear, yellow plum, blue grape, brown fig.\n"
SPECULATION = {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_max": 4, "prompt_lookup_min": 1}


def answers_of(server):
    client = server.client()
    out = []
    for temperature in (0, 0.8):
        for n in (1, 2):
            answer = client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": PROSE}], temperature=temperature, seed=5,
                                                    n=n, max_tokens=96, logprobs=True, top_logprobs=2, frequency_penalty=0.1, stop=["fig. Blue"])
            out.append([(c.message.content, c.finish_reason, [(t.token, t.logprob) for t in c.logprobs.content]) for c in answer.choices])
            out.append(answer.usage.completion_tokens)
        held = client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": PROSE}], temperature=temperature, seed=5, max_tokens=96,
                                              logprobs=True, extra_body={"structured_outputs": {"regex": "((red apple|green pear|yellow plum), ){5}blue grape"}})
        out.append([(t.token, t.logprob) for t in held.choices[0].logprobs.content])
        assert held.choices[0].message.content.endswith(", blue grape")
    return out


def test_guesses_change_no_answer(smollm):
    server = Server("smollm2-135m", "--max-model-len", 2048, "--max-num-seqs", 16, "--speculative-config", json.dumps(SPECULATION))
    try:
        assert answers_of(server) == answers_of(smollm)
        drafted = server.metric("vllm:spec_decode_num_draft_tokens_total")
        assert 0 < server.metric("vllm:spec_decode_num_accepted_tokens_total") < drafted
        assert server.metric("vllm:spec_decode_num_accepted_tokens_per_pos_total") == server.metric("vllm:spec_decode_num_accepted_tokens_total")
    finally:
        server.stop()


def test_priority_and_deadline_flags():
    server = Server("smollm2-135m", "--max-model-len", 2048, "--scheduling-policy", "priority", "--request-timeout", 5,
                    "--speculative-config.num_speculative_tokens", 2)
    try:
        client = server.client()
        client.completions.create(model=server.model, prompt="a", max_tokens=1, extra_body={"priority": -2})
        with pytest.raises(openai.InternalServerError, match="deadline") as late:
            client.completions.create(model=server.model, prompt="a", n=8, max_tokens=1900, extra_body={"ignore_eos": True})
        assert late.value.status_code == 503
    finally:
        server.stop()


def test_flags_name_what_is_wrong():
    for flags, word in ((("--speculative-config", '{"method": "eagle", "num_speculative_tokens": 2}'), "eagle"),
                        (("--speculative-config", '{"num_speculative_tokens": 99}'), "num_speculative_tokens"),
                        (("--scheduling-policy", "lifo"), "lifo")):
        code, _, log = run("serve", "smollm2-135m", *flags)
        assert code != 0 and word in log
