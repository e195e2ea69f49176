#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an idle connection costs: memory of `quern serve` before and while many are open, each of which has had one answer.

  ./dev bench idle_connections [--connections 2000] [--model tests/golden/qwen2_tied] [--tls CERT.pem KEY.pem]

Bytes of the process; what the kernel keeps for a socket comes on top.
"""
import argparse
import resource
import socket
import ssl
import time

from served import Served

ASK = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"


def connect(port, context):
    s = socket.create_connection(("127.0.0.1", port), timeout=60)
    if context:
        s = context.wrap_socket(s, server_hostname="localhost")
    s.sendall(ASK)
    answer = b""
    while b"}" not in answer:
        piece = s.recv(4096)
        if not piece:
            raise SystemExit(f"a connection was closed: {answer[:200]!r}")
        answer += piece
    return s


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--model", default="tests/golden/qwen2_tied")
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    o = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(o.connections + 200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    flags = ["--max-connections", o.connections + 100, "--keep-alive-timeout", 3600]
    context = None
    if o.tls:
        flags += ["--ssl-certfile", o.tls[0], "--ssl-keyfile", o.tls[1]]
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    server = Served.quern(o.model, *flags)
    try:
        warm = [connect(server.port, context) for _ in range(100)]  # what the first ones cost once
        time.sleep(0.5)
        before = server.memory_mib()
        idle = [connect(server.port, context) for _ in range(o.connections)]
        time.sleep(1)
        after = server.memory_mib()
        print(f"{len(idle)} idle connections{' under TLS' if o.tls else ''}: {before:.1f} → {after:.1f} MiB, "
              f"{(after - before) * (1 << 20) / len(idle):.0f} bytes each")
        for s in warm + idle:
            s.close()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
