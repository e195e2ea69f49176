# SPDX-License-Identifier: Apache-2.0
"""From sound to text: the microphone, files, live text, and recordings in a chat. The models are tiny and random: that the page shows what the API
answers is judged, not words."""
import base64
import io
import json
import urllib.request
import uuid
import wave

import numpy as np
import pytest
from conftest import wire
from scripted import reply

INPUTS = wire.GOLDEN / "whisper/inputs"

# What the page asks the browser for, and what becomes of it.
WATCH = """window.streams = [];
const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = async (wanted) => {
  const stream = await ask(wanted);
  window.streams.push(stream);
  return stream;
};"""
TRACKS = "window.streams.map((stream) => stream.getTracks().map((track) => track.readyState).join()).join()"

# The height of the tallest bar on a canvas, as a share of it.
TALLEST = """(selector) => {
  const canvas = document.querySelector(selector), {width, height} = canvas;
  if (!width) return 0;
  const {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  let tallest = 0;
  for (let x = 0; x < width; ++x) {
    let bar = 0;
    for (let y = 0; y < height; ++y) bar += data[4 * (y * width + x) + 3] > 0;
    tallest = Math.max(tallest, bar);
  }
  return tallest / height;
}"""

DROP = """([name, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name));
  document.body.dispatchEvent(new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true}));
}"""


def transcript(front, sound):
    """What the API says to the page's request."""
    mark, body = uuid.uuid4().hex, b""
    for name, value in (("response_format", b"json"), ("seed", b"0"), ('file"; filename="x.wav', sound)):
        body += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
    request = urllib.request.Request(front.url + "/v1/audio/transcriptions", body + f"--{mark}--\r\n".encode(),
                                     {"Content-Type": f"multipart/form-data; boundary={mark}"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        return json.loads(answer.read())["text"]


def shown(page):
    return page.page.evaluate("document.getElementById('transcript').textContent")


def wait_for_transcript(page):
    page.page.wait_for_selector("#transcribe-foot:not([hidden])")
    assert not page.page.is_visible("#transcribe-error"), page.text("#transcribe-error")
    return shown(page)


def tallest(page, selector="#recording canvas"):
    return page.page.evaluate(TALLEST, selector)


def saved(page):
    """The file behind the download button: its bytes, and its samples."""
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Download as WAV").first.click()
    data = open(download.value.path(), "rb").read()
    with wave.open(io.BytesIO(data)) as sound:
        assert (sound.getframerate(), sound.getnchannels(), sound.getsampwidth()) == (16000, 1, 2)
        return data, np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float64)


def likeness(heard, name):
    """The largest correlation of a recording with a second of an input, wherever that lies in it."""
    with wave.open(str(INPUTS / name)) as sound:
        said = np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float64)[8000:24000]
    size = 1 << (len(heard) + len(said)).bit_length()
    products = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(said, size)), size)
    at = int(np.argmax(products[:max(1, len(heard) - len(said))]))
    part = heard[at:at + len(said)]
    return products[at] / (np.linalg.norm(part) * np.linalg.norm(said) + 1e-9)


def record(page, seconds=3):
    page.page.click("#record")
    page.page.wait_for_selector("#transcribe-state:has-text('Recording…')")
    page.until(lambda: int(page.text("#recording .time").split(":")[1]) >= seconds, "nothing is heard")


def test_writes_down_what_the_microphone_hears(visit_hearing, whisper):
    page = visit_hearing(whisper.url, permissions=["microphone"], script=WATCH)
    page.page.wait_for_selector("#sound:not([hidden])")
    assert not page.page.is_visible("#chat") and not page.page.is_visible("#speak") and not page.page.is_visible("#title")
    assert page.page.evaluate("window.streams.length") == 0, "nothing may be recorded before the button is pressed"
    record(page)
    assert tallest(page) > 0.2, "no live waveform"
    assert page.page.evaluate(TRACKS) == "live"
    page.shot("sound-recording")
    page.page.click("#record")
    text = wait_for_transcript(page)
    assert page.page.evaluate(TRACKS) == "ended"
    page.shot("sound-transcript")
    data, heard = saved(page)
    assert text and text == transcript(whisper, data)
    assert len(heard) > 2.5 * 16000 and likeness(heard, "a.wav") > 0.9, likeness(heard, "a.wav")
    assert tallest(page) > 0.2
    # It can be heard again.
    page.page.get_by_role("button", name="Play").click()
    page.page.get_by_role("button", name="Stop playing").wait_for()
    page.page.get_by_role("button", name="Play", exact=True).wait_for()


def test_shows_text_while_it_records(visit_hearing, whisper):
    page = visit_hearing(whisper.url, permissions=["microphone"])
    page.page.check("#live")
    record(page, 1)
    page.page.wait_for_selector("#transcript.draft:not(:empty)")
    assert page.page.text_content("#record") == "Stop recording"
    page.shot("sound-live")
    page.page.keyboard.press("Escape")
    text = wait_for_transcript(page)
    assert not page.page.locator("#transcript.draft").count()
    assert text == transcript(whisper, saved(page)[0])


