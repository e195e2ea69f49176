# SPDX-License-Identifier: Apache-2.0
"""Pictures by file, paste, drop and camera, to a model that sees, and to one that does not."""
from conftest import png, png_base64

PASTE = """([how, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], 'stone.png', {type: 'image/png'}));
  const event = how === 'paste' ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
                                : new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true});
  document.querySelector('#message').dispatchEvent(event);
}"""


def test_sends_pictures_of_every_origin(visit, seeing):
    page = visit(seeing.url, permissions=["camera"]).settings(max_tokens=4, temperature=0)
    assert page.page.is_visible("#add-picture")
    page.page.set_input_files("#picture-file", {"name": "file.png", "mimeType": "image/png", "buffer": png()})
    page.page.evaluate(PASTE, ["paste", png_base64()])
    page.page.evaluate(PASTE, ["drop", png_base64()])
    page.page.locator("#pictures li").nth(2).wait_for()
    page.page.click("#open-camera")
    page.page.wait_for_selector("#camera-take:not([disabled])")
    page.page.click("#camera-take")
    page.page.locator("#pictures li").nth(3).wait_for()
    page.shot("pictures-composer")
    page.page.locator("#pictures li button").nth(1).click()
    answer = page.ask("What is this?")
    assert not answer.locator(".failure").is_visible(), answer.inner_text()
    assert page.page.locator(".message.user img").count() == 3
    assert page.page.locator("#pictures li").count() == 0
    assert "tokens" in answer.locator(".stats").inner_text()
    page.page.locator(".message.user .shown-pictures button").first.click()
    assert page.page.is_visible("#picture-large")
    page.page.click("#picture-close")
    # They are still there, and still sent, after a reload.
    page.page.reload()
    page.page.locator(".message.user img").nth(2).wait_for()
    assert not page.ask("And now?", number=2).locator(".failure").is_visible()


def test_says_what_is_no_picture(visit, seeing):
    page = visit(seeing.url)
    page.page.set_input_files("#picture-file", {"name": "words.txt", "mimeType": "text/plain", "buffer": b"words"})
    page.page.wait_for_selector("text=words.txt is no picture that this browser can read.")
    # What the browser takes for one and the server does not is refused in the server's words.
    page.page.set_input_files("#picture-file", {"name": "half.png", "mimeType": "image/png", "buffer": png()[:60]})
    page.page.wait_for_selector("#pictures li")
    failure = page.ask("And this?").locator(".failure").inner_text()
    assert "messages[0]" in failure
    page.errors.clear()


def test_offers_none_to_a_model_that_reads_only(visit, smollm):
    page = visit(smollm.url)
    assert not page.page.is_visible("#add-picture") and not page.page.is_visible("#open-camera")
    page.page.evaluate(PASTE, ["paste", png_base64()])
    page.page.wait_for_selector("text=smollm2-135m reads text only")
    assert page.page.locator("#pictures li").count() == 0
