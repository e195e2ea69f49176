# SPDX-License-Identifier: Apache-2.0
"""The phone's end of ADB's wire protocol over TCP, as far as the real `adb` client needs it: CNXN, OPEN, OKAY, WRTE, CLSE, no keys.

A message is six little-endian words (command, two arguments, length, checksum, command inverted) and its data. A stream is opened by the client, and
each side waits for OKAY before it writes again. `shell:LINE` and `exec:LINE` are given to the phone's shell."""
import socket
import struct
import threading
import time

HEADER = struct.Struct("<6I")
VERSION, MOST_BYTES = 0x01000001, 256 << 10  # from this version on nobody looks at checksums
BANNER = b"device::ro.product.name=quernsim;ro.product.model=Simulated_Phone;ro.product.device=quernsim;features=cmd"


def word(name):
    return struct.unpack("<I", name)[0]


CNXN, OPEN, OKAY, WRTE, CLSE = map(word, (b"CNXN", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))


class LinkDropped(Exception):
    """Raised by a fault: the connection ends at once."""


class Stream:
    def __init__(self, link, local, remote):
        self.link, self.local, self.remote = link, local, remote
        self.may_write = threading.Semaphore(0)
        self.is_open = True

    def write(self, data):
        for begin in range(0, len(data), link_bytes := self.link.most_bytes):
            if not self.is_open:
                return
            self.link.send(WRTE, self.local, self.remote, data[begin:begin + link_bytes])
            self.may_write.acquire(timeout=30)

    def close(self):
        self.is_open = False
        self.link.send(CLSE, self.local, self.remote)


class Link:
    """One connection of an adb server."""

    def __init__(self, device, sock):
        self.device, self.sock = device, sock
        self.most_bytes, self.next_id, self.streams = MOST_BYTES, 1, {}
        self.sending = threading.Lock()

    def send(self, command, first, second, data=b""):
        checksum = sum(data) & 0xFFFFFFFF
        try:
            with self.sending:
                self.sock.sendall(HEADER.pack(command, first, second, len(data), checksum, command ^ 0xFFFFFFFF) + data)
        except OSError:
            pass  # gone: the reading end sees it too

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.sock.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data

    def run(self):
        try:
            while True:
                command, first, second, length, _, magic = HEADER.unpack(self.receive(HEADER.size))
                if command ^ magic != 0xFFFFFFFF or length > 1 << 20:
                    break
                self.handle(command, first, second, self.receive(length))
        except (ConnectionError, OSError):
            pass
        finally:
            self.close()

    def handle(self, command, first, second, data):
        if command == CNXN:
            self.most_bytes = min(MOST_BYTES, second)
            self.send(CNXN, min(VERSION, first), MOST_BYTES, BANNER)
        elif command == OPEN:
            stream = Stream(self, self.next_id, first)
            self.next_id += 1
            self.streams[stream.local] = stream
            threading.Thread(target=self.serve, args=(stream, data.rstrip(b"\0").decode("utf-8", "replace")), daemon=True).start()
        elif command == OKAY and second in self.streams:
            self.streams[second].may_write.release()
        elif command == WRTE:  # standard input, which no command here reads
            self.send(OKAY, second, first)
        elif command == CLSE and second in self.streams:
            stream = self.streams.pop(second)
            stream.is_open = False
            stream.may_write.release()

    def serve(self, stream, service):
        kind, _, line = service.partition(":")
        if kind not in ("shell", "exec"):
            return self.send(CLSE, 0, stream.remote)
        self.send(OKAY, stream.local, stream.remote)
        try:
            stream.write(self.device.run(line))
        except LinkDropped:
            return self.close()
        stream.close()

    def close(self):
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.sock.close()


class AdbDevice:
    """Listens on a port of the loopback interface; `run_line(line)` -> bytes is the phone's shell.

    `fault(line)` is called before a command, and after it as `fault(line, True)`; it may sleep, or call drop()."""

    def __init__(self, run_line):
        self.run_line, self.fault, self.links = run_line, None, []
        self.address = ("127.0.0.1", 0)
        self.listen()
        self.address = self.listener.getsockname()
        self.serial = "%s:%d" % self.address

    def listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(self.address)
        self.listener.listen()
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link = Link(self, sock)
            self.links.append(link)
            threading.Thread(target=link.run, daemon=True).start()

    def run(self, line):
        if self.fault:
            self.fault(line)
        out = self.run_line(line)
        if self.fault:
            self.fault(line, True)
        return out

    def drop(self, seconds=None):
        """Cuts the link, and takes nobody for so long (None: for ever)."""
        self.stop()
        if seconds is not None:
            threading.Thread(target=self.come_back, args=(seconds,), daemon=True).start()
        raise LinkDropped

    def come_back(self, seconds):
        time.sleep(seconds)
        self.listen()

    def stop(self):
        # shutdown() wakes the thread in accept(), which close() alone does not.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for link in self.links:
            link.close()
        self.links.clear()
