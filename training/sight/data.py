# SPDX-License-Identifier: Apache-2.0
"""Samples for quern-sight, drawn on the fly: a picture, a question, an answer.

Every batch has one picture size and one task, so that the training step needs no padding inside the tower. A curriculum
level in 0..1 makes text longer and pictures dirtier. Held-out fonts are never seen by training: see HELD_OUT.
"""
import glob
import os
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Font families (by file name prefix) that only evaluation uses.
HELD_OUT = ("Lato", "OpenSans", "LinLibertine")
# Faces that a reader could not tell from others or that draw no ordinary letters.
UNUSABLE = ("LinLibertine_K", "LinBiolinum_K", "LinLibertine_I", "Symbol", "Dingbats", "LinLibertine_DR")
CELL = 28  # pixels of one language-model token on each side

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
MARKS = ".,:;!?-+=/#@%&()'\"$*"
WORDS = ("the of and to in is you that it he was for on are as with his they at be this have from or one had by word but not "
         "what all were we when your can said there use an each which she do how their if will up other about out many then "
         "them these so some her would make like him into time has look two more write go see number no way could people my "
         "than first water been call who oil its now find long down day did get come made may part open save send list "
         "settings wifi home phone alarm music photo camera clock email search cancel delete battery screen volume").split()
COLOURS = {"red": (210, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 210), "yellow": (235, 205, 50),
           "black": (20, 20, 20), "white": (245, 245, 245), "orange": (240, 140, 30), "purple": (140, 60, 170)}
READ = ("What does it say?", "Read the text.", "Read it.", "What is written here?")


def fonts(held_out):
    found = []
    for path in sorted(glob.glob("/usr/share/fonts/truetype/**/*.ttf", recursive=True)
                       + glob.glob("/usr/share/fonts/opentype/**/*.otf", recursive=True)):
        name = os.path.basename(path)
        if not name.startswith(UNUSABLE) and name.startswith(HELD_OUT) == held_out:
            found.append(path)
    return found


