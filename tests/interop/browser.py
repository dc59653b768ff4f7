"""
A browser without a screen: Chromium, driven over the HTTP of WebDriver (W3C), which is a handful of
requests with JSON.
"""

from __future__ import annotations

import base64
import http.client
import json
from pathlib import Path
from typing import Any

from tests.interop.processes import Process, find
from tests.ports import freePort

#: Seconds that the browser may take for one command.
COMMAND_SECONDS = 60


class Chromium(Process):
    """
    Debian's Chromium with its driver.
    """

    def __init__(self, directory: Path) -> None:
        """
        @raise SkipTest: it is not installed.
        """
        super().__init__(directory)
        self._program = find("chromium", "chromium")
        self._driver = find("chromedriver", "chromium-driver")
        self._port = freePort()
        self._session = ""

    @property
    def name(self) -> str:
        """
        What it is called in messages.
        """
        return "chromium"

    def start(self, isDark: bool = False, width: int = 1280, height: int = 900) -> None:
        """
        Open an empty window.
        """
        self.directory.mkdir(parents=True)
        # What it keeps is for this run alone.
        home = {"HOME": str(self.directory), "XDG_CONFIG_HOME": str(self.directory)}
        self.spawn([self._driver, f"--port={self._port}"], [self._port], environment=home)
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            f"--window-size={width},{height}",
            f"--user-data-dir={self.directory / 'profile'}",
        ]
        if isDark:
            arguments.append("--force-dark-mode")
        options = {"binary": self._program, "args": arguments}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{answer['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=COMMAND_SECONDS)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{value['error']}: {value['message']}")
        return value

    def open(self, url: str) -> None:
        """
        Load a page, and wait until it is there.
        """
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: object) -> Any:
        """
        What C{script} returns, run as a function in the page.
        """
        body = {"script": script, "args": list(arguments)}
        return self._ask("POST", f"{self._session}/execute/sync", body)

    def text(self, selector: str = "body") -> str:
        """
        What a reader sees of the first element that is meant.
        """
        shown: str = self.run("return document.querySelector(arguments[0]).innerText", selector)
        return shown

    def command(self, name: str, **parameters: object) -> Any:
        """
        A command of the DevTools protocol.
        """
        body = {"cmd": name, "params": parameters}
        return self._ask("POST", f"{self._session}/goog/cdp/execute", body)

    def emulate(self, width: int, height: int, scheme: str = "light") -> None:
        """
        Let the window be of another size, a phone's for instance, and light or dark.
        """
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def withoutScripts(self, isOff: bool) -> None:
        """
        Run no script of pages that are loaded from now on.
        """
        self.command("Emulation.setScriptExecutionDisabled", value=isOff)

    def screenshot(self, isWhole: bool = True) -> bytes:
        """
        A picture of the page, as PNG.

        @param isWhole: also what the window does not show.
        """
        picture = self.command(
            "Page.captureScreenshot", format="png", captureBeyondViewport=isWhole
        )
        return base64.b64decode(picture["data"])

    def complaints(self) -> list[str]:
        """
        What the console has of errors and warnings since the last time.
        """
        entries = self._ask("POST", f"{self._session}/se/log", {"type": "browser"})
        return [each["message"] for each in entries if each["level"] in ("SEVERE", "WARNING")]

    def stop(self) -> int:
        """
        Close it.
        """
        if self._session:
            session, self._session = self._session, ""
            self._ask("DELETE", session)
        return super().stop()
