# SPDX-License-Identifier: Apache-2.0
"""Twenty goals: what is asked, how the oracle goes about it (one step at a time, from what the phone shows), and how it is judged (by the phone's state alone)."""
import dataclasses
from typing import Callable

from oracle import finish, launch, tap, touch, type_

SETTINGS, PHONE, TODO, SHOP, MESSAGES = "com.android.settings", "com.android.dialer", "org.quern.todo", "org.quern.shop", "org.quern.messages"
NAMES = {SETTINGS: "Settings", PHONE: "Phone", TODO: "To-do", SHOP: "Shop", MESSAGES: "Messages"}


@dataclasses.dataclass
class Goal:
    text: str
    package: str
    step: Callable  # (phone, app) -> action, once the app is in front
    is_done: Callable  # (app) -> bool
    asks: int = 0  # how often the user is asked
    has_adb_keyboard: bool = True
    begin: Callable = lambda app: None
    launches: bool = True  # else the icon is sought on the home screen

    def policy(self, phone, number):
        app = phone.apps[self.package]
        if self.is_done(app):
            return finish(f"{self.text}: done.")
        if phone.front is app:
            return self.step(phone, app)
        if self.launches:
            return launch(NAMES[self.package])
        if phone.front is not phone.home:
            return 'do(action="Home")'
        if phone.find(app.name):
            return tap(phone, app.name)
        return 'do(action="Swipe", start=[800,500], end=[200,500])'


def switch(name, on, **options):
    # It begins the other way round, whatever the seed says.
    return Goal(f"Turn {name} {'on' if on else 'off'}", SETTINGS, lambda phone, app: tap(phone, name), lambda app: app.switches[name] is on,
                begin=lambda app: app.switches.__setitem__(name, not on), **options)


def call(number):
    keys = number.replace("-", "")

    def step(phone, app):
        if not keys.startswith(app.number):
            return tap(phone, "Backspace")
        return tap(phone, keys[len(app.number)] if app.number != keys else "Call")
    return Goal(f"Call {number}", PHONE, step, lambda app: app.called == [keys])


def add(item, **options):
    def step(phone, app):
        if app.draft == item:
            return tap(phone, "Add")
        return type_(item) if app.focus else tap(phone, "New item")
    return Goal(f"Add {item} to the to-do list", TODO, step, lambda app: item in app.items and len(app.items) == 4, **options)


def first(app):
    return next(iter(app.known))


def remember(app):
    app.known = dict(app.items)


def buy(name):
    def step(phone, app):
        if app.view is None:
            return tap(phone, "Cart" if app.cart else f"Add {name}")
        return tap(phone, "To the payment" if app.view == "cart" else f"Pay {app.total():.2f}")
    return Goal(f"Buy the {name}", SHOP, step, lambda app: app.paid == [name], asks=2)


def message(name, text, sends):
    def step(phone, app):
        if app.view != name:
            return tap(phone, name) if app.view is None else 'do(action="Back")'
        if app.draft == text:
            return tap(phone, "Send message")
        return type_(text) if app.focus else tap(phone, "Message")
    done = (lambda app: app.sent == [(name, text)]) if sends else (lambda app: app.view == name and app.draft == text and not app.sent)
    return Goal(f"{'Send' if sends else 'Write but do not send'} {name} \"{text}\"", MESSAGES, step, done, asks=int(sends))


GOALS = [
    switch("Wi-Fi", True),
    switch("Bluetooth", False),
    switch("Dark theme", True, launches=False),
    switch("Screen saver", True),
    switch("Airplane mode", False, launches=False),
    call("555-0134"),
    call("555-0199"),
    add("milk"),
    add("bread & butter; \"fresh\" $(now) 100%s"),
    add("it's 5 o'clock", has_adb_keyboard=False),
    add("50% sugar, %s and $HOME `x`", has_adb_keyboard=False),
    add("crème brûlée für 小明"),
    Goal("Tick off the first thing to do", TODO, lambda phone, app: tap(phone, first(app)), lambda app: app.items.get(first(app)) is True,
         begin=lambda app: (app.items.pop("pay rent", None), remember(app))),
    Goal("Delete the first thing to do", TODO, lambda phone, app: tap(phone, f"Delete {first(app)}"), lambda app: first(app) not in app.items, asks=1, begin=remember),
    Goal("Pin the first thing to do", TODO, lambda phone, app: touch(phone, first(app), "Long Press"), lambda app: app.pinned == {first(app)},
         begin=lambda app: (app.items.pop("pay rent", None), remember(app))),
    Goal("Put the lamp into the cart", SHOP, lambda phone, app: tap(phone, "Add lamp"), lambda app: app.cart == ["lamp"] and not app.paid),
    buy("tea"),
    message("Ann", "Running late, sorry!", sends=True),
    message("Ben", "Maybe tomorrow?", sends=False),
    Goal("Like Chloe's message", MESSAGES,
         lambda phone, app: touch(phone, "Hello from Chloe", "Double Tap") if app.view == "Chloe" else tap(phone, "Chloe") if app.view is None else 'do(action="Back")',
         lambda app: app.liked == {"Hello from Chloe"}),
]
