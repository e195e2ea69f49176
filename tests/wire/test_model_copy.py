# SPDX-License-Identifier: Apache-2.0
"""A further machine without the model copies the head's: whole, after a break, over damaged leftovers, and not onto a full disk."""
import filecmp
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest

from conftest import GOLDEN, QUERN, ROOT

SMOLLM2 = ROOT / "build/models/smollm2-135m/model.gguf"
PIECE = 16 << 20


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Launch:
    """A head and one further machine, which share nothing but the secret."""

    def __init__(self, model, folder):
        self.secret = folder / "secret"
        self.secret.write_text("0123456789abcdef0123456789abcdef")
        self.secret.chmod(0o600)
        self.common = ["-tp", "2", "--nnodes", "2", "--head-addr", f"127.0.0.1:{free_port()}", "--cluster-secret-file", str(self.secret), "--max-model-len", "256",
                       "--dtype", "float32"]
        self.running = []
        self.head = self.start(model, 0, "--port", "0")

    def start(self, model, number, *more, **options):
        process = subprocess.Popen([QUERN, "serve", str(model), "--node-rank", str(number), *self.common, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   **options)
        self.running.append(process)
        return process

    def wait_until_ready(self):
        ready, _, _ = select.select([self.head.stdout], [], [], 60)
        assert ready and '"port"' in self.head.stdout.readline(), self.said()

    def said(self):
        for process in self.running:
            process.kill()
        return "\n".join(process.stderr.read() for process in self.running)

    def end(self):
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait(timeout=60)


@pytest.fixture
def launch(tmp_path):
    made = []

    def make(model):
        made.append(Launch(model, tmp_path))
        return made[0]
    yield make
    for each in made:
        each.end()


def test_a_folder_is_copied_whole(launch, tmp_path):
    source, copy = tmp_path / "source", tmp_path / "deep/copy"
    shutil.copytree(GOLDEN / "qwen2_vl", source)
    (source / ".hidden").write_text("nobody's")
    (source / "config.json").rename(tmp_path / "config.json")
    (source / "config.json").symlink_to(tmp_path / "config.json")  # as a cache keeps files
    here = launch(source)
    here.start(copy, 1, "--copy-model")
    here.wait_until_ready()
    names = sorted(str(p.relative_to(source)) for p in source.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert sorted(str(p.relative_to(copy)) for p in copy.rglob("*") if p.is_file()) == names
    assert filecmp.cmpfiles(source, copy, names, shallow=False)[0] == names
    assert not list(tmp_path.glob("deep/*.part")) and not list(tmp_path.glob("deep/*.lock"))


def test_a_broken_copy_goes_on_and_damage_is_mended(launch, tmp_path):
    copy, part = tmp_path / "copy.gguf", tmp_path / "copy.gguf.part"
    here = launch(SMOLLM2)
    first = here.start(copy, 1, "--copy-model")
    deadline = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size >= PIECE) and not copy.exists() and time.monotonic() < deadline:
        time.sleep(0.001)
    first.send_signal(signal.SIGKILL)
    first.wait()
    if copy.exists():  # it was faster than the kill
        copy.rename(part)
    with open(part, "r+b") as file:
        file.seek(1000)
        file.write(b"damage")
    here.start(copy, 1, "--copy-model")
    here.wait_until_ready()
    assert filecmp.cmp(SMOLLM2, copy, shallow=False)
    assert not part.exists()


def test_what_cannot_be_copied_is_said(launch, tmp_path):
    here = launch(SMOLLM2)
    full = here.start(tmp_path / "full.gguf", 1, "--copy-model",
                      preexec_fn=lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (PIECE, PIECE))))
    assert full.wait(timeout=120) == 4
    assert "make room" in full.stderr.read() and not (tmp_path / "full.gguf").exists()
    nameless = here.start("no-such-model", 1, "--copy-model")
    assert nameless.wait(timeout=60) == 2 and "is no path" in nameless.stderr.read()
    without = here.start(tmp_path / "none", 1)
    assert without.wait(timeout=60) == 3