def test_records_without_worklets(visit_hearing, whisper):
    page = visit_hearing(whisper.url, permissions=["microphone"], script="delete window.AudioWorkletNode")
    record(page, 2)
    page.page.click("#record")
    wait_for_transcript(page)
    assert likeness(saved(page)[1], "a.wav") > 0.9


def skip_to(page, seconds):
    """As if so much had been recorded: silence is put into the clip."""
    page.page.evaluate("""async (length) => {
      const {Clip} = await import('./ui/wav.js'), push = Clip.prototype.push;
      Clip.prototype.push = function(samples) {
        if (this.length < length) push.call(this, new Int16Array(length - this.length));
        push.call(this, samples);
      };
    }""", 16000 * seconds)


def answer_in_turn(page, form):
    """The server's answers are "part 1", "part 2" and so on, written by `form`."""
    asked = []

    def answer(route):
        asked.append(route.request)
        route.fulfill(body=form(f"part {len(asked)}"))
    page.page.route("**/v1/audio/transcriptions", answer)
    return asked


def test_stops_at_the_limit_and_sends_parts(visit_hearing, whisper):
    page = visit_hearing(whisper.url, permissions=["microphone"])
    record(page, 1)
    asked = answer_in_turn(page, lambda text: f'data: {{"type": "transcript.text.done", "text": "{text}"}}\n\ndata: [DONE]\n\n')
    skip_to(page, 1799)
    page.page.wait_for_selector("text=30:00 is the longest recording")
    assert page.text("#recording .time") == "30:00"
    assert wait_for_transcript(page) == "part 1 part 2 part 3" and len(asked) == 3


def test_cuts_long_recordings_where_it_is_quiet(visit, whisper):
    page = visit(whisper.url)
    parts = page.page.evaluate("""async () => {
      const {Clip} = await import('./ui/wav.js'), clip = new Clip(16000);
      for (let i = 0; i < 1800; ++i) clip.push(new Int16Array(16000).fill(i === 893 ? 0 : 100));
      return clip.cuts(900, 30);
    }""")
    # Cut in the one second that is quiet, and where nothing is quieter than the rest, no later than after 15 minutes.
    assert 893 * 16000 <= parts[0][1] <= 894 * 16000 and parts[-1][1] == 1800 * 16000
    assert all(0 < end - begin <= 900 * 16000 for begin, end in parts) and all(a[1] == b[0] for a, b in zip(parts, parts[1:]))


def test_tells_of_a_server_that_went_away(visit, whisper):
    page = visit(whisper.url)
    page.page.route("**/v1/audio/transcriptions", lambda route: route.abort())
    page.page.set_input_files("#sound-file", str(INPUTS / "a.wav"))
    page.page.wait_for_selector("#transcribe-error:has-text('The server does not answer')")
    page.page.unroute("**/v1/audio/transcriptions")
    page.page.click("#transcribe-again")
    page.page.wait_for_selector("#transcript:not(:empty)")
    wait_for_transcript(page)
    page.errors.clear()


def test_live_text_goes_from_window_to_window(visit_hearing, whisper):
    page = visit_hearing(whisper.url, permissions=["microphone"])
    answer_in_turn(page, lambda text: json.dumps({"text": text}))
    page.page.check("#live")
    skip_to(page, 31)
    record(page, 1)
    page.until(lambda: shown(page) == "part 1", "the first window is not written down")
    page.until(lambda: shown(page) == "part 1 part 2", "no second window")
    page.until(lambda: shown(page) == "part 1 part 3", "the second window is not written down again")
    page.page.click("#record")
    page.page.wait_for_selector("#transcribe-error:has-text('connection broke')")   # no stream of events, as no server answers
    page.errors.clear()


def test_says_why_there_is_no_microphone(visit_hearing, whisper):
    page = visit_hearing(whisper.url)
    page.context.grant_permissions([])  # all others are refused
    page.page.click("#record")
    page.page.wait_for_selector("#transcribe-error:has-text('does not let this page use the microphone')")
    assert page.page.text_content("#record") == "Record"
    page.shot("sound-refused")
    without = visit_hearing(whisper.url, script="navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('none', 'NotFoundError'); }")
    without.page.click("#record")
    without.page.wait_for_selector("#transcribe-error:has-text('No microphone was found')")
    plain = visit_hearing(whisper.url.replace("127.0.0.1", "mill.test"))
    plain.page.click("#record")
    plain.page.wait_for_selector("#transcribe-error:has-text('only on localhost and over TLS')")
    plain.errors.clear()   # the browser tells which headers mean nothing there


