#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the house rules that a compiler does not: who may include whom, what bears one name, and how long a file may be.

    python/check_floors.py            prints every breach; exit code 1 if there is one
    python/check_floors.py --figures  also prints the figures of docs/architecture.md, section 11
"""
import pathlib
import re
import statistics
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')
# Third-party headers that public headers may show, and why: see src/base/README.md.
SHOWN = {"fmt/format.h", "nlohmann/json_fwd.hpp"}
# Rooms whose includes are narrower than their floor (section 6).
NARROW = {"models": {"base", "nn", "ops", "tensor", "media", "models", "weights/config.h", "weights/onnx_file.h"}}
ONLY_APPS = {"plan", "quantize"}
MAX_LINES, MAX_LINES_KERNEL = 500, 800


def read_floors():
    floors = {}
    for line in (ROOT / "src/FLOORS").read_text().splitlines():
        line = line.split("#")[0].split()
        if line:
            floors[line[0]] = int(line[1])
    return floors


def sources():
    for top in ("src", "apps"):
        for path in sorted((ROOT / top).rglob("*")):
            if path.suffix in (".h", ".cc", ".cu", ".cuh"):
                yield path


def page_files():
    """The playground's sources, which keep the house rules on length and licence."""
    return [path for path in sorted((ROOT / "ui").glob("*")) if path.suffix in (".js", ".css", ".html")]


def is_test(path):
    return path.stem.endswith(("_test", "_bench", "_fuzz"))


def room_of(path):
    parts = path.relative_to(ROOT).parts
    return "apps" if parts[0] == "apps" else parts[1]


def includes(path):
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) == "<", match.group(2)


def breaches_of(path, floors):
    room = room_of(path)
    for number, angled, target in includes(path):
        where = f"{path.relative_to(ROOT)}:{number}"
        if angled:
            is_third_party = "/" in target or target.endswith((".h", ".hpp"))
            known = target in SHOWN or target.startswith(("sys/", "net/", "arpa/", "netinet/")) or is_system(target)
            if path.suffix == ".h" and is_third_party and not known and not is_private_header(path):
                yield f"{where}: third-party header <{target}> in a public header"
            continue
        target_room = target.split("/")[0] if "/" in target else room
        if target_room not in floors:
            if any((base / target).exists() for base in (path.parent, ROOT, ROOT / "apps")):
                continue  # a header beside this file
            yield f"{where}: \"{target}\" names no room"
        elif target_room != room and floors[target_room] >= floors[room] and not is_test(path):
            yield f"{where}: {room} (floor {floors[room]}) includes {target_room} (floor {floors[target_room]})"
        elif target_room in ONLY_APPS and room not in ("apps", target_room):
            yield f"{where}: only apps includes {target_room}"
        elif re.match(r"ops/(cpu|cuda|reference)/", target) and room != "ops":
            yield f"{where}: {target} is reached through the dispatch tables of ops only"
        elif room in NARROW and not is_test(path) and target_room not in NARROW[room] and target not in NARROW[room]:
            yield f"{where}: {room} may include {', '.join(sorted(NARROW[room]))} only"


def is_system(target):
    return "/" not in target and target not in ("zlib.h", "png.h", "jpeglib.h", "gif_lib.h", "oniguruma.h", "utf8proc.h", "hwloc.h", "xxhash.h")


def is_private_header(path):
    """A header that only .cc files of its own room include may show the library that the room wraps."""
    name = str(path.relative_to(ROOT / "src")) if "src" in path.parts else path.name
    for other in sources():
        for _, angled, target in includes(other):
            if not angled and target == name and (other.suffix == ".h" or room_of(other) != room_of(path)):
                return False
    return True


