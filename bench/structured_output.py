# SPDX-License-Identifier: Apache-2.0
"""Structured output held to the JSON-Schema-Test-Suite, and its times against llguidance.

    ./dev bench structured_output [--tokenizer smollm2-135m] [--no-peer] [--json OUT] [--list]

Every group of the suite (a schema with valid and invalid instances) is given to `quern grammar`: is the schema accepted, and are the
instances judged as the suite does? An invalid instance that passes is a fault (exit code 1). A valid one that is refused is counted:
numbers in unusual spelling, properties in another order than the schema's. The suite is the one in the source archive of PyPI's
jsonschema (bench/jsonschema_suite.txt). Instances are written by json.dumps(ensure_ascii=False).

Times: the masks of the longer documents below, and the compilation of every accepted schema, over the same vocabulary and tokens in
quern (xgrammar) and in llguidance (PyPI), one after the other in this run.
"""
import argparse
import collections
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
QUERN = ROOT / "build/release/quern"
SUITE = ROOT / "build/third_party/jsonschema/json/tests"
PEER = "llguidance==1.9.1"
# The keywords that people constrain answers with. The whole suite is shown too; it adds references into other documents or by name at
# run time, annotations that are collected across subschemas, and format.json, which asks that formats are NOT asserted (here they are).
COLLECTION = """additionalProperties allOf anyOf boolean_schema const contains default definitions defs dependencies dependentRequired
dependentSchemas enum exclusiveMaximum exclusiveMinimum if-then-else items maxContains maxItems maxLength maxProperties maximum minContains
minItems minLength minProperties minimum multipleOf not oneOf pattern patternProperties prefixItems properties propertyNames ref required
type uniqueItems""".split()

LONG = [
    ({"type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                                       "email": {"type": "string", "pattern": "^[a-z0-9.]+@[a-z0-9.]+$"},
                                       "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "minItems": 1}},
      "required": ["name", "age", "email", "tags"], "additionalProperties": False},
     {"name": "Grace Brewster Murray Hopper", "age": 85, "email": "grace.hopper@navy.mil", "tags": ["red", "blue", "green", "green"]}),
    ({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "properties": {"label": {"type": "string"}, "children": {
        "type": "array", "items": {"$ref": "#/$defs/node"}}}, "required": ["label", "children"], "additionalProperties": False}}},
     {"label": "root", "children": [{"label": f"child {i}", "children": [{"label": "leaf", "children": []}] * 2} for i in range(8)]}),
    ({"type": "object"}, {"free": {"text": "The quick brown fox jumps over the lazy dog. " * 4, "n": [1, 2.5, -3e4, None, True]}, "more": [{"k": "v"}] * 8}),
    ({"type": "array", "items": {"oneOf": [
        {"type": "object", "properties": {"kind": {"const": "move"}, "x": {"type": "number"}, "y": {"type": "number"}}, "required": ["kind", "x", "y"], "additionalProperties": False},
        {"type": "object", "properties": {"kind": {"const": "say"}, "text": {"type": "string", "maxLength": 80}}, "required": ["kind", "text"], "additionalProperties": False}]}},
     [{"kind": "move", "x": 1.5, "y": -20}, {"kind": "say", "text": "Good morning, how are you today?"}] * 8),
]


def groups(dialect):
    for file in sorted((SUITE / dialect).glob("*.json")):
        for group in json.loads(file.read_text(encoding="utf-8")):
            schema = group["schema"]
            if dialect.startswith("draft7") and isinstance(schema, dict) and "$schema" not in schema:
                schema = {"$schema": "http://json-schema.org/draft-07/schema#", **schema}
            yield file.stem, f"{dialect}/{file.stem}: {group['description']}", schema, group["tests"]


def dumped(value):
    return json.dumps(value, ensure_ascii=False)


def judge(schema, instances, folder, tokenizer):
    (folder / "schema.json").write_text(dumped(schema), encoding="utf-8", errors="surrogatepass")
    command = [QUERN, "grammar", "--json", "--schema", folder / "schema.json"]
    for i, instance in enumerate(instances):
        (folder / f"{i}.json").write_text(dumped(instance), encoding="utf-8", errors="surrogatepass")
        command += ["--instance", folder / f"{i}.json"]
    if tokenizer:
        command += ["--tokenizer", tokenizer]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)
    if not done.stdout.startswith("{"):
        sys.exit(f"quern grammar: exit {done.returncode}: {done.stderr}\n{dumped(schema)}")
    return json.loads(done.stdout)


