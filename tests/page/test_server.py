# SPDX-License-Identifier: Apache-2.0
"""Keys that are missing or wrong, and a server that is killed and comes back."""
import json
import urllib.error
import urllib.request

import pytest

from conftest import Fixed


def status(server, path):
    try:
        with urllib.request.urlopen(server.url + path, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.fixture(scope="module")
def locked():
    server = Fixed("--api-key", "open-sesame", "--host", "127.0.0.1")
    yield server
    server.kill()


def test_asks_for_the_key(visit, locked):
    page = visit(locked.url)
    dialog = page.page.locator("#key-dialog")
    dialog.wait_for()
    page.page.fill("#key", "wrong")
    page.page.press("#key", "Enter")
    page.page.wait_for_selector("#key-error:has-text('a valid API key is needed')")
    page.page.fill("#key", "open sesame, ö")
    page.page.press("#key", "Enter")
    page.page.wait_for_selector("#key-error:has-text('no blanks')")
    page.page.fill("#key", "open-sesame")
    page.page.press("#key", "Enter")
    dialog.wait_for(state="hidden")
    page.page.wait_for_selector("#model-name:has-text('smollm2-135m')")
    page.settings(max_tokens=8, temperature=0)
    # In this tab it outlives a reload; nothing of it is in localStorage or in what is exported.
    assert not dialog.is_visible()
    assert page.ask("Hello.").locator(".body").inner_text()
    assert "sesame" not in page.page.evaluate("JSON.stringify(localStorage)")
    with page.page.expect_download() as download:
        page.page.click("#export")
    assert "sesame" not in open(download.value.path()).read()
    page.page.click("#open-engine")
    page.page.wait_for_selector(".card .value:has-text('%')")
    page.errors.clear()


def test_can_be_left_out(locked):
    server = Fixed("--no-ui")
    try:
        assert status(server, "/") == 404 and status(server, "/ui/app.js") == 404 and status(server, "/v1/models") == 200
        assert status(locked, "/") == 200 and status(locked, "/ui/app.js") == 200 and status(locked, "/v1/models") == 401
    finally:
        server.kill()


def test_keeps_a_key_if_asked_and_forgets_it(visit, locked):
    page = visit(locked.url)
    page.page.locator("#key-dialog").wait_for()
    page.page.fill("#key", "open-sesame")
    page.page.check("#key-keep")
    page.page.press("#key", "Enter")
    page.page.locator("#key-dialog").wait_for(state="hidden")
    assert page.page.evaluate("localStorage.getItem('quern.key')") == "open-sesame"
    page.page.click("#open-key")
    page.page.click("#key-forget")
    assert page.page.evaluate("[localStorage.getItem('quern.key'), sessionStorage.getItem('quern.key')]") == [None, None]
    page.page.click("#key-cancel")
    failure = page.ask("Hello.")
    page.page.locator("#key-dialog").wait_for()
    page.page.fill("#key", "open-sesame")
    page.page.press("#key", "Enter")
    # What was refused for want of a key is asked again.
    page.until(lambda: failure.locator(".body").inner_text(), "no answer with the new key")
    page.errors.clear()


def test_outlives_a_server_that_is_killed(visit):
    server = Fixed()
    try:
        page = visit(server.url).settings(max_tokens=900, temperature=0.8, seed=4)
        page.send("Tell me a long story about a mill.")
        page.until(lambda: len(page.text(".message.assistant .body")) > 100, "nothing was written")
        server.kill()
        answer = page.wait_for_answer()
        words = answer.locator(".body").inner_text()
        assert len(words) > 80 and "connection broke" in answer.locator(".failure").inner_text()
        page.page.wait_for_selector("#state:has-text('no connection')")
        # Asked meanwhile: the question stays, with words and a way to go on.
        failed = page.ask("Are you there?", number=2)
        assert "does not answer" in failed.locator(".failure").inner_text()
        page.shot("server-gone")
        server.start()
        page.page.wait_for_selector("#state.good")
        page.settings(max_tokens=12, temperature=0)
        assert page.text(".message.assistant >> nth=0").startswith(words[:40])
        page.page.get_by_role("button", name="Try again").last.click()
        page.until(lambda: page.page.locator(".message.assistant").nth(1).locator(".body").inner_text() != "", "no answer after the return")
        page.page.goto("about:blank")  # before the server goes for good
        page.errors.clear()
    finally:
        server.kill()


def test_shows_the_engine_and_its_ranks(visit, tmp_path):
    server = Fixed("--tensor-parallel-size", "2")
    try:
        page = visit(server.url).settings(max_tokens=16, temperature=0)
        page.ask("Name three rivers.")
        page.page.click("#open-engine")
        page.page.wait_for_selector(".rank")
        shown = json.loads(page.page.evaluate("fetch('v1/engine').then((r) => r.text())"))
        heads = [rank["attention_heads"] for rank in shown["plan"]["ranks"]]
        assert len(heads) == 2 and sum(heads) == 9
        assert page.page.locator(".shares[aria-label^='Attention heads']").get_attribute("aria-label") == f"Attention heads: rank 0: {heads[0]}, rank 1: {heads[1]}"
        assert page.page.locator(".shares[aria-label^='Memory of rank']").count() == 2
        page.page.wait_for_timeout(2500)
        page.shot("engine-two-ranks")
        assert "blocks" in page.text(".cards")
        page.page.click("#open-engine")
        assert page.page.is_visible("#chat")
        page.page.goto("about:blank")  # it looks at the server now and then
    finally:
        server.kill()
