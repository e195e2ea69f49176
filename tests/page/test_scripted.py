# SPDX-License-Identifier: Apache-2.0
"""What a small model does not say on demand: very long answers, hostile ones, thoughts, calls, broken streams; and the browser's store."""
import json
import re
import time

from scripted import CUT, chunk, reply

HOSTILE = """Hello <script>window.hit = 1</script> and <img src=x onerror="window.hit = 2"> there.

<iframe srcdoc="<script>parent.hit = 3</script>"></iframe>

[click](javascript:window.hit=4) [data](data:text/html,<script>window.hit=5</script>) ![pic](https://tracker.example/p.png)

<svg onload="window.hit = 6"><style>body { display: none }</style></svg>

| a | <b onclick="window.hit=7">b</b> |
|---|---|
| <script>window.hit = 8</script> | [x](vbscript:hit) |

```html"><script>window.hit = 9</script>
<script>window.hit = 10</script>
```
"""


def long_text(words=10_000):
    out, count, number = [], 0, 0
    while count < words:
        number += 1
        out.append(f"## Chapter {number}\n\n" + " ".join(f"word{count + i}" for i in range(150)) + f" with **weight** and `code{number}`.\n\n- one\n- two\n  1. three\n\n")
        if number % 10 == 0:
            out.append("```python\n" + "\n".join(f"x{i} = {i}" for i in range(40)) + "\n```\n\n")
        count += 158
    return "".join(out)


