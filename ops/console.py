"""Results to stdout, talk to stderr, and nothing secret to either."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from config.targets import MASK

# Masking these would make nonsense of "wrong user or password", and they protect nothing
WELL_KNOWN = ("password", "postgres")
LINE = 4000
"""Letters of a line that is told: more of one comes from a server that nobody reads."""
LINES = 50
"""Lines of one message of a server's that are told."""
SELDOM = 5.0
"""Seconds between two lines of a long count."""
_secrets: set[str] = set()
_about = ""
"""The target of the user's own that the command is for."""
_options: frozenset[str] | None = None
"""Those of the task that runs; None: nobody has said which."""
_muted = False


def hide(secret: str) -> None:
    """Mask this text in everything that is printed from now on."""
    from urllib.parse import quote

    if len(secret) > 2 and secret not in WELL_KNOWN:  # shorter ones would mask half of every sentence
        _secrets.update({secret, quote(secret, safe=""), quote(secret)})


def about(target: str) -> None:
    """Have each command that is advised from now on name this target; nothing: it needs no name."""
    global _about  # noqa: PLW0603 - one command, one target
    _about = target


def offer(options: Iterable[str] | None) -> None:
    """Have advice name no other options from now on than these, as they are written behind `--`; None: any."""
    global _options  # noqa: PLW0603 - one task at a time
    _options = None if options is None else frozenset(options)


def option(name: str, advice: str, otherwise: str = "") -> str:
    """Return advice that names an option, where the task that runs has it."""
    return advice if _options is None or name in _options else otherwise


def directed(text: str, target: str | None = None) -> str:
    """Return advice that leads to a target of the user's own, and to no other: by default to that which the command is for."""
    name = _about if target is None else target
    if not name:
        return text
    return re.sub(r"\binv ((?:db|rds|lambda|app)\.[a-z]+(?:-[a-z]+)*)(?![a-z-])(?! -t\b)", rf"inv \1 -t {name}", text)


def redact(text: str) -> str:
    """Mask known secrets, and the password of anything that looks like a URL."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return re.sub(r"(\w+://[^\s:/@]*):[^\s/]*@", rf"\1:{MASK}@", text)


def spoken(text: str) -> str:
    """Return what is told as it may be shown: without secrets, and nothing of a server's that steers the terminal or fills it."""
    lines = harmless(redact(directed(text)).replace("\r\n", "\n")).split("\n")
    return "\n".join(
        line if len(line) <= LINE else f"{line[:LINE]}… ({len(line) - LINE} more letters)" for line in lines
    )


def foreign(text: str) -> str:
    """Return a server's message to be told: what follows its first line is indented, lest it pass for a line of ours, and has an end."""
    first, *more = text.replace("\r\n", "\n").strip("\n").split("\n")
    left = len(more) + 1 - LINES
    end = [f"… ({left} more lines)"] if left > 0 else []
    return "\n".join([first, *(f"  {line}" for line in [*more[: LINES - 1], *end])])


def result(text: str) -> None:
    """Print a result: the only thing that goes to stdout."""
    from ops.errors import Problem

    if sys.stdout is None:
        raise Problem("there is no standard output to print the result to")
    if isinstance(sys.stdout, io.TextIOWrapper):  # what the terminal's encoding lacks is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    print(text)


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Have nothing told while the block runs, in any thread, but `aloud`: what there is to tell is shown elsewhere."""
    global _muted  # noqa: PLW0603 - one command, one terminal
    before, _muted = _muted, True
    try:
        yield
    finally:
        _muted = before


def say(text: str) -> None:
    """Tell the user what happens, on stderr."""
    if not _muted:
        aloud(text)


def aloud(text: str) -> None:
    """Tell the user what happens, also while all others are muted."""
    if sys.stderr is not None:  # print() would take stdout instead
        print(spoken(text), file=sys.stderr, flush=True)


def as_json(value: Any, *, indent: int | None = 2) -> None:
    """Print a result as JSON."""
    result(json_text(value, indent=indent))


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Return a result as JSON: a dataclass as an object, times as ISO 8601 with their offset; on one line without `indent`."""
    import json

    return json.dumps(value, indent=indent, default=plain, ensure_ascii=False)


def plain(item: Any) -> Any:
    """Return what JSON has for a value that it does not know."""
    import dataclasses

    if dataclasses.is_dataclass(item):
        return vars(item)
    if isinstance(item, bytes):
        return f"\\x{item.hex()}"  # as Postgres writes them
    return item.isoformat() if hasattr(item, "isoformat") else str(item)


def table(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    red: Callable[[Mapping[str, Any]], bool] = lambda _: False,
) -> None:
    """Print a result as a table, as wide as its content where stdout is no terminal; `red` picks rows to warn of."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if sys.stdout is None:
        result("")
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        cells = (Text("" if row[c] is None else harmless(str(row[c]))) for c in columns)
        grid.add_row(*cells, style="bold red" if red(row) else None)
    width = None if sys.stdout.isatty() else 10_000
    drawn = io.StringIO()  # rich would end the process when the reader of stdout has gone
    Console(file=drawn, width=width, force_terminal=sys.stdout.isatty(), highlight=False).print(grid)
    result("\n".join(line.rstrip() for line in drawn.getvalue().splitlines()))


def few(names: Sequence[str], shown: int = 3) -> str:
    """Return the first names for one line, and how many more there are."""
    more = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {more} more" if more > 0 else "")


def harmless(text: str) -> str:
    """Return a text without what would steer the terminal, or turn the letters behind it round: a row may come from a stranger.

    https://www.unicode.org/reports/tr9/#Explicit_Directional_Embeddings (and Overrides, Isolates); the marks that turn nothing stay.
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "\ufffd", text)


@contextlib.contextmanager
def progress(limit: float) -> Iterator[Callable[[str, float], None]]:
    """Yield a function to show a state and the seconds elapsed, while something is waited for.

    On a terminal it is a bar that fills up to the limit; elsewhere each new
    state is one line, so that a log stays readable.
    """
    if not watched():
        last = ""

        def line(state: str, elapsed: float) -> None:
            nonlocal last
            if state != last:
                last = state
                say(f"{minutes(elapsed)} {state}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    shown = f"of at most {minutes(limit)}"
    with Progress(*columns, TextColumn(shown), console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=limit or None)
        yield lambda state, elapsed: bars.update(task, description=state, completed=elapsed)


@contextlib.contextmanager
def counting(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Yield a function to show how many of about `total` are done; where stderr is no terminal, a line now and then."""
    import time

    if not watched():
        last = time.monotonic()

        def line(done: int) -> None:
            nonlocal last
            if time.monotonic() - last >= SELDOM:
                last = time.monotonic()
                say(f"{done} of about {max(total, done)} {what}")

        yield line
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("", total=total or None)
        yield lambda done: bars.update(task, completed=done, total=max(total, done))


def minutes(seconds: float) -> str:
    """Return a time as 1:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def watched() -> bool:
    """Whether stderr is a terminal, where a bar may be drawn."""
    return sys.stderr is not None and sys.stderr.isatty()


def interactive() -> bool:
    """Whether a person can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def to_a_person() -> bool:
    """Whether results are read by a person, and kept in no file, pipe or log."""
    return sys.stdout is not None and sys.stdout.isatty()


def ask(question: str) -> str:
    """Ask on stderr, so that a redirected stdout stays a result."""
    from ops.errors import Cancelled

    print(spoken(question), end=" ", file=sys.stderr, flush=True)
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
