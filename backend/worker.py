"""gunicorn's worker for the feed: waitress takes each request whole, in one loop, before a thread is used for it.

A client that sends half a request, or reads no answer, costs a socket and nothing else, and that for a time. gunicorn
stays what starts, watches and stops the process; threads and the pool they share are real ones, which nothing patches.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import struct
import time
from datetime import datetime, timedelta, timezone
from types import FrameType, SimpleNamespace
from typing import Any

from gunicorn.workers.base import Worker
from waitress import create_server, wasyncore
from waitress.channel import HTTPChannel
from waitress.task import WSGITask

SECONDS = 15.0
"""That each of these may take: until a request is here whole, until a thread is free, its work, until its answer is taken."""
HEAD = 16 * 1024
"""Bytes of a request's line and headers."""
BODY = 64 * 1024
"""Bytes of a request's body; nothing here reads one."""
CONNECTIONS = 400
"""At once, where the process may have that many files; who comes then waits a second or two until others are closed."""
FILES = 100
"""That a process needs beside those of its clients, each of whom has a socket, and a file for an answer of more than 1 MB."""


class Answer(WSGITask):  # type: ignore[misc]
    """A request in its thread, which is noted in gunicorn's log of accesses."""

    def service(self) -> None:
        begun = datetime.now(timezone.utc)
        try:
            super().service()
        finally:  # also of one whose client has left
            self.note(datetime.now(timezone.utc) - begun)

    def note(self, took: timedelta) -> None:
        whole = self.content_length if self.request.command != "HEAD" else 0  # of a file, which the loop sends
        sent = self.content_bytes_written or whole or 0
        given = SimpleNamespace(status=self.status, headers=self.response_headers, sent=sent)
        # What a stranger sends is not to steer the terminal that shows the log
        environ = {**self.get_environment(), "RAW_URI": ascii(self.request.request_uri)[1:-1]}
        self.channel.server.log.access(given, [], environ, took)


class Channel(HTTPChannel):  # type: ignore[misc]
    """A connection. Waitress's own timeout begins anew with each byte; this one does with each stage only."""

    task_class = Answer
    requests: list[Any]

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.asked, self.since = False, time.monotonic()

    def readable(self) -> bool:
        return not self.server.stopping and bool(super().readable())

    def received(self, data: bytes) -> bool:
        self.asked = True
        taken = bool(super().received(data))
        if self.requests:
            self.since = time.monotonic()
        return taken

    def service(self) -> None:
        self.since = time.monotonic()
        if self.asked:
            self.asked = False
            super().service()
        else:  # a request that came along with the one before: it may ask again, when it has taken that answer
            with self.requests_lock:
                for request in self.requests:
                    request.close()
                self.requests = []
                self.close_when_flushed = True
            self.server.pull_trigger()
        self.since = time.monotonic()

    def overdue(self, now: float, crowd: float) -> bool:
        """Whether its stage has taken too long; where no request is here, the sooner the more others there are (0 to 1)."""
        return now - self.since > (SECONDS if self.requests else max(1.0, SECONDS * (1 - crowd)))

    def end(self) -> None:
        """Let the loop close it, which is told of a shut socket whether or not the client reads; what is unsent is dropped."""
        self.will_close = True
        with contextlib.suppress(OSError):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.shutdown(socket.SHUT_RDWR)


class Buffered(Worker):  # type: ignore[misc]
    """The worker: waitress's loop, and the threads that work on whole requests."""

    server: Any = None

    def run(self) -> None:
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # a request that waits for a thread is no warning
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        most = CONNECTIONS if files == resource.RLIM_INFINITY else max(FILES, min(CONNECTIONS, (files - FILES) // 2))
        self.map: dict[int, Any] = {}
        self.server = server = create_server(
            self.wsgi,
            map=self.map,
            sockets=[listener.sock for listener in self.sockets],
            threads=self.cfg.threads,
            connection_limit=most,
            max_request_header_size=HEAD,
            max_request_body_size=BODY,
            ident="",
            log_socket_errors=False,
        )
        server.channel_class, server.log, server.stopping = Channel, self.log, False
        looked = 0.0
        while self.alive and self.ppid == os.getppid():
            self.turn()
            if (now := time.monotonic()) - looked >= 1:
                looked, channels = now, list(server.active_channels.values())
                for channel in channels:
                    if channel.overdue(now, len(channels) / most):
                        channel.end()
        self.finish()

    def turn(self) -> None:
        """Do what there is to do, or wait for it, for a second at most."""
        self.notify()
        wasyncore.loop(timeout=1, use_poll=True, map=self.map, count=1)

    def finish(self) -> None:
        """Answer the requests that are here, take no others, and wait for neither longer than gunicorn does."""
        self.server.stopping = True
        wasyncore.dispatcher.close(self.server)  # no longer listens; its trigger goes on
        until = time.monotonic() + self.cfg.graceful_timeout
        channels = self.server.active_channels
        while any(one.requests or one.total_outbufs_len for one in list(channels.values())):
            if time.monotonic() > until:
                break
            self.turn()
        # A client that has left may have a thread that still writes of it in the log
        self.server.task_dispatcher.shutdown(timeout=max(0.0, until - time.monotonic()))

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, and do not sleep over it."""
        super().handle_exit(sig, frame)
        if self.server:
            self.server.pull_trigger()
