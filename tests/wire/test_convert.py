# SPDX-License-Identifier: Apache-2.0
"""Weights of other tools' files: converted, refused, named where they are not there."""
import os
import pickle
import zipfile

import pytest

from conftest import GOLDEN, ROOT, run


class Runs:
    def __reduce__(self):
        return os.system, ("touch ran",)


def test_a_file_of_torch_becomes_safetensors(tmp_path):
    out = tmp_path / "hift.safetensors"
    code, said, _ = run("convert", GOLDEN / "glm_tts_pt/hift.pt", out)
    assert code == 0 and "309 tensors" in said and str(out) in said
    before = out.read_bytes()
    code, _, err = run("convert", GOLDEN / "glm_tts_pt/flow.pt", out)
    assert code == 2 and "exists already" in err and out.read_bytes() == before
    assert run("convert", GOLDEN / "glm_tts_speaker/campplus.onnx", tmp_path / "speaker")[0] == 0
    assert sorted(os.listdir(tmp_path)) == ["hift.safetensors", "speaker"]


def test_a_pickle_that_calls_something_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(tmp_path / "bad.pt", "w") as archive:
        archive.writestr("bad/data.pkl", pickle.dumps({"w": Runs()}, protocol=2))
    code, _, err = run("convert", tmp_path / "bad.pt", tmp_path / "out.safetensors")
    assert code == 3 and "posix.system" in err
    assert os.listdir(tmp_path) == ["bad.pt"]


def test_a_model_on_request_names_its_command(tmp_path):
    if (ROOT / "build/models/whisper-tiny.en").exists():
        pytest.skip("whisper-tiny.en is set up here")
    code, _, err = run("tokenize", "whisper-tiny.en", "x", env={**os.environ, "HOME": str(tmp_path), "QUERN_MODELS": str(tmp_path)})
    assert code == 5 and "./dev setup whisper-tiny.en" in err
