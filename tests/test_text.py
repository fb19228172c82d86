"""Texts that stay in their file: read in pieces as they would be whole, and never another text than was checked."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops import process
from ops.db import build, load
from ops.db.sql_file import scan, script, text
from ops.db.sql_file.script import Script, read
from ops.db.sql_file.text import FileText, line_end
from ops.errors import Misconfigured, Problem
from ops.targets import open_target, opening
from tests.fix_cli import Cli
from tests.fix_suppliers import Database
from tests.test_load import FAILS, SAME
from tests.test_script import BETWEEN, STATEMENTS, bad_files


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every file a long one."""
    for module in (scan, script):
        monkeypatch.setattr(module, "WHOLE", 40)
    for module in (scan, text):
        monkeypatch.setattr(module, "BLOCK", 16)


def held(content: bytes, skip: int = 0) -> FileText:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        return FileText(file, "x.sql", skip)


@settings(deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=1, max_size=3), st.integers(0, 61), st.integers(0, 61))
def test_a_text_in_a_file_answers_as_bytes_do(content: bytes, wanted: bytes, start: int, end: int) -> None:
    with patch.object(text, "BLOCK", 7):
        ours = held(b"123" + content, skip=3)
        assert len(ours) == len(content)
        assert ours[start:end] == content[start:end]
        assert ours.find(wanted, start) == content.find(wanted, start)
        assert ours.find(wanted, start, end) == content.find(wanted, start, end)
        assert ours.rfind(wanted, 0, min(end, len(content))) == content.rfind(wanted, 0, end)
        assert ours.count(wanted[:1], 0, min(end, len(content))) == content.count(wanted[:1], 0, end)
        assert ours.startswith(wanted, start) == content[start:].startswith(wanted)
        assert b"".join(text.blocks(ours)) == content


@settings(deadline=None)
@given(st.text(alphabet="a\n", max_size=30), st.integers(1, 31))
def test_the_end_of_a_line_is_found_by_its_number(content: str, number: int) -> None:
    lines = content.split("\n")
    expected = len("\n".join(lines[:number])) if number <= len(lines) else len(content)
    with patch.object(text, "BLOCK", 7):
        assert line_end(held(content.encode()), number) == line_end(content.encode(), number) == expected


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(BETWEEN), st.sampled_from(STATEMENTS)), max_size=8),
    st.integers(1, 90),
    st.integers(6, 20),
)
def test_a_scan_in_windows_finds_what_one_at_once_finds(parts: list[tuple[str, str]], window: int, block: int) -> None:
    content = "".join(f"\n{between}{statement}" for between, statement in parts).encode()
    expected = asdict(scan.scan(content))
    with patch.object(scan, "WHOLE", window), patch.object(scan, "BLOCK", block), patch.object(text, "BLOCK", block):
        assert asdict(scan.scan(held(content))) == expected
        assert asdict(scan.scan(content)) == expected


@pytest.mark.parametrize("end", ["\\.", "\\.\r", "\\.\n", "\\.\r\n", "x", "\\.x\n", "\\.\rx\n\\.\n", "\\\\.\n\\.\n"])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 8, 13])
def test_the_data_of_a_copy_ends_where_psql_ends_it(rows: int, end: str) -> None:
    begin = "copy t from stdin;\n" + "1\n" * rows
    content = (begin + end + "select 2;").encode() if end.endswith("\n") else (begin + end).encode()
    expected = content.index(b"select 2;") if end.endswith("\n") and end != "\\.x\n" else None
    for block in range(6, 20):
        with patch.object(scan, "BLOCK", block):
            starts = list(scan.scan(content).statements)
            assert starts == ([0] if expected is None else [0, expected])