class Painter:
    """Draws samples from one random stream; the same seed gives the same samples."""

    def __init__(self, seed, held_out=False):
        self.rng = random.Random(seed)
        self.paths = fonts(held_out)
        self.cache = {}

    def font(self, size):
        key = (self.rng.choice(self.paths), size)
        if key not in self.cache:
            if len(self.cache) > 600:
                self.cache.clear()
            self.cache[key] = ImageFont.truetype(*key)
        return self.cache[key]

    def text(self, length):
        """About `length` characters: words, digits, mixed strings."""
        r = self.rng
        kind = r.random()
        if kind < 0.45:
            out = r.choice(WORDS)
            while len(out) < length and r.random() < 0.8:
                out += " " + r.choice(WORDS)
            out = out[:length].strip()
            style = r.random()
            out = out.upper() if style < 0.15 else out.capitalize() if style < 0.4 else out.title() if style < 0.5 else out
            return out or r.choice(LETTERS)
        if kind < 0.65:
            return "".join(r.choice(DIGITS) for _ in range(length))
        alphabet = LETTERS + LETTERS.upper() + DIGITS
        if kind < 0.9:
            return "".join(r.choice(alphabet) for _ in range(length))
        return "".join(r.choice(alphabet + MARKS) for _ in range(length))

    def colours(self):
        """A background and a foreground that can be told apart."""
        r = self.rng
        if r.random() < 0.5:
            pair = [(255, 255, 255), (0, 0, 0)]
            return pair if r.random() < 0.8 else pair[::-1]
        while True:
            back, front = (tuple(r.randrange(256) for _ in range(3)) for _ in range(2))
            if abs(sum(back) - sum(front)) > 240:
                return back, front

    def line(self, width, height, level):
        """(picture, text) of one line; `level` sets length and dirt."""
        r = self.rng
        longest = 1 + int(level * 15)
        for _ in range(20):
            text = self.text(r.randint(1, longest))
            font = self.font(r.randint(int(height * 0.45), int(height * 0.86)))
            left, top, right, bottom = font.getbbox(text)
            if right - left <= width - 4 and bottom - top <= height - 1:
                break
        else:
            text, font = "7", self.font(int(height * 0.5))
            left, top, right, bottom = font.getbbox(text)
        back, front = self.colours()
        image = Image.new("RGB", (width, height), back)
        x = r.randint(2, max(2, width - (right - left) - 2)) - left
        y = r.randint(0, max(0, height - (bottom - top))) - top
        ImageDraw.Draw(image).text((x, y), text, font=font, fill=front)
        if r.random() < 0.4 * level:
            image = image.rotate(r.uniform(-2.5, 2.5), Image.BILINEAR, fillcolor=back)
        if r.random() < 0.2 * level:
            image = image.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 0.8)))
        return image, text

    def shapes(self, size):
        """(picture, question, answer): count shapes of one kind, or name a colour."""
        r = self.rng
        back = r.choice(["white", "black"])
        image = Image.new("RGB", (size, size), COLOURS[back])
        draw = ImageDraw.Draw(image)
        usable = [c for c in COLOURS if c != back]
        kinds = ("circle", "square", "triangle")
        cells = [(x, y) for x in range(3) for y in range(3)]
        r.shuffle(cells)
        placed = []
        for x, y in cells[: r.randint(1, 6)]:
            kind, colour = r.choice(kinds), r.choice(usable)
            step = size // 3
            radius = r.randint(step // 5, step // 2 - 2)
            cx, cy = x * step + step // 2, y * step + step // 2
            box = (cx - radius, cy - radius, cx + radius, cy + radius)
            if kind == "circle":
                draw.ellipse(box, fill=COLOURS[colour])
            elif kind == "square":
                draw.rectangle(box, fill=COLOURS[colour])
            else:
                draw.polygon([(cx, box[1]), (box[0], box[3]), (box[2], box[3])], fill=COLOURS[colour])
            placed.append((kind, colour))
        kind = r.choice(kinds)
        count = sum(k == kind for k, _ in placed)
        if count == 1 and r.random() < 0.5:
            return image, f"What colour is the {kind}?", next(c for k, c in placed if k == kind)
        return image, f"How many {kind}s?", str(count)

    def labels(self, size):
        """(picture, question, answer): labelled items in four corners; where is one of them?"""
        r = self.rng
        back, front = self.colours()
        image = Image.new("RGB", (size, size), back)
        draw = ImageDraw.Draw(image)
        places = ["top left", "top right", "bottom left", "bottom right"]
        words = r.sample([w for w in WORDS if 3 <= len(w) <= 6], 4)
        font = self.font(r.randint(15, 21))
        for i, word in enumerate(words):
            x = (i % 2) * size // 2 + r.randint(2, 8)
            y = (i // 2) * size // 2 + r.randint(4, size // 2 - 30)
            draw.text((x, y), word, font=font, fill=front)
        i = r.randrange(4)
        if r.random() < 0.5:
            return image, f"Where is {words[i]}?", places[i]
        return image, f"What is at the {places[i]}?", words[i]

    def batch(self, count, level):
        """(pixels uint8 [count, H, W, 3], questions, answers, is_line)."""
        r = self.rng
        draw = r.random()
        noise = r.random() < 0.5
        if draw < 0.12 and level > 0.3:
            made = [self.shapes(112) for _ in range(count)]
        elif draw < 0.24 and level > 0.5:
            made = [self.labels(140) for _ in range(count)]
        else:
            cells = r.randint(1 + int(level * 4), 2 + int(level * 8))
            made = []
            for _ in range(count):
                image, text = self.line(cells * CELL, CELL, level)
                made.append((image, r.choice(READ), text))
        pixels = np.stack([np.asarray(image) for image, _, _ in made])
        if noise and level > 0.1:
            generator = np.random.default_rng(r.getrandbits(32))
            dirt = generator.normal(0, 14 * level, pixels.shape)
            pixels = np.clip(pixels + dirt, 0, 255).astype(np.uint8)
        return pixels, [q for _, q, _ in made], [a for _, _, a in made], pixels.shape[1] == CELL
