# SPDX-License-Identifier: Apache-2.0
"""TLS, keys and addresses as the flags set them: a server of its own for each, on the smallest golden checkpoint."""
import http.client
import json
import os
import socket
import ssl
import subprocess
import urllib.error
import urllib.request

import pytest

from conftest import GOLDEN, Server, run

MODEL = GOLDEN / "qwen2_tied"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """A certificate authority, a server's certificate and a client's, made on the spot."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*arguments):
        subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)

    def signed(name, extension):
        (folder / f"{name}.ext").write_text(extension)
        openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")

    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=test authority")
    signed("server", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    signed("client", "extendedKeyUsage=clientAuth")
    return folder


@pytest.fixture(scope="module")
def secure(pki):
    server = Server(MODEL, "--ssl-certfile", pki / "server.pem", "--ssl-keyfile", pki / "server.key")
    yield server
    code, _ = server.stop()
    assert code == 0


def trusting(pki, client=None):
    context = ssl.create_default_context(cafile=pki / "ca.pem")
    if client:
        context.load_cert_chain(pki / f"{client}.pem", pki / f"{client}.key")
    return context


def ask(server, context, path="/v1/models", body=None):
    connection = http.client.HTTPSConnection("localhost", server.port, context=context, timeout=60)
    try:
        connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_https_whole_and_streamed(pki, secure):
    assert secure.ready["scheme"] == "https"
    context = trusting(pki)
    status, text = ask(secure, context)
    assert status == 200 and json.loads(text)["data"]
    body = {"prompt": [1, 2, 3], "max_tokens": 40, "ignore_eos": True, "temperature": 0}
    status, whole = ask(secure, context, "/v1/completions", body)
    assert status == 200, whole
    status, events = ask(secure, context, "/v1/completions", {**body, "stream": True})
    pieces = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data: {")]
    assert status == 200 and events.rstrip().endswith("[DONE]")
    assert "".join(c["text"] for p in pieces for c in p["choices"]) == json.loads(whole)["choices"][0]["text"]
    # A body of many records, and several requests on one connection.
    connection = http.client.HTTPSConnection("localhost", secure.port, context=context, timeout=60)
    for _ in range(3):
        connection.request("POST", "/tokenize", json.dumps({"prompt": "x" * 200_000}), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert json.loads(answer.read())["count"] > 0
    connection.close()


def test_old_versions_and_plain_text_are_refused(pki, secure):
    context = trusting(pki)
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, OSError)):
        ask(secure, context)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = trusting(pki)
        context.minimum_version = context.maximum_version = version
        assert ask(secure, context)[0] == 200
    with socket.create_connection(("127.0.0.1", secure.port), timeout=60) as plain:
        plain.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in plain.recv(65536)
    assert ask(secure, trusting(pki))[0] == 200


def test_clients_that_never_greet_or_vanish(pki, secure):
    silent = [socket.create_connection(("127.0.0.1", secure.port)) for _ in range(60)]
    assert ask(secure, trusting(pki))[0] == 200
    for s in silent:
        s.close()
    body = json.dumps({"prompt": [1, 2, 3], "max_tokens": 400, "ignore_eos": True, "stream": True})
    for _ in range(5):
        raw = socket.create_connection(("127.0.0.1", secure.port), timeout=60)
        tls = trusting(pki).wrap_socket(raw, server_hostname="localhost")
        tls.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        assert tls.recv(100).startswith(b"HTTP/1.1 200")
        os.close(tls.detach())  # no goodbye
    assert ask(secure, trusting(pki))[0] == 200


def test_client_certificates(pki):
    server = Server(MODEL, "--ssl-certfile", pki / "server.pem", "--ssl-keyfile", pki / "server.key", "--ssl-ca-certs", pki / "ca.pem")
    try:
        assert ask(server, trusting(pki, "client"))[0] == 200
        with pytest.raises((ssl.SSLError, OSError, http.client.HTTPException)):
            ask(server, trusting(pki))
    finally:
        assert server.stop()[0] == 0


def test_wrong_files_are_named_before_the_model_is_read(pki):
    for flags, word in ((["--ssl-certfile", "/no/such.pem"], "/no/such.pem"), (["--ssl-keyfile", pki / "server.key"], "--ssl-certfile"),
                        (["--ssl-certfile", pki / "server.pem", "--ssl-keyfile", pki / "client.key"], "does not belong"),
                        (["--max-concurrency-per-key", 2], "--api-key"), (["--allowed-origins", "[1]"], "--allowed-origins"),
                        (["--allowed-origins", "https://app.example/"], "https://app.example/"), (["--allowed-origins", '["app.example"]'], "app.example"),
                        (["--api-key-file", "/no/such"], "/no/such")):
        code, _, log = run("serve", MODEL, "--port", 0, *flags)
        assert code not in (0, None) and word in log, flags


def status(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def test_keys_scopes_and_where_it_listens(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# key scopes\nsk-user infer\nsk-scraper metrics\n")
    keys.chmod(0o600)
    server = Server(MODEL, "--api-key", "sk-first,sk-second", "--api-key-file", keys, "--allowed-origins", '["https://app.example"]', "--root-path", "/llm")
    try:
        assert server.ready["host"] == "0.0.0.0"
        url = server.url
        for key, path, expected in (("sk-first", "/v1/models", 200), ("sk-second", "/metrics", 200), ("sk-user", "/llm/v1/models", 200), ("sk-user", "/metrics", 403),
                                    ("sk-scraper", "/metrics", 200), ("sk-scraper", "/v1/models", 403), ("sk-third", "/v1/models", 401)):
            assert status(url + path, Authorization=f"Bearer {key}") == expected, (key, path)
        assert status(url + "/v1/models") == 401 and status(url + "/health") == 200
        with urllib.request.urlopen(urllib.request.Request(url + "/health", headers={"Origin": "https://app.example"}), timeout=60) as answer:
            assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
    finally:
        code, log = server.stop()
    assert code == 0
    assert "sk-" not in log, "a key stands in the log"


def test_without_a_key_it_listens_on_loopback_and_minds_names():
    server = Server(MODEL)
    try:
        assert server.ready["host"] == "127.0.0.1"
        assert status(server.url + "/v1/models") == 200
        assert status(server.url + "/v1/models", Host="evil.example") == 403
        assert status(server.url + "/v1/models", Origin="https://evil.example") == 403
    finally:
        server.stop()
