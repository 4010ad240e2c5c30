"""A browser without a screen, driven by W3C WebDriver: Debian's chromedriver, spoken to over plain HTTP.

    with Browser(folder) as page:
        page.open("http://127.0.0.1:8080/")
        page.type("#user", "ada")
        page.click("button")

A place is a CSS selector, or an XPath if it begins with `//`. Every step waits until its element is there and can be
used, at most `SECONDS`; what does not come raises `NotThere`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SECONDS = 40.0
POLL = 0.02
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver section 12.1: the web element identifier
# Not an error yet: the page is on its way. W3C WebDriver section 6.6.
_LATER = ("no such element", "stale element reference", "element not interactable", "element click intercepted")
_LATER += ("no such frame", "javascript error", "no such window", "move target out of bounds")
CONTROL, ENTER, DELETE = "\ue009", "\ue007", "\ue017"


class NotThere(AssertionError):
    """What a page should show did not come in time."""


class DriverError(Exception):
    """What the driver answered: `kind` is the error code of the protocol."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(f"{kind}: {text.splitlines()[0] if text else ''}")
        self.kind = kind


def missing() -> str | None:
    """Why there is no browser here; None when there is one."""
    absent = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


class Browser:
    """One window of 1400 by 1000 points with a profile of its own under `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "chromedriver.log").open("ab")
        home = {"HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_CACHE_HOME": str(folder)}
        self._driver = subprocess.Popen(
            ["chromedriver", "--port=0"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, **home},
        )
        self._wire = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=60)
        self._session = ""

    def _port(self) -> int:
        assert self._driver.stdout is not None
        for line in self._driver.stdout:
            if b"started successfully on port" in line:
                return int(line.rpartition(b"port ")[2].rstrip(b".\r\n"))
        raise OSError(f"chromedriver did not start: {self._folder}/chromedriver.log")

    def __enter__(self) -> Browser:
        arguments = ["--headless=new", "--window-size=1400,1000", f"--user-data-dir={self._folder}/profile"]
        arguments += ["--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--lang=en", "--disable-sync"]
        arguments += ["--disable-background-networking", "--disable-component-update", "--no-proxy-server"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # Chromium's sandbox refuses root
        downloads = {"download.default_directory": str(self._folder)}
        options = {"args": arguments, "binary": shutil.which("chromium"), "prefs": downloads}
        wanted = {"alwaysMatch": {"goog:chromeOptions": options, "unhandledPromptBehavior": "ignore"}}
        self._session = self._ask("POST", "/session", {"capabilities": wanted})["sessionId"]
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError, DriverError):
            self._ask("DELETE", f"/session/{self._session}")
        self._wire.close()
        self._driver.terminate()
        assert self._driver.stdout is not None
        self._driver.stdout.close()
        self._driver.wait(20)
        self._log.close()

    # -- the protocol

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        text = json.dumps({} if body is None and method == "POST" else body)
        self._wire.request(method, path, None if method != "POST" else text, {"Content-Type": "application/json"})
        answer = json.loads(self._wire.getresponse().read())["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise DriverError(answer["error"], answer.get("message", ""))
        return answer

    def _do(self, command: str, body: dict[str, Any] | None = None, method: str = "POST") -> Any:
        return self._ask(method, f"/session/{self._session}/{command}", body)

    def _element(self, place: str) -> str:
        using = "xpath" if place.startswith(("//", "(//")) else "css selector"
        return self._do("element", {"using": using, "value": place})[_ELEMENT]

    # -- what a person does

    def open(self, url: str) -> None:
        self._do("url", {"url": url})

    def forget(self) -> None:
        """The cookies of this site."""
        self._do("cookie", method="DELETE")

    def click(self, css: str, holding: str = "", seconds: float = SECONDS) -> None:
        """`holding`: a key that is down meanwhile."""

        def attempt() -> bool:
            element = self._element(css)
            if not holding:
                self._do(f"element/{element}/click")
                return True
            mouse: list[dict[str, Any]] = [
                {"type": "pointerMove", "origin": {_ELEMENT: element}, "x": 0, "y": 0},
                {"type": "pointerDown", "button": 0},
                {"type": "pointerUp", "button": 0},
            ]
            keys: list[dict[str, Any]] = [{"type": "keyDown", "value": holding}, {"type": "pause"}, {"type": "pause"}]
            keys.append({"type": "keyUp", "value": holding})
            tracks = [{"type": "key", "id": "keys", "actions": keys}, {"type": "pointer", "id": "mouse"}]
            tracks[1]["actions"] = [{"type": "pause"}, *mouse]
            self._do("actions", {"actions": tracks})
            return True

        self.until(attempt, f"a click on {css}", seconds)

    def type(self, css: str, text: str) -> None:
        self.until(lambda: self._do(f"element/{self._element(css)}/value", {"text": text}) is None, f"typing in {css}")

    def clear(self, css: str) -> None:
        self.until(lambda: self._do(f"element/{self._element(css)}/clear") is None, f"emptying {css}")

    def choose(self, css: str, value: str) -> None:
        """An option of a select box, by its value."""
        code = "const box = document.querySelector(arguments[0]); box.value = arguments[1]; return box.value"
        self.until(lambda: self.script(code, css, value) == value, f"{value} in {css}")

    def check(self, css: str, on: bool) -> None:
        """A box to tick."""
        code = "const box = document.querySelector(arguments[0]); if (box.checked !== arguments[1]) box.click()"
        self.until(lambda: self.script(f"{code}; return box.checked", css, on) == on, css)

    def drag(self, css: str, onto: str) -> None:
        """With the mouse, in steps, as a hand would: pages take a jump for a click."""

        def attempt() -> bool:
            begin, end = ({_ELEMENT: self._element(one)} for one in (css, onto))
            moves: list[dict[str, Any]] = [
                {"type": "pointerMove", "origin": begin, "x": 0, "y": 0},
                {"type": "pointerDown", "button": 0},
                {"type": "pointerMove", "origin": "pointer", "x": 8, "y": 8, "duration": 50},
                {"type": "pointerMove", "origin": end, "x": 0, "y": 0, "duration": 100},
                {"type": "pointerMove", "origin": "pointer", "x": 3, "y": 1, "duration": 50},
                {"type": "pointerUp", "button": 0},
            ]
            self._do("actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": moves}]})
            return True

        self.until(attempt, f"{css} onto {onto}")

    def press(self, keys: str) -> None:
        """Keys on what has the focus."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._do("actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def accept(self) -> None:
        """OK to a question of the page's script."""
        self.until(lambda: self._do("alert/accept") is None, "a question")

    @contextmanager
    def frame(self, css: str) -> Iterator[None]:
        """Steps inside go to that frame of the page."""
        self.until(lambda: self._do("frame", {"id": {_ELEMENT: self._element(css)}}) is None, f"the frame {css}")
        try:
            yield
        finally:
            self._do("frame/parent")

    # -- what a person sees

    def script(self, code: str, *arguments: Any) -> Any:
        """What the function body `code` returns; `arguments` are its arguments."""
        return self._do("execute/sync", {"script": code, "args": list(arguments)})

    def text(self, css: str = "body") -> str:
        return self._do(f"element/{self._element(css)}/text", method="GET")

    def texts(self, css: str) -> list[str]:
        """Of all elements that match and are shown, in the page's order."""
        code = "return [...document.querySelectorAll(arguments[0])].filter(e => e.getClientRects().length)"
        return [str(text).strip() for text in self.script(f"{code}.map(e => e.innerText)", css)]

    def shows(self, text: str, css: str = "body") -> None:
        self.until(lambda: text in self.text(css), f"{text!r} in {css}")

    def gone(self, css: str) -> None:
        self.until(lambda: not self.texts(css), f"the end of {css}")

    def until(self, happened: Callable[[], Any], what: str = "it", seconds: float = SECONDS) -> Any:
        """What `happened` returned once that is true."""
        end, last = time.monotonic() + seconds, ""
        while True:
            try:
                if found := happened():
                    return found
            except DriverError as error:
                if error.kind not in _LATER:
                    raise
                last = f" ({error})"
            if time.monotonic() > end:
                self.screenshot(self._folder / "last.png")
                raise NotThere(f"{what} did not come{last}; see {self._folder}/last.png")
            time.sleep(POLL)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._do("screenshot", method="GET")))
