"""The sandbox's one process: moto, and the TLS front of its servers.

Started by sandbox.up with the folder as its argument. It lives as long as it holds
the folder's lock, by which others know that it does.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import fcntl
import gc
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from config import paths
from ops import own_files, process
from ops.errors import Problem
from ops.sandbox import express, functions, instances, moto_server, proxies, tls_proxy
from ops.sandbox.certificates import write
from ops.sandbox.gate import KEY, SERVING, Gate


def main(folder: Path) -> None:
    """Serve until told to stop; leave at once if another process does."""
    # what moto knows of AWS is no garbage: to look at all of it now and then, and again at the end, took half of this process's time
    gc.set_threshold(200_000, 10, 1_000)
    atexit.register(gc.freeze)
    lock = paths.opened(folder / SERVING, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    asyncio.run(serve(folder))  # the lock goes with the process itself: who has it knows that there is none any more


async def serve(folder: Path) -> None:
    """Listen on both ports, write them to state.json, and wait for the end."""
    before: dict[str, int] = {}
    with contextlib.suppress(Problem):  # the shells that were in the sandbox know its ports
        before = own_files.read(folder / "ports.json", {"aws_port": own_files.port, "port": own_files.port}, "") or {}
    servers = instances.Instances(folder)
    servers.follow()
    recorder = moto_server.Recorder(application(), servers, folder / "calls.log")
    aws = moto(before.get("aws_port", 0), Gate(recorder, (folder / KEY).read_text(encoding="ascii")))
    process.export("MOTO_PORT", str(aws.server_port))
    threading.Thread(target=aws.serve_forever, daemon=True).start()
    doors = await tls_proxy.listen(
        before.get("port", 0), folder / "server.pem", lambda name: asyncio.to_thread(servers.address, name), servers
    )
    ports = {"aws_port": aws.server_port, "port": doors.sockets[0].getsockname()[1]}
    express.mend(ports["port"])
    write(folder / "ports.json", json.dumps(ports).encode(), 0o644)
    write(folder / "state.json", json.dumps({"pid": os.getpid(), **ports}).encode(), 0o644)
    end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    await end.wait()
    doors.close()
    with servers.turns:  # one may be in the making
        instances.wipe_all(folder)
        (folder / "state.json").unlink(missing_ok=True)


def application() -> Any:
    """Return moto with all its services."""
    from moto.core.config import default_user_config
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    proxies.mend()
    functions.mend()
    default_user_config["lambda"] = {"use_docker": False}  # a function that is invoked answers {}
    return DomainDispatcherApplication(create_backend_app)


def moto(port: int, app: Any) -> Any:
    """Return moto's server on a loopback port: the one it had before, or a free one."""
    from moto.moto_server.werkzeug_app import MotoRequestHandler
    from werkzeug.serving import make_server

    from ops.targets.embedded import postmaster

    port = port if port and postmaster.is_free(port) else postmaster.free_port()
    return make_server("127.0.0.1", port, app, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
