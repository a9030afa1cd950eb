"""A real browser: Debian's chromium without a window, spoken to in the WebDriver protocol."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

PATIENCE = 120.0
"""How long an answer may take [s]."""


def find_browser() -> tuple[str, str] | None:
    """Return the programs of chromium and its driver; None if they are not installed."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


class Browser:
    """One window."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self._session = ""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """Return the driver's answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._root + self._session + path, data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(json.load(error)["value"]["message"]) from None

    def begin(self, binary: str, profile: Path) -> None:
        """Open the window; whatever it asks the network for cannot be found."""
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--hide-scrollbars",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            f"--user-data-dir={profile}",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        ]
        options = {"args": arguments, "binary": binary}
        wanted = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": options}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{session['sessionId']}"

    def command(self, name: str, **parameters: object) -> Any:
        """Run a command of the DevTools protocol."""
        return self.call("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def look_like(self, *, width: int, height: int, scheme: str, scale: float = 1.0) -> None:
        """Set the size of the window [CSS pixels] and the colour scheme that the user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        """Load a page and wait for it."""
        self.call("POST", "/url", {"url": url})

    def ask(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript."""
        return self.call("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def console(self) -> list[dict[str, Any]]:
        """Return what the console got since the last call."""
        messages: list[dict[str, Any]] = self.call("POST", "/se/log", {"type": "browser"})
        return messages

    def picture(self, *, whole_page: bool = False) -> bytes:
        """Return a PNG of the window, or of the whole page."""
        answer = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        return base64.b64decode(answer["data"])

    def end(self) -> None:
        """Close the window."""
        if self._session:
            self.call("DELETE", "")


@contextmanager
def opened_browser(programs: tuple[str, str], folder: Path) -> Iterator[Browser]:
    """Have a window during a `with` block; `folder` gets its profile."""
    binary, driver = programs
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    silent = subprocess.DEVNULL
    process = subprocess.Popen([driver, f"--port={port}"], stdin=silent, stdout=silent, stderr=silent)
    browser = Browser(port)
    try:
        _wait_for_driver(browser)
        browser.begin(binary, folder / "profile")
        try:
            yield browser
        finally:
            browser.end()
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_driver(browser: Browser) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            if browser.call("GET", "/status")["ready"]:
                return
        except OSError:
            assert time.monotonic() < end, "chromedriver does not come up"
        time.sleep(0.05)
