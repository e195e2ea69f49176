# SPDX-License-Identifier: Apache-2.0
"""Conversations with SmolLM2: send, stop, again, edit, schemas, reload, keys alone."""
import json
import re


def test_answers_with_numbers(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=24, temperature=0)
    answer = page.ask("What is the capital of France? Answer in one word.")
    assert "Paris" in answer.locator(".body").inner_text()
    assert re.search(r"\d+ tokens · [\d.]+ tokens/s · first after [\d.]+ m?s · prompt \d+", answer.locator(".stats").inner_text())
    assert page.text("#conversations .current .conversation") == "What is the capital of France? Answer in one word."
    second = page.ask("And of Italy?", number=2)
    assert "cached" in second.locator(".stats").inner_text()
    assert page.page.input_value("#message") == ""


def test_stops(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=1500, temperature=0.8, seed=4)
    page.send("Tell me a long story about a mill, a river and a miller, with many chapters.")
    page.until(lambda: len(page.text(".message.assistant .body")) > 40, "nothing was written")
    assert not page.page.is_visible("#send")
    page.page.click("#stop")
    answer = page.wait_for_answer()
    assert "stopped" in answer.locator(".stats").inner_text() and "tokens/s" in answer.locator(".stats").inner_text()
    assert len(answer.locator(".body").inner_text()) > 20
    page.until(lambda: smollm.server.metric("vllm:num_requests_running") == 0, "the engine went on")
    assert page.page.is_visible("#send")


def test_stops_by_escape(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=1500, temperature=0.8, seed=4)
    page.send("Tell me a long story about a mill.")
    page.until(lambda: len(page.text(".message.assistant .body")) > 20, "nothing was written")
    page.page.press("#message", "Escape")
    assert "stopped" in page.wait_for_answer().locator(".stats").inner_text()


def test_answers_again_and_keeps_both(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=12, temperature=1.2)
    first = page.ask("Name a fruit.").locator(".body").inner_text()
    page.page.click("[aria-label='Answer again']")
    page.page.wait_for_selector("[aria-label='Version 2 of 2']")
    page.wait_for_answer()
    second = page.text(".message.assistant .body")
    page.page.click("[aria-label='Version before']")
    assert page.text(".message.assistant .body") == first
    page.page.click("[aria-label='Next version']")
    assert page.text(".message.assistant .body") == second


def test_edits_into_a_branch(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=16, temperature=0)
    page.ask("What is the capital of France? Answer in one word.")
    page.page.press("#message", "ArrowUp")
    box = page.page.get_by_label("Edit the message")
    assert box.input_value() == "What is the capital of France? Answer in one word."
    box.fill("What is the capital of Italy? Answer in one word.")
    box.press("Control+Enter")
    page.page.wait_for_selector(".message.user [aria-label='Version 2 of 2']")
    assert "Paris" not in page.wait_for_answer().locator(".body").inner_text()
    page.page.click(".message.user [aria-label='Version before']")
    assert "Paris" in page.text(".message.assistant .body")


def test_holds_an_answer_to_a_schema(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=120, temperature=0)
    page.page.click("#open-panel")
    page.page.select_option("#set-kind", "schema")
    page.page.fill("#set-constraint", '{"type": "object", "properties": {"city": {"type": "string", "maxLength": 30}, "old": {"type": "boolean"}}, '
                                      '"required": ["city", "old"], "additionalProperties": false}')
    page.page.click("#close-panel")
    assert page.text("#constraint") == "JSON schema"
    answer = json.loads(page.ask("A city in France, please.").locator("code").inner_text())
    assert sorted(answer) == ["city", "old"] and isinstance(answer["old"], bool)
    page.page.click("#constraint button")
    assert not page.page.is_visible("#constraint")