def run_suite(dialect, folder, tokenizer, names):
    total = collections.Counter()
    refused, wrong, strict, compile_ms = [], [], [], []
    for keyword, title, schema, tests in groups(dialect):
        if names and keyword not in names:
            continue
        total["schemas"] += 1
        answer = judge(schema, [t["data"] for t in tests], folder, tokenizer)
        if not answer["compiled"]:
            refused.append((title, answer["pointer"], answer["error"]))
            continue
        total["accepted"] += 1
        compile_ms.append(answer["compile_ms"])
        for test, verdict in zip(tests, answer["instances"]):
            total["valid" if test["valid"] else "invalid"] += 1
            if verdict["accepted"] and not test["valid"]:
                wrong.append((title, test["description"], dumped(test["data"])))
            if test["valid"] and not verdict["accepted"]:
                strict.append((title, test["description"], dumped(test["data"])))
    return {"total": total, "refused": refused, "invalid_accepted": wrong, "valid_refused": strict, "compile_ms": compile_ms}


def quantile(values, share):
    values = sorted(values)
    return values[int(share * (len(values) - 1))] if values else 0.0


def token_bytes(gguf):
    """The bytes of each token of a byte-level vocabulary in a GGUF file, its end-of-sequence id, its special ids."""
    import gguf as reader
    fields = reader.GGUFReader(gguf).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    kinds = fields["tokenizer.ggml.token_type"].contents()
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    others = [b for b in range(256) if b not in printable]
    byte_of = {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}
    special = [i for i, kind in enumerate(kinds) if kind != 1]
    texts = [t.encode() if i in set(special) else bytes(byte_of[c] for c in t) for i, t in enumerate(tokens)]
    return texts, int(fields["tokenizer.ggml.eos_token_id"].contents()), special


def time_peer(cases):
    """Run by the peer's own Python: {"schemas", "documents", "gguf"} on stdin, times on stdout."""
    import llguidance
    texts, eos, special = token_bytes(cases["gguf"])

    class Vocabulary:
        eos_token_id, bos_token_id, tokens, special_token_ids = eos, None, texts, special

        def __call__(self, text):
            return [texts.index(bytes([b])) for b in (text.encode() if isinstance(text, str) else text)]

    tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Vocabulary()))
    matcher_of = lambda schema: llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_json_schema(dumped(schema)))
    matcher_of({"type": "object"}).compute_bitmask()
    compile_ms, refused, mask_us = [], 0, []
    for schema in cases["schemas"]:
        began = time.perf_counter()
        matcher = matcher_of(schema)
        if matcher.is_error():
            refused += 1
        else:
            compile_ms.append((time.perf_counter() - began) * 1e3)
    for schema, ids in cases["documents"]:
        matcher = matcher_of(schema)
        for token in ids:
            began = time.perf_counter()
            matcher.compute_bitmask()
            mask_us.append((time.perf_counter() - began) * 1e6)
            if not matcher.consume_token(token):
                break
    print(json.dumps({"compile_ms": compile_ms, "refused": refused, "mask_us": mask_us}))


