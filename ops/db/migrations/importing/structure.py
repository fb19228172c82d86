"""Rails' `db/structure.sql`: the schema as pg_dump wrote it, and behind it the versions that made it.

https://guides.rubyonrails.org/active_record_migrations.html, "Types of Schema Dumps"
"""

from __future__ import annotations

import re
from pathlib import Path

from ops.db.migrations.importing import stamps
from ops.db.migrations.importing.originals import Collection, Original, Way, decoded
from ops.db.sql_file.contents import Found
from ops.db.sql_file.scan import scan
from ops.db.sql_file.script import display
from ops.errors import Misconfigured

MADE_BY = (
    "Rails' migrations are Ruby, which is not run: set config.active_record.schema_format = :sql, "
    "rails db:schema:dump, and give the folder of the structure.sql that it writes"
)
_TABLE = r'(?:"?\w+"?\.)?"?schema_migrations"?'
VERSIONS = re.compile(
    rf"^INSERT INTO {_TABLE} \(\"?version\"?\) VALUES\s*((?:\(\s*'\d+'\s*\)\s*,?\s*)+);", re.MULTILINE | re.IGNORECASE
)
_KEEPING = re.compile(
    r"(CREATE TABLE|ALTER TABLE( ONLY)?|COMMENT ON (TABLE|COLUMN)|CREATE UNIQUE INDEX \S+ ON) (\S+ \. )?\"?SCHEMA_MIGRATIONS\"?( |$)",
    re.IGNORECASE,
)
_SEARCH_PATH = re.compile(r"^SELECT pg_catalog\.set_config\('search_path', '', false\);", re.MULTILINE)
_SET = re.compile(r"SET (?!LOCAL |SESSION )(\w+)( |$)")
# How the session speaks, and when it gives up, are the affair of who runs the file
_OF_SESSION = re.compile(r"\w*_TIMEOUT|CLIENT_ENCODING|STANDARD_CONFORMING_STRINGS|ROW_SECURITY|SEARCH_PATH")
# Only a superuser may say it, and it says what is so anyway
_PLPGSQL = re.compile(r"COMMENT ON EXTENSION PLPGSQL ", re.IGNORECASE)


def read(path: Path) -> Collection:
    """Read a structure as one migration, under the highest of its versions."""
    here = Collection("rails", whole=True)
    try:
        text = decoded(path)
    except Misconfigured as error:
        here.faults.append(str(error))
        return here
    listed = [version for found in VERSIONS.finditer(text) for version in re.findall(r"'(\d+)'", found[1])]
    if not listed:
        here.faults.append(
            f"{display(path)}:{text.count(chr(10)) + 1}: has no list of versions (INSERT INTO schema_migrations) at its end: "
            "rails db:schema:dump writes it"
        )
        return here
    last = max(listed, key=int)
    here.versions = tuple(sorted(listed, key=int))
    here.originals.append(
        Original(last, "structure", stamps.order(last), path, Way(cleaned(text), path), None, digits=last)
    )
    here.notes.append(
        f"{path.name}: {len(listed)} migrations of Rails are one file, which has no way back; they stay in schema_migrations, where they have run"
    )
    return here


def cleaned(text: str) -> str:
    """Return the schema without Rails' own table, and without what pg_dump says to the session; lines keep their numbers."""
    text = VERSIONS.sub(lambda found: re.sub(r"[^\n]", "", found[0]), text)
    text = _SEARCH_PATH.sub("", text)
    data = text.encode()
    contents = scan(data)
    restricts = [each for each in contents.commands if re.match(r"\\(un)?restrict\b", each.text)]
    local: list[Found] = []
    cuts = restricts
    for found in contents.remarkable:
        setting = _SET.match(found.text)
        if _KEEPING.match(found.text) or _PLPGSQL.match(found.text) or (setting and _OF_SESSION.fullmatch(setting[1])):
            cuts.append(found)
        elif setting:
            local.append(found)
    for found in sorted([*cuts, *local], key=lambda each: -each.start):
        piece = data[found.start : found.end]
        new = re.sub(rb"(?i)\Aset ", b"SET LOCAL ", piece) if found in local else re.sub(rb"[^\n]", b" ", piece)
        data = data[: found.start] + new + data[found.end :]
    return data.decode()
