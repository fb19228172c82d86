"""A TCP relay before a server of this machine, which may hear what passes, or end it; closed, it has no thread and no socket left."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

PATIENCE = 5.0
"""Seconds for what is still under way to arrive, once the relay is closed."""


class Relay:
    """Takes connections on a `port` of its own, and passes on to another's until it is closed."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.sockets: list[socket.socket] = []
        self.threads: list[threading.Thread] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
        self.accepting.join()  # first: what it has just let in belongs to those below
        self.listener.close()
        deadline = time.monotonic() + PATIENCE
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # close() alone leaves a session to the thread that waits for its words
        for thread in self.threads:
            thread.join()
        for each in self.sockets:
            each.close()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                server = socket.create_connection(("127.0.0.1", self.to))
                self.sockets.append(server)
                line: dict[str, Any] = {}
                for args in ((client, server, line, False), (server, client, line, True)):
                    self.threads.append(threading.Thread(target=self.pump, args=args, daemon=True))
                    self.threads[-1].start()

    def pump(self, source: socket.socket, sink: socket.socket, line: dict[str, Any], back: bool) -> None:
        """Pass one way of a connection on, until its end, or until `passes` ends both."""
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                kept = self.passes(data, line, back)
                sink.sendall(kept)
                if kept != data:
                    for each in (source, sink):
                        each.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def passes(self, data: bytes, line: dict[str, Any], back: bool) -> bytes:  # noqa: ARG002 (for those that look at it)
        """Return how much of this passes; what is less ends the connection. `line` is for what is kept of it, `back` is from the server."""
        return data


class Tap(Relay):
    """Keeps all that passes, in `bytes`."""

    def __init__(self, to: int) -> None:
        self.bytes = bytearray()
        super().__init__(to)

    def pump(self, source: socket.socket, sink: socket.socket, line: dict[str, Any], back: bool) -> None:
        line[str(back)] = bytearray()  # each way is a text of its own
        super().pump(source, sink, line, back)
        self.bytes += line[str(back)]

    def passes(self, data: bytes, line: dict[str, Any], back: bool) -> bytes:
        line[str(back)] += data
        return data
