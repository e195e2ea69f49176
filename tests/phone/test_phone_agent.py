# SPDX-License-Identifier: Apache-2.0
"""`quern agent phone` through the real `adb` on a simulated phone, with an oracle in the model's place. Skipped, and said so, without adb or Pillow."""
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
QUERN = os.environ.get("QUERN", str(ROOT / "build/release/quern"))
ADB = os.environ.get("ADB") or shutil.which("adb")
if ADB is None:
    pytest.skip("adb is not installed (cmake/debian-packages-phone.txt)", allow_module_level=True)
pytest.importorskip("PIL", reason="Pillow is not installed (tests/requirements.txt)")

from adb_device import AdbDevice  # noqa: E402
from android_shell import Shell  # noqa: E402
from goals import GOALS, SHOP, TODO, add, buy, switch  # noqa: E402
from oracle import Oracle, finish, launch, tap, type_  # noqa: E402
from phone import Phone  # noqa: E402

PATIENCE_S = 120  # a busy machine is no failure


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class World:
    """A phone behind adb, the oracle, and quern between them."""

    def __init__(self, folder):
        self.phone = Phone()
        self.device = AdbDevice(lambda line: Shell(self.phone).run(line))
        self.oracle = Oracle(lambda: self.phone)
        # A server of its own: what else uses adb on this machine is left alone.
        self.env = {**os.environ, "ANDROID_ADB_SERVER_PORT": str(free_port()), "HOME": str(folder), "ADB_MDNS": "0"}
        self.folder, self.runs = folder, 0

    def begin(self, policy, seed=0, **options):
        self.phone = Phone(seed, **options)
        self.device.fault = None
        self.oracle.begin(policy)
        return self.phone

    def command(self, goal, *flags):
        self.runs += 1
        self.trace = self.folder / f"trace-{self.runs}"
        usual = {"--adb": ADB, "--device": self.device.serial, "--base-url": self.oracle.url, "--settle": "0", "--max-steps": "25", "--trace": self.trace}
        apps = [f"--app={name}={package}" for name, package in (("To-do", TODO), ("Shop", SHOP), ("Messages", "org.quern.messages"))]
        return [QUERN, "agent", "phone", goal, *apps, *(f"{flag}={value}" for flag, value in usual.items() if flag not in flags), *flags]

    def run(self, goal, *flags, answers=""):
        """(exit code, stdout, stderr)"""
        done = subprocess.run(self.command(goal, *flags), input=answers, env=self.env, capture_output=True, text=True, timeout=PATIENCE_S)
        assert self.oracle.problems == [], self.oracle.problems
        return done.returncode, done.stdout, done.stderr

    def start(self, goal, *flags):
        return subprocess.Popen(self.command(goal, *flags), env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def steps(self):
        return [json.loads(line) for line in (self.trace / "steps.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("phone"))
    yield world
    subprocess.run([ADB, "kill-server"], env=world.env, timeout=30, capture_output=True)  # of its own port
    world.device.stop()


@pytest.mark.parametrize("number", range(len(GOALS)), ids=lambda i: GOALS[i].text)
def test_goals(world, number):
    goal = GOALS[number]
    phone = world.begin(goal.policy, seed=number, has_adb_keyboard=goal.has_adb_keyboard)
    app = phone.apps[goal.package]
    goal.begin(app)
    assert not goal.is_done(app)
    code, out, err = world.run(goal.text, answers="y\n" * goal.asks)
    assert code == 0 and goal.is_done(app), err
    assert out.strip().endswith("done.") and err.count("Allow this?") == goal.asks, err
    assert not phone.was_rebooted and phone.keyboard.startswith("com.android.inputmethod.latin")
    assert len(world.steps()) == len(world.oracle.requests) and (world.trace / "step-001.png").read_bytes().startswith(b"\x89PNG")


def test_twenty_goals_are_there():
    assert len(GOALS) == 20


def test_what_adb_itself_sees(world):
    world.begin(lambda phone, n: finish())
    world.run("nothing")

    def adb(*words):
        return subprocess.run([ADB, "-s", world.device.serial, *words], env=world.env, capture_output=True, timeout=30).stdout
    assert b"540x1170" in adb("shell", "wm", "size") and b"com.android.launcher3" in adb("shell", "dumpsys", "window")
    assert adb("exec-out", "screencap", "-p").endswith(b"IEND\xae\x42\x60\x82")
    assert b"not found" in adb("shell", "rm", "-rf", "/") and world.phone.ran[-1] == ["rm", "-rf", "/"]
    assert adb("shell", "am start -n org.quern.todo/.Main; echo $?") == b"Starting: Intent\n0\n" and world.phone.front.name == "To-do"


@pytest.mark.parametrize("answers, said", [("y\nn\n", "not allowed: Tap \"Pay"), ("n\n", "not allowed"), ("", "not allowed"), ("y\n", "no answer")])
def test_no_payment_without_a_yes(world, answers, said):
    phone = world.begin(buy("tea").policy, seed=3)
    code, _, err = world.run("Buy the tea", answers=answers)
    shop = phone.apps[SHOP]
    assert code == 1 and said in err and shop.paid == [] and shop.cart == ["tea"], err
    assert world.steps()[-1]["outcome"] == "not allowed"


def test_a_payment_that_the_model_hides_is_asked_about(world):
    """The label of what is tapped counts, not what the model says; and the policy can say no for everybody."""
    goal = buy("scarf")

    def sly(phone, number):
        return f"<think>Just looking around.</think><answer>{goal.policy(phone, number)}</answer>"
    phone = world.begin(sly, seed=4)
    code, _, err = world.run(goal.text, "--sensitive", "deny")
    assert code == 1 and phone.apps[SHOP].paid == [] and "Allow" not in err
    phone = world.begin(sly, seed=4)
    assert world.run(goal.text, "--sensitive", "allow")[0] == 0 and phone.apps[SHOP].paid == ["scarf"]


def test_the_model_may_ask_itself(world):
    phone = world.begin(lambda phone, n: tap(phone, phone.home.icons[0].name, "opens private things"))
    phone.widgets()  # puts the icons in their order
    code, _, err = world.run("look", answers="n\n")
    assert code == 1 and "opens private things" in err and phone.front is phone.home


@pytest.mark.parametrize("kind, why", [("black", "the screen is black"), ("fail", "Status: -1")])
def test_a_protected_page_is_handed_over(world, kind, why):
    goal = buy("coffee")
    phone = world.begin(goal.policy, seed=5)
    phone.secure = kind
    process = world.start(goal.text)
    process.stdin.write("y\n")  # to the payment
    process.stdin.flush()
    err = ""
    while "press Enter" not in err:
        piece = process.stderr.read(1)
        assert piece, err
        err += piece
    assert why in err
    phone.apps[SHOP].pay()  # the person does it
    out, rest = process.communicate("\n", timeout=PATIENCE_S)
    assert process.returncode == 0 and world.oracle.problems == [] and "done" in out, rest


def test_nobody_takes_over(world):
    goal = buy("coffee")
    phone = world.begin(goal.policy, seed=5)
    phone.secure = "black"
    code, _, err = world.run(goal.text, answers="y\n")
    assert code == 1 and "nobody took over" in err and phone.apps[SHOP].paid == []
    phone = world.begin(lambda phone, n: 'do(action="Take_over", message="Log in, please")')
    code, _, err = world.run("log in", answers="q\n")
    assert code == 1 and "Log in, please" in err


def dropping(world, word, seconds, is_after=False):
    """A fault that cuts the link once, at the first command with that word."""
    state = {"is_due": True}

    def fault(line, is_done=False):
        if state["is_due"] and word in line and is_done == is_after:
            state["is_due"] = False
            world.device.drop(seconds)
    return fault


@pytest.mark.parametrize("word, is_after", [("screencap", False), ("'tap'", False), ("'tap'", True)])
def test_a_dropped_link_is_survived(world, word, is_after):
    """Also in the middle of a tap: it is not done twice, the model sees what became of it."""
    goal = switch("Wi-Fi", True)
    phone = world.begin(goal.policy, seed=6)
    app = phone.apps[goal.package]
    goal.begin(app)
    world.device.fault = dropping(world, word, 0.3, is_after)
    code, _, err = world.run(goal.text)
    assert code == 0 and goal.is_done(app), err
    taps = [words for words in phone.ran if words[:2] == ["input", "tap"]]
    assert len(taps) == 1
    if word == "'tap'":
        assert "may not have happened" in err
        assert "may not have happened" in json.dumps(world.oracle.requests[-1]["messages"])


def test_a_phone_that_stays_away(world):
    world.begin(switch("Wi-Fi", True).policy, seed=6)
    world.device.fault = dropping(world, "screencap", None)
    began = time.monotonic()
    code, _, err = world.run("Turn Wi-Fi on", "--reconnect-timeout", "1")
    assert code == 75 and "did not come back within 1 s" in err and time.monotonic() - began < 30
    assert "did not come back" in (world.trace / "index.html").read_text()
    world.device.listen()
    world.begin(lambda phone, n: finish())
    assert world.run("nothing")[0] == 0


def test_a_slow_phone_ends_at_its_deadline(world):
    world.begin(lambda phone, n: finish())
    world.device.fault = lambda line, is_done=False: time.sleep(4) if "screencap" in line else None
    code, _, err = world.run("nothing", "--device-timeout", "0.5", "--reconnect-timeout", "1")
    assert code == 75 and "no answer in time" in err
    world.begin(lambda phone, n: finish())
    world.device.fault = lambda line, is_done=False: time.sleep(0.2)
    assert world.run("nothing")[0] == 0


HOSTILE = ['"; reboot; echo "', "$(reboot) `reboot`", "'; reboot; '", "' && reboot || '", "a\\' ; reboot #", "x | reboot > /sdcard/x & reboot"]


@pytest.mark.parametrize("has_adb_keyboard", [True, False])
def test_hostile_texts_stay_texts(world, has_adb_keyboard):
    texts = HOSTILE + (["line one\nreboot\n", "日本\n$(reboot)"] if has_adb_keyboard else [])
    seen = []

    def policy(phone, number):
        app = phone.apps[TODO]
        if phone.front is not app:
            return launch("To-do")
        if app.focus is None:
            return tap(phone, "New item")
        if number > 3:
            seen.append(app.draft)
        return type_(texts[number - 3]) if number - 3 < len(texts) else finish()
    phone = world.begin(policy, has_adb_keyboard=has_adb_keyboard)
    code, _, err = world.run("type")
    assert code == 0, err
    # A backslash in front of a quote is Python's escape in the model's language.
    assert seen == [text.replace("\\'", "'") for text in texts]
    assert not phone.was_rebooted and {words[0] for words in phone.ran} <= {"input", "am", "ime", "settings", "monkey", "screencap", "dumpsys", "uiautomator", "echo"}


def test_what_cannot_be_typed_is_told(world):
    texts = ["naïve", "two\nlines"]

    def policy(phone, number):
        return type_(texts[number - 1]) if number <= len(texts) else finish()
    phone = world.begin(policy, has_adb_keyboard=False)
    code, _, err = world.run("type")
    assert code == 0 and err.count("without ADB Keyboard") == 2
    assert "ADB Keyboard" in world.oracle.requests[1]["messages"][-1]["content"][1]["text"]
    assert not any(words[:2] == ["input", "text"] for words in phone.ran)


def test_hostile_apps_and_names(world):
    names = ["com.evil; reboot", "$(reboot)", "-c reboot", "com.not.there"]
    phone = world.begin(lambda phone, n: launch(names[n - 1]) if n <= len(names) else finish())
    code, _, err = world.run("launch")
    assert code == 0 and err.count("no package is known") == 3 and "not installed" in err and not phone.was_rebooted


def test_hostile_words_are_inert_in_the_trace(world):
    evil = '</pre><script src="http://evil/">alert(1)</script><img src=x onerror=alert(1)>'
    world.begin(lambda phone, n: f"<think>{evil}</think><answer>do(action=\"Note\", message=\"{evil}\")</answer>" if n == 1 else finish("\x1b[2Jbye"))
    code, out, err = world.run(evil)
    assert code == 0 and "\x1b" not in out + err
    for page in world.trace.glob("*.html"):
        text = page.read_text()
        assert "<script" not in text and "onerror=alert" not in re.sub(r"&lt;img[^<]*", "", text) and "default-src 'none'" in text
    assert 'href="step-002.html"' in (world.trace / "step-001.html").read_text() and "step-003" not in (world.trace / "step-002.html").read_text()
    assert oct(world.trace.stat().st_mode)[-3:] == "700"


def test_answers_that_are_no_action(world):
    world.begin(lambda phone, n: "I cannot help with that.")
    code, _, err = world.run("anything")
    assert code == 1 and "no action, 3 times in a row" in err and "I cannot help" in err and len(world.oracle.requests) == 3
    bad = ['do(action="Explode")', 'do(action="Tap", element=[1,2,3])', 'do(action="Tap", element=[1,2])\ndo(action="Back")']
    phone = world.begin(lambda phone, n: bad[n - 1] if n <= 2 else finish() if n == 3 else None)
    code, _, err = world.run("anything")
    assert code == 0 and "there is no action Explode" in err and not any(words[:2] == ["input", "tap"] for words in phone.ran)
    world.begin(lambda phone, n: bad[2])
    assert "holds 2 actions" in world.run("anything")[2]


def test_limits(world):
    world.begin(lambda phone, n: 'do(action="%s")' % ("Back" if n % 2 else "Home"))
    code, _, err = world.run("for ever", "--max-steps", "4")
    assert code == 1 and "not finished after 4 steps" in err and len(world.steps()) == 4
    world.begin(lambda phone, n: 'do(action="Back")')
    code, _, err = world.run("for ever")
    assert code == 1 and "the same action on the same screen 5 times" in err


def test_calls_of_a_server_that_reads_the_language(world):
    goal = add("milk")

    def policy(phone, number):
        words = goal.policy(phone, number)
        name, _, rest = words.partition("(")
        arguments = eval(f"dict({rest}")  # the oracle's own words
        return {"content": "", "reasoning": "next", "tool_calls": [{"id": "1", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}]}
    phone = world.begin(policy)
    code, _, err = world.run(goal.text)
    assert code == 0 and goal.is_done(phone.apps[TODO]), err


def test_interact_and_wait(world):
    script = ['do(action="Wait", duration="0.1 seconds")', 'do(action="Interact")', finish()]
    world.begin(lambda phone, n: script[n - 1])
    code, _, err = world.run("choose", answers="the red one\n")
    assert code == 0 and '"user": "the red one"' in world.oracle.requests[2]["messages"][-1]["content"][1]["text"], err


def test_servers_and_flags(world):
    world.begin(lambda phone, n: finish())
    dead = f"http://127.0.0.1:{free_port()}/v1"
    code, _, err = world.run("x", "--base-url", dead)
    assert code == 75 and "is a server running there?" in err
    world.oracle.status = 503
    code, _, err = world.run("x", "--model", "autoglm-phone-9b")
    assert code == 75 and "the oracle is asleep" in err
    world.oracle.status = 401
    code, _, err = world.run("x", "--model", "autoglm-phone-9b")
    assert code == 2 and "--api-key" in err
    for flags, wanted, said in ((("--adb", "/no/adb"), 3, "cannot be started"), (("--app", "Evil=a;b"), 2, "no package"),
                                (("--base-url", "nonsense"), 2, "http://HOST:PORT"), (("--trace", str(ROOT)), 2, "empty folder"),
                                (("--sensitive", "maybe"), 2, "sensitive")):
        code, _, err = world.run("x", *flags)
        assert code == wanted and said in err, (flags, err)
    assert subprocess.run([QUERN, "agent", "phone", "--help"], capture_output=True, timeout=30).returncode == 0


def test_ctrl_c_ends_a_run(world):
    world.begin(lambda phone, n: 'do(action="Wait", duration="50 seconds")')
    process = world.start("wait")
    while not world.oracle.requests:
        time.sleep(0.02)
    process.send_signal(2)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130 and "interrupted" in err


def test_quern_serves_what_the_agent_asks(world):
    """The tiny random model: what it says means nothing, but every request of the agent is taken as it is."""
    process = subprocess.Popen([QUERN, "serve", "tests/golden/glm4v", "--port", "0", "--max-model-len", "4096"], cwd=ROOT, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        port = json.loads(process.stdout.readline())["port"]
        phone = world.begin(None)
        code, _, err = world.run("Open the mail", "--base-url", f"http://127.0.0.1:{port}", "--constrain", "--max-tokens", "60", "--max-steps", "2",
                                 "--sensitive", "deny")
        assert code in (0, 1) and world.steps() and world.steps()[0]["answer"], err
        assert not phone.was_rebooted
    finally:
        process.terminate()
        process.wait(timeout=60)
