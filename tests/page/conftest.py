# SPDX-License-Identifier: Apache-2.0
"""The playground in Debian's Chromium, against servers on the loopback interface. Skipped, and said so, where there is no browser.

PAGE_SOURCE=1 shows the files of ui/ as they lie there instead of those in the program. Pictures of the page go to build/page-shots."""
import base64
import importlib.util
import json
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import time
import urllib.error
import zlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-headless-shell")
SHOTS = ROOT / "build/page-shots"
PATIENCE_MS = 90_000  # a busy machine is no failure

try:
    from playwright.sync_api import sync_playwright
except ImportError:
    sync_playwright = None

spec = importlib.util.spec_from_file_location("wire_conftest", ROOT / "tests/wire/conftest.py")
wire = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wire)

import scripted as scripts  # noqa: E402  (beside this file)


def pytest_collection_modifyitems(items):
    why = "playwright is not installed (tests/requirements.txt)" if sync_playwright is None else \
        "chromium is not installed (cmake/debian-packages-page.txt)" if CHROMIUM is None else None
    if why:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="session")
def browser(playwright):
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[
        "--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"])


@pytest.fixture(scope="session")
def microphone_browser(playwright):
    """Its microphone hears a.wav of the golden Whisper once, then silence; pages must be let use it. http://mill.test is no secure origin."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=[
        "--no-sandbox", "--use-fake-device-for-media-stream", f"--use-file-for-fake-audio-capture={wire.GOLDEN / 'whisper/inputs/a.wav'}%noloop",
        "--host-resolver-rules=MAP mill.test 127.0.0.1"])


def front_of(model, *flags):
    server = wire.Server(model, "--disable-log-requests", *flags)
    front = scripts.Scripted(f"127.0.0.1:{server.port}", shows_source=bool(os.environ.get("PAGE_SOURCE")))
    front.server = server
    return front


@pytest.fixture(scope="session")
def whisper():
    """The front of a tiny random Whisper, which writes until it may not: 50 tokens behind a window of 1,500 frames."""
    front = front_of(wire.GOLDEN / "whisper", "--dtype", "float32", "--served-model-name", "whisper", "--max-model-len", 1554)
    yield front
    assert front.server.process.poll() is None, "the server died under the tests"
    front.server.stop()


@pytest.fixture(scope="session")
def hearing():
    """The front of a tiny random chat model that hears."""
    front = front_of(wire.GOLDEN / "glmasr", "--served-model-name", "glmasr", "--max-audio-seconds", 40)
    yield front
    front.server.stop()


@pytest.fixture(scope="session")
def model_that_speaks(whisper, tmp_path_factory):
    """The front of a tiny random GLM-TTS with one voice, "anna"."""
    try:
        whisper.server.get("/v1/audio/voices")
    except urllib.error.HTTPError as error:
        assert error.code == 404
        pytest.skip("SKIPPED: this program has no /v1/audio/voices, so nothing in it speaks")
    case, model, voices = wire.GOLDEN / "glm_tts_e2e", tmp_path_factory.mktemp("glm-tts"), tmp_path_factory.mktemp("voices")
    for part in ("llm", "flow", "hift", "speech_tokenizer", "vq32k-phoneme-tokenizer"):
        (model / part).symlink_to(case / part)
    (model / "frontend").mkdir()
    (model / "frontend/campplus.onnx").symlink_to(wire.GOLDEN / "glm_tts_speaker/campplus.onnx")
    shutil.copy(case / "inputs/prompt.wav", voices / "anna.wav")
    (voices / "anna.txt").write_text(json.loads((case / "expected.json").read_text())["prompt_text"].strip() + "\n")
    front = front_of(model, "--voices", voices, "--dtype", "float32", "--served-model-name", "glm-tts")
    yield front
    front.server.stop()


@pytest.fixture(scope="session")
def smollm():
    """The front of a small chat model: `script` makes it say what a test wants, None lets the model speak."""
    server = wire.Server("smollm2-135m", "--max-model-len", 2048, "--max-num-seqs", 4, "--disable-log-requests", "--grammar-timeout", 300)
    front = scripts.Scripted(f"127.0.0.1:{server.port}", shows_source=bool(os.environ.get("PAGE_SOURCE")))
    front.server = server
    yield front
    assert server.process.poll() is None, "the server died under the tests"
    server.stop()


@pytest.fixture(scope="session")
def seeing():
    """The front of a model that sees: a tiny random one, whose words mean nothing."""
    server = wire.Server(wire.GOLDEN / "qwen2_vl", "--served-model-name", "qwen2vl", "--max-model-len", 2048, "--disable-log-requests")
    front = scripts.Scripted(f"127.0.0.1:{server.port}", shows_source=bool(os.environ.get("PAGE_SOURCE")))
    yield front
    server.stop()


class Page:
    """A tab with the playground in it, and what a person does there."""

    def __init__(self, browser, url, **context):
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 840}, **context})
        self.context.set_default_timeout(PATIENCE_MS)
        self.page = self.context.new_page()
        self.errors, self.violations = [], []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.requests = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = url

    def open(self, path="/"):
        self.page.goto(self.url + path)
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self

    def settings(self, **values):
        """As if chosen in the panel: numbers by name, and system, kind, texts, tools."""
        numbers = {name: str(value) for name, value in values.items() if isinstance(value, (int, float))}
        rest = {name: value for name, value in values.items() if not isinstance(value, (int, float))}
        self.page.evaluate("(v) => localStorage.setItem('quern.settings', JSON.stringify(v))", {"numbers": numbers, **rest})
        self.page.reload()
        self.page.wait_for_selector("html[data-ready]", state="attached")
        return self

    def send(self, text):
        self.page.fill("#message", text)
        self.page.press("#message", "Enter")

    def wait_for_answer(self, number=1):
        """The number-th answer, complete or not, but no longer being written."""
        answers = self.page.locator(".message.assistant")
        answers.nth(number - 1).wait_for()
        self.page.locator(f":nth-match(.message.assistant, {number}):not(.writing)").wait_for()
        return answers.nth(number - 1)

    def ask(self, text, number=1):
        self.send(text)
        return self.wait_for_answer(number)

    def text(self, selector):
        return self.page.locator(selector).inner_text()

    def until(self, what, words, seconds=60):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if what():
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(words)

    def shot(self, name):
        SHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SHOTS / f"{name}.png")


def tabs(browser):
    pages = []

    def make(url, path="/", script=None, **context):
        pages.append(Page(browser, url, **context))
        if script:
            pages[-1].page.add_init_script(script)
        return pages[-1].open(path)

    yield make
    for page in pages:
        page.context.close()
        assert not page.errors, page.errors
        assert all(url.startswith((page.url, "data:", "blob:")) for url in page.requests), page.requests


@pytest.fixture
def visit(browser):
    """visit(url, **context) → an open Page. Fails if anything went wrong in a page that the test did not expect (page.errors). `script` runs before
    the page's own."""
    yield from tabs(browser)


@pytest.fixture
def visit_hearing(microphone_browser):
    """As visit, with the microphone that hears a.wav, where permissions=["microphone"] are given."""
    yield from tabs(microphone_browser)


@pytest.fixture
def say(smollm):
    """say(script): what the next chats are answered with; the model speaks again afterwards."""
    def set_script(script):
        smollm.script = script
        smollm.bodies.clear()
    yield set_script
    smollm.script = None


def png(width=64, height=48, colour=(200, 80, 40)):
    rows = b"".join(b"\0" + bytes(colour) * width for _ in range(height))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts)


def png_base64():
    return base64.b64encode(png()).decode()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Fixed:
    """A server on a port of its own that can be killed and come back there."""

    def __init__(self, *flags):
        self.port, self.flags = free_port(), flags
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self):
        self.process = subprocess.Popen([wire.QUERN, "serve", "smollm2-135m", "--port", str(self.port), "--max-model-len", "1024", "--max-num-seqs", "2",
                                         "--disable-log-requests", *self.flags], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        assert json.loads(self.process.stdout.readline())["port"] == self.port

    def kill(self):
        self.process.kill()
        self.process.wait()
