"""A real browser on the page, driven by Playwright; all that the page asks for and complains of is noted."""

from __future__ import annotations

import shutil
import time
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run", "--disable-default-apps", "--mute-audio"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)


def require_browser():
    """The path of a browser; skips where there is none, or nothing to drive it."""
    pytest.importorskip("playwright")
    pytest.importorskip("axe_playwright_python")
    path = next((path for path in map(shutil.which, NAMES) if path), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is on the path")
    return path


@contextmanager
def open_browser():
    from playwright.sync_api import sync_playwright

    path = require_browser()
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


class Seen:
    """A tab with the page; `complaints` are those of its console, `asked` the addresses it asked for."""

    def __init__(self, browser, url, *, permissions=("microphone",), **options):
        self.context = browser.new_context(permissions=list(permissions), **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.complaints, self.asked = [], []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.url = url
        self.page.goto(url)
        self.settle()

    def add_file(self, name, kind, content):
        """Choose a file, and wait until it is encoded, or isn't."""
        self.page.set_input_files("#files", {"name": name, "mimeType": kind, "buffer": content})
        self.settle()

    def write(self, words):
        self.page.fill("#words", words)
        self.page.click("#add")
        self.settle()

    def settle(self):
        """Wait until nothing is asked for any more."""
        self.until("document.body.dataset.underway === '0'")

    def until(self, expression, seconds=20):
        """Wait until an expression is true; Playwright's own way needs an `eval` that the page forbids."""
        deadline = time.monotonic() + seconds
        while not self.page.evaluate(expression):
            assert time.monotonic() < deadline, expression
            self.page.wait_for_timeout(20)

    def open_tab(self, name):
        self.page.click(f"#tab-{name}")
        self.settle()

    def names(self):
        """The names of the rows that are shown as nearest: the last parts of their keys, or their words."""
        lines = self.page.locator("#rows > li")
        return [
            line.locator("figcaption b, blockquote").last.inner_text().rpartition("/")[2]
            for line in lines.all()
        ]

    def close(self):
        self.context.close()

    def require_quiet(self):
        """Fail for a complaint, and for a request to anywhere but the page's own server."""
        assert self.complaints == []
        outside = [
            address for address in self.asked if not address.startswith((f"{self.url}/", "blob:", "data:"))
        ]
        assert outside == []


def find_violations(page):
    """All that axe finds on the page as it is now, in words."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:200] for node in each['nodes']][:3]}"
        for each in found
    ]
