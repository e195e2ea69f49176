# SPDX-License-Identifier: Apache-2.0
"""Serves a model over the machines of a Ray cluster:

    quern serve MODEL --distributed-executor-backend ray --tensor-parallel-size 4 [--ray-address auto] [--strategy pack|spread] [any flag of quern serve]
    python -m quern.ray serve MODEL …        the same

Ray finds a place for each rank (one placement group, a bundle a rank), carries addresses, the launch's secret and log lines, and says who died.
Everything else is an ordinary launch of several machines (docs/parallelism.md): this machine starts the head, which answers HTTP, and on every other
machine that has ranks an actor, a Seat, starts `quern serve --node-rank N`. Ranks of one machine share memory that they inherit, so a machine has one
seat and not one for each rank. No token, tensor or weight passes through Ray.
"""
import ctypes
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time

BACKEND = ("--distributed-executor-backend", "ray")
SETTINGS = range(2, 7)  # exit codes of a program that would end the same way again (docs/exit-codes.md)
TEMPORARY = 75
LOOK_S, END_S = 0.5, 10
PR_SET_PDEATHSIG = 1


def say(text):
    print(f"quern.ray: {text}", file=sys.stderr, flush=True)


class Refusal(Exception):
    """Ends the launcher: its words, and the exit code."""

    def __init__(self, text, code=1):
        super().__init__(text)
        self.code = code


def program_here(hint=None):
    """The program on this machine: $QUERN, the one beside this Python, the one on PATH, or where the head has it."""
    beside = pathlib.Path(sysconfig.get_path("scripts"), "quern")
    for path in (os.environ.get("QUERN"), beside, shutil.which("quern"), hint):
        if path and pathlib.Path(path).exists():
            return str(path)
    raise FileNotFoundError(f"{socket.gethostname()} has no program quern: not in $QUERN, {beside}, on PATH, or at {hint}; pip install quern there")


def start(command, secret, **more):
    """A process that reads the secret from a file without a name, and ends with this one."""
    file = os.memfd_create("secret")
    os.fchmod(file, 0o600)
    os.write(file, secret.encode())
    parent = os.getpid()

    def tie():
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended in the meantime
            os._exit(TEMPORARY)

    try:
        # One of several replicas (--data-parallel-size) tells its parent by descriptor 3 that it serves.
        kept = [file, *([3] if "QUERN_REPLICA" in os.environ else [])]
        return subprocess.Popen([*command, "--cluster-secret-file", f"/dev/fd/{file}"], pass_fds=kept, preexec_fn=tie,
                                env={**os.environ, "QUERN_UNDER_RAY": "1"}, **more)
    finally:
        os.close(file)


