"""The scan that follows psql's lexer, and the reading of files."""

from __future__ import annotations

import os
import socket
import sys
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.db import build
from ops.db.sql_file.diagnostics import columns, excerpt
from ops.db.sql_file.scan import scan
from ops.db.sql_file.script import Script, missing_variables, needs_psql, read, read_stdin
from ops.errors import Misconfigured


def starts(text: str) -> list[str]:
    """Return the first ten characters of each statement."""
    data = text.encode()
    return [data[start : start + 40].decode(errors="ignore")[:10] for start in scan(data).statements]


STATEMENTS = [
    "select 1;",
    "select 'a;''b';",
    "select E'\\';\\\\';",
    "select e'a'\n'\\';';",
    "select date'x;', type'\\';",
    "select U&'\\0061;' UESCAPE '!', B'1', N'x';",
    'select "a;""b", U&"d;";',
    "select $$;'$$, $a$ $$ ; $b$ $a$, $1, a$b$c;",
    "select 1 -- it's; one\n;",
    "select /* it's; /* nested; */ ' */ 1;",
    "select a[1:2], a[lo:hi], b::text, f(x := 1);",
    "select 1 - -1, 2/3, 4*-5, '-'-'-';",
    "insert into t values (1, 'x'), (2, 'E'), (3, e'\\n');",
    "create function f() returns int begin atomic select 1; select case when 1 > 2 then 3 end; end;",
    "CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC /* end; */ SELECT 'end'; -- end\n SELECT 2; END;",
    "create function f(a int default case when true then 1 end) returns int begin atomic select 1; select 2; end;",
    "create function begin_it() returns int language sql return 1;",
    "create rule r as on insert to t do also (select 1; select '('; select 2);",
    "do $x$ begin perform 1; end $x$;",
    "copy t (a, b) from stdin;\n1\tselect ;'\n-- x /*\n\\\\.\n\\.\n",
    'copy t from stdin with (format csv);\n"a\n;"\n\\.\r\n',
    "copy t to stdout;",
    "copy t from 'stdin';",
    "select 1 \\gset\n",
    "select 1\\g\n",
    "select :'a;', :\"b;\", :c, :{?d};",
    "größe;",
]
BETWEEN = [
    "",
    " ",
    "\n",
    "\r\n",
    ";",
    " ;; ",
    "-- it's; \n",
    "/* a; 'b /* c */ \" */",
    "\\echo it's; \"\n",
    "\n\\set x 'y'\n",
]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(BETWEEN), st.sampled_from(STATEMENTS)), max_size=8), st.sampled_from(BETWEEN))
def test_finds_where_each_statement_starts(parts: list[tuple[str, str]], last: str) -> None:
    text, expected = "", []
    for between, statement in parts:
        text += "\n" + between  # what stands after COPY on its line is data for nobody
        expected.append(len(text.encode()))
        text += statement
    assert list(scan((text + last).encode()).statements) == expected


@settings(deadline=None)
@given(st.text(alphabet="ab'\"$;\\:-/*eE(\n\u00e9 19", max_size=60))
def test_any_text_is_scanned_to_its_end(text: str) -> None:
    found = scan(text.encode())
    assert list(found.statements) == sorted(set(found.statements))
    script = Script("x.sql", text.encode())
    for start in found.statements:
        line, column = script.place(start)
        assert text.split("\n")[line - 1][column - 1 :].encode().startswith(script.data[start : start + 1])


@settings(deadline=None)
@given(st.text(max_size=80), st.integers(1, 81))
def test_a_character_position_is_a_byte_offset(text: str, position: int) -> None:
    offset = Script("x.sql", text.encode()).offset(position)
    assert offset == len(text[: position - 1].encode())


@pytest.mark.parametrize(
    "text", ["'a", '"a', "$$a", "/* a", "E'a\\'", "$a$ $b$", "select 1 -- x", "\\", ":", ":'a", "$", "e'"]
)
def test_unfinished_things_end_with_the_file(text: str) -> None:
    assert len(scan(f"select 1; select {text}".encode()).statements) == 2


