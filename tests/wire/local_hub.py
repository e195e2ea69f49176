# SPDX-License-Identifier: Apache-2.0
"""A small Hugging Face hub on the loopback interface: the two routes that clients fetch a model by, and faults on demand.

Large files go to a second server, as the real hub sends them to a content network: that one must never see a token.
"""
import hashlib
import http.server
import json
import threading
import urllib.parse


class Host(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, handler, hub):
        super().__init__(("127.0.0.1", 0), handler)
        self.hub = hub
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


class File:
    def __init__(self, content, is_large):
        self.content, self.is_large = content, is_large
        self.sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.hash = self.sha256 if is_large else self.sha1


class LocalHub:
    """`revisions`: name -> {path: bytes}. Each entry of `faults` is taken by the next request for a file that it names."""

    def __init__(self, repository, revisions, large=("safetensors", "gguf"), token=None, states_hashes=True):
        self.repository, self.token, self.states_hashes = repository, token, states_hashes
        self.files, self.commits = {}, {}
        for revision, contents in revisions.items():
            files = {path: File(content, path.endswith(tuple(large))) for path, content in contents.items()}
            commit = hashlib.sha1(repr(sorted((p, f.hash) for p, f in files.items())).encode()).hexdigest()
            self.commits[revision], self.files[commit] = commit, files
        self.faults = []        # (path, fault, argument), see FileHandler
        self.listing_faults = []  # status codes
        self.listing = None     # an answer instead of the real one
        self.requests = []      # (host, method, path, range, has a token)
        self.lock = threading.Lock()
        self.held = threading.Event()  # set: what the fault "hold" waits for
        self.network = Host(FileHandler, self)
        self.host = Host(HubHandler, self)
        self.url = self.host.url

    def close(self):
        self.held.set()
        for host in self.host, self.network:
            host.shutdown()
            host.server_close()

    def fault_for(self, path):
        with self.lock:
            for fault in self.faults:
                if fault[0] == path:
                    self.faults.remove(fault)
                    return fault[1:]
        return None, None

    def asked(self, path, method="GET"):
        return [r for r in self.requests if r[1] == method and path in r[2]]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self):
        hub = self.server.hub
        with hub.lock:
            hub.requests.append(("hub" if self.server is not hub.network else "network", self.command, urllib.parse.unquote(self.path),
                                 self.headers.get("Range"), "Authorization" in self.headers))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, file, fault, argument, **headers):
        """`fault`: cut (after that many bytes), corrupt (the byte there), long, slow_start, no_range, hold (after that many bytes)."""
        content, begin = file.content, 0
        if fault == "corrupt":
            content = content[:argument] + bytes([content[argument] ^ 1]) + content[argument + 1:]
        if fault == "long":
            content += b"more than was announced"
        asked = self.headers.get("Range")
        if asked and fault != "no_range":
            begin = int(asked.removeprefix("bytes=").removesuffix("-"))
            if begin >= len(content):
                return self.answer(416)
            headers["Content_Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self.send_response(206 if begin else 200)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return None
        body = content[begin:]
        if fault in ("cut", "hold"):
            self.wfile.write(body[:argument])
            self.wfile.flush()
            if fault == "hold":
                self.server.hub.held.wait(60)
                self.wfile.write(body[argument:])
            else:
                self.close_connection = True
                self.connection.shutdown(2)
        else:
            self.wfile.write(body)
        return None


class FileHandler(Handler):
    """The content network: /COMMIT/PATH."""

    def do_GET(self):
        self.note()
        commit, path = urllib.parse.unquote(self.path).removeprefix("/").split("/", 1)
        fault, argument = self.server.hub.fault_for(path)
        if fault == "status":
            return self.answer(argument)
        return self.send_file(self.server.hub.files[commit][path], fault, argument, ETag='"a checksum of another kind"')


class HubHandler(Handler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.note()
        hub = self.server.hub
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, b"{}", X_Error_Code="RepoNotFound")
        path = urllib.parse.unquote(self.path.split("?")[0])
        if path.startswith(f"/api/models/{hub.repository}/revision/"):
            return self.list(path.split("/revision/", 1)[1])
        if path.startswith(f"/{hub.repository}/resolve/"):
            return self.resolve(*path.split("/resolve/", 1)[1].split("/", 1))
        return self.answer(404, b"{}", X_Error_Code="RepoNotFound")

    def list(self, revision):
        hub = self.server.hub
        with hub.lock:
            status = hub.listing_faults.pop(0) if hub.listing_faults else None
        if status:
            return self.answer(status, Retry_After="0")
        if hub.listing is not None:
            return self.answer(200, json.dumps(hub.listing).encode())
        commit = hub.commits.get(revision, revision)
        if commit not in hub.files:
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        siblings = []
        for path, file in hub.files[commit].items():
            entry = {"rfilename": path}
            if hub.states_hashes:
                entry |= {"size": len(file.content), "blobId": file.sha1}
                if file.is_large:
                    entry["lfs"] = {"sha256": file.sha256, "size": len(file.content), "pointerSize": 135}
            siblings.append(entry)
        return self.answer(200, json.dumps({"id": hub.repository, "sha": commit, "siblings": siblings}).encode())

    def resolve(self, commit, path):
        hub = self.server.hub
        file = hub.files.get(commit, {}).get(path)
        if file is None:
            return self.answer(404, X_Error_Code="EntryNotFound")
        if file.is_large:
            headers = {"X_Repo_Commit": commit, "X_Linked_Etag": f'"{file.hash}"', "X_Linked_Size": str(len(file.content))}
            if self.command == "HEAD":
                return self.answer(302, Location=f"{hub.network.url}/{commit}/{urllib.parse.quote(path)}", **headers) \
                    if hub.states_hashes else self.answer(200, **headers)
            return self.answer(302, Location=f"{hub.network.url}/{commit}/{urllib.parse.quote(path)}", **headers)
        fault, argument = hub.fault_for(path)
        if fault == "status":
            return self.answer(argument)
        return self.send_file(file, fault, argument, X_Repo_Commit=commit, ETag=f'"{file.hash}"')