def peer_times(schemas, documents):
    venv = ROOT / "build/venv-llguidance"
    if not (venv / "bin/python").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin/pip", "install", "-q", PEER, "gguf==0.19.0"], check=True)
    cases = {"schemas": schemas, "documents": documents, "gguf": str(ROOT / "build/models/smollm2-135m/model.gguf")}
    done = subprocess.run([venv / "bin/python", __file__, "--as-peer"], input=json.dumps(cases), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{PEER} did not run:\n{done.stderr}")
    return json.loads(done.stdout)


def line_of_times(name, compile_ms, mask_us):
    print(f"{name:28} {len(compile_ms):5} schemas: compile median {statistics.median(compile_ms):.2f} ms, p99 {quantile(compile_ms, 0.99):.2f} ms;"
          f" {len(mask_us):5} masks: median {statistics.median(mask_us):.1f} us, p99 {quantile(mask_us, 0.99):.1f} us")


def show_suite(name, result, lists):
    total, seen = result["total"], max(result["total"]["valid"], 1)
    print(f"{name}: {total['schemas']} schemas, {total['accepted']} accepted ({100 * total['accepted'] / max(total['schemas'], 1):.1f} %); "
          f"{total['invalid']} invalid instances, {len(result['invalid_accepted'])} accepted; "
          f"{total['valid']} valid instances, {len(result['valid_refused'])} refused ({100 * len(result['valid_refused']) / seen:.2f} %)")
    causes = collections.Counter(pointer.rsplit("/", 1)[-1] or error[:60] for _, pointer, error in result["refused"])
    print("  refused by keyword: " + ", ".join(f"{cause} {count}" for cause, count in causes.most_common()))
    for title, description, text in result["invalid_accepted"]:
        print(f"  INVALID ACCEPTED  {title}: {description}: {text}")
    if lists:
        for title, description, text in result["valid_refused"]:
            print(f"  valid refused     {title}: {description}: {text}")
        for title, pointer, error in result["refused"]:
            print(f"  schema refused    {title}: {error}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokenizer", default="smollm2-135m", help="vocabulary of the times")
    parser.add_argument("--no-peer", action="store_true", help="without llguidance")
    parser.add_argument("--no-times", action="store_true", help="the suite alone")
    parser.add_argument("--list", action="store_true", help="every schema and valid instance that is refused")
    parser.add_argument("--json", help="write the figures here")
    parser.add_argument("--as-peer", action="store_true", help=argparse.SUPPRESS)
    o = parser.parse_args()
    if o.as_peer:
        return time_peer(json.load(sys.stdin))
    subprocess.run([sys.executable, ROOT / "cmake/fetch_source.py", ROOT / "bench/jsonschema_suite.txt", ROOT / "build/third_party/jsonschema",
                    ROOT / "build/archives"], check=True)
    out, faults = {}, 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for dialect in ("draft2020-12", "draft7"):
            for title, names in (("collection", COLLECTION), ("whole suite", None)):
                result = run_suite(dialect, folder, None, names)
                show_suite(f"{dialect}, {title}", result, o.list and names is None)
                faults += len(result["invalid_accepted"])
                out[f"{dialect} {title}"] = {**result, "total": dict(result["total"])}
        result = run_suite("draft2020-12/optional/format", folder, None, None)
        show_suite("formats, asserted (draft2020-12/optional/format)", result, o.list)
        faults += len(result["invalid_accepted"])
        out["formats"] = {**result, "total": dict(result["total"])}
        if not o.no_times:
            out["times"] = times(folder, o)
    if o.json:
        pathlib.Path(o.json).write_text(json.dumps(out, indent=1, ensure_ascii=False), encoding="utf-8")
    return 1 if faults else 0


def times(folder, o):
    schemas, documents, compile_ms, mask_us = [], [], [], []
    for _, _, schema, _ in groups("draft2020-12"):
        answer = judge(schema, [], folder, o.tokenizer)
        if answer["compiled"]:
            schemas.append(schema)
            compile_ms.append(answer["compile_ms"])
    for schema, document in LONG:
        answer = judge(schema, [document], folder, o.tokenizer)
        if not answer["instances"][0]["accepted"]:
            sys.exit(f"a document of this script is refused: {answer['instances'][0]}")
        documents.append((schema, answer["instances"][0]["ids"]))
        mask_us += answer["mask_us"]["all"]
    line_of_times(f"quern ({o.tokenizer})", compile_ms, mask_us)
    figures = {"quern": {"compile_ms": compile_ms, "mask_us": mask_us}}
    if not o.no_peer:
        peer = peer_times(schemas, documents)
        line_of_times(f"{PEER}", peer["compile_ms"], peer["mask_us"])
        print(f"  of the schemas that quern accepts, {peer['refused']} are refused by {PEER}")
        figures[PEER] = peer
    return figures


if __name__ == "__main__":
    sys.exit(main())
