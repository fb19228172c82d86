"""A TLS front for servers of Postgres that have none: it stands where RDS ends TLS.

libpq asks for TLS in the clear (SSLRequest), is told S, and starts its
handshake; what it says inside is passed on to the server of the name that the
handshake is about (SNI, RFC 6066; sslsni of libpq). Like RDS with
rds.force_ssl, a session in the clear is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from ops.errors import Problem
from ops.targets.embedded import postmaster

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)
Route = Callable[[str], Awaitable[tuple[str, int]]]
"""From the name that a client asks for, empty if it tells none, to its server; raises `Problem` for none."""


CLEARTEXT = b"R" + struct.pack("!ii", 8, 3)
"""AuthenticationCleartextPassword: how RDS asks for a token (https://www.postgresql.org/docs/current/protocol-message-formats.html)."""
MOST, SECONDS = 1 << 16, 60.0
"""Bytes of a message before the login, and seconds that a client may take for one."""


class Tokens(Protocol):
    """What knows which users log in by a token, and which token is good."""

    def way_in(self, name: str, user: str) -> socket.socket | None:
        """Return a connection to the server of a name by which such a user is in; None for one who has a password."""

    def check_token(self, name: str, user: str, token: str) -> None:
        """Raise `Problem` where a token does not let that user in."""


def refusal(text: str) -> bytes:
    """Return Postgres's message for a session that it does not want."""
    fields = b"".join(key + value.encode() + b"\0" for key, value in ((b"S", "FATAL"), (b"C", "28000"), (b"M", text)))
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


class Side(asyncio.Protocol):
    """One of the two connections of a session: what it hears, the other says."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Side | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other and self.other.transport:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        for side in (self, self.other):  # its own, too: within TLS asyncio does not take it for closed before 3.11
            if side and side.transport:
                side.transport.close()


class Client(Side):
    """The side of libpq: plain until it has asked for TLS."""

    def __init__(self, context: ssl.SSLContext, names: Names, route: Route, tokens: Tokens | None) -> None:
        super().__init__()
        self.tokens = tokens
        self.more = asyncio.Event()
        self.context = context
        self.names = names
        self.route = route
        self.heard = b""
        self.task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.other:
            super().data_received(data)
            return
        self.heard += data
        if self.task:  # it has begun inside before its server is reached
            self.more.set()
            return
        assert self.transport
        while len(self.heard) >= 8:
            request, rest = self.heard[:8], self.heard[8:]
            if request == GSS_REQUEST and not rest:
                self.heard = b""
                self.transport.write(b"N")
            elif request == SSL_REQUEST and not rest:  # more, before TLS, would be someone on the way
                self.heard = b""
                self.transport.pause_reading()
                self.task = asyncio.get_running_loop().create_task(self.upgrade())
                return
            else:
                self.transport.write(refusal("no pg_hba.conf entry for this host: no encryption"))
                self.transport.close()
                return

    async def upgrade(self) -> None:
        """Start TLS, then reach the server that it is for."""
        loop, plain = asyncio.get_running_loop(), self.transport
        assert plain
        try:
            plain.write(b"S")
            inside = await loop.start_tls(plain, self, self.context, server_side=True)
        except (OSError, asyncio.TimeoutError):  # the client trusts another CA
            plain.close()
            return
        assert inside
        self.transport = inside
        try:
            name = self.names.get(inside.get_extra_info("ssl_object"), "")
            where = await self.route(name)
            if way := await self.by_token(name, inside):
                _, server = await loop.create_unix_connection(Side, sock=way)
            else:
                _, server = await loop.create_connection(Side, *where)
        except asyncio.TimeoutError:
            inside.close()
            return
        except (Problem, OSError) as problem:
            inside.write(refusal(str(problem)))
            inside.close()
            return
        assert server.transport
        server.other, self.other = self, server
        server.transport.write(self.heard)
        if inside.is_closing():  # the client has gone meanwhile
            server.transport.close()

    async def by_token(self, name: str, inside: asyncio.Transport) -> socket.socket | None:
        """Return a connection for a user who has shown a good token; None for one whom the server itself asks for a password."""
        if self.tokens is None:
            return None
        start = await self.message(0, b"")
        user = user_of(start)
        way = await asyncio.to_thread(self.tokens.way_in, name, user) if user else None
        if way is None:
            return None
        try:
            inside.write(CLEARTEXT)
            given = await self.message(len(start), b"p")
            await asyncio.to_thread(self.tokens.check_token, name, user, given[5:].rstrip(b"\0").decode())
        except BaseException:
            way.close()
            raise
        self.heard = start + self.heard[len(start) + len(given) :]
        return way

    async def message(self, begin: int, kind: bytes) -> bytes:
        """Return the message that begins at a place of what was heard, once it is there whole; the first one has no kind."""
        assert self.transport
        head = begin + len(kind)
        while True:
            length = int.from_bytes(self.heard[head : head + 4], "big")
            if len(self.heard) >= head + 4 and (length > MOST or not self.heard[begin:].startswith(kind)):
                raise Problem("expected a password response")
            if len(self.heard) >= head + max(4, length):
                return self.heard[begin : head + length]
            if self.transport.is_closing():
                raise ConnectionError("the client has gone")
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        self.more.set()
        super().connection_lost(exc)


def user_of(start: bytes) -> str:
    """Return the user of a StartupMessage; nothing where it is another request."""
    if int.from_bytes(start[4:6], "big") != 3:  # the protocol's major version
        return ""
    words = start[8:].split(b"\0")
    return dict(zip(words[::2], words[1::2], strict=False)).get(b"user", b"").decode(errors="replace")


Names = weakref.WeakKeyDictionary[Any, str]
"""The name that each handshake was for."""


async def listen(port: int, certificate: Path, route: Route, tokens: Tokens | None = None) -> asyncio.Server:
    """Listen on loopback; a port of 0, or one that is taken, becomes a free one."""

    def client() -> Client:
        return Client(context, names, route, tokens)

    names: Names = weakref.WeakKeyDictionary()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda inside, name, _: names.update({inside: name or ""})
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        return await loop.create_server(client, "127.0.0.1", port or postmaster.free_port())
    return await loop.create_server(client, "127.0.0.1", postmaster.free_port())
