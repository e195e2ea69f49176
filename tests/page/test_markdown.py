# SPDX-License-Identifier: Apache-2.0
"""The renderer: what it makes of markdown, the same at any cut, and in bounded time whatever comes."""
import pytest

CASES = {
    "plain": ("a < b & c", "<p>a &lt; b &amp; c</p>"),
    "emphasis": ("*a* **b** ***c*** _d_ __e__ ~~f~~", "<p><em>a</em> <strong>b</strong> <strong><em>c</em></strong> <em>d</em> <strong>e</strong> <del>f</del></p>"),
    "within": ("**a *b* c**", "<p><strong>a <em>b</em> c</strong></p>"),
    "names": ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    "code": ("`a*b*` and ``x`y``", "<p><code>a*b*</code> and <code>x`y</code></p>"),
    "escape": (r"\*not\* \# here", "<p>*not* # here</p>"),
    "break": ("one\ntwo", "<p>one<br>two</p>"),
    "paragraphs": ("one\n\ntwo", "<p>one</p><p>two</p>"),
    "heading": ("# Title #\ntext", '<h2 class="h1">Title</h2><p>text</p>'),
    "rule": ("a\n\n---\n\nb", "<p>a</p><hr><p>b</p>"),
    "quote": ("> a\n> > b", "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote>"),
    "list": ("- a\n- b\n  - c\n- d", "<ul><li>a</li><li>b<ul><li>c</li></ul></li><li>d</li></ul>"),
    "numbers": ("3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'),
    "loose": ("1. a\n\n   more\n\n2. b", '<ol class="loose"><li><p>a</p><p>more</p></li><li>b</li></ol>'),
    "task": ("- [x] a\n- [ ] b", '<ul><li class="task"><input type="checkbox" disabled="" checked="" aria-label="done">a</li>'
             '<li class="task"><input type="checkbox" disabled="" aria-label="open">b</li></ul>'),
    "html": ("<b>x</b> <script>y</script>", "<p>&lt;b&gt;x&lt;/b&gt; &lt;script&gt;y&lt;/script&gt;</p>"),
    "entity": ("&lt;b&gt; &nope; &amp;", "<p>&lt;b&gt; &amp;nope; &amp;</p>"),
    "bad link": ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
    "relative link": ("[x](/v1/models)", "<p>[x](/v1/models)</p>"),
}
LINK = 'target="_blank" rel="noopener noreferrer nofollow"'
SAMPLE = """# Title

A paragraph with **bold**, `code` and https://example.org/a_b_c.
Second line.

1. one
2. two

   with more

   - deep
   - deeper
3. three

```js
const a = `x`;

// blank lines inside
```
Directly after.

| a | b |
|---|--:|
| 1 | `|` |

> quoted
lazy

- [x] done
- last

~~~
open to the end
"""

MAKE = """async (text) => {
  const {render} = await import('/ui/markdown.js');
  const root = document.createElement('div');
  root.append(...render(text));
  return new XMLSerializer().serializeToString(root) && root.innerHTML;
}"""

STREAM = """async (text) => {
  const {StreamView} = await import('/ui/stream_view.js');
  const show = (steps) => {
    const root = document.createElement('div');
    const view = new StreamView(root);
    for (const end of steps) view.update(text.slice(0, end), end === text.length && end === steps.at(-1));
    return root.innerHTML;
  };
  const whole = show([text.length]);
  const every = show([...Array(text.length).keys(), text.length]);
  const bad = [];
  for (let cut = 0; cut < text.length; ++cut) if (show([cut, text.length]) !== whole) bad.push(cut);
  return {whole, every, bad};
}"""

HARD = {
    "brackets": "'['.repeat(60000)", "links": "'[a]('.repeat(20000)", "stars": "'*a '.repeat(30000)", "pairs": "'**a '.repeat(30000)", "under": "'_a_b'.repeat(20000)",
    "ticks": "Array.from({length: 400}, (_, i) => '`'.repeat(i)).join(' ')", "quotes": "'> '.repeat(30000)", "nested": "Array.from({length: 400}, (_, i) => ' '.repeat(2 * i) + '- a').join('\\n')",
    "pipes": "('|'.repeat(1000) + '\\n').repeat(50)", "rules": "('- '.repeat(1000) + '\\n').repeat(50)", "hashes": "'# '.repeat(30000)", "angles": "'<'.repeat(60000)",
    "one line": "'word '.repeat(40000)", "amps": "'&'.repeat(60000)", "bang": "'!['.repeat(30000)", "heads": "('| a | b |\\n').repeat(3000)", "fences": "'```\\n'.repeat(10001)",
}


@pytest.fixture(scope="module")
def page(browser, smollm):
    from conftest import Page
    page = Page(browser, smollm.url).open()
    yield page.page
    page.context.close()


@pytest.mark.parametrize("name", CASES)
def test_makes(page, name):
    text, wanted = CASES[name]
    assert page.evaluate(MAKE, text) == wanted


def test_makes_links(page):
    assert page.evaluate(MAKE, "[a *b*](https://x.org/q?a=1&b=2)") == f'<p><a href="https://x.org/q?a=1&amp;b=2" {LINK} title="https://x.org/q?a=1&amp;b=2">a <em>b</em></a></p>'
    assert page.evaluate(MAKE, "see https://x.org/a_b, and <https://y.org/>.") == \
        f'<p>see <a href="https://x.org/a_b" {LINK} title="https://x.org/a_b">https://x.org/a_b</a>, and <a href="https://y.org/" {LINK} title="https://y.org/">https://y.org/</a>.</p>'


def test_makes_tables_and_code(page):
    made = page.evaluate(MAKE, "| a | b |\n|:--|--:|\n| 1 | `x|y` |\n\n```py\nif a < b:\n\n    pass\n```")
    assert '<th class="end" scope="col">b</th>' in made and "<td class=\"end\"><code>x|y</code></td>" in made
    assert "<code>if a &lt; b:\n\n    pass</code>" in made and "<span>py</span>" in made


def test_shows_the_same_at_any_cut(page):
    out = page.evaluate(STREAM, SAMPLE)
    assert out["bad"] == [] and out["every"] == out["whole"]


@pytest.mark.parametrize("name", HARD)
def test_takes_bounded_time(page, name):
    """Whole, and as a stream of 200 pieces."""
    took = page.evaluate("""async (make) => {
      const {render} = await import('/ui/markdown.js');
      const {StreamView} = await import('/ui/stream_view.js');
      const began = performance.now();
      render(make);
      const whole = performance.now() - began;
      const view = new StreamView(document.createElement('div'));
      for (let i = 1; i <= 200; ++i) view.update(make.slice(0, Math.ceil((make.length * i) / 200)), i === 200);
      return [whole, performance.now() - began - whole];
    }""", page.evaluate("() => " + HARD[name]))
    print(f"{name}: whole {took[0]:.0f} ms, streamed {took[1]:.0f} ms")
    assert took[0] < 4000 and took[1] < 20_000
