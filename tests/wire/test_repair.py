# SPDX-License-Identifier: Apache-2.0
"""quern repair as a user types it: certificate, equal logits, the original back bit for bit, interruptions, a full disk."""
import filecmp
import json
import resource
import subprocess
import sys

import pytest

from conftest import QUERN, ROOT

sys.path.insert(0, str(ROOT / "bench"))
import make_odd_checkpoints  # noqa: E402


def repair(*arguments, **options):
    return subprocess.run([QUERN, "repair", *map(str, arguments)], capture_output=True, text=True, timeout=120, **options)


def same_files(a, b):
    names = sorted(p.name for p in a.iterdir())
    return names == sorted(p.name for p in b.iterdir()) and filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


@pytest.mark.parametrize("kind", make_odd_checkpoints.KINDS)
def test_every_format_is_padded_proven_and_given_back(kind, tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", kind)
    done = repair(source, tmp_path / "out", "--intermediate-multiple", 128)
    assert done.returncode == 0, done.stderr
    certificate = json.loads((tmp_path / "out/quern-repair.json").read_text())
    assert certificate["settings"]["padded_size"] == 256
    assert json.loads((tmp_path / "out/config.json").read_text())["intermediate_size"] == 256
    assert certificate["proof"]["logits"] in ("bit-equal", "equal within the bound")
    assert int(certificate["proof"]["added_weights_decoded_exactly_zero"]) == 2 * 3 * 32 * 64  # layers, matrices, channels, hidden
    assert repair(source, tmp_path / "out", "--verify-only").returncode == 0
    assert repair("--undo", tmp_path / "out", tmp_path / "back").returncode == 0
    assert same_files(source, tmp_path / "back")


def test_a_full_disk_leaves_no_folder_and_the_next_run_goes_on(tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", "awq")
    limit = (source / "model-00001-of-00002.safetensors").stat().st_size // 2
    full = repair(source, tmp_path / "out", "--for-tp", 2, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    assert full.returncode == 4 and "make room" in full.stderr
    assert not (tmp_path / "out").exists()
    assert repair(source, tmp_path / "out", "--for-tp", 2).returncode == 0


def test_a_killed_run_leaves_no_folder_and_its_finished_files_are_kept(tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", "awq")
    process = subprocess.Popen([QUERN, "repair", source, tmp_path / "out", "--for-tp", "2"], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "00001-of-00002" in line:
            break
    process.kill()
    process.wait()
    if (tmp_path / "out").exists():
        pytest.skip("it was faster than the signal")
    again = repair(source, tmp_path / "out", "--for-tp", 2)
    assert again.returncode == 0 and "kept" in again.stderr


def test_a_repaired_file_that_was_changed_is_not_taken_back(tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", "gptq8")
    assert repair(source, tmp_path / "out", "--for-tp", 2).returncode == 0
    shard = tmp_path / "out/model-00001-of-00002.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    undone = repair("--undo", tmp_path / "out", tmp_path / "back")
    assert undone.returncode == 3 and "changed since" in undone.stderr
    assert not (tmp_path / "back").exists()
