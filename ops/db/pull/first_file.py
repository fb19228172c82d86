"""A first masks file, written for people to read."""

from __future__ import annotations

from config.paths import make_folders
from config.settings import Settings
from ops.console import say
from ops.db.copies import beside
from ops.db.plans import marker
from ops.db.pull import columns, masks_file, propose
from ops.db.pull.source import hold_snapshot
from ops.errors import Misconfigured
from ops.targets import opening

INTRO = """\
# What of each column of production comes along in a copy of it (inv db.pull), by docs/pull.md:
#   keep, null, hash, {constant: …}, {fake: name email handle address phone text url ip date number}, {sql: …}
# A column without a rule stops the copy, save booleans, generated keys, what points to those, and safe_types.
# Proposed from names, types and keys, and from statistics: read each line.
"""


def write(settings: Settings, source: str) -> None:
    """Write a first masks file, for people to read; one that is there stays. Raises `Misconfigured` where it is."""
    path = settings.masks
    name = masks_file.shown(path, settings.root)
    taken_already = Misconfigured(
        f"{name} is there already, and stays as it is: inv db.pull --dry-run says what it lacks"
    )
    if path.exists() or path.is_symlink():
        raise taken_already
    with opening.open_target(settings, source, "db.pull") as of:
        of.required()
        marker.require_rows(of.conn, of.name)
        with hold_snapshot(of) as (reader, _):
            tables = columns.read(reader)
            texts = reader.execute(propose.TEXTS_OF_SCHEMA.encode()).fetchall()
    lines = propose.lines(propose.wanting(tables), tables)
    if texts:
        lines += [
            "",
            "# The schema comes along as it is, with these texts in it: see that they hold nothing of anybody.",
        ]
        lines += [f"#   {row['what']}: {' '.join(row['name'].split())}" for row in texts]
    text = "\n".join([INTRO, "safe_types: []", "", "tables:" if lines and lines[0].startswith("  ") else "tables: {}", *lines, ""])  # fmt: skip
    make_folders(path.parent)
    beside.write(path, text.encode(), overwrite=False)
    say(f"wrote {name}: read each line, then inv db.pull --dry-run")
