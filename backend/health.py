"""Ask this container's own /api/health: exit 0 if the database is reached, 1 if not."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from backend import settings


def main() -> int:
    """Return the exit code for Docker's health check."""
    read = settings.load()
    try:
        # past any proxy, which Docker hands to containers
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://127.0.0.1:{read.port}/api/health", timeout=4) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError):
        return 1


if __name__ == "__main__":
    sys.exit(main())
