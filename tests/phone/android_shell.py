# SPDX-License-Identifier: Apache-2.0
"""A phone's shell, small but honest: quotes, `;`, `&&`, `||`, `|`, `&`, line breaks, `$?`, `$(…)` and backticks mean what they mean on a phone, so that a text that
escapes from its quotes does something, and a test sees it in `phone.ran`."""
import base64

ADB_KEYBOARD = "com.android.adbkeyboard/.AdbIME"


class Shell:
    def __init__(self, phone):
        self.phone, self.status = phone, 0

    def run(self, line):
        """What the line writes, as bytes."""
        out, self.line, self.at = b"", line, 0
        words, skips = [], False
        while True:
            token = self.token()
            if token is None or token[0] == "operator":
                if words and not skips:
                    out += self.call(words)
                if token is None:
                    return out
                skips = {"&&": self.status != 0, "||": self.status == 0}.get(token[1], False)
                words = []
            else:
                words.append(token[1])

    def token(self):
        while self.at < len(self.line) and self.line[self.at] in " \t":
            self.at += 1
        if self.at == len(self.line):
            return None
        for operator in ("&&", "||", ";", "|", "&", "\n", ">", "<"):
            if self.line.startswith(operator, self.at):
                self.at += len(operator)
                return "operator", operator
        return "word", self.word()

    def word(self):
        out = ""
        while self.at < len(self.line) and self.line[self.at] not in " \t\n;|&<>":
            c = self.line[self.at]
            self.at += 1
            if c == "'":
                end = self.line.index("'", self.at)
                out += self.line[self.at:end]
                self.at = end + 1
            elif c == '"':
                while self.line[self.at] != '"':
                    out += self.piece()
                self.at += 1
            else:
                self.at -= 1
                out += self.piece()
        return out

    def piece(self):
        """One character, or what a $ or a backtick stands for."""
        c = self.line[self.at]
        self.at += 1
        if c == "\\":
            self.at += 1
            return self.line[self.at - 1:self.at]
        if c == "$" and self.line.startswith("?", self.at):
            self.at += 1
            return str(self.status)
        if c == "$" and self.line.startswith("(", self.at):
            return self.substitute(self.at + 1, ")")
        if c == "`":
            return self.substitute(self.at, "`")
        return c

    def substitute(self, begin, closing):
        end = self.line.index(closing, begin)
        inner = Shell(self.phone)
        self.at = end + 1
        return inner.run(self.line[begin:end]).decode().rstrip("\n")

    def call(self, words):
        self.phone.ran.append(words)
        command = COMMANDS.get(words[0])
        if command is None:
            self.status = 127
            return f"/system/bin/sh: {words[0]}: inaccessible or not found\n".encode()
        try:
            out = command(self.phone, *words[1:])
            self.status = 0
        except Failure as failure:
            out, self.status = str(failure), 1
        except (TypeError, ValueError) as failure:
            out, self.status = f"Error: {failure}\n", 255
        return out if isinstance(out, bytes) else (out or "").encode()


class Failure(Exception):
    """What a command writes when it fails."""


def input_(phone, kind, *arguments):
    if kind == "tap":
        phone.tap(*map(int, arguments))
    elif kind == "swipe":
        x1, y1, x2, y2, ms = map(int, (*arguments, 300)[:5])
        phone.swipe(x1, y1, x2, y2, ms)
    elif kind == "text":
        (text,) = arguments
        if not text.isascii() or "\n" in text:
            raise Failure("java.lang.NullPointerException: Attempt to get length of null array\n")  # what Android does
        phone.type(text.replace("%s", " "))
    elif kind == "keyevent":
        for key in arguments:
            phone.key(key)
    else:
        raise Failure(f"Error: Unknown command: {kind}\n")


def screencap(phone, *flags):
    png = phone.screenshot()
    return png if png else b"Failed to take screenshot. Status: -1\n"


def wm(phone, what):
    return f"Physical size: {phone.width}x{phone.height}\n"


def dumpsys(phone, what):
    window = f"Window{{1a2b3c u0 {phone.front.package}/{phone.front.package}.MainActivity}}"
    return f"WINDOW MANAGER WINDOWS (dumpsys window windows)\n  mCurrentFocus={window}\n  mFocusedApp=ActivityRecord{{9f u0 {phone.front.package}/.MainActivity t7}}\n"


def ime(phone, verb, *arguments):
    if verb == "list":
        return "".join(name + "\n" for name in phone.keyboards)
    if arguments[0] not in phone.keyboards:
        raise Failure(f"Unknown id: {arguments[0]}\n")
    if verb == "set":
        phone.keyboard = arguments[0]
    return f"Input method {arguments[0]}\n"


def settings(phone, verb, space, name):
    return phone.keyboard + "\n" if name == "default_input_method" else "null\n"


def am(phone, verb, *arguments):
    values = {flag: value for flag, value in zip(arguments, arguments[1:]) if flag.startswith("-")}
    if verb == "start":
        if not phone.launch(values["-n"].partition("/")[0]):
            raise Failure("Error type 3\nError: Activity class does not exist.\n")
        return "Starting: Intent\n"
    if verb != "broadcast":
        raise Failure("Error: unknown command\n")
    if phone.keyboard == ADB_KEYBOARD:
        if values["-a"] == "ADB_CLEAR_TEXT":
            phone.clear()
        elif values["-a"] == "ADB_INPUT_B64":
            phone.type(base64.b64decode(arguments[arguments.index("msg") + 1]).decode())
        elif values["-a"] == "ADB_INPUT_TEXT":
            phone.type(arguments[arguments.index("msg") + 1])
    return "Broadcasting: Intent\nBroadcast completed: result=0\n"


def monkey(phone, *arguments):
    package = arguments[arguments.index("-p") + 1]
    if not phone.launch(package):
        raise Failure("** No activities found to run, monkey aborted.\n")
    return "Events injected: 1\n"


def uiautomator(phone, verb, path):
    return phone.dump() + f"UI hierchary dumped to: {path}\n"


def reboot(phone, *arguments):
    phone.was_rebooted = True


COMMANDS = {"input": input_, "screencap": screencap, "wm": wm, "dumpsys": dumpsys, "ime": ime, "settings": settings, "am": am, "monkey": monkey,
            "uiautomator": uiautomator, "reboot": reboot, "echo": lambda phone, *words: " ".join(words) + "\n",
            "getprop": lambda phone, *names: "13\n", "true": lambda phone: ""}
