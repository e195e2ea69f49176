# SPDX-License-Identifier: Apache-2.0
"""What surrounds the program: manual, completion, installation, unit, container file, versions. Tools that a machine lacks are skipped with their name."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest
from conftest import GOLDEN, QUERN, ROOT, Server, run

BUILD = pathlib.Path(QUERN).resolve().parent


def tool(name):
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"SKIPPED: {name} is not installed")
    return path


def commands():
    _, out, _ = run("--help")
    return re.findall(r"^  ([a-z][a-z-]*) ", out[out.index("Subcommands"):], re.M)


def flags_of(*path):
    _, out, _ = run(*path, "--help")
    names = [re.split(r" |$", line.strip())[0] for line in out.splitlines() if line.startswith("  -")]
    return {flag for line in names for flag in re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", line)}


def complete(tmp_path, *words):
    """What bash offers after these words; the last one is being typed."""
    script = tmp_path / "quern.bash"
    script.write_text(run("completion", "bash")[1])
    code = f'source {script}; COMP_WORDS=({" ".join(f"{w!r}" for w in ("quern", *words))}); COMP_CWORD={len(words)}; _quern; printf "%s\\n" "${{COMPREPLY[@]}}"'
    env = {**os.environ, "PATH": f"{BUILD}:{os.environ['PATH']}", "HF_HOME": str(tmp_path)}
    done = subprocess.run([tool("bash"), "-u", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=env, timeout=60, check=True)
    assert not done.stderr, done.stderr
    return set(done.stdout.split())


def test_bash_completes_what_help_lists(tmp_path):
    assert complete(tmp_path, "") >= set(commands()) and "serve" in commands()
    for path in ("serve",), ("pull",), ("rm",), ("bench", "kernels"):
        assert complete(tmp_path, *path, "--") >= flags_of(*path) > {"--help"}, path
    assert complete(tmp_path, "serve", "--cpu-activation", "") == {"auto", "bf16", "int8"}
    assert complete(tmp_path, "completion", "") >= {"bash", "zsh", "fish"}
    assert complete(tmp_path, "bench", "") >= {"kernels", "latency", "throughput", "serve"}
    (tmp_path / "model.gguf").touch()
    (tmp_path / "hub/models--org--name").mkdir(parents=True)
    assert complete(tmp_path, "chat", "") >= {"model.gguf", "org/name", "smollm2-135m"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_scripts(tmp_path, shell):
    code, out, _ = run("completion", shell)
    assert code == 0
    for flag in flags_of("serve"):
        assert flag.removeprefix("--") in out
    script = tmp_path / "script"
    script.write_text(out)
    subprocess.run([tool(shell), "-n", script], check=True, timeout=60)


def test_other_shells_are_refused():
    assert run("completion", "tcsh")[0] == 2


def test_the_manual_carries_every_flag():
    code, page, _ = run("man")
    assert code == 0
    text = page.replace("\\-", "-")
    for path in [(c,) for c in commands()] + [("bench", "kernels")]:
        for flag in flags_of(*path):
            assert flag in text, (path, flag)


def test_the_manual_is_formatted_without_complaint(tmp_path):
    page = tmp_path / "quern.1"
    page.write_text(run("man")[1])
    done = subprocess.run([tool("groff"), "-man", "-ww", "-Tutf8", page], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "quern pull" in re.sub(r"\x1b\[[0-9;]*m|.\x08", "", done.stdout)


def test_one_version():
    stated = re.search(r"project\(quern VERSION ([0-9.]+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.M).group(1)
    assert stated == newest == run("--version")[1].split("\n")[0]
    assert f'"quern {stated}"' in run("man")[1].replace("\\-", "-")
    server = Server(GOLDEN / "qwen2_tied")
    assert f'"{stated}"' in server.get("/version")
    server.stop()


def test_install(tmp_path):
    subprocess.run([tool("cmake"), "--build", str(BUILD), "--target", "quern_pages"], check=True, stdout=subprocess.DEVNULL, timeout=600)
    subprocess.run([tool("cmake"), "--install", str(BUILD), "--prefix", str(tmp_path)], check=True, stdout=subprocess.DEVNULL, timeout=120)
    for name in ("bin/quern", "share/man/man1/quern.1", "share/bash-completion/completions/quern", "share/zsh/site-functions/_quern",
                 "share/fish/vendor_completions.d/quern.fish", "lib/systemd/system/quern.service", "share/doc/quern/LICENSE", "share/doc/quern/README.md",
                 "share/doc/quern/docs/serving.md"):
        assert (tmp_path / name).stat().st_size > 0, name
    done = subprocess.run([str(tmp_path / "bin/quern"), "--version"], capture_output=True, text=True, timeout=60)
    assert done.stdout == run("--version")[1]


def test_the_unit_is_one(tmp_path):
    text = (ROOT / "packaging/quern.service").read_text()
    for setting in "DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "SystemCallFilter=@system-service":
        assert setting in text
    flags = re.search(r"ExecStart=\S+ serve (.*)", text).group(1)
    assert set(re.findall(r"--[a-z-]+", flags)) <= flags_of("serve")
    unit = tmp_path / "quern.service"
    unit.write_text(text.replace("/usr/bin/quern", QUERN))
    done = subprocess.run([tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", str(unit)], capture_output=True, text=True, timeout=60)
    if "Failed to initialize manager" in done.stderr or "Failed to create" in done.stderr:
        pytest.skip("SKIPPED: systemd-analyze needs a machine that systemd can manage: " + done.stderr.strip())
    complaints = [line for line in done.stderr.splitlines() if "quern.service" in line]
    assert not complaints, complaints


def instructions():
    text = re.sub(r"^#.*\n", "", (ROOT / "packaging/Containerfile").read_text(), flags=re.M).replace("\\\n", " ")
    return [line.split(None, 1) for line in text.splitlines() if line.strip()]


def test_the_container_file():
    known = {"FROM", "COPY", "RUN", "WORKDIR", "ENV", "USER", "EXPOSE", "STOPSIGNAL", "ENTRYPOINT", "CMD"}
    steps = instructions()
    assert {word for word, _ in steps} <= known
    assert [rest.split(" AS ")[-1] for word, rest in steps if word == "FROM"] == ["build", "docker.io/library/debian:12-slim"]
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    for word, rest in steps:
        if word == "COPY" and not rest.startswith("--from"):
            assert (ROOT / rest.split()[0]).exists(), rest
    presets = (ROOT / "CMakePresets.json").read_text()
    assert '"release"' in presets and any("--preset release" in rest for _, rest in steps)


def test_the_container_holds_what_the_program_is_linked_against():
    query = tool("dpkg-query")
    linked = subprocess.run([tool("ldd"), QUERN], capture_output=True, text=True, check=True, timeout=60).stdout
    needed = subprocess.run(["objdump", "-p", QUERN], capture_output=True, text=True, check=True, timeout=60).stdout
    names = re.findall(r"NEEDED\s+(\S+)", needed)
    packages = set()
    for name in names:
        path = re.search(rf"^\s*{re.escape(name)} => (\S+)", linked, re.M)
        if not path:
            continue
        for candidate in {path.group(1), os.path.realpath(path.group(1)), "/usr" + path.group(1)}:
            owner = subprocess.run([query, "-S", candidate], capture_output=True, text=True, timeout=60)
            if owner.returncode == 0:
                packages.add(owner.stdout.split(":")[0])
                break
        else:
            raise AssertionError(f"no package owns {path.group(1)}")
    base = {"libc6", "libgcc-s1", "libstdc++6", "zlib1g"}
    runtime = [rest for word, rest in instructions() if word == "RUN"][-1]
    listed = set(re.search(r"--no-install-recommends\s+(.*?)&&", runtime).group(1).split())
    assert packages - base <= listed, f"missing in packaging/Containerfile: {sorted(packages - base - listed)}"
    assert listed - packages <= {"ca-certificates", "libstdc++6"}, f"needless in packaging/Containerfile: {sorted(listed - packages)}"


def test_leader_worker_set():
    """As text: there is no cluster to run it on. Every flag is one of quern serve, every mount has its volume."""
    yaml = pytest.importorskip("yaml", reason="SKIPPED: PyYAML is not installed")
    workers, service = yaml.safe_load_all((ROOT / "packaging/leaderworkerset.yaml").read_text())
    template = workers["spec"]["leaderWorkerTemplate"]
    known = flags_of("serve")
    for spec in (template["leaderTemplate"]["spec"], template["workerTemplate"]["spec"]):
        container = spec["containers"][0]
        assert {word for word in container["args"] if word.startswith("--")} <= known and "auto" in container["args"]
        volumes = {volume["name"] for volume in spec["volumes"]}
        assert {mount["name"] for part in (*spec["containers"], *spec["initContainers"]) for mount in part["volumeMounts"]} <= volumes
        assert spec["securityContext"]["runAsNonRoot"]
    assert service["spec"]["selector"].items() <= template["leaderTemplate"]["metadata"]["labels"].items()


def test_mpirun(tmp_path):
    """Two machines' parts on this one, told their numbers by mpirun."""
    mpirun = tool("mpirun")
    secret = tmp_path / "secret"
    secret.write_text("a secret of some length\n")
    secret.chmod(0o600)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [mpirun, "--oversubscribe", "--allow-run-as-root", "-np", "2", QUERN, "serve", GOLDEN / "qwen2_tied", "-tp", 2, "--nnodes", "auto", "--head-addr",
               f"127.0.0.1:{port}", "--cluster-secret-file", secret, "--port", 0]
    server = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    ready = json.loads(server.stdout.readline())
    with urllib.request.urlopen(f"http://127.0.0.1:{ready['port']}/health", timeout=10) as answer:
        assert answer.status == 200
    server.terminate()
    _, log = server.communicate(timeout=60)
    assert "node 1 has come from 127.0.0.1" in log
