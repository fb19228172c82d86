"""squawk, a linter of migrations: found, and run on up parts (https://squawkhq.com/docs/cli and .../docs/rules).

Its wheel (squawk-cli) brings one program. Of a whole file it would lint the down part as if that were run, too.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops import own_files, process
from ops.errors import Misconfigured, Problem

CONFIG = ".squawk.toml"
"""Its own settings; those of the repository's top hold, none of a folder above."""
TIMEOUT = 120.0
"""Seconds for all files; a thousand take one."""


@dataclass(frozen=True)
class Text:
    """An up part, as UTF-8, and whether it runs in a transaction."""

    data: bytes
    transaction: bool


@dataclass(frozen=True)
class Said:
    """A finding of squawk's, by byte offset in its text."""

    rule: str
    message: str
    help: str | None
    start: int
    end: int


def program() -> str | None:
    """Return where squawk is: beside the Python that runs, or on the PATH."""
    return shutil.which("squawk", path=sysconfig.get_path("scripts")) or shutil.which("squawk")


def lint(squawk: str, texts: Sequence[Text], major: int, root: Path) -> list[list[Said]]:
    """Return what squawk finds in each text, for a server of that major version.

    Raises `Misconfigured` for a .squawk.toml that it cannot read, `Problem` where it fails.
    """
    found: list[list[Said]] = [[] for _ in texts]
    for transaction in (True, False):
        numbers = [number for number, text in enumerate(texts) if text.transaction is transaction]
        if not numbers:
            continue
        with own_files.temporary("inv-squawk-") as folder:
            own = root / CONFIG
            (folder / CONFIG).write_bytes(own.read_bytes() if own.is_file() else b"")
            for number in numbers:
                (folder / f"{number}.sql").write_bytes(texts[number].data)
            assume = "--assume-in-transaction" if transaction else "--no-assume-in-transaction"
            argv = [squawk, "--reporter", "json", "--pg-version", f"{major}.0", assume]
            said = run([*argv, *(f"{number}.sql" for number in numbers)], folder)
        for each in said:
            number = int(str(each["file"]).removesuffix(".sql"))
            found[number].append(placed(each, texts[number].data))
    return found


def placed(said: dict[str, object], data: bytes) -> Said:
    """Return a finding of its JSON reporter, which counts lines and bytes from 0, by byte offset."""

    def offset(line: object, column: object) -> int:
        start = 0
        for _ in range(int(str(line))):
            start = data.find(b"\n", start) + 1
        return start + int(str(column))

    return Said(
        rule=str(said["rule_name"]),
        message=" ".join(str(said["message"]).split()),
        help=" ".join(str(said["help"]).split()) if said["help"] else None,
        start=offset(said["line"], said["column"]),
        end=offset(said["line_end"], said["column_end"]),
    )


def run(argv: Sequence[str], folder: Path) -> list[dict[str, object]]:
    """Run squawk to its end, which is 1 where it finds something, and return what it reports."""
    try:
        done = process.run(argv, {}, cwd=folder, timeout=TIMEOUT)
    except OSError as error:
        raise Problem(
            f"{argv[0]} cannot be run ({error.strerror}): python -m pip install --force-reinstall squawk-cli"
        ) from None
    except subprocess.TimeoutExpired:
        raise Problem(
            f"squawk did not end within {TIMEOUT:g} s: lint fewer files at once (inv db.migration-lint --file)"
        ) from None
    if done.returncode in (0, 1) and not done.stderr.strip():
        found: list[dict[str, object]] = json.loads(done.stdout or "[]")
        return found
    said = " ".join(done.stderr.split())
    if "Configuration error" in said:
        raise Misconfigured(f"{CONFIG}: {said.removeprefix('Configuration error: ')}: correct it")
    raise Problem(f"squawk fails ({said or f'exit {done.returncode}'}): python -m pip install -U squawk-cli")


def unknown(squawk: str, rules: Iterable[str]) -> list[str]:
    """Return those among names that are no rules of squawk's, as it tells itself."""
    with own_files.temporary("inv-squawk-") as folder:
        (folder / CONFIG).touch()
        strange = []
        for rule in rules:
            done = process.run([squawk, "--exclude", rule], {}, cwd=folder, feed=[b""], timeout=TIMEOUT)
            if done.returncode and re.search("invalid rule name|invalid value", done.stderr):
                strange.append(rule)
        return strange
