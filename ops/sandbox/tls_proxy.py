"""A TLS front for servers of Postgres that have none: it stands where RDS ends TLS.

libpq asks for TLS in the clear (SSLRequest), is told S, and starts its
handshake; what it says inside is passed on to the server of the name that the
handshake is about (SNI, RFC 6066; sslsni of libpq). Like RDS with
rds.force_ssl, a session in the clear is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ops.errors import Problem

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)
Route = Callable[[str], Awaitable[tuple[str, int]]]
"""From the name that a client asks for, empty if it tells none, to its server; raises `Problem` for none."""


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
        if self.other and self.other.transport:
            self.other.transport.close()


class Client(Side):
    """The side of libpq: plain until it has asked for TLS."""

    def __init__(self, context: ssl.SSLContext, names: Names, route: Route) -> None:
        super().__init__()
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
            where = await self.route(self.names.get(inside.get_extra_info("ssl_object"), ""))
            _, server = await loop.create_connection(Side, *where)
        except (Problem, OSError) as problem:
            inside.write(refusal(str(problem)))
            inside.close()
            return
        assert server.transport
        server.other, self.other = self, server
        server.transport.write(self.heard)
        if inside.is_closing():  # the client has gone meanwhile
            server.transport.close()


Names = weakref.WeakKeyDictionary[Any, str]
"""The name that each handshake was for."""


async def listen(port: int, certificate: Path, route: Route) -> asyncio.Server:
    """Listen on loopback; a port of 0, or one that is taken, becomes a free one."""
    names: Names = weakref.WeakKeyDictionary()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda inside, name, _: names.update({inside: name or ""})
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        return await loop.create_server(lambda: Client(context, names, route), "127.0.0.1", port)
    return await loop.create_server(lambda: Client(context, names, route), "127.0.0.1", 0)
