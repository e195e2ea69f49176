# SPDX-License-Identifier: Apache-2.0
"""Pictures over the wire: limits, the processor's options, the cache, and decoders that die. The model is tiny and random."""
import base64
import json
import os
import pathlib
import signal
import threading
import time
import urllib.error
import urllib.request

import pytest
from conftest import GOLDEN, Server, run

IMAGE = GOLDEN / "qwen2_vl/inputs/image_a.png"
JPEG = GOLDEN / "qwen2_vl/inputs/image_b.jpg"
FRAMES = [GOLDEN / f"qwen2_vl/inputs/video_{i}.png" for i in range(3)]


def data_url(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def picture(url):
    return {"type": "image_url", "image_url": {"url": url}}


def post(server, path, body, key=None):
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def ask(server, parts, **fields):
    body = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}], "max_tokens": 1, **fields}
    return post(server, "/v1/chat/completions", body)


def tokens(server, parts, **fields):
    status, body = ask(server, parts, **fields)
    assert status == 200, body
    return body["usage"]["prompt_tokens"]


def message_of(answer):
    status, body = answer
    assert status == 400, body
    return body["error"]["message"]


def decoders(server):
    """Pids of the server's decoders."""
    out = []
    for folder in pathlib.Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == server.process.pid and b"decode-media" in words:
            out.append(int(folder.name))
    return out


def wait_for(claim, seconds=30):
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "it has not come about"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def limited():
    server = Server(GOLDEN / "qwen2_vl", "--max-model-len", 2048, "--limit-mm-per-prompt", '{"image": 2, "video": {"count": 1}}',
                    "--limit_mm_per_prompt.audio", 0, "--mm-processor-kwargs", '{"max_pixels": 6272}', "--media-decode-timeout", 2,
                    "--mm-processor-cache-gb", 0, env={"QUERN_API_KEY": "a-secret-key"})
    server.key = "a-secret-key"
    yield server
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


def ask_limited(server, parts, **fields):
    body = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}], "max_tokens": 1, **fields}
    return post(server, "/v1/chat/completions", body, server.key)


def test_limits_of_each_kind(limited):
    one = picture(data_url(IMAGE))
    clip = {"type": "video", "video": [data_url(f) for f in FRAMES]}
    assert ask_limited(limited, [one, one, clip])[0] == 200
    text = message_of(ask_limited(limited, [one, one, one]))
    assert '3 pictures; at most 2 of kind "image"' in text and "--limit-mm-per-prompt" in text
    # Nothing is fetched or decoded before: these lead nowhere.
    assert '2 clips; at most 1 of kind "video"' in message_of(ask_limited(limited, [{"type": "video", "video": ["ftp://x"]}] * 2))
    assert "takes no recordings" in message_of(ask_limited(limited, [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]))


def test_options_of_the_processor(pictures, limited):
    one = picture(data_url(IMAGE))
    whole = tokens(pictures, [one])
    narrow = tokens(pictures, [one], mm_processor_kwargs={"max_pixels": 3136})
    assert narrow < whole
    assert tokens(pictures, [one], mm_processor_kwargs={"size": {"longest_edge": 3136}}) == narrow
    assert tokens(pictures, [{**one, "max_pixels": 3136}]) == narrow
    assert tokens(pictures, [one], mm_processor_kwargs={"max_pixels": 1 << 30}) == whole  # requests narrow, never widen
    status, body = ask_limited(limited, [one], mm_processor_kwargs={"max_pixels": 1 << 30})
    assert status == 200 and body["usage"]["prompt_tokens"] <= whole
    assert "did you mean max_pixels" in message_of(ask(pictures, [one], mm_processor_kwargs={"max_pixel": 3136}))
    assert "mm_processor_kwargs" in message_of(ask(pictures, [one], mm_processor_kwargs=[1]))
    clip = {"type": "video", "video": [data_url(FRAMES[i % 3]) for i in range(12)], "fps": 4}
    few = tokens(pictures, [clip], mm_processor_kwargs={"num_frames": 4})
    assert few < tokens(pictures, [clip], mm_processor_kwargs={"fps": 4})