def test_says_what_is_wrong_with_a_schema(visit, smollm):
    page = visit(smollm.url)
    page.page.click("#open-panel")
    page.page.select_option("#set-kind", "schema")
    page.page.fill("#set-constraint", '{"type": ')
    assert "not JSON" in page.text("#constraint-problem")
    page.send("Anything")
    assert "The schema is not JSON" in page.text("#notices")
    assert page.page.input_value("#message") == "Anything" and page.page.locator(".message").count() == 0
    # What only the server can judge is shown as it words it.
    page.page.fill("#set-constraint", '{"type": "array", "items": {"type": "string"}, "uniqueItems": true}')
    page.page.get_by_label("Close this message").click()
    failure = page.ask("Anything").locator(".failure").inner_text()
    assert "uniqueItems" in failure and "response_format" in failure
    page.errors.clear()  # the browser logs the 400


def test_holds_an_answer_to_a_choice(visit, smollm):
    page = visit(smollm.url).settings(temperature=0, kind="choice", texts={"choice": "red\ngreen"})
    assert page.ask("Which colour has grass?").locator(".body").inner_text() in ("red", "green")


def test_survives_a_reload(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=10, temperature=0)
    answer = page.ask("Say hello.").locator(".body").inner_text()
    page.page.fill("#message", "not sent yet")
    page.page.reload()
    page.page.wait_for_selector(".message.assistant .body")
    assert page.text(".message.assistant .body") == answer
    assert page.page.input_value("#message") == "not sent yet"
    assert "tokens/s" in page.text(".message.assistant .stats") or "token" in page.text(".message.assistant .stats")


def test_keeps_what_was_never_sent(visit, smollm):
    page = visit(smollm.url)
    page.page.fill("#message", "a first thought")
    page.page.reload()
    page.page.wait_for_selector("html[data-ready]", state="attached")
    assert page.page.input_value("#message") == "a first thought"


def test_keeps_what_had_come_before_a_reload(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=1500, temperature=0)
    page.send("List one hundred different animals.")  # it does not end before the tokens do
    page.until(lambda: len(page.text(".message.assistant .body") or "") > 120, "nothing was written")
    page.page.wait_for_timeout(1500)  # what is new is kept every second
    page.page.reload()
    answer = page.wait_for_answer()
    assert "page was closed" in answer.locator(".failure").inner_text()
    assert len(answer.locator(".body").inner_text()) > 60
    page.until(lambda: smollm.server.metric("vllm:num_requests_running") == 0, "the engine went on for nobody")


def test_works_by_keys_alone(visit, smollm):
    page = visit(smollm.url).settings(max_tokens=8, temperature=0)
    keys = page.page.keyboard
    page.page.evaluate("document.activeElement.blur()")
    keys.press("/")
    keys.type("Name a colour.")
    keys.press("Shift+Enter")
    keys.type("One word.")
    keys.press("Enter")
    page.wait_for_answer()
    assert page.text(".bubble") == "Name a colour.\nOne word."
    page.page.evaluate("document.activeElement.blur()")
    keys.press("r")
    page.page.wait_for_selector("[aria-label='Version 2 of 2']")
    page.wait_for_answer()
    page.page.evaluate("document.activeElement.blur()")
    keys.press("s")
    assert page.page.is_visible("#panel")
    keys.press("Escape")
    assert not page.page.is_visible("#panel")
    page.page.evaluate("document.activeElement.blur()")
    keys.press("n")
    assert page.page.locator(".message").count() == 0
    assert page.page.evaluate("document.activeElement.id") == "message"
    page.page.evaluate("document.activeElement.blur()")
    keys.press("?")
    assert "answer again" in page.text("#shortcut-dialog")
    keys.press("Escape")
    page.page.evaluate("document.activeElement.blur()")
    keys.press("g")
    assert page.page.is_visible("#engine")


def test_branches_of_two_conversations_at_once(visit, smollm):
    """An answer goes on while another conversation is looked at."""
    page = visit(smollm.url).settings(max_tokens=60, temperature=0, seed=1)
    page.send("Write about rivers.")
    page.page.wait_for_selector(".message.assistant")
    page.page.click("#new-chat")
    assert page.page.locator(".message").count() == 0
    page.page.click("text=Write about rivers.")
    assert len(page.wait_for_answer().locator(".body").inner_text()) > 30
