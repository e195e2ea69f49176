# SPDX-License-Identifier: Apache-2.0
"""A server process under a benchmark: quern's, or a peer's that speaks the same API."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

from common import QUERN, ROOT


class Served:
    def __init__(self, command, port=None, wait_s=120):
        """`port` null: quern, which says on which port it is ready."""
        self.log = open(ROOT / "build/served.log", "w+")
        self.process = subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE if port is None else self.log, stderr=self.log, text=True, cwd=ROOT)
        self.resident_mib, self._over = [], threading.Event()
        if port is None:
            line = self.process.stdout.readline()
            if not line:
                sys.exit("the server did not start; see build/served.log")
            self.port = json.loads(line)["port"]
        else:
            self.port = port
            self._await_health(wait_s)

    @classmethod
    def quern(cls, model, *flags):
        return cls([QUERN, "serve", model, "--port", 0, *flags])

    @classmethod
    def llama_server(cls, binary, model, streams, threads):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        return cls([binary, "-m", model, "--host", "127.0.0.1", "--port", port, "-np", streams, "-c", streams * 512, "-t", threads, "--no-webui"], port)

    def _await_health(self, wait_s):
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                    if answer.status == 200:
                        return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.2)
        self.stop()
        sys.exit("the peer did not become ready; see build/served.log")

    def memory_mib(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024

    def watch_memory(self, every_s=1.0):
        def watch():
            while not self._over.wait(every_s) and self.process.poll() is None:
                self.resident_mib.append(self.memory_mib())
        threading.Thread(target=watch, daemon=True).start()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self):
        self._over.set()
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
