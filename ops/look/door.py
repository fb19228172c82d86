"""Who may ask: a cookie, which the token in the address is exchanged for, once.

The page listens on this machine alone, and still others could ask: a stranger with a login here, and any web page in the same browser.
A page elsewhere gets nothing by a name of its own for this machine (DNS rebinding), since the Host must be ours: this machine's with the
port, or one of those that a person or an online workspace has named, whole, so that it is nobody else's to lead elsewhere; nothing by its scripts
(CORS), since no answer lets another origin read it; and can do nothing (CSRF): there is nothing that writes, and the cookie goes with
requests of our own pages only. A cookie knows no ports, so what listens at another port of 127.0.0.1, which may be another user's, would be
sent ours by a browser that goes there: all lies below a path that nobody else knows, and the cookie is for that alone.
https://datatracker.ietf.org/doc/html/rfc6265#section-8.5 (no isolation by port),
https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
"""

from __future__ import annotations

import re
import secrets
import threading
from collections.abc import Sequence

from config.look import PORT


class Door:
    """Who may ask: who brings the token first gets the cookie."""

    def __init__(self, port: int, forwarded: Sequence[str] = ()) -> None:
        """`forwarded`: the names of a proxy before us, as config/look.py has them."""
        self.hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
        self.forwarded = tuple(name.replace(PORT, str(port)) for name in forwarded)
        self.cookie = f"inv_look_{port}"
        """Another page of ours, at another port, has another name for its own."""
        self.path = f"/{secrets.token_urlsafe(16)}/"
        """Below which the page is."""
        self.token: str = secrets.token_urlsafe(32)
        self._key = secrets.token_urlsafe(32)
        self._used = False
        self._lock = threading.Lock()

    def enter(self, token: str) -> str:
        """Return the cookie for the token, once; then nothing."""
        with self._lock:
            if self._used or not secrets.compare_digest(token.encode(), self.token.encode()):
                return ""
            self._used = True
            return self._key

    def lets_in(self, key: str) -> bool:
        return secrets.compare_digest(key.encode(), self._key.encode())

    def is_ours(self, host: str, origin: str | None, site: str | None, *, entering: bool) -> bool:
        """Whether a request names us, and comes from a page of ours, or from a person (Sec-Fetch-Site: none)."""
        host = host.lower()
        origins = [f"http://{host}"] if host in self.hosts else []
        if re.sub(r":[0-9]{1,5}$", "", host) in self.forwarded:
            origins = [f"https://{host}", f"http://{host}"]
        if not origins or origin not in (None, *origins):
            return False
        return entering or site in (None, "same-origin", "none")
