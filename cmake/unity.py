#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Which source files are compiled together: quern_unity() of quern.cmake asks when it configures.

    unity.py ROOT                       prints the names that headers use, for NAMES
    unity.py NAMES FOLDER FILE...       prints a line "GROUP FILE" for each file that is in a group

Files of one group become one translation unit. What stands in the unnamed namespace of one must not be found from another: a twin of the
same signature is an error of the compiler, but one of another may take calls that were meant for somebody else, or hide a function of a
header. So no name that one file has to itself stands in any other file of its group, in whatever sense, nor means something in a header. Files are
taken in their order, each into the first group that has room; who fits nowhere with another is compiled alone.
"""
import pathlib
import re
import sys

MOST = 8  # files of a group
# Every file that has these local names means the same by them.
SHARED = {"fs", "std", "testing", "HasSubstr", "ElementsAre", "ElementsAreArray", "AllOf"}
RAW, COMMENT = re.compile(r'R"(\w*)\(.*?\)\1"', re.S), re.compile(r"//[^\n]*")
TEXT, LETTER = re.compile(r'"(?:\\.|[^"\\\n])*"'), re.compile(r"'(?:\\.|[^'\\\n])*'")
INCLUDE = re.compile(r"^#include[^\n]*", re.M)
WORD = re.compile(r"(\.|->|::)?\s*\b([A-Za-z_]\w*)")
CALL = re.compile(r"(?<![.>:\w])([A-Za-z_]\w*)\s*\(")
TYPE = re.compile(r"(?:struct|class|union|enum class|enum) (?:alignas\(\w+\) )?(\w+)[^;(]*(?:\{|$)")
HEADER_TYPE = re.compile(r"(?:struct|class|union|enum class|enum|using) (?:\[\[\w+\]\] )?(\w+)")
ALIAS = re.compile(r"using (?:\w+::)*(\w+)(?: =|;)")
TEMPLATE_ARGUMENTS = re.compile(r"<[^<>=]*>")
FUNCTION = re.compile(r"(\w+)\(")
VARIABLE = re.compile(r"\b(\w+)(?:\[[^\]]*\])*\s*(?:=|\{|;|,|$)")


def bare(path):
    """The text without what is no code: comments, strings, letters, includes."""
    text = RAW.sub('""', path.read_text())
    for pattern in (INCLUDE, COMMENT, TEXT, LETTER):
        text = pattern.sub(" ", text)
    return text


def name_in(line):
    """What a line of an unnamed namespace defines, if it begins a definition."""
    if kind := TYPE.match(line) or ALIAS.match(line):
        return kind.group(1)
    while (shorter := TEMPLATE_ARGUMENTS.sub("", line)) != line:  # their commas end no name
        line = shorter
    before = line.split("=")[0]
    found = FUNCTION.search(before) or VARIABLE.search(line)
    return found.group(1) if found else None


def own_names(path):
    """Names of the unnamed namespaces; by the house's format their definitions begin in the first column."""
    names, is_inside = set(), False
    for line in path.read_text().splitlines():
        if line in ("namespace {", "}  // namespace"):
            is_inside = line == "namespace {"
        elif is_inside and re.match(r"[A-Za-z_]", line) and not line.startswith(("template", "static_assert", "TEST", "INSTANTIATE", "BENCHMARK")):
            if name := name_in(COMMENT.sub("", line).removeprefix("MATCHER(").removeprefix("MATCHER_P(")):
                names.add(name)
    return names - SHARED


def words(text):
    """Every name that is not looked up in something else: behind a point, an arrow or colons."""
    return {word for member, word in WORD.findall(text) if not member}


def used_by_headers(root):
    """Types of headers, and functions that inline code of a header calls or seems to: a header may first be read behind a file's own names."""
    types, declared, seen = set(), set(), set()
    for top in ("src", "apps"):
        for header in (root / top).rglob("*.h"):
            for line in bare(header).splitlines():
                (seen if line.startswith(" ") else declared).update(CALL.findall(line))
                if kind := HEADER_TYPE.match(line):
                    types.add(kind.group(1))
    return types | declared & seen


def main():
    if len(sys.argv) == 2:
        print("\n".join(sorted(used_by_headers(pathlib.Path(sys.argv[1])))))
        return
    used, folder = set(pathlib.Path(sys.argv[1]).read_text().split()), pathlib.Path(sys.argv[2])
    groups = []  # [files, their own names, their words]
    for file in sys.argv[3:]:
        path = folder / file
        if not path.exists():
            continue  # made by the build
        text = bare(path)
        own, all_words = own_names(path), words(text)
        if own & used:
            continue
        for group in groups:
            if len(group[0]) < MOST and not own & group[2] and not group[1] & all_words:
                break
        else:
            group = [[], set(), set()]
            groups.append(group)
        group[0].append(file)
        group[1].update(own)
        group[2].update(all_words)
    for number, (files, _, _) in enumerate(groups):
        for file in files if len(files) > 1 else []:
            print(number, file)


if __name__ == "__main__":
    main()
