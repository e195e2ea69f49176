# SPDX-License-Identifier: Apache-2.0
"""The apps of the simulated phone. Each is a state machine: page() says what is on the screen, and what a tap there does."""
import dataclasses
from typing import Callable

ROW, GAP, TOP = 96, 12, 60
WIDTH, HEIGHT = 540, 1170
VISIBLE = HEIGHT - 60


def row(index, offset=0):
    top = TOP + index * (ROW + GAP) - offset
    return 16, top, WIDTH - 16, top + ROW


@dataclasses.dataclass
class Widget:
    """Something on a page. What can be tapped has a `tap`; `label` is drawn, `spoken` is what uiautomator says besides."""
    box: tuple  # left, top, right, bottom
    label: str = ""
    tap: Callable | None = None
    hold: Callable | None = None
    twice: Callable | None = None
    spoken: str = ""
    is_field: bool = False
    is_on: bool | None = None  # of a switch

    def has(self, x, y):
        left, top, right, bottom = self.box
        return left <= x < right and top <= y < bottom

    @property
    def centre(self):
        left, top, right, bottom = self.box
        return (left + right) // 2, (top + bottom) // 2

    @property
    def can_be_tapped(self):
        return bool(self.tap or self.hold or self.twice)


class App:
    package, name, colour = "", "", "#eef2f6"

    def __init__(self, phone):
        self.phone, self.focus, self.offset, self.view = phone, None, 0, None
        self.start()

    def start(self):
        pass

    def page(self):
        return []

    def is_protected(self):
        return False

    def most_offset(self):
        return 0

    def swiped(self, dx, dy):
        if abs(dy) > abs(dx):
            self.offset = max(0, min(self.most_offset(), self.offset - dy))

    def back(self):
        """False: there is nothing to go back to."""
        was, self.view, self.focus, self.offset = self.view, None, None, 0
        return was is not None

    def typed(self, change):
        if self.focus is not None:
            setattr(self, self.focus, change(getattr(self, self.focus)))

    def field(self, box, name, spoken):
        return Widget(box, getattr(self, name), tap=lambda: setattr(self, "focus", name), spoken=spoken, is_field=True)


