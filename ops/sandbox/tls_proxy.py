"""A TLS front for a Postgres that has none: it stands where RDS ends TLS.

libpq asks for TLS in the clear (SSLRequest), is told S, and starts its
handshake; what it says inside is passed on. Like RDS with rds.force_ssl, a
session in the clear is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSS_REQUEST = struct.pack("!ii", 8, 80877104)


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

    def __init__(self, context: ssl.SSLContext, backend: tuple[str, int]) -> None:
        super().__init__()
        self.context = context
        self.backend = backend
        self.heard = b""
        self.task: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if self.task:
            super().data_received(data)
            return
        self.heard += data
        assert self.transport
        while len(self.heard) >= 8:
            request, rest = self.heard[:8], self.heard[8:]
            if request == GSS_REQUEST and not rest:
                self.heard = b""
                self.transport.write(b"N")
            elif request == SSL_REQUEST and not rest:  # more, before TLS, would be someone on the way
                self.transport.pause_reading()
                self.task = asyncio.get_running_loop().create_task(self.upgrade())
                return
            else:
                self.transport.write(refusal("no pg_hba.conf entry for this host: no encryption"))
                self.transport.close()
                return

    async def upgrade(self) -> None:
        """Reach the server behind, then start TLS."""
        loop, plain = asyncio.get_running_loop(), self.transport
        assert plain
        try:
            _, self.other = await loop.create_connection(Side, *self.backend)
            self.other.other = self
            plain.write(b"S")
            self.transport = await loop.start_tls(plain, self, self.context, server_side=True)
        except (OSError, ssl.SSLError, asyncio.TimeoutError):  # the server is away, or the client trusts another CA
            plain.close()
            if self.other and self.other.transport:
                self.other.transport.close()


async def listen(port: int, certificate: Path, backend: tuple[str, int]) -> asyncio.Server:
    """Listen on loopback; a port of 0, or one that is taken, becomes a free one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    with contextlib.suppress(OSError):
        return await loop.create_server(lambda: Client(context, backend), "127.0.0.1", port)
    return await loop.create_server(lambda: Client(context, backend), "127.0.0.1", 0)
