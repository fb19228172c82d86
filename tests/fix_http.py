"""A small HTTP server of this machine, in a thread of its own."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Silent:
    """A handler without a log."""

    def log_message(self, *args: object) -> None:
        """Say nothing: what is asked, the test keeps."""


class Service(ThreadingHTTPServer):
    """Serves until it is stopped, by TLS where there is a certificate."""

    daemon_threads = True

    def __init__(self, handler: type[BaseHTTPRequestHandler], certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), handler)
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def handle_error(self, *args: object) -> None:
        """Who hangs up has a reason, as one that does not trust us."""

    def stop(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()
