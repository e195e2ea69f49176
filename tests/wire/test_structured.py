# SPDX-License-Identifier: Apache-2.0
"""Structured output over the wire: whatever the model would rather say, the answer is what was asked for."""
import json
import re

import jsonschema
import openai
import pytest

MESSAGES = [{"role": "user", "content": "Describe a person."}]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"enum": ["cat", "dog", "human"]},
        "tags": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]{2,6}$"}, "minItems": 1, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/place"}]},
    },
    "required": ["name", "age", "kind", "tags", "home"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"],
                        "additionalProperties": False}},
}


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def ask(smollm, **fields):
    return smollm.client().chat.completions.create(model=smollm.model, messages=MESSAGES, max_tokens=400, **fields)


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_validates_at_a_high_temperature(smollm, seed):
    answer = ask(smollm, temperature=1.3, seed=seed, response_format=schema_format(PERSON))
    assert answer.choices[0].finish_reason == "stop"
    jsonschema.validate(json.loads(answer.choices[0].message.content), PERSON)


def test_three_choices_with_logprobs(smollm):
    answer = ask(smollm, temperature=1.3, seed=5, n=3, logprobs=True, top_logprobs=2, response_format=schema_format(PERSON))
    assert len({c.message.content for c in answer.choices}) > 1
    for choice in answer.choices:
        jsonschema.validate(json.loads(choice.message.content), PERSON)
        assert all(len(t.top_logprobs) == 2 for t in choice.logprobs.content)


def test_streamed_it_is_the_same(smollm):
    whole = ask(smollm, temperature=1.3, seed=9, response_format=schema_format(PERSON))
    chunks = ask(smollm, temperature=1.3, seed=9, response_format=schema_format(PERSON), stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content


def test_json_object_is_an_object(smollm):
    schema = {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "integer", "maximum": 99}}
    answer = ask(smollm, temperature=1.3, seed=1, response_format=schema_format(schema))
    jsonschema.validate(json.loads(answer.choices[0].message.content), schema)
    free = ask(smollm, temperature=0.7, seed=1, response_format={"type": "json_object"})
    text = free.choices[0].message.content
    assert text.startswith("{")
    if free.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(text), dict)


def test_regex_choice_and_grammar(smollm):
    text = ask(smollm, temperature=1.3, seed=2, extra_body={"structured_outputs": {"regex": r"\d{4}-\d{2} (yes|no)"}}).choices[0].message.content
    assert re.fullmatch(r"\d{4}-\d{2} (yes|no)", text)
    for fields in ({"structured_outputs": {"choice": ["red", "green", "blue"]}}, {"guided_choice": ["red", "green", "blue"]}):
        assert ask(smollm, temperature=1.3, extra_body=fields).choices[0].message.content in ("red", "green", "blue")
    grammar = 'root ::= "<" word ("," word){1,2} ">"\nword ::= [a-z]{3}'
    text = ask(smollm, temperature=1.3, seed=3, extra_body={"structured_outputs": {"grammar": grammar}}).choices[0].message.content
    assert re.fullmatch(r"<[a-z]{3}(,[a-z]{3}){1,2}>", text)
    tag = {"type": "structural_tag", "format": {"type": "tag", "begin": "<n>", "content": {"type": "json_schema", "json_schema": {"type": "integer", "enum": [1, 2, 3]}}, "end": "</n>"}}
    assert re.fullmatch(r"<n>[123]</n>", ask(smollm, temperature=1.3, response_format=tag).choices[0].message.content)


def test_completions_and_stop_strings(smollm):
    client = smollm.client()
    answer = client.completions.create(model=smollm.model, prompt=["A:", "B:"], max_tokens=20, temperature=1.3,
                                       extra_body={"guided_regex": "[ab]{6}"})
    assert all(re.fullmatch("[ab]{6}", c.text) and c.finish_reason == "stop" for c in answer.choices)
    cut = client.completions.create(model=smollm.model, prompt="A:", max_tokens=20, temperature=0, stop=["-"], extra_body={"guided_regex": "xy-z"})
    assert cut.choices[0].text == "xy"


@pytest.mark.parametrize("fields, param", [
    ({"response_format": schema_format({"properties": {"a": {"type": "array", "uniqueItems": True}}})},
     "response_format.json_schema.schema/properties/a/uniqueItems"),
    ({"extra_body": {"structured_outputs": {"regex": "(a)\\1"}}}, "structured_outputs.regex"),
    ({"extra_body": {"guided_regex": "a", "guided_choice": ["b"]}}, "guided_choice"),
    ({"extra_body": {"guided_grammar": "root ::= missing"}}, "guided_grammar"),
    ({"extra_body": {"guided_regex": "a", "ignore_eos": True}}, "ignore_eos"),
])
def test_what_cannot_be_enforced_is_a_400(smollm, fields, param):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(smollm, **fields)
    assert refused.value.param == param


def test_nothing_left_to_say_is_an_error_of_the_request(smollm):
    with pytest.raises(openai.BadRequestError, match="min_tokens"):
        ask(smollm, extra_body={"guided_choice": ["red"], "min_tokens": 300})
