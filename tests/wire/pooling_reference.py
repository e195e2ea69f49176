# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/pooling/expected.json: what transformers makes of the folders of pooling_folders.py, in float32, one text at a time.

Needs torch and transformers, which the tests do not: python3 tests/wire/pooling_reference.py
"""
import json
import pathlib
import tempfile

import torch
import transformers

import pooling_folders as folders

OUT = pathlib.Path(__file__).resolve().parents[1] / "data/pooling/expected.json"


def rounded(tensor):
    return [float(f"{value:.7g}") for value in tensor.tolist()]


def hidden_states(folder, tokenizer, text):
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]


def scores(folder, tokenizer, *texts):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    model.config.pad_token_id = None  # one text at a time: the last token is the last
    return model(**tokenizer(*texts, return_tensors="pt")).logits[0]


@torch.inference_mode()
def main():
    out = {"made_with": f"transformers {transformers.__version__}, torch {torch.__version__}"}
    with tempfile.TemporaryDirectory() as parent:
        made = {name: folders.make(name, parent) for name in folders.FOLDERS}
        tokenizers = {name: transformers.AutoTokenizer.from_pretrained(folder) for name, folder in made.items()}
        states = {name: [hidden_states(made[name], tokenizers[name], text) for text in folders.TEXTS] for name in ("last", "mean")}
        normalize = torch.nn.functional.normalize
        out["last"] = [rounded(normalize(h[-1], dim=0)) for h in states["last"]]
        out["cls"] = [rounded(normalize(h[0], dim=0)) for h in states["last"]]
        out["mean"] = [rounded(h.mean(dim=0)) for h in states["mean"]]
        out["tokens"] = [len(h) for h in states["mean"]]
        out["cut"] = tokenizers["mean"](folders.TEXTS[1], truncation=True, max_length=5)["input_ids"]
        out["classes"] = [rounded(scores(made["classes"], tokenizers["classes"], text).softmax(dim=0)) for text in folders.TEXTS]
        out["pairs"] = [rounded(scores(made["pairs"], tokenizers["pairs"], *pair).sigmoid())[0] for pair in folders.PAIRS]
        out["pair_ids"] = tokenizers["pairs"](*folders.PAIRS[1])["input_ids"]
    OUT.write_text(json.dumps(out) + "\n")


main()
