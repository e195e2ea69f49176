# SPDX-License-Identifier: Apache-2.0
"""An OpenAI-compatible server without a model: it looks into the simulated phone and answers in AutoGLM's language. It holds every request to the form that
the model was trained on, and keeps what is wrong in `problems`."""
import base64
import http.server
import json
import re
import struct
import threading

NAME = "autoglm-phone-9b"


def place(phone, x, y):
    """The pixel in thousandths, such that the client's own arithmetic hits it."""
    return [min(999, -(-1000 * x // phone.width)), min(999, -(-1000 * y // phone.height))]


class Oracle:
    """`policy(phone, step)` -> the text of the whole answer, or of its action alone."""

    def __init__(self, phone_of):
        self.phone_of, self.policy = phone_of, None
        self.problems, self.requests, self.status, self.extra = [], [], 200, {}
        oracle = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def answer(self, body, status=200):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                self.answer({"object": "list", "data": [{"id": NAME, "object": "model"}]})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if oracle.status != 200:
                    return self.answer({"error": {"message": "the oracle is asleep"}}, oracle.status)
                try:
                    message = oracle.message(body)
                except Exception as failure:  # a test must see it, not a client
                    oracle.problems.append(repr(failure))
                    message = {"content": 'finish(message="the oracle failed")'}
                self.answer({"id": "1", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", **message}}]})

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d/v1" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def begin(self, policy):
        self.policy, self.problems, self.requests, self.status = policy, [], [], 200

    def message(self, body):
        self.check(body)
        self.requests.append(body)
        said = self.policy(self.phone_of(), len(self.requests))
        if isinstance(said, dict):
            return said
        return {"content": said if "<answer>" in said or not said.startswith(("do(", "finish(")) else f"<think>the next step</think><answer>{said}</answer>"}

    def expect(self, is_so, what):
        if not is_so:
            self.problems.append(what)

    def check(self, body):
        messages = body["messages"]
        self.expect((body["temperature"], body["top_p"], body["frequency_penalty"], body["max_tokens"]) == (0, 0.85, 0.2, 3000), "sampling")
        self.expect(body["model"] == NAME, "model")
        self.expect([m["role"] for m in messages] == ["system"] + ["user", "assistant"] * (len(messages) // 2 - 1) + ["user"], "roles")
        self.expect("{date}" not in messages[0]["content"] and re.search(r"\d{4}", messages[0]["content"].splitlines()[0]), "date")
        for number, message in enumerate(messages[1:], 1):
            if message["role"] == "assistant":
                self.expect(re.fullmatch(r"<think>.*</think><answer>.*</answer>", message["content"], re.S), "assistant's form")
                continue
            is_newest = message is messages[-1]
            self.expect([part["type"] for part in message["content"]] == ["image_url", "text"][not is_newest:], "picture first, and in the newest turn alone")
            head, _, info = message["content"][-1]["text"].rpartition("\n\n")
            self.expect(number == 1 or head == "** Screen Info **", f"head of a turn: {head}")
            self.expect(list(json.loads(info))[0] == "current_app", "screen info")
        url = messages[-1]["content"][0]["image_url"]["url"]
        png = base64.b64decode(url.removeprefix("data:image/png;base64,"))
        self.expect(struct.unpack(">II", png[16:24]) == (self.phone_of().width, self.phone_of().height), "size of the picture")


# What a policy is made of.

def tap(phone, label, message=None):
    """Taps what bears the label; scrolls to it where it is not in sight."""
    widget = phone.find(label)
    if widget is None:
        return scroll(phone)
    x, y = place(phone, *widget.centre)
    return f'do(action="Tap", element=[{x},{y}]' + (f', message="{message}")' if message else ")")


def scroll(phone):
    if phone.front.offset < phone.front.most_offset():
        return 'do(action="Swipe", start=[500,800], end=[500,400])'
    return 'do(action="Swipe", start=[500,200], end=[500,900])'


def touch(phone, label, how):
    x, y = place(phone, *phone.find(label).centre)
    return f'do(action="{how}", element=[{x},{y}])'


def type_(text):
    return f'do(action="Type", text="{text}")'


def launch(name):
    return f'do(action="Launch", app="{name}")'


def finish(message="Done."):
    return f'finish(message="{message}")'