def test_words_of_a_statement_come_without_comments() -> None:
    found = scan(b'create /* a;\n */ unique\n-- it\'s\n index "on;e" on t (a)').remarkable
    assert [f.text for f in found] == ['CREATE UNIQUE INDEX "on;e" ON T ( A )']
    assert scan(b"insert into t values (1); SELECT 2; with x as (select 1) select 2").remarkable == []


@pytest.mark.parametrize(
    ("text", "variables", "needs"),
    [
        ("select 1", {}, ""),
        ("select a[lo:hi], '\\d', :unknown", {"x": "y"}, ""),
        ("select :x", {"x": "y"}, "x"),
        ("select :'DBNAME'", {}, "DBNAME"),
        ("\\echo x", {}, "\\echo x"),
        ("select 1;\ncopy t from stdin; -- rows\n\\.\n", {}, ""),
        ("copy t from stdin; select 1;\n\\.\n", {}, "COPY … FROM stdin"),
        ("copy t to /* x */ stdout", {}, "COPY … TO stdout"),
        ("copy t from '/etc/passwd'", {}, ""),
        ("insert into t values ('copy t from stdin;')", {}, ""),
        ("-- copy t from stdin;\n/* \\echo */ select 1", {}, ""),
        ("\\restrict abc\nselect 1;\n\\unrestrict abc\n", {}, ""),
        ("\\restrict abc\ncopy t from stdin;\n\\.\n\\unrestrict abc\n", {}, ""),
        ("set standard_conforming_strings to off;", {}, "SET STANDARD_CONFORMING_STRINGS TO OFF"),
        ("set standard_conforming_strings = on;", {}, ""),
    ],
)
def test_only_what_psql_alone_understands_needs_it(text: str, variables: dict[str, str], needs: str) -> None:
    found = needs_psql(Script("x.sql", text.encode()), variables)
    assert (found.text if found else "") == needs


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("select :'a', :\"b\", :c", ["a", "b"]),
        ("select ':''a''', $$:'a'$$, a[1:2] -- :'a'", []),
        ("\\set a 1\nselect :'a'", []),
        ("\\i defines.sql\nselect :'a'", []),
        ("\\echo x\nselect :'a'", ["a"]),
        ("select :'USER', :'given'", []),
    ],
)
def test_variables_that_nobody_gives(text: str, missing: list[str]) -> None:
    assert [use.text for use in missing_variables(Script("x.sql", text.encode()), {"given": ""})] == missing


