"""The process beside pytest: gives it databases by a pipe, as long as it is there.

It is told one line of JSON with the settings, then `taken` for each database that a test begins with, and `done NAME` when that has
ended; the end of its input is the end of pytest, killed or not. It says a line of JSON for each of: `said`, `ready`, `database`, `error`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from config.settings import Settings
from ops import file_lock, postgres
from ops.console import redact
from ops.errors import Misconfigured
from ops.targets.open_target import OpenTarget
from ops.testing import names, pool, server, template
from ops.testing.pool import Pool

PATIENCE = 600.0
"""Seconds to wait for another worker that builds the template."""
FIRST = 4
"""Databases that are there before the first test begins, where so many are wanted."""
LOOK = 1.0
"""Seconds between two looks whether pytest is still there: a child of a test may hold our input open."""


class Pipe:
    """The way to pytest: one line of JSON for each thing that is said."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.number = os.dup(1)
        os.dup2(2, 1)  # whatever else prints does not come between

    def tell(self, **what: Any) -> None:
        line = json.dumps(what).encode() + b"\n"
        with self.lock, contextlib.suppress(BrokenPipeError):
            while line:
                line = line[os.write(self.number, line) :]


class Said(io.TextIOBase):
    """Takes the place of stderr: what our functions say there is for whoever waits for the first test."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def write(self, text: str) -> int:
        for line in text.splitlines():
            if line.strip():
                self.pipe.tell(said=line)
        return len(text)


def told(events: queue.SimpleQueue[tuple[str, str]]) -> None:
    """Queue each line of the input as a word and the rest, and its end as `end`."""
    for line in sys.stdin.buffer:
        word, _, rest = line.decode().rstrip("\n").partition(" ")
        events.put((word, rest))
    events.put(("end", ""))


def watched(events: queue.SimpleQueue[tuple[str, str]], parent: int) -> Iterator[tuple[str, str]]:
    """Yield what is told, until the end or until pytest has gone without one."""
    while True:
        try:
            event = events.get(timeout=LOOK)
        except queue.Empty:
            if os.getppid() != parent:
                return
            continue
        if event[0] == "end":
            return
        yield event


def serve(settings: Settings, pipe: Pipe) -> None:
    """Give databases until pytest ends, then remove what is left of them; raises `Problem`."""
    parent = os.getppid()
    wanted = json.loads(sys.stdin.buffer.readline())
    events: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
    threading.Thread(target=told, args=[events], daemon=True).start()
    ahead, disk_mb = number(wanted, "inv_testing_pool"), number(wanted, "inv_testing_disk_mb")
    settings = replace(settings, lock_timeout=max(settings.lock_timeout, PATIENCE))
    file_lock.limit = settings.lock_timeout
    content = template.content(settings, wanted["inv_testing_seed"], pairs(wanted["inv_testing_vars"]))
    name, url = names.template(content.digest), wanted["inv_testing_url"]
    own = not url
    with server.open_own(settings, name) if own else server.open_url(settings, url, name) as at:
        with pool.hold_run(at) as run, template.hold_template(at, content, own=own):
            at.look_again()
            size = postgres.row(at.conn, pool.SIZE, name)["bytes"]
            limits = pool.limits(ahead, disk_mb, int(wanted["workers"]), size)
            clones = Pool(
                at,
                run,
                limits,
                lambda name: events.put(("made", name)),
                lambda error: events.put(("failed", str(error))),
            )
            clones.start()
            try:
                give(at, clones, pipe, watched(events, parent))
            finally:
                clones.close()


def give(at: OpenTarget, clones: Pool, pipe: Pipe, events: Iterator[tuple[str, str]]) -> None:
    """Hand each clone on, and have removed those that are done with; the first are handed on together."""
    first: list[str] | None = []
    for word, rest in events:
        if word == "made":
            if first is None:
                hand(at, pipe, rest)
                continue
            first.append(rest)
            if len(first) == min(FIRST, clones.limits.ready):
                pipe.tell(ready=len(first))
                for name in first:
                    hand(at, pipe, name)
                first = None
        elif word == "taken":
            clones.taken()
        elif word == "done":
            clones.done(rest)
        elif word == "failed":
            pipe.tell(error=redact(rest))
            return


def hand(at: OpenTarget, pipe: Pipe, name: str) -> None:
    pipe.tell(database=(name, at.target.on(dbname=name).url(show_password=True)))


def number(wanted: Mapping[str, Any], name: str) -> int:
    """Return a setting that is a number; raises `Misconfigured`."""
    text = str(wanted[name])
    if not text.isascii() or not text.isdigit() or not int(text):
        raise Misconfigured(f"{name}: {text!r} is no number from 1 on")
    return int(text)


def pairs(lines: list[str]) -> dict[str, str]:
    """Read psql variables, NAME=VALUE; raises `Misconfigured`."""
    found = {}
    for line in lines:
        name, equals, value = line.partition("=")
        if not equals or not name.strip().isidentifier():
            raise Misconfigured(
                f"inv_testing_vars: {name.strip()!r}: write it as NAME=VALUE, the name in letters, digits and _"
            )
        found[name.strip()] = value.strip()
    return found
