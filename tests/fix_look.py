"""The page of inv look in this process, at a port of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from config.settings import Settings
from ops import row_values
from ops.console import muted
from ops.look.app import create_app
from ops.look.door import Door
from ops.look.watch import Looker
from tests.fix_app import Answer, get


class Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class Served:
    """A page that is served."""

    url: str
    door: Door
    looker: Looker
    cookie: str = ""

    @property
    def home(self) -> str:
        """The address that the printed one leads to."""
        return f"{self.url}{self.door.path}"

    @property
    def entry(self) -> str:
        """The address that inv look prints."""
        return f"{self.url}/?token={self.door.token}"

    def get(self, path: str, **headers: str) -> Answer:
        """Ask with the cookie, which is got first."""
        if not self.cookie:
            self.cookie = get(self.entry).headers["Set-Cookie"].partition(";")[0]
        return get(f"{self.home}{path}", Cookie=self.cookie, **headers)

    def answer(self, path: str) -> Any:
        """Return what a path of the API answers, once it is there."""
        found = self.get(f"api/{path}")
        while found.status == 202:
            found = self.get(f"api/{path}")
        assert found.status == 200, found.body
        return found.json


@contextlib.contextmanager
def served(settings: Settings, *names: str) -> Iterator[Served]:
    """Serve the page of some targets, and see that its sessions are closed."""
    before = row_values.hides()
    row_values.hide(True)
    looker = Looker(settings, list(names))
    with muted(), contextlib.ExitStack() as stack:
        stack.callback(row_values.hide, before)
        stack.callback(looker.close, 5)
        # A port first, since the door is of one
        server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True, request_handler=Quiet)
        door = Door(server.port, settings.look_hosts)
        server.app = create_app(looker, door)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        stack.callback(server.server_close)
        stack.callback(thread.join)
        stack.callback(server.shutdown)
        yield Served(f"http://127.0.0.1:{server.port}", door, looker)