def test_the_family_is_each_included_file_once(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    texts = {
        "main.sql": "\\ir sub/a.sql\n\\ir main.sql",
        "sub/a.sql": "\\ir 'b c.sql'",
        "sub/b c.sql": "\\ir a.sql",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    members = [m.path.name for m in read(tmp_path / "main.sql").members if m.path]
    assert members == ["main.sql", "a.sql", "b c.sql"]


def bad_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """Return files that cannot be SQL, with what is said of each."""
    for name, content in {
        "zero.sql": b"select 1;\nsel\0ect",
        "utf16.sql": "select 'é'".encode("utf-16"),
        "latin1.sql": b"select 1;\n-- gr\xf6\xdfe",
        "late.sql": b"-- " + "é".encode() * (1 << 19) + b"\n" + b"x" * 5000 + b"\xe9",
        "cut.sql": b"select '\xc3",
        "archive.sql": b"PGDMP\x01\x0e\0",
    }.items():
        (folder / name).write_bytes(content)
    os.mkfifo(folder / "fifo.sql")
    (folder / "loop.sql").symlink_to(folder / "loop.sql")
    (folder / "gone.sql").symlink_to(folder / "nowhere")
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(folder / "s.sql"))
    bound.close()
    says = {
        "zero.sql": "zero.sql:2:4: holds a zero byte", "utf16.sql": "is UTF-16: save it as UTF-8", "latin1.sql": "latin1.sql:2:6: is not UTF-8 here",
        "late.sql": "late.sql:2:5001: is not UTF-8 here", "cut.sql": "cut.sql:1:9: is not UTF-8 here",
        "archive.sql": "is a pg_dump archive: make SQL of it by pg_restore", "fifo.sql": "is not a regular file: use - for standard input",
        "s.sql": "is not a regular file", "loop.sql": "Too many levels of symbolic links", "gone.sql": "no such file",
        "nothere.sql": "no such file", "": "is a folder", "zero.sql/x": "Not a directory|no such file", "x" * 300: "File name too long",
    }  # fmt: skip
    return {name: (folder / name, said) for name, said in says.items()}


def test_what_is_no_sql_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    for path, said in bad_files(Path()).values():
        with pytest.raises(Misconfigured, match=said) as caught:
            build.script(str(path), tmp_path)
        assert "\n" not in str(caught.value)
        assert caught.value.code == 2


def test_a_file_that_may_not_be_read_is_said(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    (tmp_path / "x.sql").touch(mode=0)
    with pytest.raises(Misconfigured, match="Permission denied"):
        read(tmp_path / "x.sql")


def test_a_home_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="there is no such user"):
        build.script("~nobody_known/x.sql", tmp_path)


def test_standard_input_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(Misconfigured, match="pipe a file into it"):
        read_stdin()


def test_the_mark_at_the_start_is_no_part_of_the_text(tmp_path: Path) -> None:
    (tmp_path / "x.sql").write_bytes(b"\xef\xbb\xbfselect 1")
    assert read(tmp_path / "x.sql").data == b"select 1"


@pytest.mark.parametrize(
    ("text", "offset", "shown"),
    [
        ("a\nselect nope\nb", 9, "select nope"),
        ("x" * 300 + "nope" + "y" * 300, 300, "x" * 50 + "nope" + "y" * 46),
        ("x" * 300 + "nope", 300, "x" * 96 + "nope"),
        ("nope" + "y" * 300, 0, "nope" + "y" * 96),
        ("\tsel\tnope\r\n", 5, " sel nope"),
        ("漢字 é nope", 10, "漢字 é nope"),
        ("select", 6, "select"),
    ],
)
def test_the_caret_stands_under_the_place(text: str, offset: int, shown: str) -> None:
    line, caret = excerpt(Script("x.sql", text.encode()), offset)
    assert line == "  " + shown
    before = shown[: len(shown.partition("nope")[0])]
    assert caret.index("^") == 2 + columns(before)


BIG = {
    "inserts": b"insert into t (a, b) values ((select uuid from u where handle = 'x'), 'It''s; -- 12:30', now());\n",
    "rows": b"  (12, 'Some text; here', 1.5, 'eeee', null),\n",
    "escapes": b"\\'\\\\;e''",
    "copy": b"12\tsome text; e\tmore 'x\n",
    "dollars": b"a $ b; 'c\n",
}


@pytest.mark.parametrize("kind", BIG)
def test_a_long_file_is_scanned_quickly_and_in_little_memory(kind: str) -> None:
    head = {
        "rows": b"insert into t values\n",
        "escapes": b"select E'",
        "copy": b"copy t from stdin;\n",
        "dollars": b"do $x$",
    }
    tail = {"escapes": b"'", "copy": b"\\.\n", "dollars": b"$x$"}
    data = head.get(kind, b"") + BIG[kind] * (10_000_000 // len(BIG[kind])) + tail.get(kind, b"")
    begun = time.process_time()
    contents = scan(data)
    assert time.process_time() - begun < 3  # a tenth of that where nothing else runs
    assert len(contents.statements) == (10_000_000 // len(BIG[kind]) if kind == "inserts" else 1)
    small = data[:1_000_000]
    tracemalloc.start()
    scan(small)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