def test_wrong_flags_are_told_at_start():
    for flags, words in ((("--limit-mm-per-prompt", '{"picture": 1}'), "picture: no such kind"),
                         (("--limit-mm-per-prompt", '{"image": {"count": 1, "width": 8}}'), "max_pixels"),
                         (("--mm-processor-kwargs", '{"max_pixl": 1}'), "did you mean max_pixels")):
        code, _, error = run("serve", GOLDEN / "qwen2_vl", *flags)
        assert code != 0 and words in error, error
    code, _, error = run("serve", GOLDEN / "qwen2_tied", "--mm-processor-kwargs", '{"max_pixels": 100352}')
    assert code != 0 and "takes text only" in error


def test_damage_is_the_senders_fault(pictures):
    for path in (IMAGE, JPEG):
        url = "data:;base64," + base64.b64encode(path.read_bytes()[:-200]).decode()
        assert "messages[0].content[0]" in message_of(ask(pictures, [picture(url)]))


def test_repeated_pictures_are_decoded_once(pictures):
    marked = IMAGE.read_bytes() + b"a mark that no other test makes"
    one = picture("data:;base64," + base64.b64encode(marked).decode())
    queries, hits = (pictures.metric(f"vllm:mm_cache_{what}_total") for what in ("queries", "hits"))
    first = ask(pictures, [one], max_tokens=4, temperature=0)
    again = ask(pictures, [one, one], max_tokens=4, temperature=0)
    assert first[0] == again[0] == 200
    assert pictures.metric("vllm:mm_cache_queries_total") == queries + 3
    assert pictures.metric("vllm:mm_cache_hits_total") == hits + 2
    assert pictures.metric("quern:mm_cache_bytes") > 0
    assert ask(pictures, [one], max_tokens=4, temperature=0)[1]["choices"] == first[1]["choices"]


def test_decoders_have_no_rights(limited):
    wait_for(lambda: decoders(limited))
    for pid in decoders(limited):
        wait_for(lambda: "NoNewPrivs:\t1" in pathlib.Path(f"/proc/{pid}/status").read_text())
        limits = pathlib.Path(f"/proc/{pid}/limits").read_text()
        assert any(line.split()[3:5] == ["0", "0"] for line in limits.splitlines() if line.startswith("Max open files"))
        try:
            assert b"a-secret-key" not in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except PermissionError:
            pass


def freeze(server):
    pids = decoders(server)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def test_a_decoder_that_dies_costs_one_request(pictures):
    wait_for(lambda: decoders(pictures))
    losses = pictures.metric("quern:media_decoder_losses_total")
    stopped = freeze(pictures)
    answers = []
    fresh = picture("data:;base64," + base64.b64encode(IMAGE.read_bytes() + b"dies").decode())
    asking = threading.Thread(target=lambda: answers.append(ask(pictures, [fresh])))
    asking.start()
    time.sleep(1)
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    asking.join()
    assert "messages[0].content[0]: picture: the decoder died on it" in message_of(answers[0])
    wait_for(lambda: not set(stopped) & set(decoders(pictures)))
    assert ask(pictures, [fresh])[0] == 200
    assert pictures.metric("quern:media_decoder_losses_total") > losses
    wait_for(lambda: decoders(pictures))


def test_a_decoder_that_hangs_is_replaced(limited):
    wait_for(lambda: decoders(limited))
    stopped = freeze(limited)
    begin = time.monotonic()
    assert "not decoded within 2000 ms" in message_of(ask_limited(limited, [picture(data_url(IMAGE))]))
    assert time.monotonic() - begin < 30
    for pid in set(stopped) & set(decoders(limited)):
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: ask_limited(limited, [picture(data_url(IMAGE))])[0] == 200)


def test_video_files(pictures):
    clip = GOLDEN.parent / "fuzz/clip/steps.mp4"
    url = "data:video/mp4;base64," + base64.b64encode(clip.read_bytes()).decode()
    answer = ask(pictures, [{"type": "video_url", "video_url": {"url": url}}])
    if "video files" in run("--version")[1]:
        assert answer[0] == 200, answer[1]
    else:
        text = message_of(answer)
        assert "messages[0].content[0]" in text and "QUERN_WITH_FFMPEG" in text
