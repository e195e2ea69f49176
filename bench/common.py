# SPDX-License-Identifier: Apache-2.0
"""What the benchmark scripts share: where things are, the roofs, pausing background training."""
import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUERN = os.environ.get("QUERN", str(ROOT / "build/release/quern"))
WORK = ROOT / "build/bench"


@contextlib.contextmanager
def quiet_machine():
    """Pauses background training while the block runs; a pause that somebody else made is left alone."""
    mark = ROOT / "training/state/sight/pause"
    is_ours = mark.parent.is_dir() and not mark.exists()
    if is_ours:
        print(f"background training is paused ({mark})", file=sys.stderr)
        mark.touch()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the block is left in good order
    try:
        yield
    finally:
        if is_ours:
            mark.unlink(missing_ok=True)


def roofs(threads):
    """{"read_gb_s": …, "f32_gop_s": …, "bf16_gop_s": …, "int8_gop_s": …} measured now."""
    with tempfile.NamedTemporaryFile(suffix=".json") as out:
        quern("bench", "kernels", "--roofs-only", "--threads", threads, "--json", out.name)
        return json.load(open(out.name))["roofs"]


def quern(*arguments, **options):
    """Runs quern and returns its standard output; the error text goes through."""
    done = subprocess.run([QUERN, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"quern {' '.join(map(str, arguments))}: exit code {done.returncode}")
    return done.stdout
