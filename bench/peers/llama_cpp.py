#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds llama.cpp, the peer for GGUF files, from the source archive of llama-cpp-python.

    python3 bench/peers/llama_cpp.py FOLDER [--isa native avx2] [--server]

FOLDER/native/bin and FOLDER/avx2/bin hold the tools (with --server llama-server too), flags.txt beside them how they were configured. The version and the hash of the archive
are in requirements.txt beside this file. g++ 12 drops AMX tile configurations (its intrinsics lack a memory clobber), so a
native build with that compiler on such a machine faults: AMX is left out there unless --amx is given, and the build says so.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

HERE = pathlib.Path(__file__).resolve().parent
TOOLS = ["llama-bench", "llama-batched-bench"]
COMMON = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_OPENSSL=OFF", "-DLLAMA_CURL=OFF", "-DGGML_CCACHE=OFF",
          "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_APP=OFF",
          "-DLLAMA_BUILD_UI=OFF", "-DLLAMA_USE_PREBUILT_UI=OFF"]
AVX2 = ["-DGGML_NATIVE=OFF", "-DGGML_AVX=ON", "-DGGML_AVX2=ON", "-DGGML_FMA=ON", "-DGGML_F16C=ON", "-DGGML_BMI2=ON",
        "-DGGML_AVX_VNNI=OFF", "-DGGML_AVX512=OFF"]


def cpu_flags():
    return set(re.search(r"^flags\s*:(.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M).group(1).split())


def native_flags(with_amx):
    """-march=native, and AMX only where it is asked for: the compiler's macros decide, so they are taken back."""
    flags = ["-DGGML_NATIVE=ON"]
    if "amx_int8" in cpu_flags() and not with_amx:
        print("native without AMX: see --help", file=sys.stderr)
        off = "-mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
        flags += [f"-DCMAKE_C_FLAGS={off}", f"-DCMAKE_CXX_FLAGS={off}"]
    return flags


def run(command, log):
    print("+", " ".join(map(str, command)), file=sys.stderr)
    with open(log, "w") as out:
        done = subprocess.run(list(map(str, command)), stdout=out, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed: see {log}")


def sources(folder):
    """The unpacked archive; pip checks its hash."""
    found = sorted(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))
    if found:
        return found[0]
    venv = folder / "venv"
    if not (venv / "bin/pip").exists():
        run([sys.executable, "-m", "venv", venv], folder / "venv.log")
    run([venv / "bin/pip", "install", "scikit-build-core"], folder / "pip.log")  # the archive's build back end, asked for its metadata
    run([venv / "bin/pip", "download", "--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes",
         "-r", HERE / "requirements.txt", "-d", folder], folder / "download.log")
    with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("llama_cpp_python-*/vendor/llama.cpp"))


def build(folder, isa, jobs, with_amx, with_server):
    """Both kinds come from one build folder: only the CPU part depends on the instruction set and is compiled twice."""
    home = folder / isa
    (home / "bin").mkdir(parents=True, exist_ok=True)
    flags = COMMON + (native_flags(with_amx) if isa == "native" else AVX2) + [f"-DLLAMA_BUILD_SERVER={'ON' if with_server else 'OFF'}"]
    tools = TOOLS + ["llama-server"] * with_server
    run(["cmake", "--fresh", "-S", sources(folder), "-B", folder / "build", *flags], home / "configure.log")
    run(["cmake", "--build", folder / "build", "-j", jobs, "--target", *tools], home / "build.log")
    for tool in tools:
        shutil.copy2(folder / "build/bin" / tool, home / "bin")
    (home / "flags.txt").write_text(" ".join(flags) + "\n")
    print(home / "bin")


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=pathlib.Path)
    options.add_argument("--isa", nargs="+", choices=["native", "avx2"], default=["native", "avx2"])
    options.add_argument("--jobs", type=int, default=os.cpu_count())
    options.add_argument("--amx", action="store_true", help="keep AMX in the native build (a compiler without the fault)")
    options.add_argument("--server", action="store_true", help="build llama-server too, the peer of `load`")
    o = options.parse_args()
    folder = o.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for isa in o.isa:
        build(folder, isa, o.jobs, o.amx, o.server)


if __name__ == "__main__":
    main()
