# SPDX-License-Identifier: Apache-2.0
"""Tiny pooling models, made of the golden text models: the same weights under other names, with the files of sentence-transformers or a head."""
import json
import math
import pathlib
import shutil
import struct

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
TEXTS = ["Hello world", "The quick brown fox jumps over the lazy dog.", "a", "To be, or not to be, that is the question. " * 8]
PAIRS = [("What is a fox?", "The quick brown fox jumps over the lazy dog."), ("What is a fox?", "Hello world"), ("a", "a")]
DIMS = {"qwen2_tied": 128, "llama3": 128}

# name: (golden model, architecture, what else)
FOLDERS = {
    "last": ("qwen2_tied", "Qwen2Model", {"mode": "lasttoken", "normalizes": True}),
    "mean": ("llama3", "LlamaForCausalLM", {"mode": "mean_tokens"}),
    "classes": ("qwen2_tied", "Qwen2ForSequenceClassification", {"labels": ["no", "maybe", "yes"]}),
    "pairs": ("llama3", "LlamaForSequenceClassification", {"labels": ["LABEL_0"]}),
}


def read_tensors(path):
    """name: (dtype, shape, bytes)"""
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size + t["data_offsets"][0]:8 + size + t["data_offsets"][1]]) for name, t in header.items()}


def write_tensors(path, tensors):
    header, body = {}, b""
    for name, (dtype, shape, data) in sorted(tensors.items()):
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def head(labels, hidden):
    values = [0.2 * math.sin(1 + 7919 * row + 0.37 * column) for row in range(labels) for column in range(hidden)]
    return "F32", [labels, hidden], struct.pack(f"<{len(values)}f", *values)


def make(name, parent):
    """The folder of one of FOLDERS, below `parent`."""
    golden, architecture, more = FOLDERS[name]
    source, folder = GOLDEN / golden, pathlib.Path(parent) / name
    folder.mkdir(parents=True)
    for file in ["tokenizer.json", "tokenizer_config.json"]:
        shutil.copy(source / file, folder)
    config = json.loads((source / "config.json").read_text())
    config["architectures"] = [architecture]
    tensors = read_tensors(source / "model.safetensors")
    if not architecture.endswith("CausalLM"):
        tensors.pop("lm_head.weight", None)
    if architecture.endswith("Model"):
        tensors = {each.removeprefix("model."): tensor for each, tensor in tensors.items()}
    if "labels" in more:
        config["id2label"] = {str(i): label for i, label in enumerate(more["labels"])}
        config["label2id"] = {label: i for i, label in enumerate(more["labels"])}
        tensors["score.weight"] = head(len(more["labels"]), config["hidden_size"])
    if "mode" in more:
        kinds = [("", "Transformer"), ("1_Pooling", "Pooling")] + ([("2_Normalize", "Normalize")] if more.get("normalizes") else [])
        (folder / "modules.json").write_text(json.dumps(
            [{"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"} for i, (path, kind) in enumerate(kinds)]))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text(json.dumps(
            {"word_embedding_dimension": config["hidden_size"], f"pooling_mode_{more['mode']}": True, "include_prompt": True}))
    (folder / "config.json").write_text(json.dumps(config))
    write_tensors(folder / "model.safetensors", tensors)
    return folder
