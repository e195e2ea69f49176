# SPDX-License-Identifier: Apache-2.0
"""Recordings over the wire, as the official client sends them. The model is tiny and random: what it hears is counted, not understood."""
import base64
import struct

import openai
import pytest
from conftest import GOLDEN, Server

RECORDING = GOLDEN / "glmasr/inputs/audio_a.wav"
PROMPT_TOKENS = 64  # of the golden prompt, 29 of them sound


@pytest.fixture(scope="module")
def ears():
    server = Server(GOLDEN / "glmasr", "--max-audio-seconds", 40, "--limit-mm-per-prompt.audio", 2)
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


def sound(data, kind="wav"):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": kind}}


def ask(server, parts, **fields):
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "Please transcribe this audio into text"}]}]
    return server.client().chat.completions.create(
        model=server.model, messages=messages, max_tokens=8, temperature=0, **fields)


def refusal(server, parts):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(server, parts)
    return caught.value.message


def wav(data=b"", rate=16000, channels=1, claimed=None):
    size = len(data) if claimed is None else claimed
    return b"RIFF" + struct.pack("<I4s4sIHHIIHH4sI", (36 + size) & 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, channels, rate,
                                 rate * channels * 2 & 0xFFFFFFFF, channels * 2, 16, b"data", size) + data


def test_a_recording_is_heard(ears):
    answer = ask(ears, [sound(RECORDING.read_bytes())])
    assert answer.usage.prompt_tokens == PROMPT_TOKENS
    again = ask(ears, [sound(RECORDING.read_bytes())])
    assert again.choices[0].message.content == answer.choices[0].message.content
    by_url = {"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64," + base64.b64encode(RECORDING.read_bytes()).decode()}}
    assert ask(ears, [by_url]).choices[0].message.content == answer.choices[0].message.content


def test_a_recording_streams(ears):
    whole = ask(ears, [sound(RECORDING.read_bytes())]).choices[0].message.content
    chunks = ask(ears, [sound(RECORDING.read_bytes())], stream=True)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole


def test_bad_recordings_are_named(ears):
    second = b"\1\0" * 16000
    for data, said in [(b"text", "expected WAV, FLAC, Ogg"),
                       (b"", "it is empty"),
                       (wav(), "holds no samples"),
                       (wav(second, rate=0), "WAV recording"),
                       (wav(second, rate=400000), "400000 Hz"),
                       (wav(second, channels=64), "64 channels"),
                       (wav(second[:200]), "too short"),
                       (wav(second * 41), "longer than 40 seconds"),
                       (RECORDING.read_bytes()[:20], "WAV recording")]:
        text = refusal(ears, [sound(data)])
        assert said in text and "messages[0].content[0]" in text, text
    assert "input_audio.format" in refusal(ears, [sound(wav(second), "m4a")])
    assert "at most 2" in refusal(ears, [sound(b"")] * 3)
    # More is claimed than is there: what is there is heard.
    assert ask(ears, [sound(wav(second, claimed=0xFFFFFFF0))]).usage.prompt_tokens == PROMPT_TOKENS - 29 + 12


def test_pictures_are_not_taken(ears):
    assert "takes no pictures" in refusal(ears, [{"type": "image_url", "image_url": {"url": "data:,x"}}])
