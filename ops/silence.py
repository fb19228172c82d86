"""No wait of ours is without a word, and none on a server that has fallen silent is without an end.

After a second it is said what is waited for. The limit counts silence, not work: a second connection
asks the server for the session that waits, and as long as it is at work there, or waits for a lock, the
task goes on. A server that answers neither is left after `limit` seconds.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ops.console import minutes, say
from ops.errors import Silent, Unreachable

if TYPE_CHECKING:
    import subprocess

    from psycopg import Connection

PATIENCE = 1.0
"""Seconds before it is said what is waited for, before a bar is drawn, and before what runs is named."""
PERIOD = 0.2
"""Seconds between two looks."""
PROGRESS, ALL = "progress", "all"
SETTING = "db.silence_timeout"
MOST = 1 << 30
"""Bytes by which the memory of this process may grow in one wait for a server. libpq keeps an answer whole
(https://www.postgresql.org/docs/current/libpq-single-row-mode.html), and what is as long as that comes from one that has no end.
"""
NO_POSTGRES = "answers as no PostgreSQL does: see what listens there, and give the server's own address"
limit = 30.0
"""Seconds of silence, as the setting says."""


@dataclass(eq=False)
class Wait:
    """Something that is waited for."""

    what: str
    """In words."""
    ask: Callable[[], str | None] = lambda: ""
    """Asks for a sign of life: None is none, a text what it is about. In a thread of its own: it may hang, too."""
    cut: Callable[[], None] | None = None
    """Ends the wait; None: something else sees to its end."""
    quiet: str = ""
    """What is shown already: PROGRESS, or ALL that there is to say."""
    kept: bool = False
    """Whether what comes meanwhile is kept in the memory of this process."""
    since: float = field(default_factory=time.monotonic)
    told: str = ""
    silent: bool = False
    """Whether it was ended for silence."""
    flooded: bool = False
    """Whether it was ended since its answer had no end."""

    def __post_init__(self) -> None:
        self.memory = peak()
        self.said = self.since
        self.heard = self.due = self.since + PATIENCE  # what is done by then is not asked for
        self.asker: threading.Thread | None = None

    def look(self) -> None:
        now = time.monotonic()
        if self.kept and self.cut and peak() - self.memory > MOST:
            with _lock:
                if self in _waits:
                    self.flooded = True
                    self.cut()
            return
        if now < self.since + PATIENCE:
            return
        if not self.told and not self.quiet:
            self.tell(f"waiting for {self.what}")
        if not self.cut:
            return
        if now >= self.due and not (self.asker and self.asker.is_alive()):
            self.due = now + limit / 4
            self.asker = threading.Thread(target=self.listen, daemon=True)
            self.asker.start()
        if now - self.heard >= limit:
            with _lock:
                if self in _waits:  # else it has just ended, and what would be cut is another's by now
                    self.silent = True
                    self.cut()

    def listen(self) -> None:
        about = self.ask()
        if about is None:
            return
        self.heard = time.monotonic()
        if about:
            self.tell(f"waiting for {about}")
        elif self.heard - self.said >= limit and not self.quiet:
            self.tell(f"the server is at work for {minutes(self.heard - self.since)}")

    def tell(self, text: str) -> None:
        if self.quiet != ALL and text != self.told and not self.silent and self in _waits:
            self.told, self.said = text, time.monotonic()
            say(text)


def peak() -> int:
    """Return the most memory that this process has had, in bytes: getrusage(2) tells it in kilobytes, on macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


_waits: set[Wait] = set()
_lock = threading.Lock()


@functools.cache
def watch() -> threading.Thread:
    """Start what looks at the waits of this process."""

    def run() -> None:
        while True:
            time.sleep(PERIOD)
            with _lock:
                waits = list(_waits)
            for wait in waits:
                wait.look()

    thread = threading.Thread(target=run, daemon=True, name="silence")
    thread.start()
    return thread


def begin(wait: Wait) -> None:
    """Look after a wait until `end`."""
    watch()
    with _lock:
        _waits.add(wait)


def end(wait: Wait) -> None:
    """Look after a wait no longer."""
    with _lock:
        _waits.discard(wait)


@contextlib.contextmanager
def watched(wait: Wait) -> Iterator[Wait]:
    """Look after a wait until the block ends."""
    begin(wait)
    try:
        yield wait
    finally:
        end(wait)


def waiting(what: str) -> contextlib.AbstractContextManager[Wait]:
    """Say after a second what is waited for; its end is seen to by a limit of its own."""
    return watched(Wait(what))


@functools.cache
def session_class() -> type[Connection[Any]]:
    """Return psycopg's connection with a watch over each wait for the server."""
    import psycopg

    class Answer(psycopg.Cursor[Any]):
        """What a server gives for a value of a type must be one; psycopg raises Python's own errors where it is none."""

        def fetchone(self) -> Any:
            return self.read(super().fetchone)

        def fetchall(self) -> Any:
            return self.read(super().fetchall)

        def __next__(self) -> Any:
            return self.read(super().__next__)

        def read(self, fetch: Callable[[], Any]) -> Any:
            try:
                return fetch()
            except (ValueError, ArithmeticError):
                at = self.connection.info
                raise psycopg.DataError(f"{at.host}:{at.port} {NO_POSTGRES}") from None

    class Session(psycopg.Connection[Any]):
        """`quiet` is for waits that are explained elsewhere: a lock's, a load's with its bar."""

        quiet = ""
        what = ""
        ask: Callable[[], str | None] | None = None
        """What this session does, as another one is told; None while it is being made."""
        others: Callable[[], str | None] = lambda: ""
        """Whether the server answers another one at all."""

        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.cursor_factory = Answer

        def wait(self, gen: Any, *args: Any, **more: Any) -> Any:
            with watching(self):
                return super().wait(gen, *args, **more)

    return Session


@contextlib.contextmanager
def watching(conn: Any) -> Iterator[None]:
    """Look after a wait for the server of a session; raises `psycopg.OperationalError` when it has fallen silent."""
    import psycopg

    if conn.ask is None:  # it is only just being made
        yield
        return
    wait = Wait(conn.what, conn.ask, functools.partial(hang_up, conn.pgconn.socket), conn.quiet, kept=True)
    try:
        with watched(wait):
            yield
    except psycopg.OperationalError:
        if wait.silent:
            raise psycopg.OperationalError(fallen_silent(conn.what)) from None
        if wait.flooded:
            raise psycopg.OperationalError(without_end(conn.what)) from None
        raise


@contextlib.contextmanager
def quiet(conn: Any, shown: str) -> Iterator[None]:
    """Leave out of what is said of a session's waits what is shown elsewhere."""
    before, conn.quiet = conn.quiet, shown
    try:
        yield
    finally:
        conn.quiet = before


@contextlib.contextmanager
def watching_child(
    what: str, ask: Callable[[], str | None], child: subprocess.Popen[Any], *, quiet: str = ""
) -> Iterator[None]:
    """Look after another program, and kill it when what it works with is silent; raises `Silent`.

    `ask` gives a sign of life of that, or None.
    """
    with watched(Wait(what, ask, child.kill, quiet)) as wait:
        yield
    if wait.silent:
        raise Silent(
            f"{what} has given no answer for {limit:.0f} s ({SETTING}): see that it is up, then run this again"
        )


def fallen_silent(what: str) -> str:
    return (
        f"{what} has fallen silent, no answer for {limit:.0f} s, nor to a second connection ({SETTING}): "
        "see that the server and the way to it are up (VPN, firewall), then inv db.status"
    )


def without_end(what: str) -> str:
    return f"{what} has given no answer with an end, but more than {MOST >> 20} MB of one: see that it is a PostgreSQL, and what it is asked for"


def hang_up(number: int) -> None:
    """Close a socket both ways, so that whoever waits on it is told that its peer has gone."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as own:
        own.shutdown(socket.SHUT_RDWR)


@functools.cache
def resolves(host: str, seconds: float) -> bool:
    """See that a name is answered for, within so many seconds; raises `Unreachable` where the resolver is silent.

    The C library's own lookup knows no limit but the resolver's (resolv.conf(5): 5 s, twice, for each server).
    """

    def look() -> None:
        with contextlib.suppress(OSError, UnicodeError):  # what is wrong with it is said by who uses it
            socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)

    looker = threading.Thread(target=look, daemon=True)
    with waiting(f"the address of {host}"):
        looker.start()
        looker.join(seconds)
    if looker.is_alive():
        raise Unreachable(
            f"{host}: the resolver has not answered for {seconds:.0f} s (db.connect_timeout): see /etc/resolv.conf and the network, then run this again"
        )
    return True
