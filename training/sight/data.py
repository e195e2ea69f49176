# SPDX-License-Identifier: Apache-2.0
"""Samples for quern-sight, drawn on the fly: a picture, a question, an answer.

Every batch has one picture size and one task, so that the training step needs no padding inside the tower. Two levels in
0..1 set how hard it is: `reach` how long the text is and which tasks come, `dirt` which faces, colours and noise. A line
also says which character covers each narrow slot of its width: the tower learns letters from that, see `slots`.
Held-out fonts are never seen by training: see HELD_OUT.
"""
import glob
import os
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

# Font families (by file name prefix) that only evaluation uses.
HELD_OUT = ("Lato", "OpenSans", "LinLibertine")
# Faces that a reader could not tell from others or that draw no ordinary letters.
UNUSABLE = ("LinLibertine_K", "LinBiolinum_K", "LinLibertine_I", "LinLibertine_DR", "Symbol", "StandardSymbols",
            "Dingbats", "D050000L", "DroidSansFallback")
# What makes a face hard to read at 12 pixels; such faces come late in the curriculum.
HARD = ("Thin", "Hairline", "ExtraLight", "Light", "Z003", "Black", "Heavy", "Ital", "Oblique", "_RI", "_RBI", "_RZ",
        "Cond", "Narrow", "BoldIt", "BdIta")
CELL = 28  # pixels of one language-model token on each side
SLOTS = 4  # per patch column of 14 pixels: a slot is 3.5 pixels wide, about the narrowest letter
FACES = 400  # opened (face, size) pairs kept; each costs some 100 KB

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


# Those of README.md alone: whatever else is installed meanwhile (Noto, with faces that have no Latin letters) would change every sample.
FAMILIES = ("cantarell", "comic-neue", "croscore", "crosextra", "dejavu", "firacode", "freefont", "hack", "inconsolata", "lato", "liberation",
            "linux-libertine", "open-sans", "roboto", "urw-base35")


def fonts(held_out):
    """Paths of usable faces, the easy ones first, otherwise mixed."""
    found = []
    for path in sorted(path for folder in FAMILIES for ending in ("ttf", "otf")
                       for path in glob.glob(f"/usr/share/fonts/*/{folder}/**/*.{ending}", recursive=True)):
        name = os.path.basename(path)
        if not name.startswith(UNUSABLE) and name.startswith(HELD_OUT) == held_out:
            found.append(path)
    random.Random(7).shuffle(found)
    return sorted(found, key=lambda path: any(mark in os.path.basename(path) for mark in HARD))


def luminance(colour):
    return 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]


