"""alembic's migrations, as `alembic upgrade base:head --sql` and `alembic downgrade head:base --sql` print them.

https://alembic.sqlalchemy.org/en/latest/offline.html
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ops.db.migrations.importing.originals import Collection, Original, Way, decoded
from ops.db.sql_file.scan import scan
from ops.db.sql_file.script import display
from ops.errors import Misconfigured

HEAD = re.compile(r"^-- Running (upgrade|downgrade) (.*?) ?-> ?(.*?)[ \r]*$", re.MULTILINE)
MADE_BY = (
    "alembic's own Python is not run: save what it prints into a folder and give that: "
    "alembic upgrade base:head --sql > DIR/up.sql; alembic downgrade head:base --sql > DIR/down.sql"
)
_TABLE = r'(?:"?\w+"?\.)?"?alembic_version"?'
_KEEPING = re.compile(
    rf"^(?:INSERT INTO|UPDATE|DELETE FROM|DROP TABLE) {_TABLE}\b[^;]*;|^CREATE TABLE {_TABLE} \(.*?^\);",
    re.MULTILINE | re.DOTALL,
)


def read(paths: Sequence[Path]) -> Collection:
    """Read the printed SQL of both directions."""
    here = Collection("alembic")
    downs: dict[str, Way] = {}
    ups: dict[str, tuple[tuple[str, ...], Way]] = {}
    for path in paths:
        try:
            text = decoded(path)
        except Misconfigured as error:
            here.faults.append(str(error))
            continue
        if "%%" in text:
            here.notes.append(
                f"{path.name}:{text.count(chr(10), 0, text.index('%%')) + 1}: %% is printed for a percent sign where env.py lacks "
                'dialect_opts={"paramstyle": "named"} (alembic init writes that): add it and print anew, if one % is meant'
            )
        heads = list(HEAD.finditer(text))
        if heads:
            here.faults += before_the_first(path, text[: heads[0].start()])
        for head, end in zip(heads, [*(each.start() for each in heads[1:]), len(text)], strict=True):
            line = text.count("\n", 0, head.end()) + 1
            part = Way(blanked(text[head.end() : end]), path, line)
            if head[1] == "upgrade":
                ups[head[3]] = keys(head[2]), part
            else:
                downs[head[2]] = part
    for key, (after, _) in ups.items():
        if lacking := [each for each in after if each not in ups]:
            here.faults.append(
                f"{display(ups[key][1].path)}:{ups[key][1].line}: {key} builds on {lacking[0]}, which is not in the folder: "
                "alembic upgrade base:head --sql prints all of them"
            )
    if not downs:
        here.notes.append(
            "no downgrade is in the folder: alembic downgrade head:base --sql > DIR/down.sql prints the ways back"
        )
    for number, (key, (after, up)) in enumerate(ups.items(), 1):
        here.originals.append(
            Original(key, key, (0, number, 0), up.path, up, downs.get(key), after, origin=f"alembic {key}")
        )
    return here


def keys(text: str) -> tuple[str, ...]:
    """Return the revisions that a line names."""
    return tuple(part for part in re.split(r"[,\s]+", text) if part)


def blanked(text: str) -> str:
    """Return a part without alembic's own rows and the transactions that it opens and closes; lines keep their numbers."""
    text = _KEEPING.sub(lambda found: re.sub(r"[^\n]", "", found[0]), text)
    data = text.encode()
    for found in scan(data).remarkable:
        if found.text in ("BEGIN", "COMMIT"):
            data = data[: found.start] + re.sub(rb"[^\n]", b" ", data[found.start : found.end]) + data[found.end :]
    return data.decode()


def before_the_first(path: Path, text: str) -> list[str]:
    """Return what stands before the first revision and is none of alembic's own."""
    rest = blanked(text).encode()
    return [
        f"{display(path)}:{rest.count(bytes([10]), 0, start) + 1}: stands before the first revision, so it belongs to none: "
        "move it into one, or remove it"
        for start in scan(rest).statements
    ]
