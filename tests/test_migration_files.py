"""A folder of migrations: what is read, and what is refused with file, line and mend."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.db.migrations import files
from ops.errors import Misconfigured

GOOD = "-- migrate:up\ncreate table a (i int);\n-- migrate:down\ndrop table a;\n"


def down(up: str, options: str = "") -> str:
    return f"-- migrate:up{options}\n{up}\n-- migrate:down\n"


REFUSED = {
    "no_up": ("create table a ();\n", ":1: stands before -- migrate:up"),
    "no_marker": ("-- a comment\n", ":1: has no -- migrate:up: write that above"),
    "two_ups": (f"{GOOD}-- migrate:up\nselect 1;\n", ":5: a second -- migrate:up (the first is in line 1)"),
    "two_downs": (f"{GOOD}-- migrate:down\n", ":5: a second -- migrate:down (the first is in line 3)"),
    "no_down": ("-- migrate:up\nselect 1;\n", ":3: has no -- migrate:down"),
    "down_first": ("-- migrate:down\n-- migrate:up\nselect 1;\n", ":1: -- migrate:down stands before"),
    "statement_before": (f"-- x\nselect 1;\n{GOOD}", ":2: stands before -- migrate:up"),
    "block_comment_before": (f"/* x */\n{GOOD}", ":1: stands before -- migrate:up"),
    "indented": (f" {GOOD}", ":1: dbmate knows no such marker: write -- migrate:up at the line's beginning"),
    "capitals": (GOOD.replace("migrate:down", "Migrate:Down"), ":3: dbmate knows no such marker"),
    "option": (down("select 1;", " transactions:false"), ":1: transactions:false is no option of a marker"),
    "option_value": (down("select 1;", " transaction:no"), ":1: transaction:no is no option"),
    "option_space": (down("select 1;", " transaction: false"), ":1: transaction: is no option"),
    "option_in_reason": (down("select 1;", " -- it is transaction:false"), ":1: transaction: stands behind the --"),
    "empty_up": (down("-- nothing\n"), ":1: the up part is empty"),
    "connects": (down("select 1;\n\\c other"), ":3:1: \\c would leave the target's database: remove it"),
    "quits": (
        down("select 1;\n\\q\nselect 2;", " allow:psql"),
        ":3:1: \\q: what stands behind it would never run, and be recorded all the same: remove it",
    ),
    "quits_in_words": (down("\\quit\nselect 2;", " allow:psql"), ":2:1: \\quit: what stands behind it"),
    "commit": (down("select 1;\n  COMMIT;"), ":3:3: COMMIT: each migration is one transaction without it: remove it"),
    "begin": (down("begin;\nselect 1;\ncommit;"), ":2:1: BEGIN: each migration is one transaction"),
    "rollback": (down("select 1;\nrollback;"), ":3:1: ROLLBACK: each migration"),
    "commit_below": ("-- migrate:up\nselect 1;\n-- migrate:down\ncommit;\n", ":4:1: COMMIT: each"),
    "psql_command": (down("\\set x 1\nselect 1;"), ":2:1: only psql understands this"),
    "psql_variable": (down("select :'x';"), ":2:8: only psql understands this"),
    "psql_plain_variable": (down("select * from :x;"), ":2:15: only psql understands this"),
    "copy": (down("copy a from stdin;\n1\n\\.\n"), ":2:1: only psql understands this"),
    "copy_out": (down("copy a to stdout;\n"), ":2:1: only psql understands this"),
    "two_alone": (down("vacuum;\nanalyze;", " transaction:false"), ":3:1: a second statement beside"),
    "concurrently": (
        down("create index concurrently i on a (i);"),
        ":2:1: CREATE INDEX CONCURRENTLY cannot run in a transaction: give it a file of its own with -- migrate:up",
    ),
    "psql_alone": (down("\\echo x\nvacuum;", " transaction:false allow:psql"), ":2:1: only psql would run this, and"),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=REFUSED)
def test_bad_file_is_refused_at_its_line_with_its_mend(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "20260101000000_a.sql"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(Misconfigured) as refused:
        files.read_folder(tmp_path)

    assert str(refused.value).startswith(f"{path}{said}")
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (down("select '\u00e9';").encode("latin-1"), ":2:9: is not UTF-8 here: save the file as UTF-8"),
        (down("select 1;").encode("utf-16"), " is UTF-16: save it as UTF-8"),
        (down("select '\0';").encode(), ":2:9: holds a zero byte"),
    ],
    ids=["latin-1", "utf-16", "zero"],
)
def test_bytes_that_are_no_text_are_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "1_a.sql"
    path.write_bytes(data)
    with pytest.raises(Misconfigured) as refused:
        files.read(path)
    assert str(refused.value).startswith(f"{path}{said}")


def test_faults_of_names_and_files_are_told_together(tmp_path: Path) -> None:
    for name in ("20260101000000_a.sql", "20260101000000_b.sql", "later.sql", "README.md", "2_x.txt"):
        (tmp_path / name).write_text(GOOD, encoding="utf-8")
    with pytest.raises(Misconfigured) as refused:
        files.find(tmp_path)
    said = str(refused.value).splitlines()
    assert said[0] == f"{tmp_path}: 2 faults, nothing was done"
    assert said[1].startswith(f"- {tmp_path}/20260101000000_b.sql:1: has the stamp of 20260101000000_a.sql: give one")
    assert said[2].startswith(f"- {tmp_path}/later.sql:1: its name has no stamp")
    with pytest.raises(Misconfigured, match=r"no such folder: inv db\.migration-new NAME makes it"):
        files.find(tmp_path / "away")
    with pytest.raises(Misconfigured, match=r"is no folder: correct paths\.migrations"):
        files.find(tmp_path / "README.md")


TAKEN = {
    "plain": GOOD,
    "crlf": GOOD.replace("\n", "\r\n"),
    "bom": f"\ufeff{GOOD}",
    "comments_before": f"-- why\n\n  -- more\n{GOOD}",
    "close_marker": GOOD.replace("-- migrate", "--migrate"),
    "reason": GOOD.replace("up\n", "up allow:ban-drop-table transaction:true -- nobody reads it\n"),
}


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_file_is_read_with_its_lines(tmp_path: Path, text: str) -> None:
    path = tmp_path / "20260101000000_add_a.sql"
    path.write_bytes(text.encode())
    read = files.read(path)
    assert (read.version, read.name) == ("20260101000000", "add_a")
    assert read.down is not None
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    assert lines[read.up.line - 1] == "create table a (i int);"
    assert lines[read.down.line - 1] == "drop table a;"
    assert read.up.sql.strip() == "create table a (i int);"
    assert read.down.sql.strip() == "drop table a;"
    assert files.script(read.down, "x").at(read.down.line - 1) == f"x:{read.down.line}:1"


def test_options_are_those_of_the_marker(tmp_path: Path) -> None:
    path = tmp_path / "1_x.sql"
    path.write_text(
        "-- migrate:up transaction:false allow:a-b allow:psql -- since: 2 of us said so\nvacuum;\nanalyze;\n", "utf-8"
    )
    read = files.read(path)
    assert read.up.allow == ("a-b", "psql")
    assert not read.up.transaction
    assert read.up.reason == "since: 2 of us said so"
    assert read.down is None


def test_digest_is_that_of_the_text_whatever_a_checkout_makes_of_it(tmp_path: Path) -> None:
    told = {}
    for name in ("plain", "crlf", "bom", "comments_before"):
        path = tmp_path / f"1_{name}.sql"
        path.write_bytes(TAKEN[name].encode())
        told[name] = files.read(path).digest
    assert told["plain"] == told["crlf"] == told["bom"] != told["comments_before"]


def test_slices_of_arrays_and_savepoints_are_sql(tmp_path: Path) -> None:
    path = tmp_path / "1_x.sql"
    path.write_text(down("savepoint s;\nselect a[1:n], (b[2])[m:k] from t;\nrollback to s;"), encoding="utf-8")
    assert files.read(path).up.transaction


def test_files_are_in_the_order_that_dbmate_runs_them(tmp_path: Path) -> None:
    for name in ("9_b.sql", "10_a.sql", "20260101000000_c.sql", "2-d.sql"):
        (tmp_path / name).write_text(GOOD, encoding="utf-8")
    assert [m.version for m in files.read_folder(tmp_path)] == ["10", "2", "20260101000000", "9"]
