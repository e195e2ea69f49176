# SPDX-License-Identifier: Apache-2.0
"""Raw sockets: what no well-meaning client sends."""
import json
import socket
import struct
import zlib

import base64
import pytest


def send(server, raw, timeout=60):
    """Everything that comes back until the server closes or a whole answer with Content-Length is there."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=timeout) as s:
        s.sendall(raw)
        data = b""
        while True:
            piece = s.recv(65536)
            data += piece
            if not piece or complete(data):
                return data


def complete(data):
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return False


def post(server, body, path="/v1/chat/completions", content_type="application/json"):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    raw = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    answer = send(server, raw)
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), text.decode()


def message(content):
    return {"model": "smollm2-135m", "messages": [{"role": "user", "content": content}], "max_tokens": 1}


@pytest.mark.parametrize("raw, status", [
    (b"NONSENSE\r\n\r\n", 400),
    (b"GET /v1/models HTTP/9.9\r\n\r\n", 505),
    (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431),
    (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n", 400),
    (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999999\r\n\r\n", 413),
    (b"DELETE /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 405),
    (b"GET /no/such/path HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", 404),
])
def test_malformed_requests(smollm, raw, status):
    assert int(send(smollm, raw).split()[1]) == status


def test_bodies_that_are_wrong(smollm):
    deep = b"[" * 10_000 + b"]" * 10_000
    for body in (b"{", b"", b"null", b"[]", deep, b'{"messages": ' + deep + b"}", b'{"messages": [{"role": "user", "content": "\xff\xfe"}]}'):
        status, text = post(smollm, body)
        error = json.loads(text)["error"]
        assert status == 400 and error["message"] and error["type"], body[:40]
    status, text = post(smollm, {"messages": []})
    assert status == 400 and "messages" in text
    status, text = post(smollm, {**message("x"), "temprature": 1})
    assert status == 400 and "temperature" in text


def test_a_huge_picture_in_a_small_file(pictures):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * (10_000 * 1251), 9)  # 10,000 x 10,000 pixels, one bit each
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 10_000, 10_000, 1, 0, 0, 0, 0)) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    assert len(png) < 40_000
    url = "data:image/png;base64," + base64.b64encode(png).decode()
    status, text = post(pictures, {"model": "qwen2vl", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]})
    assert status in (400, 413) and "10000" in text.replace(",", "")


def test_clients_that_vanish(smollm):
    body = json.dumps({**message("Tell me a story."), "max_tokens": 200, "stream": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    for cut in (10, len(head), len(head) + 20, len(head) + len(body)):
        with socket.create_connection(("127.0.0.1", smollm.port)) as s:
            s.sendall((head + body)[:cut])
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # reset, not a polite end
    assert json.loads(post(smollm, message("Hi"))[1])["choices"]


def test_keep_alive_and_pipelining(smollm):
    one = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    last = b"GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", smollm.port), timeout=60) as s:
        s.sendall(one + one + last)
        data = b""
        while piece := s.recv(65536):
            data += piece
    assert data.count(b"HTTP/1.1 200") == 3 and b"version" in data
