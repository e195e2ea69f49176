# SPDX-License-Identifier: Apache-2.0
"""Transcriptions over the wire, as the official client asks for them. The models are tiny and random: forms, times and errors are judged, not words."""
import base64
import concurrent.futures
import http.client
import json

import openai
import pytest
from conftest import GOLDEN, Server
from test_sound import wav

CASE = GOLDEN / "whisper"
RECORDING = CASE / "inputs/a.wav"
RUNS = {run["name"]: run for run in json.loads((CASE / "expected.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def whisper():
    server = Server(CASE, "--dtype", "float32", "--max-audio-seconds", 100)
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


@pytest.fixture(scope="module")
def ears():
    server = Server(GOLDEN / "glmasr")
    yield server
    server.stop()


def transcribe(server, data=None, **fields):
    fields = {"seed": 5, "max_completion_tokens": 24, **fields}
    extra = {key: fields.pop(key) for key in ("seed", "max_completion_tokens")}
    file = ("a.wav", data or RECORDING.read_bytes(), "audio/wav")
    return server.client().audio.transcriptions.create(model=server.model, file=file, extra_body=extra, **fields)


def refusal(server, data=None, kind=openai.BadRequestError, **fields):
    with pytest.raises(kind) as caught:
        transcribe(server, data, **fields)
    return caught.value.message


def longer(times):
    data = RECORDING.read_bytes()
    return wav(data[44:] * times)


def tokens_of(answer):
    return [token for segment in answer.segments for token in segment.tokens]


def test_says_what_it_does(whisper, ears):
    tasks = [json.loads(server.get("/v1/models"))["data"][0]["tasks"] for server in (whisper, ears)]
    assert tasks == [["transcription"], ["generate", "transcription"]]


def test_every_form(whisper):
    plain = transcribe(whisper, language="en")
    assert plain.text.strip() and plain.usage.type == "duration"
    assert transcribe(whisper, language="en", response_format="text").strip() == plain.text
    verbose = transcribe(whisper, language="en", response_format="verbose_json")
    assert verbose.segments and all(s.start <= s.end <= verbose.duration for s in verbose.segments)
    assert all(0 <= s.no_speech_prob <= 1 for s in verbose.segments)
    srt = transcribe(whisper, language="en", response_format="srt")
    assert srt.startswith("1\n00:00:0") and " --> " in srt
    assert transcribe(whisper, language="en", response_format="vtt").startswith("WEBVTT\n\n00:00:0")


def test_finds_the_language_out(whisper):
    heard = transcribe(whisper, response_format="verbose_json").language
    assert heard == RUNS["detect"]["detected_language"]


def test_translates(whisper):
    file = ("a.wav", RECORDING.read_bytes(), "audio/wav")
    answer = whisper.client().audio.translations.create(model=whisper.model, file=file, extra_body={"max_completion_tokens": 24})
    assert isinstance(answer.text, str)


def test_streams_what_it_says_whole(whisper):
    whole = transcribe(whisper, longer(20), language="en").text
    events = list(transcribe(whisper, longer(20), language="en", stream=True))
    deltas = [e.delta for e in events if e.type == "transcript.text.delta"]
    assert events[-1].type == "transcript.text.done" and events[-1].text == whole
    assert "".join(deltas).strip() == whole and len(deltas) > 1


def test_company_does_not_show(whisper):
    alone = transcribe(whisper, language="en", response_format="verbose_json")
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: transcribe(whisper, language="en", response_format="verbose_json"), range(4)))
    assert all(tokens_of(t) == tokens_of(alone) for t in together)
    assert whisper.metric("vllm:num_requests_running") == 0


def test_wrong_fields_are_named(whisper):
    assert "expected one of af" in refusal(whisper, language="xx")
    assert "expected json" in refusal(whisper, response_format="xml")
    assert "times of words" in refusal(whisper, response_format="verbose_json", timestamp_granularities=["word"])
    assert "from 0 to 2" in refusal(whisper, temperature=3)
    assert "only response_format json and text" in refusal(whisper, response_format="srt", stream=True)
    with pytest.raises(openai.NotFoundError):
        whisper.client().audio.transcriptions.create(model="other", file=("a.wav", b"x", "audio/wav"))


def test_bad_recordings_are_named(whisper):
    assert "of no known format; expected WAV, FLAC" in refusal(whisper, b"this is no sound at all, whatever it is called")
    refusal(whisper, wav(b"\1\0" * 100, channels=64))
    refusal(whisper, wav(b"\1\0" * 100, rate=0))
    refusal(whisper, wav(b""))
    assert "100" in refusal(whisper, wav(b"\1\0" * 16000 * 101))
    assert transcribe(whisper).text is not None, "it goes on answering"


def post(server, body, content_type):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    connection.request("POST", "/v1/audio/transcriptions", body, {"Content-Type": content_type})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())["error"]["message"]


def test_bad_forms_are_named(whisper):
    assert post(whisper, b"{}", "application/json")[0] == 400
    assert "boundary" in post(whisper, b"", "multipart/form-data")[1]
    assert "no part" in post(whisper, b"abc", "multipart/form-data; boundary=x")[1]
    form = b"--x\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--x--\r\n"
    assert "file: missing" in post(whisper, form, "multipart/form-data; boundary=x")[1]
    assert "does not end" in post(whisper, form[:-8], "multipart/form-data; boundary=x")[1]


def test_no_conversation_with_a_transcriber(whisper):
    """A prompt without a recording would take the other requests of its step down."""
    with pytest.raises(openai.APIStatusError) as caught:
        whisper.client().chat.completions.create(model=whisper.model, messages=[{"role": "user", "content": "Hello"}])
    assert "/v1/audio/transcriptions" in caught.value.message
    with pytest.raises(openai.APIStatusError):
        whisper.client().completions.create(model=whisper.model, prompt="Hello")


def test_a_model_that_converses_takes_dictation(ears):
    recording = (GOLDEN / "glmasr/inputs/audio_a.wav").read_bytes()
    plain = transcribe(ears, recording, max_completion_tokens=8)
    asked = ears.client().chat.completions.create(model=ears.model, max_tokens=8, temperature=0, messages=[{"role": "user", "content": [
        {"type": "input_audio", "input_audio": {"data": base64.b64encode(recording).decode(), "format": "wav"}},
        {"type": "text", "text": "Please transcribe this audio into text"}]}])
    assert plain.text == asked.choices[0].message.content.strip()
    assert "takes none" in refusal(ears, recording, language="en")
    assert "tells no times" in refusal(ears, recording, response_format="srt")


def test_a_model_that_does_not_hear_says_so(smollm):
    assert "does not hear" in refusal(smollm, kind=openai.APIStatusError)