def test_ten_thousand_words_stay_smooth(visit, smollm, say):
    text = long_text()
    assert len(text.split()) >= 10_000
    page = visit(smollm.url)
    page.page.evaluate("""() => {
      window.long = [];
      new PerformanceObserver((list) => window.long.push(...list.getEntries().map((e) => e.duration))).observe({entryTypes: ['longtask']});
      window.gaps = [];
      let last = performance.now();
      const tick = (now) => { window.gaps.push(now - last); last = now; requestAnimationFrame(tick); };
      requestAnimationFrame(tick);
    }""")
    say(reply(text, size=60, pause=0.004))
    page.send("Write ten thousand words.")
    page.page.wait_for_selector(".body > .h2")
    page.page.evaluate("() => { window.first = document.querySelector('.body > .h2'); window.gaps.length = 0; window.long.length = 0; }")
    page.page.type("#message", "typed meanwhile")
    page.wait_for_answer()
    assert page.page.input_value("#message") == "typed meanwhile"
    gaps, tasks = page.page.evaluate("[window.gaps, window.long]")
    gaps.sort()
    print(f"{len(gaps)} frames, p50 {gaps[len(gaps) // 2]:.0f} ms, p95 {gaps[int(len(gaps) * 0.95)]:.0f} ms, worst {gaps[-1]:.0f} ms; "
          f"{len(tasks)} tasks above 50 ms, longest {max(tasks, default=0):.0f} ms")
    # What was there stays: the first heading is the same element, and the last chapter has come.
    assert page.page.evaluate("window.first === document.querySelector('.body > .h2') && window.first.isConnected")
    shown = page.text(".message.assistant .body")
    assert all(f"word{i}" in shown for i in (0, 5000, 9900))
    assert page.page.locator(".body > .h2").count() == text.count("## Chapter")
    assert page.page.locator(".body .code").count() == text.count("```python")
    # The end is in view, as nobody scrolled away.
    assert page.page.evaluate("(() => { const l = document.getElementById('log'); return l.scrollHeight - l.scrollTop - l.clientHeight; })()") < 80
    assert gaps[len(gaps) // 2] < 100 and gaps[int(len(gaps) * 0.95)] < 300, "frames came late"


def test_scrolling_away_is_respected(visit, smollm, say):
    page = visit(smollm.url)
    say(reply(long_text(1500), size=40, pause=0.01))
    page.send("Write a lot.")
    page.until(lambda: page.page.evaluate("document.getElementById('log').scrollTop") > 600, "the text did not move")
    page.page.mouse.move(640, 400)
    page.page.mouse.wheel(0, -5000)
    page.page.wait_for_timeout(400)
    at = page.page.evaluate("document.getElementById('log').scrollTop")
    page.page.wait_for_timeout(700)
    assert abs(page.page.evaluate("document.getElementById('log').scrollTop") - at) < 5
    page.page.click("#to-end")
    page.wait_for_answer()
    page.until(lambda: page.page.evaluate("(() => { const l = document.getElementById('log'); return l.scrollHeight - l.scrollTop - l.clientHeight; })()") < 80, "not at the end")


def test_runs_nothing_that_a_model_writes(visit, smollm, say):
    say(reply(HOSTILE, size=7))
    page = visit(smollm.url)
    answer = page.ask("Attack.")
    for _ in range(2):  # as it was streamed, and as it is shown after a reload
        assert page.page.evaluate("window.hit") is None
        assert page.page.locator("#messages script, #messages iframe, #messages img, #messages style, #messages [onclick], #messages [onerror]").count() == 0
        links = page.page.eval_on_selector_all("#messages a", "(all) => all.map((a) => [a.href, a.rel])")
        assert links == [["https://tracker.example/p.png", "noopener noreferrer nofollow"]]
        assert "<script>window.hit = 1</script>" in answer.inner_text()
        page.page.reload()
        answer = page.wait_for_answer()


def test_the_policy_holds_where_the_renderer_would_not(visit, smollm):
    """As if the renderer had a hole: markup from a string, a script element, an inline handler, a picture from elsewhere, a foreign request."""
    page = visit(smollm.url)
    page.page.evaluate("() => { window.broken = []; document.addEventListener('securitypolicyviolation', (e) => window.broken.push(e.effectiveDirective)); }")
    assert "TrustedHTML" in page.page.evaluate("""() => {
      try { document.getElementById('messages').innerHTML = '<img src=x onerror="window.hit = 1">'; return 'taken'; } catch (e) { return e.message; } }""")
    page.page.evaluate("""() => {
      const script = document.createElement('script');
      script.append('window.hit = 2');
      try { document.body.append(script); } catch { /* trusted types */ }
      const image = document.createElement('img');
      try { image.setAttribute('onerror', 'window.hit = 3'); } catch { /* trusted types */ }
      image.src = 'https://tracker.example/p.png';
      document.body.append(image);
      const style = document.createElement('style');
      style.append('body { display: none }');
      document.body.append(style);
      fetch('https://tracker.example/').catch(() => {});
    }""")
    page.until(lambda: {"connect-src", "img-src", "style-src-elem"} <= set(page.page.evaluate("window.broken")), "a policy did not hold")
    assert page.page.evaluate("window.hit") is None
    assert page.page.is_visible("#message")
    assert not any("tracker" in url for url in page.requests if not url.startswith("https://tracker.example")), page.requests
    page.requests[:] = [url for url in page.requests if "tracker.example" not in url]  # asked for, and stopped before it left
    page.errors.clear()


def test_frames_of_others_do_not_show_the_page(smollm):
    answer = smollm.server.get
    assert "quern" in answer("/")
    import urllib.request
    headers = urllib.request.urlopen(smollm.server.url + "/").headers
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"] and "unsafe" not in headers["Content-Security-Policy"]


def test_folds_thoughts_and_calls(visit, smollm, say):
    def script(body):
        if any(message["role"] == "tool" for message in body["messages"]):
            yield from reply("It is sunny.")(body)
            return
        for word in ("I ", "should ", "look ", "it ", "up."):
            yield chunk(reasoning=word, usage=1)
        yield chunk(tool_calls=[{"index": 0, "id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": '}}], usage=6)
        yield chunk(tool_calls=[{"index": 0, "function": {"arguments": '"Paris"}'}}], usage=9)
        yield chunk("", usage=10, finish="tool_calls")
        yield "[DONE]"

    say(script)
    page = visit(smollm.url).settings(tools='[{"name": "get_weather", "parameters": {"type": "object"}}]')
    answer = page.ask("How is the weather in Paris?")
    thought = answer.locator(".thought")
    assert re.match("Thought for", thought.locator("summary").inner_text()) and not thought.locator(".thought-text").is_visible()
    thought.locator("summary").click()
    assert thought.locator(".thought-text").inner_text() == "I should look it up."
    call = answer.locator(".call")
    assert call.locator("summary").inner_text() == "Calls get_weather" and not call.locator("code").is_visible()
    call.locator("summary").click()
    assert json.loads(call.locator("code").inner_text()) == {"city": "Paris"}
    page.page.get_by_label("Result of get_weather").fill("sunny, 21 degrees")
    page.page.click("text=Send the result")
    assert page.wait_for_answer(2).locator(".body").inner_text() == "It is sunny."
    first, second = smollm.bodies
    assert first["tools"] == [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "sunny, 21 degrees"}
    assert second["messages"][-2]["tool_calls"][0]["function"] == {"name": "get_weather", "arguments": '{"city": "Paris"}'}


def test_keeps_what_came_before_a_cut(visit, smollm, say):
    def script(_body):
        yield chunk("Half of the ", usage=3)
        yield chunk("answer", usage=4)
        time.sleep(0.3)
        yield CUT

    say(script)
    page = visit(smollm.url)
    answer = page.ask("Something.")
    assert answer.locator(".body").inner_text() == "Half of the answer"
    assert "connection broke" in answer.locator(".failure").inner_text()
    say(reply("A whole answer."))
    answer.get_by_role("button", name="Try again").click()
    page.page.wait_for_selector("[aria-label='Version 2 of 2']")
    assert page.wait_for_answer().locator(".body").inner_text() == "A whole answer."
    page.errors.clear()


def test_shows_an_error_in_the_middle_as_it_is_worded(visit, smollm, say):
    def script(_body):
        yield chunk("It began ", usage=2)
        yield {"error": {"message": "a step of the engine did not return in time", "type": "server_error", "param": None, "code": "stalled"}}

    say(script)
    answer = visit(smollm.url).ask("Something.")
    assert "a step of the engine did not return in time" in answer.locator(".failure").inner_text()
    assert answer.locator(".body").inner_text() == "It began"


def test_words_for_a_full_store(visit, smollm, say):
    say(reply("Kept in the tab."))
    page = visit(smollm.url)
    page.page.evaluate("() => { IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); }; }")
    assert page.ask("Does it fit?").locator(".body").inner_text() == "Kept in the tab."
    assert "storage is full" in page.text("#notices")
    with page.page.expect_download() as download:
        page.page.click("#export")
    assert "Kept in the tab." in open(download.value.path()).read()


def test_exports_and_imports(visit, smollm, say):
    say(reply("An answer with **weight**."))
    page = visit(smollm.url)
    page.ask("A question.")
    page.page.click("#new-chat")
    page.ask("Another question.")
    with page.page.expect_download() as download:
        page.page.click("#export")
    saved = open(download.value.path()).read()
    assert len(json.loads(saved)["conversations"]) == 2
    other = visit(smollm.url)
    for broken, words in (("{", "not JSON"), ('{"a": 1}', "not exported by this page"),
                          (json.dumps({"format": "quern-conversations", "version": 1, "conversations": [{"id": "x"}]}), "conversation 1 lacks"),
                          (json.dumps({"format": "quern-conversations", "version": 9, "conversations": []}), "version 9")):
        other.page.set_input_files("#import-file", {"name": "x.json", "mimeType": "application/json", "buffer": broken.encode()})
        other.page.wait_for_selector(f"#notices :text('{words}')")
        assert other.page.locator("#conversations li").count() == 0
    other.page.set_input_files("#import-file", {"name": "x.json", "mimeType": "application/json", "buffer": saved.encode()})
    other.page.locator("#conversations li").nth(1).wait_for()
    other.page.click("text='A question.'")
    assert other.page.locator(".message.assistant strong").inner_text() == "weight"
    # The same again changes nothing, also where it was written.
    page.page.set_input_files("#import-file", {"name": "x.json", "mimeType": "application/json", "buffer": saved.encode()})
    page.page.wait_for_selector("text=2 conversations imported.")
    assert page.page.locator("#conversations li").count() == 2
    other.page.set_input_files("#import-file", {"name": "x.json", "mimeType": "application/json", "buffer": saved.encode()})
    other.page.wait_for_selector("text=2 conversations imported.")
    other.page.reload()
    other.page.wait_for_selector("html[data-ready]", state="attached")
    assert other.page.locator("#conversations li").count() == 2


def test_deletes_and_brings_back(visit, smollm, say):
    say(reply("Here."))
    page = visit(smollm.url)
    page.ask("Keep me.")
    page.page.hover("#conversations li")
    page.page.click("[aria-label='Delete Keep me.']")
    page.until(lambda: page.page.locator("#conversations li").count() == 0, "it is still listed")
    page.page.click("text=Undo")
    page.page.wait_for_selector("#conversations li")
    assert page.text(".message.assistant .body") == "Here."
