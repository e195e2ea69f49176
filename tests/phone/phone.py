# SPDX-License-Identifier: Apache-2.0
"""A phone without a phone: apps as state machines (phone_apps.py), drawn with Pillow, worked by taps, swipes, keys and text. Layouts differ by seed."""
import functools
import io
import pathlib
import random
from xml.sax.saxutils import quoteattr

from PIL import Image, ImageDraw, ImageFont

import phone_apps
from android_shell import ADB_KEYBOARD

WIDTH, HEIGHT = 540, 1170
BAR = 44  # of the status at the top, of the keys at the bottom
FONTS = ("/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf", "/usr/share/fonts/truetype/liberation/LiberationSans-Regular.ttf")
LATIN = "com.android.inputmethod.latin/.LatinIME"


@functools.lru_cache
def font(size):
    for path in FONTS:
        if pathlib.Path(path).exists():
            return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


class Phone:
    def __init__(self, seed=0, has_adb_keyboard=True):
        self.width, self.height = WIDTH, HEIGHT
        self.random = random.Random(seed)
        self.keyboards = [LATIN] + [ADB_KEYBOARD] * has_adb_keyboard
        self.keyboard = LATIN
        self.ran, self.was_rebooted = [], False
        self.secure = None  # "black" or "fail": how protected pages look in a screenshot
        self.apps = phone_apps.make_apps(self)
        self.home = self.apps["com.android.launcher3"]
        self.front, self.before = self.home, []
        self.last_tap = None

    # What a hand does.

    def tap(self, x, y):
        widget = self.widget_at(x, y)
        is_second = self.last_tap is not None and self.last_tap == (widget.label if widget else None)
        self.last_tap = widget.label if widget and not is_second else None
        if widget is None:
            return
        if widget.twice and is_second:
            widget.twice()
        elif widget.tap:
            widget.tap()

    def swipe(self, x1, y1, x2, y2, ms):
        self.last_tap = None
        if abs(x1 - x2) < 10 and abs(y1 - y2) < 10:
            widget = self.widget_at(x1, y1)
            if widget and ms >= 500 and widget.hold:
                widget.hold()
            return
        self.front.swiped(x2 - x1, y2 - y1)

    def key(self, key):
        self.last_tap = None
        if key in ("3", "KEYCODE_HOME"):
            self.front = self.home
        elif key in ("4", "KEYCODE_BACK"):
            if not self.front.back():
                self.front = self.home
        elif key in ("67", "KEYCODE_DEL"):
            self.front.typed(lambda text: text[:-1])

    def type(self, text):
        self.last_tap = None
        self.front.typed(lambda before: before + text)

    def clear(self):
        self.front.typed(lambda before: "")

    def launch(self, package):
        self.last_tap = None
        if package not in self.apps:
            return False
        self.front = self.apps[package]
        return True

    # What is seen.

    def widgets(self):
        return self.front.page()

    def widget_at(self, x, y):
        hits = [w for w in self.widgets() if w.can_be_tapped and w.has(x, y)]
        return hits[-1] if hits else None

    def find(self, label):
        """The visible widget of that label that can be tapped, or None."""
        for widget in self.widgets():
            if label in (widget.label, widget.spoken) and widget.can_be_tapped and widget.box[1] >= BAR and widget.box[3] <= HEIGHT - BAR:
                return widget
        return None

    def screenshot(self):
        hides = self.secure if self.front.is_protected() else None
        if hides == "fail":
            return b""
        image = Image.new("RGB", (WIDTH, HEIGHT), "black" if hides else self.front.colour)
        draw = ImageDraw.Draw(image)
        if not hides:
            for widget in self.widgets():
                self.draw_widget(draw, widget)
        draw.rectangle((0, 0, WIDTH, BAR), fill="#202020")
        draw.text((14, 10), "12:30", font=font(20), fill="white")
        draw.text((WIDTH - 90, 10), "87 %", font=font(20), fill="white")
        draw.rectangle((0, HEIGHT - BAR, WIDTH, HEIGHT), fill="#202020")
        draw.ellipse((WIDTH // 2 - 10, HEIGHT - 32, WIDTH // 2 + 10, HEIGHT - 12), outline="white", width=2)
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        return out.getvalue()

    def draw_widget(self, draw, widget):
        left, top, right, bottom = widget.box
        if widget.can_be_tapped:
            fill = "#ffffff" if widget.is_field else "#d8e2f0"
            has_focus = widget.is_field and self.front.focus is not None
            draw.rounded_rectangle(widget.box, 12, fill=fill, outline="#1060c0" if has_focus else "#8090a0", width=3 if has_focus else 1)
        text, ink = (widget.label, "#101010") if widget.label or not widget.is_field else (widget.spoken, "#909090")
        draw.text((left + 14, (top + bottom) // 2), text, font=font(24), fill=ink, anchor="lm")
        if widget.is_on is not None:
            middle = (top + bottom) // 2
            draw.rounded_rectangle((right - 80, middle - 16, right - 20, middle + 16), 16, fill="#1060c0" if widget.is_on else "#a0a0a0")
            knob = right - 38 if widget.is_on else right - 62
            draw.ellipse((knob - 13, middle - 13, knob + 13, middle + 13), fill="white")

    def dump(self):
        """What `uiautomator dump` says of the page."""
        nodes = [f'<node index="0" text="" class="android.widget.FrameLayout" package={quoteattr(self.front.package)} content-desc="" clickable="false" '
                 f'bounds="[0,0][{WIDTH},{HEIGHT}]">']
        for widget in self.widgets():
            # A button's text often lies in a view of its own inside what can be tapped.
            bounds = 'bounds="[%d,%d][%d,%d]"' % widget.box
            text, spoken = (quoteattr(t, {'"': "&quot;"}) for t in (widget.label, widget.spoken))
            nodes.append(f'<node text="" content-desc={spoken} clickable="{str(widget.can_be_tapped).lower()}" {bounds}>'
                         f'<node text={text} content-desc="" clickable="false" {bounds} /></node>')
        return "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?><hierarchy rotation=\"0\">" + "".join(nodes) + "</node></hierarchy>"
