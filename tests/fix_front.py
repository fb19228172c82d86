"""TLS before a server that has none, as RDS ends it: the sandbox's front, in a thread of the tests' own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.targets import Target
from ops.sandbox import certificates, tls_proxy
from tests import servers

NAME = "db.test.example"


@dataclass
class Front:
    """Where it listens, and how it is reached by who verifies it in full."""

    port: int
    ca: Path
    server: servers.Server

    def target(self, dbname: str = "postgres", **params: str) -> Target:
        way = {"host": NAME, "hostaddr": "127.0.0.1", "port": str(self.port), "sslmode": "verify-full"}
        login = {name: self.server.params[name] for name in ("user", "password")}
        return Target(
            "prod", "PROD_CONNECTION_URL", {**login, **way, "sslrootcert": str(self.ca), "dbname": dbname, **params}
        )


@contextlib.contextmanager
def open_front(
    folder: Path, server: servers.Server, name: str = NAME, tokens: tls_proxy.Tokens | None = None
) -> Iterator[Front]:
    """Yield a front before a server, whose certificate is for a name; `tokens` knows who logs in by one."""
    folder.mkdir(exist_ok=True)
    certificates.make(folder, name)
    loop = asyncio.new_event_loop()

    async def route(_: str) -> tuple[str, int]:
        return "127.0.0.1", server.port

    listening = loop.run_until_complete(tls_proxy.listen(0, folder / "server.pem", route, tokens))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Front(listening.sockets[0].getsockname()[1], folder / "ca.pem", server)
    finally:
        asyncio.run_coroutine_threadsafe(end(loop, listening), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def end(loop: Any, listening: asyncio.Server) -> None:
    """Listen no more, and end what is open: its session would stay at the server, and its socket in this process."""
    listening.close()
    for transport in list(loop._transports.values()):
        transport.abort()
    await asyncio.sleep(0.05)
    left = asyncio.all_tasks() - {asyncio.current_task()}  # a login that was being waited for
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