@pytest.mark.parametrize("name", SAME)
def test_what_is_read_in_pieces_is_the_same_script(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_pieces: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for included in ("part.sql", "part 2.sql"):
        (tmp_path / included).write_text("select 1;\n", encoding="utf-8")
    given = SAME[name][0] if isinstance(SAME[name], tuple) else SAME[name]
    content = given if isinstance(given, bytes) else str(given).encode()
    (tmp_path / "x.sql").write_bytes(content)
    ours = read(tmp_path / "x.sql")
    whole = Script("x.sql", content.removeprefix(b"\xef\xbb\xbf"))
    assert isinstance(ours.data, FileText) or len(content) <= 40
    assert asdict(ours.contents) == asdict(whole.contents)
    assert ours.digest == whole.digest


@pytest.mark.parametrize("name", FAILS)
def test_errors_point_to_the_same_place(
    name: str, one: Database, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    with one.connect("postgres") as conn:
        conn.execute(f"create database {one.name}".encode())
    file = one.sql("-- what makes the file a long one\n" + FAILS[name])
    one.sql("create table ok (a int);\nnonsense;\n", "bad.sql")
    monkeypatch.chdir(one.root)
    with pytest.raises(Problem) as whole:
        build.schema_load(one.settings(), "local", str(file), {}, "")
    request.getfixturevalue("in_pieces")
    assert isinstance(read(file).data, FileText)
    with pytest.raises(Problem) as pieces:
        build.schema_load(one.settings(), "local", str(file), {}, "")
    assert str(pieces.value) == str(whole.value)


def test_what_is_no_sql_file_is_said_of_a_long_one_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_pieces: None
) -> None:
    monkeypatch.chdir(tmp_path)
    for path, said in bad_files(Path()).values():
        with pytest.raises(Misconfigured, match=said):
            build.script(str(path), tmp_path)


# --- somebody writes to the file meanwhile ------------------------------------------------

ROWS_OF_COPY = "copy made from stdin;\n1\n\\.\n"
TABLE = "create table made (a int);\n-- what makes the file a long one\n"
KINDS = {"as it is": "insert into made values (1);\n", "by psql": ROWS_OF_COPY}


def tables(one: Database) -> int:
    return int(one.scalar("select count(*) from pg_class where relname = 'made'"))


@pytest.fixture
def at(one: Database) -> Iterator[open_target.OpenTarget]:
    with one.connect("postgres") as conn:
        conn.execute(f"create database {one.name}".encode())
    with opening.open_target(one.settings(), "local", "test", writes=True) as at:
        yield at


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["longer", "shorter", "as long"])
def test_a_file_that_is_written_to_is_not_loaded(
    kind: str, how: str, one: Database, at: open_target.OpenTarget, in_pieces: None
) -> None:
    file = one.sql(TABLE + KINDS[kind])
    plan = load.plan(read(file), {})
    time.sleep(0.02)  # the system's clock for files ticks at every fourth millisecond
    with file.open("r+b") as other:
        if how == "shorter":
            other.truncate(45)
        else:
            other.seek(0, os.SEEK_END if how == "longer" else os.SEEK_SET)
            other.write(b"-- more")
    with pytest.raises(Problem, match=r"test\.sql was written to while it was read, and nothing of it was kept"):
        build.into(at, plan)
    assert tables(one) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_another_file_in_its_place_is_not_seen(
    kind: str, one: Database, at: open_target.OpenTarget, in_pieces: None
) -> None:
    file = one.sql(TABLE + KINDS[kind])
    plan = load.plan(read(file), {})
    (file.parent / "other.sql").write_text("drop table no_such_table;\n", encoding="utf-8")
    (file.parent / "other.sql").replace(file)
    build.into(at, plan)
    assert one.scalar("select count(*) from made") == 1


def test_a_file_that_psql_opens_itself_is_the_one_that_was_checked(one: Database, at: open_target.OpenTarget) -> None:
    file = one.sql("\\set x 1\n" + TABLE)
    plan = load.plan(read(file), {})
    file.write_text("\\set x 1\ncreate table other (a int);\n", encoding="utf-8")
    with pytest.raises(Problem, match=r"test\.sql has changed since it was checked, and nothing of it was loaded"):
        build.into(at, plan)
    file.unlink()
    with pytest.raises(Problem, match=r"test\.sql has changed since it was checked"):
        build.into(at, plan)
    assert tables(one) == 0


def test_a_long_script_comes_by_standard_input(inv: Cli, one: Database) -> None:
    inv.ok("db.create", env={"CONNECTION_URL": one.url})
    comments = f"-- {'x' * 96}\n" * (text.WHOLE // 100 + 1)
    script = "\ufeff" + TABLE + comments + ROWS_OF_COPY
    inv.ok("db.schema-load", "--file", "-", env={"CONNECTION_URL": one.url}, stdin=script)
    assert one.scalar("select count(*) from made") == 1


# --- what another program reads -----------------------------------------------------------


def test_a_program_is_fed_piece_by_piece() -> None:
    done = process.run(["wc", "-c"], {}, feed=(b"x" * 100_000 for _ in range(30)))
    assert done.stdout.strip() == "3000000"


def test_a_program_that_does_not_read_says_why_itself() -> None:
    done = process.run(["sh", "-c", "echo no; exit 3"], {}, feed=(b"x" * 100_000 for _ in range(30)))
    assert (done.stdout, done.returncode) == ("no\n", 3)


def test_a_program_does_not_see_the_end_of_what_could_not_be_made(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"x"
        raise Problem("the file is gone")

    with pytest.raises(Problem, match="the file is gone"):
        process.run(["sh", "-c", f"cat >/dev/null; touch '{tmp_path}/end'"], {}, feed=pieces())
    assert list(tmp_path.iterdir()) == []


def test_the_memory_does_not_grow_with_the_data_of_a_copy(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from ops.db.sql_file.script import read; s = read(Path(sys.argv[1]));"
        "assert len(s.contents.statements) == 3 and s.digest;"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for rows in (1_000_000, 10_000_000):
        with (tmp_path / "x.sql").open("w", encoding="utf-8") as file:
            file.write("create table t (a int);\ncopy t from stdin;\n")
            file.writelines(["12345\t\\N\n" * 1000] * (rows // 1000))
            file.write("\\.\nselect 1;\n")
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "x.sql"], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
    assert peaks[1] < 1.1 * peaks[0]
