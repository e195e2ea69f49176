# SPDX-License-Identifier: Apache-2.0
"""Makes the tiny SentencePiece models of this folder and what the library gives for some texts.

Needs `pip install sentencepiece`. python3 make.py writes spark_bpe.model, spark_unigram.model,
plain.model and cases.json beside itself.
"""
import io
import json
import pathlib
import random
import tempfile

import sentencepiece as spm

HERE = pathlib.Path(__file__).parent
SYMBOLS = ["<ret>", "<end>", "<start>", "<System>", "<User>", "<Bot>", "<unused6>", "<unused7>"]
WORDS = """import Mathlib open Real Nat theorem lemma example def let have show by sorry simp intro exact
 apply rw ring norm_num linarith fun forall exists prime odd even sum product integer real number set
 finite bounded function continuous the of and that prove for all positive x y z n m k a b c h f g p q
 = < > ≤ ≥ ≠ ∀ ∃ ∈ ∑ ∏ ℝ ℕ ℤ → ↔ ∧ ∨ ( ) { } [ ] : := , . + - * / ^ 0 1 2 3 4 5 6 7 8 9 10 100 2024
 证明 实数 整数 对于 所有""".split()
TEXTS = [
    "",
    " ",
    "theorem",
    " theorem",
    "  theorem  x",
    "import Mathlib",
    "theorem foo (x y : ℝ) (h : 0 < x) : x + y ≤ 2 * x ∧ y ≥ 0 := by sorry",
    "证明：对于所有实数 x，x^2 ≥ 0。",
    "zebra ĳ ﬁ ① Ⅳ é e\u0301 😀 ｆｕｌｌ",
    "a\u00a0b\u3000c",
    "x<ret>y",
    "<User> prove that<end><Bot> ",
    "1234567890",
    "x" * 40,
    "▁ already",
]


def rules():
    """A few rules of normalization, so that the file holds a table of them: full width to ASCII,
    ligatures, other spaces. With a space in front of a text, as the library does by default."""
    lines = [f"{code:X}\t{code - 0xFEE0:X}" for code in range(0xFF01, 0xFF5F)]
    lines += ["FB01\t66 69", "132\t49 4A", "9\t20", "A\t20", "A0\t20", "3000\t20", "65 301\tE9", "2460\t31", "2163\t49 56"]
    path = pathlib.Path(tempfile.gettempdir()) / "quern_sentencepiece_rules.tsv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def train(model_type, **more):
    random.seed(5)
    lines = [" ".join(random.choices(WORDS, k=12)) for _ in range(2000)]
    lines += ["  " * random.randint(0, 4) + " ".join(random.choices(WORDS, k=6)) for _ in range(500)]
    out = io.BytesIO()
    options = dict(vocab_size=640, byte_fallback=True, character_coverage=1.0, num_threads=1,
                   pad_id=0, bos_id=1, unk_id=3, eos_id=2, hard_vocab_limit=False)
    options.update(more)
    spm.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=out,
                                   model_type=model_type, minloglevel=2, **options)
    return out.getvalue()


def main():
    # Ids as in the older files of the family: <end> is 5.
    spark = dict(user_defined_symbols=SYMBOLS, normalization_rule_name="identity",
                 add_dummy_prefix=False, remove_extra_whitespaces=False, split_digits=True,
                 allow_whitespace_only_pieces=True)
    models = {
        "spark_bpe": train("bpe", **spark),
        "spark_unigram": train("unigram", **spark),
        "plain": train("unigram", vocab_size=420, byte_fallback=False, normalization_rule_tsv=rules()),
    }
    cases = {}
    for name, data in models.items():
        (HERE / f"{name}.model").write_bytes(data)
        sp = spm.SentencePieceProcessor(model_proto=data)
        cases[name] = [{"text": text, "ids": sp.encode(text)} for text in TEXTS]
    parts = [f'"{name}": [\n' + ",\n".join(json.dumps(c, ensure_ascii=False) for c in rows) + "\n]"
             for name, rows in cases.items()]
    (HERE / "cases.json").write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main()
