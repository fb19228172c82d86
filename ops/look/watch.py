"""Each target has a thread that looks at it every other second, as long as somebody looks at the page, and keeps ten minutes.

What is asked once is done by a thread of its own, too: a target that is dead, or hangs, holds up nobody but itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from config.settings import Settings
from ops.db import now
from ops.db.now import Now
from ops.look import panels
from ops.look.panels import Failure

log = logging.getLogger("inv.look")
PERIOD = 2.0
"""Seconds between two looks at a target."""
KEPT = 300
"""Looks that are kept: ten minutes."""
AGAIN = 5.0
"""Seconds until a target that did not answer is tried again."""
UNWATCHED = 15.0
"""Seconds without a question of the page, after which nobody looks, and the session is closed."""
SIZES = 30
"""Looks between two at the size of a database, which reads the length of each of its files."""
AT_ONCE = 3
"""Questions to one target at once."""
FRESH = 5.0
"""Seconds for which an answer that came too late for its question is kept for the next one."""


class Watch:
    """What is seen of a target while somebody looks."""

    def __init__(self, settings: Settings, name: str) -> None:
        self.settings, self.name = settings, name
        self.seen: deque[Now] = deque(maxlen=KEPT)
        self.asked = 0.0
        self.wanted, self.stopped = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True, name=f"look at {name}")

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopped.set()
        self.wanted.set()

    def looks(self) -> list[Now]:
        """Return what was seen, the newest last, and go on looking."""
        self.asked = time.monotonic()
        self.wanted.set()
        return list(self.seen)

    def is_watched(self) -> bool:
        return not self.stopped.is_set() and time.monotonic() - self.asked < UNWATCHED

    def run(self) -> None:
        while True:
            self.wanted.wait()
            if self.stopped.is_set():
                return
            try:
                self.follow()
            except Exception as error:
                self.seen.append(now.away(worded(error, self.name).error))
                self.stopped.wait(AGAIN)
            if not self.is_watched() and not self.stopped.is_set():
                self.wanted.clear()

    def follow(self) -> None:
        """Look by one session until nobody watches; raises what ends it."""
        with panels.reading(self.settings, self.name) as (_, conn):
            before, size, looks = None, None, 0
            while self.is_watched():
                with conn.transaction():
                    found, before = now.look(conn, before, size if looks % SIZES else None)
                size, looks = found.size_bytes, looks + 1
                self.seen.append(found)
                self.stopped.wait(PERIOD)


class Job:
    """Something that is asked of a target, and its answer once it is there."""

    def __init__(self, work: Callable[[], Any], name: str, gate: threading.Semaphore) -> None:
        self.work, self.name, self.gate = work, name, gate
        self.begun, self.ended = time.monotonic(), 0.0
        self.answer: Any = None
        self.done = threading.Event()
        threading.Thread(target=self.run, daemon=True, name=f"look at {name}").start()

    def run(self) -> None:
        with self.gate:
            try:
                self.answer = self.work()
            except Exception as error:
                self.answer = worded(error, self.name)
        self.ended = time.monotonic()
        self.done.set()

    @property
    def seconds(self) -> int:
        return int(time.monotonic() - self.begun)

    def is_stale(self) -> bool:
        return self.done.is_set() and time.monotonic() - self.ended > FRESH


class Looker:
    """All that is looked at."""

    def __init__(self, settings: Settings, names: list[str]) -> None:
        self.settings, self.names = settings, names
        self.watches = {name: Watch(settings, name) for name in names}
        self.gates = {name: threading.Semaphore(AT_ONCE) for name in names}
        self.jobs: dict[tuple[str, str], Job] = {}
        self.lock = threading.Lock()
        for watch in self.watches.values():
            watch.start()

    def ask(self, name: str, panel: str, seconds: float) -> Job:
        """Return a job that is so many seconds old at least, or done: the one under way where there is one, else a new one."""
        key = (name, panel)
        with self.lock:
            job = self.jobs.get(key)
            if job is None or job.is_stale():
                look = panels.look_of(panel)
                # What is asked of two targets takes no place of either: one that hangs would hold up the other
                gate = threading.Semaphore() if panel.startswith(panels.DRIFT) else self.gates[name]
                job = self.jobs[key] = Job(lambda: look(self.settings, name), name, gate)
        if job.done.wait(max(0.0, job.begun + seconds - time.monotonic())):
            with self.lock:
                if self.jobs.get(key) is job:
                    del self.jobs[key]
        return job

    def close(self, seconds: float = 0) -> None:
        """Look no more; wait so long for the sessions to be closed."""
        for watch in self.watches.values():
            watch.stop()
        until = time.monotonic() + seconds
        for watch in self.watches.values():
            watch.thread.join(max(0.0, until - time.monotonic()))


def worded(error: Exception, name: str) -> Failure:
    """Return an error in the words of its task; of a bug the log has the traceback."""
    found = panels.line(error, name)
    if found is None:
        log.error("a fault of inv look itself", exc_info=error)
    return found or Failure(f"a fault of inv look itself ({type(error).__name__}), which its terminal shows", 1)