class Seat:
    """An actor: one further machine of the launch."""

    def __init__(self):
        self.process = None

    def run(self, node, hint, arguments, secret):
        """Until the machine's part ends; its exit code. Its log lines come out here, which Ray brings to the launcher."""
        self.process = start([program_here(hint), *arguments], secret, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace")
        for line in self.process.stderr:
            print(f"node {node}: {line}", end="", file=sys.stderr, flush=True)
        return self.process.wait()

    def place(self):
        return socket.gethostname(), os.getpid()


class Places:
    """Bundles of a placement group by machine; the launcher's own comes first, with no bundle if need be."""

    def __init__(self, ray, ranks, cpus, gpus, strategy, wait_s):
        from ray.util.placement_group import placement_group, placement_group_table
        bundle = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount > 0} or {"CPU": 0.001}
        self.ray = ray
        self.group = placement_group([bundle] * ranks, strategy=strategy.upper(), name=f"quern-{os.getpid()}")
        if not self.group.wait(wait_s):
            free = [f"{n['NodeManagerAddress']} has {n['Resources'].get('CPU', 0):g} CPUs and {n['Resources'].get('GPU', 0):g} GPUs"
                    for n in ray.nodes() if n["Alive"]]
            self.remove()
            raise Refusal(f"no room for {ranks} ranks of {cpus:g} CPUs and {gpus:g} GPUs within {wait_s} s ({'; '.join(free)}, some of it taken perhaps): "
                          "fewer ranks, another --cpus-per-rank, or more machines (ray start --address …)", TEMPORARY)
        own = ray.get_runtime_context().get_node_id()
        self.bundles = {own: []}
        for index, node in placement_group_table(self.group)["bundles_to_node_id"].items():
            self.bundles.setdefault(node, []).append(int(index))

    def ranks(self):
        return [len(bundles) for bundles in self.bundles.values()]

    def seat(self, node):
        """An actor in the place of the first rank of machine `node`. It waits for that place where it must."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy
        first = list(self.bundles.values())[node][0]
        where = PlacementGroupSchedulingStrategy(self.group, placement_group_bundle_index=first)
        return self.ray.remote(Seat).options(num_cpus=0, max_restarts=0, max_concurrency=4, scheduling_strategy=where).remote()

    def remove(self):
        from ray.util.placement_group import remove_placement_group
        remove_placement_group(self.group)


def connect(address, ranks, cpus, wait_s):
    os.environ.setdefault("RAY_DEDUP_LOGS", "0")  # every line of every node
    try:
        import ray
    except ImportError as error:
        raise Refusal(f"Ray cannot be imported ({error}): pip install 'quern[ray]'", 2) from error
    common = {"log_to_driver": True, "configure_logging": False, "namespace": "quern"}
    if address == "local":
        ray.init(address="local", include_dashboard=False, num_cpus=max(os.cpu_count(), int(ranks * cpus + 1)), **common)
        return ray
    if ":" in address:  # Ray itself would try for minutes
        host, port = address.rsplit(":", 1)
        try:
            socket.create_connection((host, int(port)), timeout=wait_s).close()
        except (OSError, ValueError) as error:
            raise Refusal(f"--ray-address {address}: nobody answers ({error})", 5) from error
    try:
        ray.init(address=address, **common)
    except (ConnectionError, RuntimeError) as error:
        raise Refusal(f"--ray-address {address}: {error}; start a cluster (ray start --head; elsewhere ray start --address HOST:PORT) or say --ray-address local",
                      5) from error
    return ray


def free_port(host):
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


class Launch:
    def __init__(self, asked):
        self.asked = asked
        self.ranks = asked["tensor_parallel_size"] * asked["pipeline_parallel_size"]
        self.secret = secrets.token_urlsafe(32)
        self.head, self.signals = None, []
        self.seats, self.runs = {}, {}  # by machine; the actor, and by its answer that is awaited the machine

    def node_arguments(self, node):
        own = ["serve", self.asked["model"], "--node-rank", node, "--tensor-parallel-size", self.asked["tensor_parallel_size"],
               "--pipeline-parallel-size", self.asked["pipeline_parallel_size"], *self.layout]
        own += ["--threads", self.asked["threads"]] if self.asked["threads"] else []
        own += ["--copy-model"] if self.asked["copy_model"] else []
        return [str(word) for word in own]

    def fill(self, node):
        self.seats[node] = seat = self.places.seat(node)
        self.runs[seat.run.remote(node, self.asked["program"], self.node_arguments(node), self.secret)] = node

    def run(self):
        o = self.asked
        ray = self.ray = connect(o["address"], self.ranks, o["cpus_per_rank"], o["wait_s"])
        self.places = Places(ray, self.ranks, o["cpus_per_rank"], o["gpus_per_rank"], o["strategy"], o["wait_s"])
        try:
            ranks = self.places.ranks()
            host = o["node_addr"] or ray.util.get_node_ip_address()
            self.layout = [] if len(ranks) == 1 else ["--nnodes", len(ranks), "--node-ranks", ",".join(map(str, ranks)), "--head-addr", f"{host}:{free_port(host)}"]
            say(f"{self.ranks} ranks on {len(ranks)} machines: {', '.join(map(str, ranks))} (this one first)")
            self.head = start([o["program"], *o["arguments"], *map(str, self.layout)], self.secret, start_new_session=True)
            for which in (signal.SIGINT, signal.SIGTERM):
                signal.signal(which, lambda number, _: self.head.send_signal(number))
            for node in range(1, len(ranks)):
                self.fill(node)
            return self.watch()
        finally:
            self.end()

    def watch(self):
        """Until the head ends: its exit code. A seat that ends before gets a successor, for which the head waits as for any lost machine."""
        while self.head.poll() is None:
            if not self.runs:
                time.sleep(LOOK_S)
                continue
            for answer in self.ray.wait(list(self.runs), timeout=LOOK_S)[0]:
                node = self.runs.pop(answer)
                try:
                    code = self.ray.get(answer)
                except Exception as error:  # noqa: BLE001  # of Ray, or of the machine that lacks the program
                    code, how = None, str(error).strip().splitlines()
                    if "FileNotFoundError" in str(error):
                        raise Refusal(f"node {node}: {how[-1]}", 5) from error
                    say(f"node {node} is lost: {how[0]}")
                else:
                    if self.ended_within(END_S if code == 0 else 0):
                        continue
                    if code in SETTINGS:
                        raise Refusal(f"node {node} ended with exit code {code}; its last lines are above", code)
                    say(f"node {node} ended with exit code {code}")
                self.fill(node)
        return self.head.wait()

    def ended_within(self, seconds):
        """A node ends in good order when the head does, which may take the head another moment."""
        try:
            self.head.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self):
        if self.head and self.head.poll() is None:
            self.head.terminate()
            try:
                self.head.wait(END_S)
            except subprocess.TimeoutExpired:
                self.head.kill()
        # Whoever ends a whole group of processes has ended Ray's as well, which would be waited for.
        leaving = threading.Thread(target=self.leave, daemon=True)
        leaving.start()
        leaving.join(END_S)

    def leave(self):
        if self.runs:
            self.ray.wait(list(self.runs), num_returns=len(self.runs), timeout=3)
        for seat in self.seats.values():
            self.ray.kill(seat)
        self.places.remove()
        self.ray.shutdown()


def main(words):
    if words[:1] == ["serve"]:
        os.execv(program_here(), ["quern", *words, *BACKEND])
    if words[:1] != ["--launch"] or len(words) != 2:
        print(__doc__)
        return 0 if words[:1] in ([], ["--help"], ["-h"]) else 2
    try:
        code = Launch(json.loads(words[1])).run()
        return code if code >= 0 else 128 - code
    except Refusal as refusal:
        say(refusal)
        return refusal.code


if __name__ == "__main__":
    exit_code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(exit_code)  # not after threads of Ray that wait for a cluster that is gone
