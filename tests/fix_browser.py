"""A page in a real browser, in which neither an error nor a refused script nor a dialog goes unnoticed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page


@pytest.fixture(scope="module")  # playwright's loop is the thread's own as long as it is there
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, or another one of this machine; REQUIRE_CHROMIUM makes its absence a failure."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail("Chromium is required here: apt-get install chromium")
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)  # what a page shows at once comes later on a busy machine
    with sync_playwright() as playwright:
        # Its sandbox does not work as root
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=[*sandbox, "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    """A window of its own, in which neither an error nor a refused script nor a dialog goes unnoticed."""
    context = chromium.new_context(viewport={"width": 900, "height": 1000}, locale="en-GB", timezone_id="Europe/Berlin")
    opened = context.new_page()
    opened.set_default_timeout(30_000)
    seen: list[str] = []

    def logged(message: ConsoleMessage) -> None:
        # What the network refuses is for the page to tell, and each test of that looks there
        if message.type == "error" and "Failed to load resource" not in message.text:
            seen.append(message.text)

    def asked(dialog: Dialog) -> None:
        seen.append(dialog.message)
        dialog.dismiss()

    opened.on("console", logged)
    opened.on("dialog", asked)
    opened.on("pageerror", lambda error: seen.append(str(error)))
    yield opened
    context.close()
    assert not seen


CONTRAST = """selector => {
  const node = document.querySelector(selector);
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  let back = node;
  while ((parse(getComputedStyle(back).backgroundColor)[3] ?? 1) === 0) back = back.parentElement;
  const light = (colour) => parse(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const pair = [getComputedStyle(node).color, getComputedStyle(back).backgroundColor].map(light).sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
}"""


def contrast(page: Page, selector: str) -> float:
    """Return the contrast of a text with what is behind it, as WCAG reckons it (4.5 is enough to read)."""
    return float(page.evaluate(CONTRAST, selector))
