"""Results to stdout, talk to stderr, and nothing secret to either."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from config.targets import MASK

# Masking these would make nonsense of "wrong user or password", and they protect nothing
WELL_KNOWN = ("password", "postgres")
_secrets: set[str] = set()


def hide(secret: str) -> None:
    """Mask this text in everything that is printed from now on."""
    from urllib.parse import quote

    if len(secret) > 2 and secret not in WELL_KNOWN:  # shorter ones would mask half of every sentence
        _secrets.update({secret, quote(secret, safe=""), quote(secret)})


def redact(text: str) -> str:
    """Mask known secrets, and the password of anything that looks like a URL."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return re.sub(r"(\w+://[^\s:/@]*):[^\s/]*@", rf"\1:{MASK}@", text)


def result(text: str) -> None:
    """Print a result: the only thing that goes to stdout."""
    from ops.errors import Problem

    if sys.stdout is None:
        raise Problem("there is no standard output to print the result to")
    print(text)


def say(text: str) -> None:
    """Tell the user what happens, on stderr."""
    if sys.stderr is not None:  # print() would take stdout instead
        print(redact(text), file=sys.stderr, flush=True)


def as_json(value: Any) -> None:
    """Print a result as JSON; times are ISO 8601 with their offset."""
    import json

    def plain(item: Any) -> Any:
        return item.isoformat() if hasattr(item, "isoformat") else str(item)

    result(json.dumps(value, indent=2, default=plain, ensure_ascii=False))


def table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print a result as a table, as wide as its content where stdout is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if sys.stdout is None:
        result("")
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(Text("" if row[c] is None else str(row[c])) for c in columns))
    width = None if sys.stdout.isatty() else 10_000
    drawn = io.StringIO()  # rich would end the process when the reader of stdout has gone
    Console(file=drawn, width=width, force_terminal=sys.stdout.isatty(), highlight=False).print(grid)
    result("\n".join(line.rstrip() for line in drawn.getvalue().splitlines()))


def interactive() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def ask(question: str) -> str:
    """Ask on stderr, so that a redirected stdout stays a result."""
    from ops.errors import Cancelled

    print(redact(question), end=" ", file=sys.stderr, flush=True)
    try:
        answer = sys.stdin.readline()
    except KeyboardInterrupt:
        answer = ""
    if not answer:
        raise Cancelled("cancelled")
    return answer.strip()


def ask_secret(question: str) -> str:
    """Read a value that nobody may see: a hidden prompt, or all of standard input."""
    from ops.errors import Cancelled, Misconfigured

    if sys.stdin is None:
        return ""
    try:
        if sys.stdin.isatty():
            import getpass

            return getpass.getpass(f"{question} ")
        return sys.stdin.buffer.read().decode().rstrip("\r\n")
    except (KeyboardInterrupt, EOFError):
        raise Cancelled("cancelled") from None
    except UnicodeDecodeError:
        raise Misconfigured("what came in by standard input is not UTF-8") from None
