"""Who may ask the sandbox's AWS: whoever knows its key, and no web page.

moto asks for no login, and invites the pages of all origins. The key is the first part of the path, since some calls to
AWS are not signed: AWS_ENDPOINT_URL has it, and a file that only its owner may read.
"""

from __future__ import annotations

import io
import re
import secrets
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

KEY = "key"
"""The file in the sandbox's folder."""
SERVING = "serving"
"""The file there that the sandbox's process holds as long as it serves."""
REFUSED = b'403: the AWS of a sandbox, for the shells that have its address: eval "$(inv sandbox.up)"\n'
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Gate:
    """Passes on a request that has the key, without it; any other is 403 and goes no further."""

    def __init__(self, app: Wsgi, key: str) -> None:
        self.app = app
        self.key = key

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        given = environ.get("PATH_INFO", "").split("/")[1:2]
        known = secrets.compare_digest("".join(given).encode(), self.key.encode())
        # Browsers name the origin of a page with all but plain reads, and of a page whose name was led here, that name
        if not known or "HTTP_ORIGIN" in environ or not is_here(environ.get("HTTP_HOST", "")):
            start_response("403 Forbidden", [("Content-Type", "text/plain"), ("Content-Length", str(len(REFUSED)))])
            return [REFUSED]
        for name in ("PATH_INFO", "REQUEST_URI", "RAW_URI"):
            environ[name] = environ[name].replace(f"/{self.key}", "", 1) or "/"
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            # moto takes bucket and key of a template's URL from its path, which is one of ours
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            body = body.replace(quote(f"/{self.key}/", safe="").encode(), b"%2F")
            environ.update({"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))})
        return self.app(environ, start_response)


def is_here(host: str) -> bool:
    """Whether a Host is this machine's own name for itself."""
    name = re.sub(r":\d+$", "", host).lower()
    return name in ("127.0.0.1", "localhost") or name.endswith(".localhost")  # which leads nowhere else
