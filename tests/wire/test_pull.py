# SPDX-License-Identifier: Apache-2.0
"""quern pull, ls, show and rm against a hub on the loopback interface."""
import json
import os
import pathlib
import signal
import subprocess
import time

import pytest
from conftest import GOLDEN, QUERN, ROOT, Server, run
from local_hub import LocalHub

BIG = bytes(range(256)) * 40_000  # 10 MB
TINY = GOLDEN / "qwen2_tied"


def model_files():
    return {f.name: f.read_bytes() for f in TINY.iterdir() if f.is_file() and f.name not in ("expected.json", "expected.safetensors")}


def random_model():
    return {"config.json": b'{"architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}', "model.safetensors": BIG, "sub/x.json": b"{}",
            "README.md": b"# hello", "pytorch_model.bin": BIG}


@pytest.fixture
def hub():
    made = []

    def make(revisions=None, **options):
        made.append(LocalHub("org/name", revisions or {"main": random_model()}, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def environment(hub, cache, **more):
    """Ours alone: no token, proxy or cache of whoever runs the tests."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(("HF_", "HTTP", "ALL_PROXY", "HUGGING"))}
    return {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "NO_PROXY": "*", **more}


def pull(hub, cache, *flags, model="org/name", env=None):
    return run("pull", model, "--retry-delay", 0.01, *flags, env=environment(hub, cache, **(env or {})))


def folder_of(cache):
    return pathlib.Path(cache) / "hub/models--org--name"


def blobs_of(cache):
    return sorted(p.name for p in (folder_of(cache) / "blobs").iterdir())


def test_layout_is_the_caches_own(hub, tmp_path):
    h = hub()
    code, out, err = pull(h, tmp_path)
    assert code == 0, err
    commit, folder = h.commits["main"], folder_of(tmp_path)
    assert out.strip() == str(folder / "snapshots" / commit)
    assert (folder / "refs/main").read_text() == commit
    files = h.files[commit]
    snapshot = folder / "snapshots" / commit
    assert sorted(p.name for p in snapshot.iterdir()) == ["config.json", "model.safetensors"]
    for name in "config.json", "model.safetensors":
        assert os.readlink(snapshot / name) == f"../../blobs/{files[name].hash}"
        assert (snapshot / name).read_bytes() == files[name].content
    assert blobs_of(tmp_path) == sorted(files[n].hash for n in ("config.json", "model.safetensors"))
    assert "README.md" in err and "pytorch_model.bin" in err and "sub/x.json" in err  # skipped, and said so


def test_a_second_pull_fetches_nothing(hub, tmp_path):
    h = hub()
    assert pull(h, tmp_path)[0] == 0
    before = len(h.asked("/resolve/"))
    assert pull(h, tmp_path)[0] == 0
    assert len(h.asked("/resolve/")) == before


def test_chosen_files(hub, tmp_path):
    h = hub()
    code, out, _ = pull(h, tmp_path, "--include", "*.json", "--exclude", "config*")
    assert code == 0
    assert os.readlink(pathlib.Path(out.strip()) / "sub/x.json").startswith("../../../blobs/")
    assert len(blobs_of(tmp_path)) == 1
    code, _, err = pull(h, tmp_path / "other", "--dry-run")
    assert code == 0 and "would fetch model.safetensors" in err and not (tmp_path / "other").exists()
    assert pull(h, tmp_path, "--include", "*.zip")[0] == 3


def test_a_gguf_is_named(hub, tmp_path):
    h = hub({"main": {"m-Q4_K_M.gguf": b"GGUF four", "m-Q8_0.gguf": b"GGUF eight", "README.md": b"x"}})
    code, _, err = pull(h, tmp_path)
    assert code == 2 and "m-Q4_K_M.gguf" in err and "--gguf" in err
    code, out, err = pull(h, tmp_path, "--gguf", "q8_0")
    assert code == 0, err
    assert os.listdir(out.strip()) == ["m-Q8_0.gguf"]


def test_a_cut_connection_is_continued_where_it_was_cut(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "cut", 3_000_000), ("model.safetensors", "cut", 2_000_000)]
    code, out, err = pull(h, tmp_path)
    assert code == 0, err
    ranges = [r[3] for r in h.requests if r[0] == "network"]
    assert ranges[0] is None and ranges[1] == "bytes=3000000-" and ranges[2] == "bytes=5000000-"
    assert (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG


def test_a_host_without_ranges_begins_anew(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "cut", 3_000_000), ("model.safetensors", "no_range", None)]
    code, out, err = pull(h, tmp_path)
    assert code == 0, err
    assert (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG


@pytest.mark.parametrize("status", [429, 500, 503])
def test_busy_hosts_are_asked_again(hub, tmp_path, status):
    h = hub()
    h.listing_faults = [status, status]
    h.faults = [("model.safetensors", "status", status), ("config.json", "status", status)]
    code, _, err = pull(h, tmp_path)
    assert code == 0 and str(status) in err


def test_tries_are_bounded(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "status", 503)] * 50
    code, _, err = pull(h, tmp_path, "--retries", 3)
    assert code == 75 and "503" in err
    assert len([r for r in h.requests if r[0] == "network"]) == 4
    assert not (folder_of(tmp_path) / "refs/main").exists()


def test_damage_on_the_way_is_seen(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "corrupt", 5_000_000)]
    code, out, _ = pull(h, tmp_path)
    assert code == 0 and (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG
    h.faults = [("model.safetensors", "corrupt", 5_000_000)] * 9
    other = tmp_path / "other"
    code, _, err = pull(h, other)
    assert code == 3 and "hash" in err and "model.safetensors" in err
    assert not (folder_of(other) / "snapshots" / h.commits["main"]).exists()
    assert h.files[h.commits["main"]]["model.safetensors"].hash not in blobs_of(other)
    h.faults = [("config.json", "corrupt", 3)] * 9
    assert pull(h, tmp_path / "third")[0] == 3  # git's hash is checked as LFS's is


def test_more_than_announced_ends_the_pull(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "long", None)]
    code, _, err = pull(h, tmp_path)
    assert code == 3 and "announced" in err
    h.faults = [("config.json", "long", None)]
    assert pull(h, tmp_path / "other")[0] == 3


def test_the_token_stays_with_its_host(hub, tmp_path):
    h = hub(token="hf_secret")
    code, _, err = pull(h, tmp_path)
    assert code == 3 and "HF_TOKEN" in err
    code, out, err = pull(h, tmp_path, env={"HF_TOKEN": "hf_secret"})
    assert code == 0, err
    assert "hf_secret" not in out + err
    assert all(r[4] for r in h.requests if r[0] == "hub" and r is not h.requests[0])
    seen = [r for r in h.requests if r[0] == "network"]
    assert seen and not any(r[4] for r in seen)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/token").write_text("hf_secret\n")
    assert pull(h, tmp_path / "home")[0] == 0  # $HF_HOME/token
    assert pull(h, tmp_path / "home", env={"HF_TOKEN": "hf_wrong"})[0] == 3


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/escaped", "a/../../../escaped", "a\x00b", "a//b", "..", ""])
def test_names_never_leave_the_folder(hub, tmp_path, name):
    h = hub()
    h.listing = {"sha": "c" * 40, "siblings": [{"rfilename": "config.json", "size": 2, "blobId": "a" * 40}, {"rfilename": name, "size": 2, "blobId": "a" * 40}]}
    code, _, err = pull(h, tmp_path / "cache", "--include", "*")
    assert code == 3 and "no name" in err
    assert not list(tmp_path.rglob("*escaped*")) and not h.asked("/resolve/")


@pytest.mark.parametrize("listing", [[], {}, {"sha": "main", "siblings": []}, {"sha": "c" * 40, "siblings": [{"rfilename": "a", "size": 2 ** 60}]},
                                     {"sha": "c" * 40, "siblings": [{"rfilename": "a", "blobId": "../../x"}]}, "x", None])
def test_what_is_no_listing(hub, tmp_path, listing):
    h = hub()
    h.listing = listing if listing is not None else json.loads("[" * 100 + "]" * 100)
    assert pull(h, tmp_path)[0] == 3
    assert not folder_of(tmp_path).exists()


def test_a_full_disk_is_seen_before(hub, tmp_path):
    h = hub()
    h.listing = {"sha": "c" * 40, "siblings": [{"rfilename": "model.safetensors", "size": 2 ** 45, "blobId": "a" * 40}]}
    code, _, err = pull(h, tmp_path)
    assert code == 4 and "free" in err and not h.asked("/resolve/")


def test_a_hub_that_states_nothing_is_asked_for_each_file(hub, tmp_path):
    h = hub(states_hashes=False)
    code, out, err = pull(h, tmp_path)
    assert code == 0, err
    assert len(h.asked("/resolve/", "HEAD")) == 2
    assert (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG


def test_revisions(hub, tmp_path):
    h = hub({"main": random_model(), "v1": {**random_model(), "config.json": b"{}"}, "refs/pr/3": {**random_model(), "config.json": b"[]"}})
    assert pull(h, tmp_path)[0] == 0
    fetched = len([r for r in h.requests if r[0] == "network"])
    code, out, err = pull(h, tmp_path, model="org/name@v1")
    assert code == 0 and out.strip().endswith(h.commits["v1"]), err
    assert pull(h, tmp_path, "--revision", "refs/pr/3")[0] == 0
    assert len([r for r in h.requests if r[0] == "network"]) == fetched  # the weights are shared
    code, _, err = pull(h, tmp_path, model="org/name@v9")
    assert code == 3 and "v9" in err
    assert pull(h, tmp_path, "--revision", "v1", model="org/name@v1")[0] == 2
    assert pull(h, tmp_path, model="not a model")[0] == 2
    assert pull(h, tmp_path, model="org/other")[0] == 3


def test_offline(hub, tmp_path):
    h = hub()
    code, _, err = pull(h, tmp_path, env={"HF_HUB_OFFLINE": "1"})
    assert code == 5 and not h.requests
    assert pull(h, tmp_path)[0] == 0
    asked = len(h.requests)
    code, out, _ = pull(h, tmp_path, env={"HF_HUB_OFFLINE": "1"})
    assert code == 0 and h.commits["main"] in out and len(h.requests) == asked


def started(hub, cache, *flags):
    return subprocess.Popen([QUERN, "pull", "org/name", "--retry-delay", "0.01", *flags], env=environment(hub, cache), stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, cwd=ROOT)


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("what was waited for did not come")


def is_half_there(hub, cache):
    name = hub.files[hub.commits["main"]]["model.safetensors"].hash + ".incomplete"
    file = folder_of(cache) / "blobs" / name
    return file.exists() and file.stat().st_size == 4_000_000


def test_killed_half_way(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "hold", 4_000_000)]
    first = started(h, tmp_path)
    wait_for(lambda: is_half_there(h, tmp_path))
    code, _, err = pull(h, tmp_path)  # two at once: the second says so and leaves
    assert code == 75 and "another process" in err
    assert run("rm", "org/name", "--yes", env=environment(h, tmp_path))[0] == 75
    first.send_signal(signal.SIGKILL)
    first.wait(60)
    folder = folder_of(tmp_path)
    whole = {f.hash for f in h.files[h.commits["main"]].values()}
    assert all(name in whole or name.endswith(".incomplete") for name in blobs_of(tmp_path))
    assert h.files[h.commits["main"]]["model.safetensors"].hash not in blobs_of(tmp_path)
    assert not list((folder / "refs").iterdir()) and not list((folder / "snapshots").iterdir())
    code, out, _ = pull(h, tmp_path)
    assert code == 0 and (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG
    assert "bytes=4000000-" in [r[3] for r in h.requests if r[0] == "network"]
    assert not [name for name in blobs_of(tmp_path) if name.endswith(".incomplete")]


def test_a_host_that_falls_silent(hub, tmp_path):
    h = hub()
    h.faults = [("model.safetensors", "hold", 4_000_000)]
    code, out, err = pull(h, tmp_path, env={"HF_HUB_DOWNLOAD_TIMEOUT": "1"})
    assert code == 0, err
    assert (pathlib.Path(out.strip()) / "model.safetensors").read_bytes() == BIG


def test_a_host_that_is_not_there(hub, tmp_path):
    h = hub()
    env = {"HF_ENDPOINT": "http://127.0.0.1:9"}  # the discard port: nobody listens
    code, _, err = pull(h, tmp_path, "--retries", 1, env=env)
    assert code == 75 and "127.0.0.1" in err
    assert pull(h, tmp_path, env={"HF_ENDPOINT": "ftp://127.0.0.1"})[0] == 2


def test_serve_says_how_to_fetch_and_then_serves(hub, tmp_path):
    h = hub({"main": model_files()})
    env = environment(h, tmp_path)
    code, _, err = run("serve", "org/name@main", env=env)
    assert code == 5 and "quern pull org/name\n" in err
    code, _, err = run("serve", "org/name@v2", env=env)
    assert code == 5 and "quern pull org/name@v2\n" in err
    code, _, err = pull(h, tmp_path, "--jobs", 2)
    assert code == 0, err
    server = Server("org/name", "--max-model-len", 64, env=env)
    assert server.client().completions.create(model="org/name", prompt="a", max_tokens=2).usage.completion_tokens == 2
    assert server.stop()[0] == 0


def test_the_hubs_own_client_finds_what_was_pulled(hub, tmp_path):
    library = pytest.importorskip("huggingface_hub", reason="SKIPPED: huggingface_hub is not installed")
    h = hub()
    assert pull(h, tmp_path)[0] == 0
    found = library.snapshot_download("org/name", cache_dir=str(tmp_path / "hub"), local_files_only=True)
    assert found == str(folder_of(tmp_path) / "snapshots" / h.commits["main"])


def test_what_is_cached_is_listed_shown_and_removed(hub, tmp_path):
    h = hub({"main": random_model(), "v1": {**random_model(), "config.json": b'{"architectures": ["X"]}'}})
    env = environment(h, tmp_path)
    assert run("ls", env=env)[0] == 0
    assert pull(h, tmp_path)[0] == 0 and pull(h, tmp_path, "--revision", "v1")[0] == 0
    code, out, _ = run("ls", env=env)
    assert code == 0 and "org/name" in out and "LlamaForCausalLM safetensors bfloat16" in out and "10.2 MB" in out
    [model] = json.loads(run("ls", "--json", env=env)[1])
    assert {tuple(r["refs"]) for r in model["revisions"]} == {("main",), ("v1",)}
    assert model["size_bytes"] == sum((folder_of(tmp_path) / "blobs" / b).stat().st_size for b in blobs_of(tmp_path))
    code, out, _ = run("show", "org/name@v1", env=env)
    assert code == 0 and "model.safetensors" in out and h.commits["v1"] in out and h.commits["main"] not in out
    assert run("show", "org/nam", env=env)[0] == 3
    code, _, err = run("rm", "org/name", env=env, stdin=subprocess.DEVNULL)
    assert code == 2 and "--yes" in err
    assert run("rm", "org/name@v1", "--yes", env=env)[0] == 0
    assert h.files[h.commits["main"]]["model.safetensors"].hash in blobs_of(tmp_path)  # main still has it
    assert len(blobs_of(tmp_path)) == 2 and not (folder_of(tmp_path) / "refs/v1").exists()
    assert run("rm", "org/name", "--yes", env=env)[0] == 0
    assert not folder_of(tmp_path).exists()
    assert run("rm", "org/name", "--yes", env=env)[0] == 3


def test_progress_on_a_terminal_moves_and_elsewhere_does_not(hub, tmp_path):
    pty = pytest.importorskip("pty")
    h = hub()
    ours, theirs = pty.openpty()
    done = subprocess.run([QUERN, "pull", "org/name"], env=environment(h, tmp_path), stdout=subprocess.DEVNULL, stderr=theirs, cwd=ROOT, timeout=120)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0 and "\r\x1b[K" in shown and "%" in shown and "fetched model.safetensors" in shown
    _, _, err = pull(h, tmp_path / "other")
    assert "\r" not in err and "\x1b" not in err and "fetched model.safetensors" in err
    assert pull(h, tmp_path / "third", "--quiet")[2] == ""
