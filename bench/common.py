# SPDX-License-Identifier: Apache-2.0
"""What the benchmark scripts share: where things are, the roofs, pausing background training."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
QUERN = os.environ.get("QUERN", str(ROOT / "build/release/quern"))
WORK = ROOT / "build/bench"


@contextlib.contextmanager
def quiet_machine():
    """Pauses background training while the block runs."""
    state = ROOT / "training/state/sight"
    mark = state / "pause"
    if state.is_dir():
        print("pausing background training", file=sys.stderr)
        mark.touch()
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def roofs(threads):
    """{"read_gb_s": …, "fma_gflop_s": …} measured now."""
    WORK.mkdir(parents=True, exist_ok=True)
    binary = WORK / "roofs"
    source = ROOT / "bench/roofs.cc"
    if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["g++", "-O3", "-march=native", "-std=c++20", "-pthread", str(source), "-o", str(binary)], check=True)
    return json.loads(subprocess.run([str(binary), str(threads)], check=True, capture_output=True, text=True).stdout)


def quern(*arguments, **options):
    """Runs quern and returns its standard output; the error text goes through."""
    done = subprocess.run([QUERN, *map(str, arguments)], stdout=subprocess.PIPE, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"quern {' '.join(map(str, arguments))}: exit code {done.returncode}")
    return done.stdout
