# SPDX-License-Identifier: Apache-2.0
"""Speech over the wire, as the official client asks for it. The networks are tiny and random: forms, lengths and errors are judged, not words."""
import base64
import json
import shutil
import threading
import urllib.request

import numpy as np
import openai
import pytest
from conftest import GOLDEN, Server, run
from test_sound import wav

CASE = GOLDEN / "glm_tts_e2e"
VOICE = CASE / "inputs/prompt.wav"
SAID = json.loads((CASE / "expected.json").read_text())["prompt_text"].strip()
TEXT = "今天天气很好。"
BEGINNINGS = {"wav": b"RIFF", "flac": b"fLaC", "opus": b"OggS", "mp3": b"\xff"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The model's folder as it is published, and one of voices."""
    model, voices = tmp_path_factory.mktemp("glm-tts"), tmp_path_factory.mktemp("voices")
    for part in ("llm", "flow", "hift", "speech_tokenizer", "vq32k-phoneme-tokenizer"):
        (model / part).symlink_to(CASE / part)
    (model / "frontend").mkdir()
    (model / "frontend/campplus.onnx").symlink_to(GOLDEN / "glm_tts_speaker/campplus.onnx")
    shutil.copy(VOICE, voices / "anna.wav")
    (voices / "anna.txt").write_text(SAID + "\n")
    return model, voices


@pytest.fixture(scope="module")
def speaker(folders):
    server = Server(folders[0], "--voices", folders[1], "--dtype", "float32", "--served-model-name", "glm-tts")
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


def say(server, text=TEXT, form="pcm", voice="anna", **extra):
    answer = server.client().audio.speech.create(model=server.model, input=text, voice=voice, response_format=form,
                                                 extra_body={"seed": 1, **extra})
    return answer.read()


def refusal(server, kind=openai.BadRequestError, **fields):
    with pytest.raises(kind) as caught:
        say(server, **fields)
    return caught.value.message


def samples(data):
    return np.frombuffer(data, "<i2").astype(np.float64) / 32768


def test_every_form(speaker):
    whole = say(speaker)
    assert len(whole) % 960 == 0 and len(whole) > 10 * 960, "mel frames of 480 samples"
    for form, beginning in BEGINNINGS.items():
        made = say(speaker, form=form)
        assert made.startswith(beginning), form
    assert say(speaker, form="wav")[44:] == whole


def test_the_same_seed_sounds_the_same(speaker):
    whole = say(speaker)
    others = []
    threads = [threading.Thread(target=lambda: others.append(say(speaker))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert others == [whole] * 3
    assert say(speaker, seed=2) != whole


def test_events_hold_the_same_sound(speaker):
    body = {"input": TEXT, "voice": {"id": "anna"}, "response_format": "pcm", "stream_format": "sse", "seed": 1}
    request = urllib.request.Request(speaker.url + "/v1/audio/speech", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        events = [json.loads(line[6:]) for line in answer if line.startswith(b"data: ")]
    assert [e["type"] for e in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert b"".join(base64.b64decode(e["audio"]) for e in events[:-1]) == say(speaker)
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["usage"]["output_tokens"] * 1920 >= len(say(speaker)) - 1920


def test_blocks_are_as_long_as_the_whole(speaker):
    whole, blocks = samples(say(speaker)), samples(say(speaker, stream=True))
    assert len(blocks) == len(whole)
    with speaker.client().audio.speech.with_streaming_response.create(
            model=speaker.model, input=TEXT, voice="anna", response_format="pcm", extra_body={"seed": 1, "stream": True}) as answer:
        assert len(b"".join(answer.iter_bytes())) == 2 * len(whole)


def test_a_long_text_is_said_in_pieces(speaker):
    text = "今天天气很好，我们一起去公园散步，看看那里的花开了没有，然后在湖边坐一会儿。" * 3
    assert len(say(speaker, text)) > len(say(speaker))


def test_a_voice_may_come_with_the_request(speaker):
    recording = base64.b64encode(VOICE.read_bytes()).decode()
    own = {"ref_audio": "data:audio/wav;base64," + recording, "ref_text": SAID}
    assert say(speaker, voice="", **own) == say(speaker)
    assert json.loads(speaker.get("/v1/audio/voices")) == {"voices": ["anna"]}


def test_wrong_fields_are_named(speaker):
    assert "anna" in refusal(speaker, openai.NotFoundError, voice="alloy")
    assert "input" in refusal(speaker, text="")
    assert "4097" in refusal(speaker, text="a" * 4097)
    assert "response_format" in refusal(speaker, form="aac")
    assert "speed" in refusal(speaker, speed=2)
    assert "nothing" in refusal(speaker, text="🙂")
    for recording, word in ((b"", "ref_audio"), (b"no sound", "recording"), (wav(b"\1\0" * 100), "recording"),
                            (wav(b"\1\0" * (61 * 16000)), "60"), (wav(b"\1\0" * 16000, rate=0), "recording"), (wav(b"\1\0" * 16000, rate=500_000), "Hz"),
                            (wav(b"\1\0" * 16000, claimed=1 << 31)[:60], "recording")):
        own = {"ref_audio": base64.b64encode(recording).decode(), "ref_text": SAID}
        assert word in refusal(speaker, voice="", **own), recording[:20]


def test_no_conversation_with_a_speaker(speaker):
    with pytest.raises(openai.BadRequestError) as caught:
        speaker.client().chat.completions.create(model=speaker.model, messages=[{"role": "user", "content": "hi"}])
    assert "/v1/audio/speech" in caught.value.message
    with pytest.raises(openai.BadRequestError):
        speaker.client().completions.create(model=speaker.model, prompt="hi")


def test_a_model_that_writes_says_so(smollm):
    with pytest.raises(openai.BadRequestError) as caught:
        say(smollm)
    assert "does not speak" in caught.value.message


def test_the_command_writes_files(folders, tmp_path):
    model, voices = folders
    out = tmp_path / "hello.wav"
    code, _, log = run("speak", model, TEXT, "--voices", voices, "--seed", 1, "-o", out, "--dtype", "float32")
    assert code == 0, log
    assert out.read_bytes().startswith(b"RIFF") and "hello.wav" in log
    code, _, log = run("speak", model, TEXT, "--ref-audio", VOICE, "--ref-text", SAID, "--seed", 1, "-o", tmp_path / "own.pcm", "--dtype", "float32")
    assert code == 0, log
    assert (tmp_path / "own.pcm").read_bytes() == out.read_bytes()[44:]
    code, _, log = run("speak", model, TEXT, "-o", tmp_path / "x.txt")
    assert code != 0 and ".wav" in log
    code, _, log = run("speak", "smollm2-135m", TEXT, "--voices", voices, "-o", tmp_path / "x.wav")
    assert code != 0 and "does not speak" in log


def test_what_a_folder_lacks_is_named(folders, tmp_path):
    model, voices = folders
    short = tmp_path / "short"
    short.mkdir()
    for part in model.iterdir():
        if part.name != "hift":
            (short / part.name).symlink_to(part)
    code, _, log = run("speak", short, TEXT, "--voices", voices, "-o", tmp_path / "x.wav")
    assert code != 0 and "hift/hift.pt" in log
    (short / "hift").symlink_to(model / "hift")
    (short / "frontend").unlink()
    code, _, log = run("speak", short, TEXT, "--voices", voices, "-o", tmp_path / "x.wav")
    assert code != 0 and "campplus.onnx" in log and "GitHub" in log
    lone = tmp_path / "voices"
    lone.mkdir()
    shutil.copy(VOICE, lone / "bert.wav")
    code, _, log = run("speak", model, TEXT, "--voices", lone, "-o", tmp_path / "x.wav")
    assert code != 0 and "bert.txt" in log
