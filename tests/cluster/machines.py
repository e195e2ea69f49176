# SPDX-License-Identifier: Apache-2.0
"""Machines made of namespaces: each its own network (a veth pair, no route out), processes, mounts and name. They end with the test, whatever happens."""
import ctypes
import os
import pathlib
import shutil
import subprocess
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERN = os.environ.get("QUERN", str(ROOT / "build/release/quern"))
VENV = pathlib.Path(os.environ.get("QUERN_TEST_VENV", ROOT / "build/venv"))
PORT = 6399
CLONE_NEWNET = 0x40000000


def why_not():
    """What this place lacks for machines of its own; empty: nothing."""
    if os.geteuid() != 0:
        return "not root"
    if missing := [tool for tool in ("ip", "unshare", "nsenter") if not shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin")]:
        return f"no {', '.join(missing)}"
    if not (VENV / "bin/ray").exists():
        return f"no Ray in {VENV}"
    probe = subprocess.run(["unshare", "--net", "--pid", "--mount", "--fork", "true"], capture_output=True, text=True)
    return probe.stderr.strip()


def ip(*words):
    subprocess.run(["ip", *map(str, words)], check=True, capture_output=True, text=True)


class Machine:
    """198.18.77.NUMBER (a range set aside for benchmarks), on a network with its neighbours."""

    def __init__(self, net, number, cpus):
        self.name, self.address, self.cpus = f"qn{os.getpid()}-{number}", f"198.18.77.{number}", cpus
        self.link = f"qv{number}"
        self.net = net
        ip("netns", "add", self.name)
        ip("-n", net, "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("-n", net, "link", "set", self.link, "up", "master", "qbr")
        for words in (("addr", "add", f"{self.address}/24", "dev", "eth0"), ("link", "set", "lo", "up"), ("link", "set", "eth0", "up")):
            ip("-n", self.name, *words)
        self.log = open(ROOT / f"build/cluster-{number}.log", "w")
        self.init = None

    def start(self, *words):
        """The first process of the machine is Ray's, in the foreground; whoever kills it takes everything with it."""
        # Paths of sockets are limited to 107 bytes.
        script = f"hostname {self.name}; mount -t tmpfs tmpfs /tmp; mount -t tmpfs -o size=1g tmpfs /dev/shm; exec timeout -k 5 600 ray start " + " ".join(
            [*words, f"--node-ip-address={self.address}", "--block", "--disable-usage-stats", "--object-store-memory=100000000", f"--num-cpus={self.cpus}",
             "--include-dashboard=false" if "--head" in words else ""])
        self.init = subprocess.Popen(["ip", "netns", "exec", self.name, "unshare", "--pid", "--fork", "--kill-child", "--mount", "--uts", "--mount-proc", "bash", "-c", script],
                                     stdout=self.log, stderr=self.log, env=self.environment())

    def environment(self):
        return {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "python"), "QUERN": QUERN, "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_AUTH_MODE": "disabled", "HOME": "/tmp"}

    def first_process(self):
        return int(subprocess.run(["pgrep", "-P", str(self.init.pid)], capture_output=True, text=True, check=True).stdout.split()[0])

    def popen(self, *words, **options):
        return subprocess.Popen(["nsenter", "-t", str(self.first_process()), "-m", "-n", "-p", "-u", f"--wd={ROOT}", *map(str, words)], env=self.environment(), **options)

    def kill_all(self, pattern):
        """SIGKILL to the machine's processes whose command line matches; how many there were."""
        done = subprocess.run(["nsenter", "-t", str(self.first_process()), "-m", "-p", "pkill", "-KILL", "-c", "-f", pattern], capture_output=True, text=True)
        return int(done.stdout or 0)

    def set_link(self, state):
        ip("-n", self.net, "link", "set", self.link, state)

    def die(self):
        """As by a power cut."""
        if self.init:
            self.init.kill()
            self.init.wait()
            self.init = None

    def remove(self):
        self.die()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)
        self.log.close()


class Network:
    """Machines 1 to N, of which 1 is Ray's head. Ends with all that runs on it."""

    def __init__(self, count, cpus=1):
        self.name = f"qn{os.getpid()}-net"
        ip("netns", "add", self.name)
        self.machines = []
        try:
            ip("-n", self.name, "link", "add", "qbr", "type", "bridge")
            ip("-n", self.name, "link", "set", "qbr", "up")
            for number in range(1, count + 1):
                self.machines.append(Machine(self.name, number, cpus))
        except Exception:
            self.remove()
            raise
        self.machines[0].start("--head", f"--port={PORT}")

    def join(self, number):
        self.machines[number - 1].start(f"--address={self.machines[0].address}:{PORT}")

    def remove(self):
        for machine in self.machines:
            machine.remove()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)


def inside(machine, work, *arguments):
    """Calls work(*arguments) in a thread whose sockets belong to the machine's network."""
    out = {}

    def run():
        with open(f"/run/netns/{machine.name}") as net:
            if ctypes.CDLL(None, use_errno=True).setns(net.fileno(), CLONE_NEWNET) != 0:
                out["error"] = OSError(ctypes.get_errno(), "setns")
                return
        try:
            out["value"] = work(*arguments)
        except BaseException as error:  # noqa: BLE001  # handed to the caller
            out["error"] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, out
