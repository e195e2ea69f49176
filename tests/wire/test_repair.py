# SPDX-License-Identifier: Apache-2.0
"""quern repair as a user types it: certificate, equal logits, the original back bit for bit, interruptions, a full disk."""
import filecmp
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import pytest

from conftest import GOLDEN, QUERN, ROOT, run

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


@pytest.mark.parametrize("room", ["size=1m", "size=64m,nr_inodes=4"])  # too small from the start; full in the middle
def test_a_disk_that_is_truly_full_leaves_no_folder(room, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", room, "none", disk], capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk; the test above limits the size of files instead")
    try:
        source = make_odd_checkpoints.make(tmp_path / "model", "gptq4_actorder")
        full = repair(source, disk / "out", "--for-tp", 2)
        assert full.returncode == 4 and "make room" in full.stderr, full.stderr
        assert not (disk / "out").exists()
        subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=100", disk], check=True)
        assert repair(source, disk / "out", "--for-tp", 2).returncode == 0
        assert [p.name for p in disk.iterdir()] == ["out"]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_a_run_killed_at_any_time_leaves_no_folder_and_is_gone_on_with(tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", "awq")
    out, whole = tmp_path / "out", tmp_path / "whole"
    assert repair(source, whole, "--for-tp", 2).returncode == 0
    went_on = 0
    for milliseconds in (0, 5, 10, 15, 20, 25, 30, 40):
        process = subprocess.Popen([QUERN, "repair", source, out, "--for-tp", "2"], stderr=subprocess.PIPE, text=True)
        if milliseconds == 0:
            next(line for line in process.stderr if "00001-of-00002" in line)  # the first file is finished
        time.sleep(milliseconds / 1000)
        process.kill()
        process.wait()
        if not out.exists():
            again = repair(source, out, "--for-tp", 2)
            assert again.returncode == 0, again.stderr
            went_on += "kept" in again.stderr
        assert same_files(out, whole)
        shutil.rmtree(out)
    assert went_on > 0


@pytest.mark.parametrize("kind", ["awq", "gptq3", "gptq4_actorder", "ct4_asym", "fp8_channel"])
def test_interleaved_parts_end_in_their_zeros(kind, tmp_path):
    source = make_odd_checkpoints.make(tmp_path / "model", kind)
    done = repair(source, tmp_path / "out", "--for-tp", 3, "--layout", "interleaved")
    assert done.returncode == 0, done.stderr
    certificate = json.loads((tmp_path / "out/quern-repair.json").read_text())
    runs = [r["channels"] * (-1 if r["added"] else 1) for r in certificate["undo"]["runs"]]
    assert runs == ([75, 75, 74, -1] if kind == "fp8_channel" else [96, 64, -32, 64, -32])  # granules of 1, of 32
    assert certificate["proof"]["logits"] in ("bit-equal", "equal within the bound")
    assert repair("--undo", tmp_path / "out", tmp_path / "back").returncode == 0
    assert same_files(source, tmp_path / "back")


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


def stored_tensors(folder):
    """{name: (type, shape, bytes)} of every weight file."""
    out = {}
    for path in pathlib.Path(folder).glob("*.safetensors"):
        if path.name == "expected.safetensors":
            continue
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        for name, entry in json.loads(data[8:8 + length]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                out[name] = (entry["dtype"], entry["shape"], data[8 + length + begin:8 + length + end])
    return out


def convert(source, out, to, code=0):
    got, text, err = run("repair", source, out, "--to", to)
    assert got == code, err
    return text + err


def test_layouts_change_and_change_back(tmp_path):
    source = GOLDEN / "qwen2_vl_awq"
    for to, before in (("gptq", source), ("compressed-tensors", tmp_path / "gptq"), ("awq", tmp_path / "compressed-tensors")):
        said = convert(before, tmp_path / to, to)
        assert "decoded bit for bit" in said and "logits: bit-equal" in said
        assert run("verify", tmp_path / to, "--only", "logits")[0] == 0
    assert stored_tensors(tmp_path / "awq") == stored_tensors(source)


def test_layouts_keep_the_order_of_importance_or_stop(tmp_path):
    source = GOLDEN / "qwen2_vl_gptq_int4_actorder"
    convert(source, tmp_path / "ct", "compressed-tensors")
    convert(tmp_path / "ct", tmp_path / "gptq", "gptq")
    assert run("verify", tmp_path / "gptq", "--only", "logits")[0] == 0
    assert "not exact" in convert(source, tmp_path / "awq", "awq", code=3)
    assert "4-bit" in convert(GOLDEN / "qwen2_vl_gptq_int8", tmp_path / "eight", "awq", code=3)
    assert not (tmp_path / "awq").exists() and not (tmp_path / "awq.part").exists()
