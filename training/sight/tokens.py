# SPDX-License-Identifier: Apache-2.0
"""quern-sight's tokenizer: Qwen2's byte-level form with a small vocabulary.

Ids 0..255 are bytes in GPT-2's order of printable stand-ins, then merges, then Qwen's added tokens; 512 in all. The merges
build the words of our own prompts, so that a question costs a handful of tokens instead of fifty: on a CPU the prompt is
most of the language model's work. What a picture says is always answered byte by byte, see `spell`.
"""
import functools
import re

SIZE = 512
ADDED = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>",
         "<|box_end|>", "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
         "<|image_pad|>", "<|video_pad|>"]
SPECIAL = {name: SIZE - len(ADDED) + i for i, name in enumerate(ADDED)}
# Most wanted first: merges are taken until the vocabulary is full.
PHRASES = ("user", "assistant", "system", "What does it say?", "Read the text.", "Read it.", "What is written here?",
           "Where is", "How many", "What colour is the", "What is at the top left", " bottom right", "top", "bottom",
           " circles", " squares", " triangles", 'do(action="Tap", element=[9,9])', 'finish(message="done")',
           'do(action="Type", text="x")', 'do(action="Swipe", start=[1,1], end=[1,1])', 'do(action="Back")',
           'do(action="Launch", app="x")', "Goal: Turn on", "off", "Open", "Search", "Send", "Call", "Add", "Delete", "red",
           "green", "blue", "yellow", "black", "white", "orange", "purple", "the last line", "How many lines", "button",
           "switch", "message", "number", "screen", "picture", "please", "application")
# Qwen2's pre-tokenizer, for the ASCII that our prompts are made of.
PIECE = re.compile(r"'(?:[sdmt]|ll|ve|re)|[^\r\nA-Za-z0-9]?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_order():
    """GPT-2's table: printable bytes stand for themselves, the others for code points from 256 on; ids follow the table."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    rest = [b for b in range(256) if b not in printable]
    return {b: i for i, b in enumerate(printable + rest)}


ORDER = byte_order()


def spell(text):
    """One id per byte."""
    return [ORDER[b] for b in text.encode()]


def _merge(ids, ranks):
    """Byte-pair encoding of one piece: the earliest merge first (Sennrich 2016)."""
    while True:
        pairs = [(ranks[p], i) for i, p in enumerate(zip(ids, ids[1:])) if p in ranks]
        if not pairs:
            return ids
        made, at = min(pairs)
        ids = ids[:at] + [made] + ids[at + 2:]


def _learn():
    """{(left, right): id} from left to right through each piece of PHRASES; its order is the order of the merges."""
    ranks, last = {}, SIZE - len(ADDED)
    for piece in (piece for phrase in PHRASES for piece in PIECE.findall(phrase)):
        ids = _merge(spell(piece), ranks)
        while len(ids) > 1 and 256 + len(ranks) < last:
            ranks[ids[0], ids[1]] = 256 + len(ranks)
            ids = _merge(ids, ranks)
    return ranks


RANKS = _learn()


@functools.lru_cache(4096)
def encode(text):
    """The ids that the exported tokenizer gives."""
    return tuple(i for piece in PIECE.findall(text) for i in _merge(spell(piece), RANKS))


assert len(RANKS) == SIZE - len(ADDED) - 256, "the phrases must fill the vocabulary, for added tokens follow the merges"