class Home(App):
    package, name, colour = "com.android.launcher3", "Home", "#c8d8d0"

    def start(self):
        self.icons, self.sheet = None, 0

    def page(self):
        if self.icons is None:
            self.icons = [app for app in self.phone.apps.values() if app is not self]
            self.phone.random.shuffle(self.icons)
        out = []
        for i, app in enumerate(self.icons[self.sheet * 4:self.sheet * 4 + 4]):
            left, top = 40 + i % 2 * 240, 160 + i // 2 * 260
            out.append(Widget((left, top, left + 210, top + 180), app.name, tap=lambda app=app: self.phone.launch(app.package)))
        return out

    def swiped(self, dx, dy):
        if abs(dx) > abs(dy):
            self.sheet = max(0, min((len(self.icons) - 1) // 4, self.sheet + (1 if dx < 0 else -1)))


class Settings(App):
    package, name = "com.android.settings", "Settings"

    def start(self):
        names = ["Wi-Fi", "Bluetooth", "Airplane mode", "Dark theme", "Location", "Hotspot", "NFC", "Auto-rotate", "Battery saver", "Do not disturb",
                 "Data saver", "Night light", "Vibration", "Screen saver"]
        self.phone.random.shuffle(names)
        self.switches = {name: self.phone.random.random() < 0.5 for name in names}

    def most_offset(self):
        return max(0, (len(self.switches)) * (ROW + GAP) + TOP - VISIBLE + 20)

    def page(self):
        def turn(name):
            self.switches[name] = not self.switches[name]
        return [Widget(row(i, self.offset), name, tap=lambda name=name: turn(name), is_on=on) for i, (name, on) in enumerate(self.switches.items())]


class Dialler(App):
    package, name = "com.android.dialer", "Phone"

    def start(self):
        self.number, self.called = "", []

    def page(self):
        def press(key):
            self.number += key

        def call():
            if self.number:
                self.called.append(self.number)

        def delete():
            self.number = self.number[:-1]
        out = [Widget((16, 120, WIDTH - 16, 200), self.number)]
        for i, key in enumerate("123456789*0#"):
            left, top = 30 + i % 3 * 170, 260 + i // 3 * 150
            out.append(Widget((left, top, left + 140, top + 120), key, tap=lambda key=key: press(key)))
        out.append(Widget((200, 880, 340, 1000), "Call", tap=call))
        out.append(Widget((370, 880, 510, 1000), "⌫", tap=delete, spoken="Backspace"))
        return out


class Todo(App):
    package, name = "org.quern.todo", "To-do"

    def start(self):
        known = ["post the letter", "water plants", "fix the bike", "pay rent"]
        self.phone.random.shuffle(known)
        self.items = {item: False for item in known[:3]}
        self.pinned, self.draft = set(), ""

    def page(self):
        def add():
            if self.draft:
                self.items[self.draft] = False
            self.draft, self.focus = "", None

        def tick(item):
            self.items[item] = not self.items[item]
        out = [self.field((16, 60, 400, 140), "draft", "New item"), Widget((412, 60, WIDTH - 16, 140), "Add", tap=add)]
        for i, (item, done) in enumerate(self.items.items()):
            left, top, _, bottom = row(i + 1)
            out.append(Widget((left, top, 400, bottom), ("✓ " if done else "") + item, tap=lambda item=item: tick(item),
                              hold=lambda item=item: self.pinned.add(item), spoken=item))
            out.append(Widget((412, top, WIDTH - 16, bottom), "✕", tap=lambda item=item: self.items.pop(item), spoken=f"Delete {item}"))
        return out


class Shop(App):
    package, name = "org.quern.shop", "Shop"

    def start(self):
        goods = ["tea", "coffee", "lamp", "umbrella", "scarf"]
        self.phone.random.shuffle(goods)
        self.prices = {name: self.phone.random.randrange(200, 3000) / 100 for name in goods}
        self.cart, self.paid = [], []

    def total(self):
        return sum(self.prices[name] for name in self.cart)

    def is_protected(self):
        return self.view == "payment"

    def page(self):
        def show(view):
            self.view = view
        if self.view == "payment":
            return [Widget(row(0), f"Card ending 4242, total {self.total():.2f}"),
                    Widget(row(4), f"Pay {self.total():.2f}", tap=self.pay), Widget(row(6), "Cancel", tap=lambda: show("cart"))]
        if self.view == "paid":
            return [Widget(row(0), "Thank you! It is on its way.")]
        if self.view == "cart":
            rows = [Widget(row(i), f"{name}  {self.prices[name]:.2f}", tap=lambda name=name: self.cart.remove(name), spoken=f"Remove {name}")
                    for i, name in enumerate(self.cart)]
            return rows + [Widget(row(7), "To the payment", tap=lambda: show("payment"))] if self.cart else [Widget(row(0), "The cart is empty")]
        rows = []
        for i, (name, price) in enumerate(self.prices.items()):
            left, top, _, bottom = row(i)
            rows.append(Widget((left, top, 330, bottom), f"{name}  {price:.2f}"))
            rows.append(Widget((342, top, WIDTH - 16, bottom), "Add to cart", tap=lambda name=name: self.cart.append(name), spoken=f"Add {name}"))
        return rows + [Widget(row(8), f"Cart ({len(self.cart)})", tap=lambda: show("cart"), spoken="Cart")]

    def pay(self):
        self.paid, self.cart, self.view = self.paid + self.cart, [], "paid"


class Messages(App):
    package, name = "org.quern.messages", "Messages"

    def start(self):
        people = ["Ann", "Ben", "Chloe", "Dan"]
        self.phone.random.shuffle(people)
        self.threads = {name: [f"Hello from {name}"] for name in people}
        self.draft, self.sent, self.liked = "", [], set()

    def page(self):
        def show(name):
            self.view = name

        def send():
            if self.draft:
                self.sent.append((self.view, self.draft))
                self.threads[self.view].append(self.draft)
            self.draft, self.focus = "", None
        if self.view is None:
            return [Widget(row(i), name, tap=lambda name=name: show(name)) for i, name in enumerate(self.threads)]
        lines = [Widget(row(i), line, twice=lambda line=line: self.liked.add(line)) for i, line in enumerate(self.threads[self.view][-6:])]
        return lines + [self.field((16, 960, 400, 1050), "draft", "Message"), Widget((412, 960, WIDTH - 16, 1050), "➤", tap=send, spoken="Send message")]


def make_apps(phone):
    return {kind.package: kind(phone) for kind in (Home, Settings, Dialler, Todo, Shop, Messages)}
