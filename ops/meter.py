"""How far a long work is: a bar by bytes at a terminal, once it has taken a second; nothing in a pipe or a log."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from ops.console import watched
from ops.silence import PATIENCE

PERIOD = 0.2
"""Seconds between two looks."""


class Meter:
    """Looks from a thread at how far the work is, so that the work only sets a number, and rich is imported beside it."""

    thread: threading.Thread | None = None

    def __init__(self, what: str, total: int, running: Callable[[int], str]) -> None:
        self.what, self.total, self.running = what, total, running
        self.done = 0
        """Bytes that are done; the work sets it."""

    def start(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    def stop(self) -> None:
        self.over.set()
        if self.thread:
            self.thread.join()

    def run(self) -> None:
        if self.over.wait(PATIENCE):
            return
        from rich.console import Console, RenderableType
        from rich.progress import (
            BarColumn,
            DownloadColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
            TransferSpeedColumn,
        )
        from rich.text import Text

        running = Text("", no_wrap=True, overflow="ellipsis")

        class Bars(Progress):
            """With a line for what runs below it."""

            def get_renderables(self) -> Iterator[RenderableType]:
                yield from super().get_renderables()
                if running:
                    yield running

        columns = (TextColumn("{task.description}", markup=False), BarColumn(30), DownloadColumn(binary_units=True))
        console = Console(stderr=True)
        bars = Bars(*columns, TransferSpeedColumn(), TimeRemainingColumn(), console=console, transient=True)
        with bars:
            bar = bars.add_task(self.what, total=self.total or None)
            seen, since = -1, time.monotonic()
            while not self.over.wait(PERIOD):
                if self.done != seen:
                    seen, since = self.done, time.monotonic()
                running.plain = self.running(seen) if time.monotonic() - since >= PATIENCE else ""
                bars.update(bar, completed=seen)


@contextlib.contextmanager
def measured(what: str, total: int, running: Callable[[int], str] = lambda _: "") -> Iterator[Meter]:
    """Yield a meter whose `done` the work sets, of `total` bytes (0: not known).

    `running` names what takes longer than a second, by how far the work is; it is called in another thread.
    """
    meter = Meter(what, total, running)
    if not watched():
        yield meter
        return
    meter.start()
    try:
        yield meter
    finally:
        meter.stop()
