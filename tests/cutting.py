"""A TCP proxy before a Postgres that breaks its connections off at a message of the test's choosing."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

ASKING, ANSWER = "asking", "answer"
"""Cut before the server has the client's message, or when it has done what that asks: its answer is lost."""

CLOSE, RESET, REFUSED, GONE = "close", "reset", "refused", "refused after"
"""Closed on both sides; reset towards the client, while the server goes on with its own side; closed, and new ones
refused for a moment; closed, and refused from then on."""
SILENT, HUSHED = "silent", "hushed"
"""Nothing comes through any more, on any connection or on this one only; none is closed."""

MOMENT = 0.4
"""Seconds for which new connections are refused."""
READY = b"Z\x00\x00\x00\x05"
"""How the message begins by which a server ends its answer (ReadyForQuery)."""


@dataclass(frozen=True)
class Cut:
    """Where a connection is cut, and how."""

    word: bytes
    """What is in the client's message."""
    way: str
    how: str
    nth: int = 1
    """At which message with that word."""


@dataclass
class Proxy:
    """Listens on a port of this machine and passes on to another, until the cut; `heal` lets all through again."""

    to: int
    cut: Cut
    port: int = 0
    hit: bool = False
    """Whether the cut has been made."""
    seen: int = 0
    closed: bool = False
    """Whether new connections are let in again."""
    healed: bool = False
    listener: socket.socket | None = None
    sockets: list[socket.socket] = field(default_factory=list)
    accepting: list[threading.Thread] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __enter__(self) -> Self:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.closed = True
        self.deafen()
        for thread in self.accepting:  # what one has just let in is closed below
            thread.join()
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # close() alone leaves it to whoever waits in recv()
            each.close()

    def listen(self) -> None:
        """Take connections, on the same port as before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(16)
        self.listener, self.port = listener, listener.getsockname()[1]
        self.accepting.append(threading.Thread(target=self.accept, args=[listener], daemon=True))
        self.accepting[-1].start()

    def deafen(self) -> None:
        """Have new connections refused."""
        if self.listener:
            with contextlib.suppress(OSError):
                self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
            self.listener.close()
            self.listener = None

    def heal(self) -> None:
        """Let everything through from now on."""
        with self.lock:
            self.healed = True
            if self.listener is None and not self.closed:
                self.listen()

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                self.sockets.append(client)
                if self.hit and self.cut.how == SILENT and not self.healed:
                    continue
                server = socket.create_connection(("127.0.0.1", self.to))
                self.sockets.append(server)
                line = Line(self, client, server)
                for pump in (line.forth, line.back):
                    threading.Thread(target=pump, daemon=True).start()

    def meets(self, text: bytes) -> bool:
        """Whether this message of a client is where the cut belongs."""
        with self.lock:
            if self.hit or self.healed or self.cut.word not in text:
                return False
            self.seen += 1
            self.hit = self.seen == self.cut.nth
            return self.hit

    def answer(self, line: Line, data: bytes) -> bytes:  # noqa: ARG002 (it is passed on as it is)
        """Return what a client is told in the place of what the server says."""
        return data

    def end(self, line: Line) -> None:
        """Make the cut."""
        how = self.cut.how
        if how in (SILENT, HUSHED):
            return
        if how in (REFUSED, GONE):
            self.deafen()
        if how == REFUSED:
            threading.Timer(MOMENT, self.heal).start()
        # who waits in recv() holds the socket: it wakes by this, and the last one out makes the end
        with contextlib.suppress(OSError):
            line.client.shutdown(socket.SHUT_RD if how == RESET else socket.SHUT_RDWR)
        if how == RESET:
            line.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            with contextlib.suppress(OSError):
                line.server.shutdown(socket.SHUT_RDWR)
        line.client.close()


@dataclass
class Killer(Proxy):
    """Kills the client's process at its nth message behind the one with `begins` in it; the cut's own word is not looked for.

    A Ctrl-C ends no connection: the client does, or goes on with it until it has cleared up.
    """

    begins: bytes = b""
    sign: int = signal.SIGKILL
    victim: int = 0
    """The process's id, which is known only once it runs; the cut waits for it."""
    begun: bool = False

    def meets(self, text: bytes) -> bool:
        with self.lock:
            self.begun = self.begun or self.begins in text
            if self.hit or not self.begun:
                return False
            self.seen += 1
            self.hit = self.seen == self.cut.nth
            if self.hit and self.sign == signal.SIGINT:
                self.kill()
                return False
            return self.hit

    def end(self, line: Line) -> None:
        self.kill()
        super().end(line)

    def kill(self) -> None:
        while not self.victim:
            time.sleep(0.001)
        os.kill(self.victim, self.sign)


@dataclass
class Line:
    """One connection through the proxy, in both directions."""

    proxy: Proxy
    client: socket.socket
    server: socket.socket
    asked: bool = False
    """Whether the message went through whose answer is to be lost."""
    cut: bool = False
    said: bytes = b""
    """What has come of a message of the server's that is not whole yet, for a proxy that changes them."""
    columns: list[tuple[bytes, int]] = field(default_factory=list)
    """Name and type of each column of the answer that it says, for such a one."""
    speaks: bool = False
    """Whether the server's messages have begun: before them it is asked for encryption, and answers by a letter."""

    def forth(self) -> None:
        """Pass on what the client sends."""
        with contextlib.suppress(OSError):
            tail = b""
            while data := self.client.recv(1 << 16):
                if self.cut:
                    return
                if self.proxy.meets(tail + data):
                    if self.proxy.cut.way == ASKING:
                        self.cut = True
                        self.proxy.end(self)
                        return
                    self.asked = True
                tail = data[-64:]
                self.server.sendall(data)
            if not self.cut:
                self.server.shutdown(socket.SHUT_WR)

    def back(self) -> None:
        """Pass on what the server sends."""
        with contextlib.suppress(OSError):
            answer = b""
            while data := self.server.recv(1 << 16):
                if self.asked or self.cut:
                    answer += data
                    # a login is answered by a question, anything else up to its end
                    if not self.cut and (answer.startswith(b"R") or READY in answer[-6:]):
                        self.cut = True
                        self.proxy.end(self)
                    continue
                self.client.sendall(self.proxy.answer(self, data))
            if not self.cut:
                self.client.shutdown(socket.SHUT_WR)