def test_writes_files_down(visit, whisper):
    page = visit(whisper.url)
    data = (INPUTS / "b.wav").read_bytes()
    page.page.wait_for_selector("#record")
    page.page.evaluate(DROP, ["b.wav", base64.b64encode(data).decode()])
    text = wait_for_transcript(page)
    assert text and text == transcript(whisper, data)
    page.until(lambda: tallest(page) > 0.2, "no waveform of a file")
    page.page.set_input_files("#sound-file", {"name": "words.wav", "mimeType": "audio/wav", "buffer": b"this is no sound at all"})
    page.page.wait_for_selector("#transcribe-error:has-text('of no known format')")
    assert tallest(page) < 0.1 and page.page.text_content("#transcript") == ""
    page.page.set_input_files("#sound-file", str(INPUTS / "b.wav"))
    page.page.wait_for_selector("#transcript:not(:empty)")
    assert wait_for_transcript(page) == text
    page.errors.clear()  # the browser tells of the 400


def test_stops_writing(visit, whisper):
    page = visit(whisper.url)
    page.page.set_input_files("#sound-file", str(INPUTS / "a.wav"))
    page.page.click("#transcribe-stop")
    page.page.wait_for_selector("#transcribe-state:has-text('Stopped.')")
    page.page.click("#transcribe-again")
    assert wait_for_transcript(page) == transcript(whisper, (INPUTS / "a.wav").read_bytes())


def test_sends_recordings_in_a_chat(visit_hearing, hearing):
    page = visit_hearing(hearing.url, permissions=["microphone"], script=WATCH).settings(max_tokens=4, temperature=0)
    assert page.page.is_visible("#chat") and page.page.is_visible("#open-microphone") and not page.page.is_visible("#add-picture")
    page.page.click("#open-microphone")
    page.until(lambda: page.text("#dictation .time") == "0:02", "nothing is heard")
    assert tallest(page, "#dictation canvas") > 0.2
    page.shot("sound-dictation")
    page.page.keyboard.press("Escape")
    page.page.locator("#sounds li").wait_for()
    assert not page.page.is_visible("#dictation")
    page.page.click("#open-microphone")
    page.page.click("#dictation-discard")
    assert page.page.locator("#sounds li").count() == 1
    page.page.set_input_files("#message-sound-file", str(INPUTS / "b.wav"))
    page.page.locator("#sounds li").nth(1).wait_for()
    assert "live" not in page.page.evaluate(TRACKS)
    hearing.script = reply("Heard.")
    hearing.bodies.clear()
    try:
        page.ask("What is said?")
    finally:
        hearing.script = None
    parts = hearing.bodies[0]["messages"][-1]["content"]
    assert [part["type"] for part in parts] == ["input_audio", "input_audio", "text"]
    assert all(part["input_audio"]["format"] == "wav" for part in parts[:2])
    assert base64.b64decode(parts[1]["input_audio"]["data"]) == (INPUTS / "b.wav").read_bytes()
    with wave.open(io.BytesIO(base64.b64decode(parts[0]["input_audio"]["data"]))) as sound:
        assert likeness(np.frombuffer(sound.readframes(sound.getnframes()), "<i2").astype(np.float64), "a.wav") > 0.9
    # What is exported is read again, but for what is no sound.
    with page.page.expect_download() as download:
        page.page.click("#export")
    file = json.loads(open(download.value.path()).read())
    for message in file["conversations"][0]["messages"].values():
        message.setdefault("sounds", []).append({"url": "javascript:alert(1)", "format": "wav", "name": "x"})
    read = page.page.evaluate("async (text) => (await import('./ui/store.js')).parseExport(text)", json.dumps(file))
    assert sorted(len(message["sounds"]) for message in read[0]["messages"].values()) == [0, 2]
    # They are still there, and sent to the model, after a reload.
    page.page.reload()
    page.page.locator(".message.user .sound-view").nth(1).wait_for()
    page.until(lambda: tallest(page, ".message.user canvas") > 0.2, "no waveform in the message")
    page.shot("sound-chat")
    page.page.get_by_role("button", name="Discard").wait_for(state="hidden")
    assert not page.ask("And now?", number=2).locator(".failure").is_visible()


def test_a_chat_model_that_does_not_hear_takes_none(visit, smollm):
    page = visit(smollm.url)
    assert not page.page.is_visible("#open-microphone") and not page.page.is_visible("#add-sound")
    page.page.evaluate(DROP, ["b.wav", base64.b64encode((INPUTS / "b.wav").read_bytes()).decode()])
    page.page.wait_for_selector("text=smollm2-135m reads text only: recordings cannot be sent to it")


@pytest.mark.parametrize("theme,width", [("light", 1280), ("dark", 390)])
def test_looks(visit, whisper, theme, width):
    from test_looks import CONTRAST, NAMELESS
    page = visit(whisper.url, viewport={"width": width, "height": 844}, color_scheme=theme)
    page.page.set_input_files("#sound-file", str(INPUTS / "a.wav"))
    wait_for_transcript(page)
    page.shot(f"sound-{theme}")
    assert page.page.evaluate(NAMELESS) == []
    assert page.page.evaluate(CONTRAST) == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the screen"