def slots(text, font, x, width):
    """uint8 [2, width / 3.5] of the character that covers each slot's centre: 1 + its index among printable ASCII, and its place in the text from 1 on; or 0."""
    ends = [x + font.getlength(text[:i]) for i in range(len(text) + 1)]
    at = np.searchsorted(ends, (np.arange(width * SLOTS // 14) + 0.5) * 14 / SLOTS, side="right")
    names = np.array([0, *(ord(c) - 31 for c in text), 0], dtype=np.uint8)
    places = np.array([0, *range(1, len(text) + 1), 0], dtype=np.uint8)
    return np.stack([names[at], places[at]])


class Painter:
    """Draws samples from one random stream; the same seed gives the same samples."""

    def __init__(self, seed, held_out=False):
        self.rng = random.Random(seed)
        self.paths = fonts(held_out)
        self.cache = {}
        self.grain = np.random.default_rng(seed).normal(0, 1, 1 << 20).astype(np.float32)

    def font(self, size, dirt=1.0):
        usable = max(8, int(len(self.paths) * min(1, 0.1 + 1.8 * dirt)))
        key = (self.paths[self.rng.randrange(min(usable, len(self.paths)))], size)
        if key not in self.cache:
            if len(self.cache) >= FACES:
                del self.cache[self.rng.choice(list(self.cache))]
            self.cache[key] = ImageFont.truetype(*key, layout_engine=ImageFont.Layout.BASIC)
        return self.cache[key]

    def text(self, length):
        """About `length` characters: words, digits, mixed strings.

        Mixed strings leave out what faces draw alike (I l |, O 0), and very short ones also the letters whose two cases
        differ in size alone: nobody can read those.
        """
        r = self.rng
        kind = r.random()
        if kind < 0.45:
            out = r.choice(WORDS)
            while len(out) < length and r.random() < 0.8:
                out += " " + r.choice(WORDS)
            out = out[:length].strip()
            style = r.random() if len(out) > 2 else 1
            out = out.upper() if style < 0.15 else out.capitalize() if style < 0.4 else out.title() if style < 0.5 else out
            return out or r.choice(LETTERS)
        if kind < 0.65:
            return "".join(r.choice(DIGITS) for _ in range(length))
        alike = "lIO0|" if length > 2 else "lIO0|CPSUVWXZ.,'`o"
        alphabet = [c for c in LETTERS + LETTERS.upper() + DIGITS + MARKS * (kind > 0.9) if c not in alike]
        return "".join(r.choice(alphabet) for _ in range(length))

    def colours(self, dirt=1.0):
        """A background and a foreground that can be told apart."""
        r = self.rng
        if r.random() > 0.6 * dirt:
            pair = [(255, 255, 255), (0, 0, 0)]
            return pair if r.random() > 0.25 * dirt else pair[::-1]
        while True:
            back, front = (tuple(r.randrange(256) for _ in range(3)) for _ in range(2))
            if abs(luminance(back) - luminance(front)) > 140 - 70 * dirt:
                return back, front

    def line(self, cells, lengths, dirt):
        """(picture, text, slots) of one line of `lengths` (least, most) characters in a strip of `cells` cells."""
        r = self.rng
        width, (least, most) = cells * CELL, lengths
        for _ in range(20):
            text = self.text(r.randint(least, most))
            font = self.font(r.randint(18 - int(6 * dirt), 24), dirt)
            left, top, right, bottom = font.getbbox(text)
            if right - left <= width - 4 and bottom - top <= CELL - 1:
                break
            most = max(least, most - 1)
        else:
            text, font = "7", self.font(14, dirt)
            left, top, right, bottom = font.getbbox(text)
        back, front = self.colours(dirt)
        image = Image.new("RGB", (width, CELL), back)
        x = r.randint(2, max(2, width - (right - left) - 2)) - left
        slack = max(0, CELL - (bottom - top))
        y = int(slack * (0.5 + (0.2 + 0.8 * dirt) * (r.random() - 0.5)) + 0.5) - top
        ImageDraw.Draw(image).text((x, y), text, font=font, fill=front)
        if r.random() < 0.3 * dirt:
            image = image.rotate(r.uniform(-2.5, 2.5), Image.BILINEAR, fillcolor=back)
        if r.random() < 0.15 * dirt:
            image = image.filter(ImageFilter.GaussianBlur(r.uniform(0.2, 0.8)))
        return image, text, slots(text, font, x, width)

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

    def lines(self, count, cells, lengths, dirt):
        """A batch of lines: (pixels uint8 [count, H, W, 3], questions, answers, slots [count, 2, W / 3.5])."""
        made = [self.line(cells, lengths, dirt) for _ in range(count)]
        pixels = np.stack([np.asarray(image) for image, _, _ in made])
        questions = [self.rng.choice(READ) for _ in made]
        return self.soil(pixels, dirt), questions, [text for _, text, _ in made], np.stack([s for _, _, s in made])

    def soil(self, pixels, dirt):
        """Adds grain to half of the batches."""
        if self.rng.random() > 0.5 * dirt:
            return pixels
        rolled = np.roll(self.grain, self.rng.randrange(self.grain.size))
        grain = np.resize(rolled, pixels.shape) * (14 * dirt * self.rng.random())
        return np.clip(pixels + grain, 0, 255).astype(np.uint8)

    def batch(self, count, reach, dirt):
        """A batch of any task that `reach` allows, as `lines` gives it; slots is None where the task is not a line."""
        r = self.rng
        draw = r.random()
        if draw < 0.24 and reach > 0.4:
            made = [self.shapes(112) if draw < 0.12 else self.labels(140) for _ in range(count)]
            pixels = np.stack([np.asarray(image) for image, _, _ in made])
            return self.soil(pixels, dirt), [q for _, q, _ in made], [a for _, _, a in made], None
        most = 1 + int(reach * 15)
        return self.lines(count, r.randint(1 + most // 4, 2 + most // 2), (1, most), dirt)
