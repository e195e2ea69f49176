# SPDX-License-Identifier: Apache-2.0
"""From text to sound: played while it comes, stopped, kept as a file. A script speaks; at the end a tiny random model does."""
import threading
import wave

import numpy as np
import pytest
from test_sound import tallest

RATE = 24000
SAMPLES = (12000 * np.sin(2 * np.pi * 440 * np.arange(RATE * 2) / RATE)).astype("<i2")   # two seconds

# When what was played: [seconds of sound] as each piece of it is given to the loudspeaker.
WATCH = """window.pieces = [];
window.contexts = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function(when) {
  window.pieces.push([when, this.buffer.duration]);
  window.contexts.push(this.context);
  return start.call(this, when);
};"""


@pytest.fixture
def speaking(whisper):
    """The whisper's front as a model with two voices; its script is `speech`."""
    whisper.voices, whisper.speech = ["anna", "ben"], speech()
    whisper.bodies.clear()
    yield whisper
    whisper.voices = whisper.speech = None


def speech(before_rest=None, size=4801):
    """A script that sends SAMPLES in pieces, odd ones too, and stops before the second half until `before_rest` is set."""
    def script(_body):
        data = SAMPLES.tobytes()
        for at in range(0, len(data), size):
            if before_rest and at > len(data) // 2:
                before_rest.wait(60)
            yield data[at:at + size]
    return script


def saved(page):
    with page.page.expect_download() as download:
        page.page.locator("#speech").get_by_role("button", name="Download as WAV").click()
    assert download.value.suggested_filename == "speech.wav"
    with wave.open(open(download.value.path(), "rb")) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (RATE, 1, 2)
        return np.frombuffer(sound.readframes(sound.getnframes()), "<i2")


def pieces(page):
    return page.page.evaluate("window.pieces")


def test_plays_what_has_come(visit, speaking):
    rest = threading.Event()
    speaking.speech = speech(rest)
    page = visit(speaking.url, script=WATCH)
    assert page.page.is_visible("#speak") and not page.page.is_visible("#chat")
    assert page.page.locator("#voice option").all_text_contents() == ["anna", "ben"]
    page.page.select_option("#voice", "ben")
    page.page.click("#speak-start")
    page.page.wait_for_selector("text=Write what is to be read aloud.")
    page.page.fill("#speech-text", "Good morning, miller.")
    page.page.press("#speech-text", "Control+Enter")
    page.until(lambda: sum(length for _, length in pieces(page)) > 0.7, "nothing is played before the rest has come")
    page.page.wait_for_selector("#speak-state:has-text('Speaking. First sound after')")
    page.until(lambda: tallest(page, "#speech canvas") > 0.2, "no waveform")
    page.shot("speech-playing")
    assert page.page.is_visible("#speak-stop") and not page.page.is_visible("#speak-start")
    rest.set()
    page.page.wait_for_selector("#speak-state:has-text('times as fast as it is spoken')")
    page.page.wait_for_selector("#speak-start:not([hidden])")   # it was heard to its end
    played = pieces(page)
    assert abs(sum(length for _, length in played) - 2) < 1e-6
    assert all(after - before >= length - 1e-6 for (before, length), (after, _) in zip(played, played[1:])), "pieces lie over each other"
    assert speaking.bodies == [{"model": "whisper", "input": "Good morning, miller.", "voice": "ben", "response_format": "pcm", "stream": True}]
    assert np.array_equal(saved(page), SAMPLES)
    page.shot("speech")
    # It can be heard again, and the voice is remembered.
    page.page.locator("#speech").get_by_role("button", name="Play").click()
    page.until(lambda: sum(length for _, length in pieces(page)) > 3.9, "not played again")
    page.page.reload()
    page.page.wait_for_selector("#speak:not([hidden])")
    assert page.page.input_value("#voice") == "ben"


def test_stops_speaking(visit, speaking):
    rest = threading.Event()
    speaking.speech = speech(rest)
    left = speaking.left
    page = visit(speaking.url, script=WATCH)
    page.page.fill("#speech-text", "Good night, miller.")
    page.page.click("#speak-start")
    page.until(lambda: pieces(page), "nothing is played")
    page.page.click("#speak-stop")
    page.page.wait_for_selector("#speak-state:has-text('Stopped.')")
    page.page.wait_for_selector("#speak-start:not([hidden])")
    assert page.page.evaluate("window.contexts.every((context) => context.state === 'closed')")
    rest.set()
    page.until(lambda: speaking.left > left, "the server goes on sending")
    assert 0 < len(saved(page)) < len(SAMPLES)


def test_tells_what_the_server_says(visit, speaking):
    speaking.speech = None   # the Whisper behind it does not speak
    page = visit(speaking.url)
    page.page.fill("#speech-text", "Are you there?")
    page.page.click("#speak-start")
    page.page.wait_for_selector("#speak-error:not([hidden])")
    assert page.text("#speak-error")
    page.page.wait_for_selector("#speak-start:not([hidden])")
    page.errors.clear()


@pytest.mark.parametrize("theme,width", [("dark", 1280), ("light", 390)])
def test_looks(visit, speaking, theme, width):
    from test_looks import CONTRAST, NAMELESS
    page = visit(speaking.url, viewport={"width": width, "height": 844}, color_scheme=theme)
    page.page.fill("#speech-text", "The stones turn slowly, and the flour is warm.")
    page.page.click("#speak-start")
    page.page.wait_for_selector("#speak-start:not([hidden])")
    page.shot(f"speech-{theme}")
    assert page.page.evaluate(NAMELESS) == []
    assert page.page.evaluate(CONTRAST) == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"


def test_a_model_speaks(visit, model_that_speaks):
    page = visit(model_that_speaks.url, script=WATCH)
    assert page.page.is_visible("#speak") and not page.page.is_visible("#chat") and not page.page.is_visible("#transcribe")
    assert page.page.locator("#voice option").all_text_contents() == ["anna"]
    page.page.fill("#speech-text", "今天天气很好。")
    page.page.click("#speak-start")
    page.page.wait_for_selector("#speak-state:has-text('times as fast as it is spoken')")
    page.page.wait_for_selector("#speak-start:not([hidden])")
    assert not page.page.is_visible("#speak-error")
    sound = saved(page)
    assert len(sound) > RATE // 10 and sound.astype(float).std() > 0
    assert abs(sum(length for _, length in pieces(page)) - len(sound) / RATE) < 1e-6
