"""db.query: the SQL files of paths.queries, from the command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from config.settings import Settings
from ops import console
from ops.db import place
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from psycopg.rows import DictRow

_PARAMETER = re.compile(r"%\((\w+)\)s")


def show(settings: Settings, name: str, target: str, limit: str, variables: dict[str, str], *, json: bool) -> None:
    """Print the rows of a query: a table, or JSON."""
    if not (limit.isascii() and limit.isdigit() and len(limit) < 11 and 0 < int(limit) < 2**31):
        raise Misconfigured(f"--limit {limit}: give a whole number above 0")
    text = template(settings.queries, name)
    wanted = set(_PARAMETER.findall(text))
    if unknown := sorted(set(variables) - wanted):
        raise Misconfigured(f"--var {unknown[0]}: {name} takes {', '.join(sorted(wanted)) or 'no parameters'}")
    values: dict[str, int | str | None] = {**dict.fromkeys(wanted), "limit": int(limit), **variables}
    columns, rows = fetched(settings, target, text, {key: values[key] for key in wanted})
    if json:
        console.as_json(rows)
    else:
        console.table(columns, rows)


def template(folder: Path, name: str) -> str:
    """Return the SQL of a query; raise `Misconfigured` naming those there are."""
    there = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.sql"))
    if name not in there:
        raise Misconfigured(
            f"there is no query {name} in {folder}: use one of {', '.join(there)}"
            if there
            else f"there are no queries in {folder}: set paths.queries"
        )
    try:
        return (folder / f"{name}.sql").read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise Misconfigured(f"{folder / name}.sql is not UTF-8: write it anew") from None


def fetched(
    settings: Settings, target: str, text: str, values: dict[str, int | str | None]
) -> tuple[list[str], list[DictRow]]:
    """Run a query where it can change nothing, and return its columns and rows; parameters without a value are null."""
    with place.opened(settings, target, "db.query") as at:
        at.required()
        with at.connect() as conn:
            conn.read_only = True
            with conn.transaction():
                # prepared, so that the server refuses a second statement, which could end the transaction
                found = conn.execute(text.strip().encode(), values or None, prepare=True)
                return [
                    column.name for column in found.description or ()
                ], found.fetchall() if found.description else []
