# SPDX-License-Identifier: Apache-2.0
"""Fetch one PyPI source archive and unpack it: fetch_source.py PINS FOLDER ARCHIVES.

PINS is a requirements file of one line, NAME==VERSION --hash=sha256:HEX. pip would build the archive's metadata (and so fetch a
build system) before it hands the file over; here the index is asked for the file, and the hash decides.
"""
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request

LARGEST = 64 << 20


def index_url():
    asked = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True)
    return (os.environ.get("PIP_INDEX_URL") or asked.stdout.strip() or "https://pypi.org/simple").rstrip("/")


def links(name):
    page_url = f"{index_url()}/{name}/"
    accept = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    with urllib.request.urlopen(urllib.request.Request(page_url, headers={"Accept": accept}), timeout=60) as answer:
        page, kind = answer.read(LARGEST).decode(), answer.headers.get("Content-Type", "")
    found = [f["url"] for f in json.loads(page)["files"]] if "json" in kind else re.findall(r'href="([^"#]+)', page)
    return [urllib.parse.urljoin(page_url, link) for link in found]


def fetch(name, version, sha256, target):
    wanted = f"{name}-{version}.tar.gz"
    link = next((l for l in links(name) if l.rsplit("/", 1)[-1] == wanted), None)
    if link is None:
        sys.exit(f"{index_url()} has no {wanted}")
    with urllib.request.urlopen(link, timeout=300) as answer:
        data = answer.read(LARGEST + 1)
    came = hashlib.sha256(data).hexdigest()
    if came != sha256:
        sys.exit(f"{link}: expected sha256 {sha256}, got {came}; nothing was kept")
    with open(target + ".part", "wb") as out:
        out.write(data)
    os.replace(target + ".part", target)


def main(pins, folder, archives):
    with open(pins, encoding="utf-8") as f:
        name, version, sha256 = re.search(r"^(\S+)==(\S+) --hash=sha256:([0-9a-f]{64})$", f.read(), re.M).groups()
    os.makedirs(archives, exist_ok=True)
    archive = os.path.join(archives, f"{name}-{version}.tar.gz")
    is_whole = False
    if os.path.exists(archive):
        with open(archive, "rb") as f:
            is_whole = hashlib.sha256(f.read()).hexdigest() == sha256
    if not is_whole:
        fetch(name, version, sha256, archive)
    unpacked = folder + ".part"
    shutil.rmtree(unpacked, ignore_errors=True)
    os.makedirs(unpacked)
    subprocess.run(["tar", "-xzf", archive, "-C", unpacked, "--no-same-owner"], check=True)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(os.path.join(unpacked, f"{name}-{version}"), folder)
    shutil.rmtree(unpacked)
    with open(os.path.join(folder, ".version"), "w", encoding="utf-8") as f:
        f.write(version + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
