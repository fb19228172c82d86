"""How long until the address of the page is there, and its first paint; what it costs the server while somebody looks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bench.measure import Call, Comparison, Told, Unavailable
from bench.place import INV, Bench

if TYPE_CHECKING:
    from playwright.sync_api import Page

PAINT = 0.3
"""Seconds after navigation."""
SHARE = 0.01
"""Of one processor."""
SETTLED = 2.0
"""Seconds after which all parts of the page have been asked for."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def address(at: Bench) -> Comparison:
    """`inv look` until it has printed its address, beside `inv db.wait`."""
    at.inv("db.setup")()
    wait = at.inv("db.wait")
    env = {**os.environ, **wait.env}

    def look() -> None:
        argv = [INV, "look", "-t", "local", "--no-browser"]
        with subprocess.Popen(argv, cwd=at.folder, env=env, stderr=subprocess.PIPE, text=True) as child:
            assert child.stderr
            line = child.stderr.readline()
            child.kill()
        assert "http://127.0.0.1:" in line, line

    def answered() -> None:
        subprocess.run([INV, "db.wait"], cwd=at.folder, env=env, check=True, capture_output=True)

    return Comparison(
        "inv look until its address is printed",
        Call(look),
        {"inv db.wait": Call(answered)},
        {"inv db.wait": 2.5},
        note="Whoever asks before all is imported waits at the port, which listens by then.",
    )


def required(at: Bench) -> str:
    """Return the program of Chromium, with the sample database behind it; raises `Unavailable`."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None or find_spec("playwright") is None:
        raise Unavailable(
            "Chromium and playwright are needed: apt-get install chromium, pip install -r requirements-dev.txt"
        )
    at.inv("db.setup")()
    return program


@contextlib.contextmanager
def opened(at: Bench, program: str) -> Iterator[tuple[Page, str]]:
    """Yield a window of Chromium that `inv look` has let in, with the page settled in it, and its address."""
    from playwright.sync_api import sync_playwright

    argv = [INV, "look", "-t", "local", "--no-browser"]
    more = ["--no-sandbox"] if os.geteuid() == 0 else []  # its own does not work as root
    with (
        subprocess.Popen(argv, cwd=at.folder, stderr=subprocess.PIPE, text=True) as child,
        contextlib.ExitStack() as stack,
        sync_playwright() as playwright,
    ):
        stack.callback(child.kill)
        assert child.stderr
        url = next(word for word in child.stderr.readline().split() if word.startswith("http://"))
        browser = playwright.chromium.launch(executable_path=program, args=[*more, "--disable-dev-shm-usage"])
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector("section .badge")
        yield page, page.url
        browser.close()


def paint(at: Bench) -> Comparison:
    """The first contentful paint of the page, as Chromium tells it, after a navigation."""
    program = required(at)

    def painted() -> float:
        with opened(at, program) as (page, url):
            page.goto(url)
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
            found: Any = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
            return float(found) / 1000

    bound = f"{PAINT * 1000:.0f} ms"
    return Comparison(
        "inv look, first contentful paint",
        Told(painted),
        {bound: Told(lambda: PAINT)},
        {bound: 1},
        note="In a Chromium that runs, nothing cached (no-store); the time is of the browser's own clock.",
    )


def load(at: Bench) -> Comparison:
    """What all processes of the server compute while one page of one target is open."""
    import psutil

    program, seconds = required(at), at.size(30, 1)
    postmaster = psutil.Process(int((at.server.data / "postmaster.pid").read_text().split()[0]))

    def spent() -> float:
        found = 0.0
        for child in postmaster.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                found += times.user + times.system
        return found + sum(postmaster.cpu_times()[:4])  # its own, and that of the sessions that have ended

    def open_for_a_while() -> float:
        with opened(at, program):
            time.sleep(SETTLED)
            before = spent()
            time.sleep(seconds)
            return spent() - before

    bound = f"{SHARE:.0%} of {seconds} s"
    return Comparison(
        f"inv look, the server's processor while the page is open for {seconds} s",
        Told(open_for_a_while),
        {bound: Told(lambda: SHARE * seconds)},
        {bound: 1},
        note="All that the server does, one target, its database as db.setup leaves it.",
        once=True,
    )
