"""A real Chromium, Debian's, driven by Playwright: pages, what their console says, and what axe finds."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or ""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, NARROW = 1280, 390
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Tab:
    """One tab of a browser profile of its own.

    Attributes:
        page: Playwright's.
        said: warnings and errors on its console, and failed requests.
    """

    page: Page
    said: list[str] = field(default_factory=list)

    def listen(self) -> Tab:
        """Take note of all that goes wrong from now on."""

        def hear(message: ConsoleMessage) -> None:
            if message.type in ("error", "warning"):
                self.said.append(f"{message.type}: {message.text}")

        self.page.on("console", hear)
        self.page.on("pageerror", lambda error: self.said.append(f"raised: {error}"))
        self.page.on("dialog", lambda dialog: (self.said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        return self

    def violations(self) -> list[str]:
        """What axe finds: rule, and where."""
        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {[node['target'] for node in one['nodes']][:3]}" for one in found]

    def too_wide(self) -> int:
        """Pixels by which the page scrolls sideways."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@contextlib.contextmanager
def tab(browser: Browser, url: str, token: str, *, theme: str = "light", width: int = WIDE) -> Iterator[Tab]:
    """A signed-in tab, not gone anywhere yet."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if theme == "dark" else "light", base_url=url
    )
    context.add_cookies([{"name": "_token", "value": token, "url": url}])
    context.set_default_timeout(20_000)
    try:
        yield Tab(context.new_page()).listen()
    finally:
        context.close()
