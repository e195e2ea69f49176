# SPDX-License-Identifier: Apache-2.0
"""A server in front of quern: passes everything on, but answers chats by a script where there is one, so that a test can have a model say
anything, slowly, broken off or not; speaks by one likewise, with voices of its own. By hand it shows the page from ui/ as it lies there, without building the program:

    build/release/quern serve smollm2-135m --port 8000 &
    python3 tests/page/scripted.py --upstream 127.0.0.1:8000 --port 8080
"""
import argparse
import http.client
import http.server
import json
import pathlib
import re
import socket
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
CUT = object()  # in a script: the connection breaks here


def chunk(content=None, usage=None, finish=None, **delta):
    """A chunk of a streamed chat, as quern writes it."""
    if content is not None:
        delta["content"] = content
    out = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 0, "model": "scripted",
           "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if usage is not None:
        out["usage"] = {"prompt_tokens": 10, "completion_tokens": usage, "total_tokens": 10 + usage, "prompt_tokens_details": {"cached_tokens": 4}}
    return out


def reply(text, size=8, pause=0.0):
    """A script that says `text` in pieces."""
    def script(_body):
        for number, at in enumerate(range(0, len(text), size)):
            yield chunk(text[at:at + size], usage=number + 1)
            if pause:
                time.sleep(pause)
        yield chunk("", usage=len(text) // size + 1, finish="stop")
        yield "[DONE]"
    return script


def policy():
    """The Content-Security-Policy as src/server/ui.cc has it."""
    text = (ROOT / "src/server/ui.cc").read_text()
    return "".join(re.findall(r'"([^"]*)"', re.search(r"kContentPolicy =(.*?);\n", text, re.S).group(1)))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer()

    do_POST = do_DELETE = do_HEAD = do_GET

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/v1/chat/completions" and self.server.script:
            self.server.bodies.append(json.loads(body))
            return self.play(self.server.script(self.server.bodies[-1]))
        if self.path == "/v1/audio/voices" and self.server.voices is not None:
            return self.show(json.dumps({"voices": self.server.voices}).encode(), "application/json")
        if self.path == "/v1/audio/speech" and self.server.speech:
            self.server.bodies.append(json.loads(body))
            return self.play(self.server.speech(self.server.bodies[-1]), "audio/pcm")
        if self.server.shows_source and (self.path == "/" or self.path.startswith("/ui/")):
            return self.show_source()
        self.pass_on(body)

    def show_source(self):
        file = ROOT / "ui" / ("index.html" if self.path == "/" else self.path.rsplit("/", 1)[1])
        if not file.is_file():
            return self.send_error(404)
        self.show(file.read_bytes(), TYPES[file.suffix])

    def show(self, data, kind):
        self.send_response(200)
        for name, value in (("Content-Type", kind), ("Content-Length", len(data)), ("Content-Security-Policy", policy()), ("Cache-Control", "no-store")):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def play(self, script, kind="text/event-stream; charset=utf-8"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            for item in script:
                if item is CUT:
                    return self.connection.shutdown(socket.SHUT_RDWR)
                self.wfile.write(item if isinstance(item, bytes) else f"data: {item if isinstance(item, str) else json.dumps(item)}\n\n".encode())
        except OSError:
            self.server.left += 1

    def pass_on(self, body):
        self.close_connection = True
        try:
            upstream = http.client.HTTPConnection(self.server.upstream, timeout=120)
            headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection", "origin", "content-length")}
            upstream.request(self.command, self.path, body or None, headers)
            answer = upstream.getresponse()
        except OSError:
            return self.connection.shutdown(socket.SHUT_RDWR)
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
        except OSError:
            self.server.left += 1
        finally:
            upstream.close()


class Scripted(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream, port=0, shows_source=False):
        super().__init__(("127.0.0.1", port), Handler)
        self.upstream = upstream      # "127.0.0.1:8000"
        self.shows_source = shows_source
        self.script = None            # body → items
        self.voices = None            # names, in place of the model's own
        self.speech = None            # body → bytes of sound
        self.bodies = []              # of the chats and speech that were scripted
        self.left = 0                 # clients that went away in the middle
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--upstream", default="127.0.0.1:8000")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    print(Scripted(options.upstream, options.port, shows_source=True).url)
    threading.Event().wait()


if __name__ == "__main__":
    main()