def cycles():
    """Cycles between headers: each file visited once, a back edge is a cycle."""
    graph = {}
    for path in sources():
        if path.suffix == ".h":
            name = str(path.relative_to(ROOT / "src")) if "src" in path.parts else path.name
            graph[name] = [t for _, angled, t in includes(path) if not angled]
    state, found = {}, []

    def visit(node, trail):
        state[node] = "open"
        for after in graph.get(node, []):
            if state.get(after) == "open":
                found.append("include cycle: " + " -> ".join(trail + [node, after]))
            elif after not in state:
                visit(after, trail + [node])
        state[node] = "done"

    for node in graph:
        if node not in state:
            visit(node, [])
    return found


def twin_types():
    """Types that two headers define under one name: the program would be built of either, at the linker's choice."""
    opens, closes = re.compile(r"^namespace ([\w:]+) \{"), re.compile(r"^\}  // namespace")
    defines = re.compile(r"^(?:class|struct|union|enum class|enum) (?:\[\[\w+\]\] )?(\w+)(?! *;)(?: final)?(?: : [^;]*)?\s*\{")
    known = {}
    for path in sources():
        spaces = []
        for line in path.read_text().splitlines() if path.suffix == ".h" else []:
            if match := opens.match(line):
                spaces.append(match.group(1))
            elif closes.match(line) and spaces:
                spaces.pop()
            elif match := defines.match(line):
                name, where = "::".join([*spaces, match.group(1)]), path.relative_to(ROOT)
                if name in known:
                    yield f"{where}: {name} is defined by {known[name]} too"
                known[name] = where


def length_breaches():
    for path in [*sources(), *page_files()]:
        lines = len(path.read_text().splitlines())
        is_kernel = path.suffix not in (".js", ".css", ".html") and room_of(path) == "ops" or "table" in path.stem
        limit = MAX_LINES_KERNEL if is_kernel else MAX_LINES
        if lines > limit:
            yield f"{path.relative_to(ROOT)}: {lines} lines, the limit is {limit}"


def spdx_breaches():
    for path in [*sources(), *page_files()]:
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text()[:200]:
            yield f"{path.relative_to(ROOT)}: no SPDX line"


def figures():
    own = [p for p in sources() if not is_test(p)]
    lengths = sorted(len(p.read_text().splitlines()) for p in own)
    texts = [line.strip() for p in own for line in p.read_text().splitlines() if line.strip()]
    comments = sum(1 for line in texts if line.startswith("//")) / max(1, len(texts))
    tests = sum(len(p.read_text().splitlines()) for p in sources() if is_test(p))
    print(f"files: {len(own)}, median {statistics.median(lengths):.0f}, p90 {lengths[int(len(lengths) * 0.9)]}, max {lengths[-1]} lines")
    print(f"comment lines: {100 * comments:.1f} % of non-blank; test lines : source lines = {tests / sum(lengths):.2f}")
    catches = sum(len(re.findall(r"\bcatch \(", p.read_text())) for p in own if "src" in p.parts)
    print(f"catch sites in src/: {catches}")
    functions = function_lengths(own)
    if functions:
        print(f"functions: {len(functions)}, median {statistics.median(functions):.0f}, p90 {functions[int(len(functions) * 0.9)]}, "
              f"p99 {functions[int(len(functions) * 0.99)]}, max {functions[-1]} lines (kernels included)")


def function_lengths(paths):
    """Line of the name to closing brace, by Universal Ctags; empty where it is not installed."""
    import json
    import shutil
    import subprocess
    if not shutil.which("ctags"):
        return []
    out = subprocess.run(["ctags", "--output-format=json", "--fields=+ne", "--kinds-C++=f", "-f", "-", *map(str, paths)],
                         capture_output=True, text=True).stdout
    tags = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    return sorted(t["end"] - t["line"] + 1 for t in tags if "end" in t)


def main():
    floors = read_floors()
    found = [b for path in sources() for b in breaches_of(path, floors)]
    found += cycles() + list(twin_types()) + list(length_breaches()) + list(spdx_breaches())
    for breach in found:
        print(breach)
    if "--figures" in sys.argv:
        figures()
    print(f"{len(found)} breaches of the house rules")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
