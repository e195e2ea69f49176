# SPDX-License-Identifier: Apache-2.0
"""Names for screen readers, contrast, focus, phone width; and pictures of the page for people to look at (build/page-shots)."""
import pytest

from scripted import chunk, reply

TOUR = """Here is a short **tour** of what an answer may hold, with `inline code` and a [link](https://example.org).

## A list
1. Rinse the grain and let it dry.
2. Set the stones:
   - the *bedstone* below,
   - the *runner* above.
3. Turn slowly.

| Planet | Diameter (km) | Moons |
|---|--:|:-:|
| Mercury | 4,879 | 0 |
| Earth | 12,742 | 1 |

```python
def reverse(text: str) -> str:
    return text[::-1]
```

> Grind slowly, and it will be fine.
"""

NAMELESS = """() => [...document.querySelectorAll('button, input, select, textarea, a[href], [tabindex="0"], [role=img], img, dialog')].filter((node) => {
  if (node.closest('dialog:not([open])')) return false;
  const labelled = node.getAttribute('aria-label') || node.getAttribute('aria-labelledby') || node.labels?.length || node.alt || node.title;
  return !labelled && !node.textContent.trim();
}).map((node) => node.outerHTML.slice(0, 120))"""

CONTRAST = """() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (node) => {
    for (; node; node = node.parentElement) {
      const colour = parse(getComputedStyle(node).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const bad = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const node = text.parentElement;
    if (!text.data.trim() || !node.checkVisibility({opacityProperty: true, visibilityProperty: true}) || node.closest('.hidden, .skip, .shares, noscript, option')) continue;
    const [a, b] = [light(parse(getComputedStyle(node).color)), light(ground(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) bad.push(`${ratio.toFixed(2)}: ${text.data.trim().slice(0, 40)}`);
  }
  return bad;
}"""


def tour(body):
    for i, word in enumerate("The user wants a tour: a list, a table and some code.".split(" ")):
        yield chunk(reasoning=word + " ", usage=i + 1)
    yield from reply(TOUR)(body)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_looks(visit, smollm, say, theme, width):
    say(tour)
    name = f"{theme}-{'desk' if width > 500 else 'phone'}"
    page = visit(smollm.url, viewport={"width": width, "height": 844}, color_scheme=theme, has_touch=width < 500, device_scale_factor=1 if width > 500 else 2)
    tab = page.page
    tab.wait_for_selector("#model-name:has-text('smollm2')")
    page.shot(f"{name}-empty")
    page.ask("Show me a tour of what you can write.")
    tab.evaluate("document.getElementById('log').scrollTop = 0")
    tab.wait_for_timeout(300)
    page.shot(f"{name}-chat")
    assert tab.evaluate(NAMELESS) == []
    assert tab.evaluate(CONTRAST) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
    if width < 500:
        tab.click("#open-sidebar")
        tab.wait_for_timeout(200)
        page.shot(f"{name}-list")
        assert tab.evaluate("document.getElementById('main').inert")
        tab.keyboard.press("Escape")
        assert not tab.is_visible("#new-chat")
    tab.click("#open-panel")
    tab.wait_for_timeout(200)
    page.shot(f"{name}-settings")
    assert tab.evaluate(NAMELESS) == []
    assert tab.evaluate(CONTRAST) == []
    tab.click("#close-panel")
    if width < 500:
        tab.click("#open-sidebar")
    tab.click("#open-engine")
    tab.wait_for_selector(".facts")
    tab.wait_for_timeout(3000)
    page.shot(f"{name}-engine")
    assert tab.evaluate(NAMELESS) == []
    assert tab.evaluate(CONTRAST) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


def test_a_chosen_theme_stays(visit, smollm):
    page = visit(smollm.url, color_scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(colour)
    page.page.select_option("#theme", "dark")
    dark = page.page.evaluate(colour)
    assert dark != light
    page.page.reload()
    assert page.page.evaluate(colour) == dark and page.page.input_value("#theme") == "dark"
    page.page.select_option("#theme", "auto")
    assert page.page.evaluate(colour) == light


def test_moves_nothing_for_those_who_want_that(visit, smollm, say):
    say(reply("Quiet.", size=1, pause=0.2))
    page = visit(smollm.url, reduced_motion="reduce")
    page.send("Hush.")
    page.page.wait_for_selector(".message.assistant")
    assert page.page.evaluate("document.getAnimations().length") == 0
    page.wait_for_answer()


def test_tells_screen_readers(visit, smollm, say):
    say(reply("First paragraph.\n\nSecond one.\n\nThird.", pause=0.05))
    page = visit(smollm.url)
    page.page.evaluate("""() => { window.said = []; new MutationObserver(() => window.said.push(document.getElementById('announcer').lastChild.textContent))
      .observe(document.getElementById('announcer'), {childList: true, subtree: true}); }""")
    page.send("Three paragraphs.")
    page.wait_for_answer()
    said = page.page.evaluate("window.said")
    assert said[0] == "The answer is being written" and any("First paragraph." in one for one in said) and said[-1].startswith("The answer is complete"), said
    assert page.page.get_attribute(".message.assistant", "aria-label") == "Answer"
    assert page.page.get_attribute(".message.assistant", "aria-busy") == "false"


def test_focus_goes_in_order(visit, smollm):
    page = visit(smollm.url)
    page.page.evaluate("document.body.focus()")
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.className") == "skip"
    page.page.keyboard.press("Enter")
    assert page.page.evaluate("document.activeElement.id") == "message"
    page.page.keyboard.press("Tab")
    assert page.page.evaluate("document.activeElement.id") == "send"
