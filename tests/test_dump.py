"""db.dump: whole or not at all, the same each time, and each failure one line that says the next step."""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import load
from ops import console, meter, postgres, silence
from ops.db.copies import beside, dump, programs, relay
from ops.db.copies.dump import Dumped, Form, How
from ops.errors import Misconfigured, Problem
from ops.targets import opening
from ops.targets.embedded import binaries
from ops.targets.open_target import OpenTarget
from tests import cutting, servers
from tests.fix_cli import SUITE, Cli
from tests.fix_front import open_front
from tests.fix_suppliers import Database
from tests.tcp_relay import Relay
from tests.test_drift import differ, loaded
from tests.test_schema_file import ALL
from tests.test_server import needs_root, small_disk

pytestmark = pytest.mark.every_server

TABLES = """
create table people (id int generated always as identity primary key, name text not null, born date);
insert into people (name, born) select 'person ' || n, date '1970-01-01' + n from generate_series(1, 2000) n;
create table "Odd ""Name" (id int); insert into "Odd ""Name" values (1);
create table logs (at date, line text) partition by range (at);
create table logs_1 partition of logs for values from ('2026-01-01') to ('2026-07-01');
create table logs_2 partition of logs default;
insert into logs values ('2026-02-01', 'first'), ('2026-08-01', E'a\\ttab, a \\\\ and a\\nnew line');
create view named as select name from people;
select lo_from_bytea(0, 'large');
"""
FORMS: dict[Form, str] = {"plain": "a.sql", "gzip": "a.sql.gz", "custom": "a.dump", "directory": "a"}


@contextlib.contextmanager
def opened(of: Database, url: str = "", **db: str) -> Iterator[OpenTarget]:
    settings = load({"db": db}, {"CONNECTION_URL": url or of.url}, of.root)
    with opening.open_target(settings, "local", "db.dump") as at:
        yield at


def dumped(of: Database, form: Form, *, url: str = "", **how: Any) -> Dumped:
    with opened(of, url) as at:
        return dump.dump(at, of.root / FORMS[form], How(form, **how))


def left(root: Path) -> list[str]:
    """Return what a run that ended in the middle would have left."""
    return [path.name for path in root.iterdir() if ".inv-" in path.name]


@pytest.fixture
def some(one: Database) -> Database:
    """A database with some tables."""
    one.do(f'create database "{one.name}"', "postgres")
    one.do(TABLES)
    return one


def text_of(made: Dumped) -> str:
    """Return a dump as SQL, without what differs between two."""
    path = Path(made.file)
    if made.form in ("custom", "directory"):
        program = programs.find_programs(18).pg_restore
        done = subprocess.run([program, "-f", "-", path], capture_output=True, text=True, check=True)
        return dump.GUARD.sub(dump.dashed, done.stdout.encode()).decode()
    data = path.read_bytes()
    return (gzip.decompress(data) if made.form == "gzip" else data).decode()


@pytest.mark.parametrize("form", FORMS)
def test_each_form_holds_the_same_for_its_owner_only(some: Database, form: Form) -> None:
    some.do("create schema inv; create table inv.notes (id int)")  # ours, which db.restore does not list either
    made = dumped(some, form)
    path = Path(made.file)
    first = path.read_bytes() if path.is_file() else b""
    text = text_of(made)
    assert made.tables == 5
    assert made.size_bytes == dump.size(path) > 1000
    for each in [path, *path.rglob("*")]:
        assert each.stat().st_mode & 0o077 == 0, each
    assert "person 2000\t1975-06-24" in text
    assert "-- Name: BLOBS" in text or "BLOB" in text
    assert "restrict" not in text
    again = dumped(some, form, overwrite=True)
    assert text_of(again) == text
    if form in ("plain", "gzip"):
        assert path.read_bytes() == first
    assert left(some.root) == []


@pytest.mark.parametrize(
    ("how", "held", "without"),
    [
        ({"holds": "schema"}, ["CREATE TABLE public.people", "CREATE VIEW"], ["person 1"]),
        ({"holds": "data"}, ["person 1\t", "tab, a"], ["CREATE TABLE"]),
        ({"tables": ["people"]}, ["CREATE TABLE public.people", "ADD GENERATED ALWAYS"], ["logs", "CREATE VIEW"]),
        ({"tables": ["public.logs"]}, ["CREATE TABLE public.logs_1", "tab, a", "first"], ["people"]),
        ({"tables": ['"Odd ""Name"', "named"]}, ['CREATE TABLE public."Odd ""Name"', "CREATE VIEW"], ["logs"]),
    ],
)
def test_a_part_of_it(some: Database, how: dict[str, Any], held: Sequence[str], without: Sequence[str]) -> None:
    text = text_of(dumped(some, "plain", **how))
    assert [words for words in held if words not in text] == []
    assert [words for words in without if words in text] == []


def test_what_is_dumped_comes_back_on_every_server(supplier: servers.Server, root: Path) -> None:
    """By the usual programs, object by object and row by row; by TLS, too, where they have none."""
    rows = "create table kept (name text); insert into kept values ('cat'), (E'd\\tog')"
    with (
        loaded(supplier, f"{ALL}\n{rows}") as conn,
        loaded(supplier, "select") as plain,
        loaded(supplier, "select") as other,
    ):
        assert conn.info.dbname
        of = Database(supplier, conn.info.dbname, root)
        with opened(of) as at:
            try:
                client = programs.find_programs(supplier_major(conn))
            except Problem as error:
                pytest.skip(str(error))
            made = dump.dump(at, root / "a.sql", How("plain"))
            dump.dump(at, root / "a", How("directory", jobs=2))
            assert made.program_major == client.major >= supplier_major(conn)
            with relay.open_way(at, client) as env:
                run = {"capture_output": True, "text": True}
                clean = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, **env}
                into = {"PGDATABASE": plain.info.dbname}
                load = [client.psql, "-qX", "-v", "ON_ERROR_STOP=1", "-f", root / "a.sql"]
                done = subprocess.run(load, check=False, env=clean | into, **run)  # type: ignore[call-overload]
                assert done.returncode == 0, done.stderr
                restore = [client.pg_restore, "-d", other.info.dbname, "--jobs=2", root / "a"]
                done = subprocess.run(restore, check=False, env=clean, **run)  # type: ignore[call-overload]
                # written for the newest, which pg_restore goes on without
                assert not [
                    line for line in done.stderr.splitlines() if "ERROR" in line and "transaction_timeout" not in line
                ]
        for copy in (plain, other):
            assert differ(conn, copy) == []
            assert postgres.fetch(copy, "select name from kept order by 1") == [{"name": "cat"}, {"name": "d\tog"}]


def supplier_major(conn: psycopg.Connection[Any]) -> int:
    return conn.info.server_version // 10000


def test_without_a_name_it_lies_where_no_commit_takes_it_up(some: Database) -> None:
    with opened(some) as at:
        place = dump.new_place(at, "custom")
        made = dump.dump(at, place, How("custom"))
        place.touch()
        assert dump.new_place(at, "custom") != place  # two in one second
    assert place.parent == some.root / ".local" / "dumps"
    assert place.name.startswith(f"local-{some.name}-2")
    assert place.parent.stat().st_mode & 0o777 == 0o700
    assert (some.root / ".local" / ".gitignore").read_text() == "*\n"
    assert made.file == str(place)


# --- bad input --------------------------------------------------------------------------

LOGIN = "reader_of_some"
# what stands in the way; how it is dumped; the error, and what it says
REFUSED: list[tuple[str, dict[str, Any], type[Problem], str]] = [
    ("select", {"tables": ["peopel"]}, Misconfigured, "--table peopel: .* has no such table, did you mean people?"),
    ("select", {"tables": ["x.y.z.q"]}, Misconfigured, "--table x.y.z.q: "),
    ("select", {"tables": ["pg_class"]}, Misconfigured, "--table pg_class: .* has no such table"),
    ("revoke all on logs_1, people from {login}", {}, Problem, "may not read public.logs_1, public.people: grant select on"),
    ("revoke all on people from {login}", {"holds": "schema"}, Problem, "may not read public.people"),
    ("revoke all on people_id_seq from {login}", {}, Problem, "may not read public.people_id_seq"),
    ("revoke usage on schema hidden from {login}", {}, Problem, "may not read hidden.things"),
    ("alter table people enable row level security", {}, Problem, "row level security hides rows of public.people from"),
    ("do $$ begin perform lo_from_bytea(0, 'not yours'); end $$", {}, Problem, "may not read large object"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "how", "error", "words"), REFUSED, ids=[row[0][:40] for row in REFUSED])
def test_what_may_not_be_read_is_named_and_nothing_written(
    some: Database, before: str, how: dict[str, Any], error: type[Problem], words: str
) -> None:
    login = f"{LOGIN}_{some.name}"
    some.do(f"create role {login} login password 'well known'")
    try:
        some.do("create schema hidden; create table hidden.things (id int)")
        for schema in ("public", "hidden"):
            some.do(f"grant usage on schema {schema} to {login}")
            for kind in ("tables", "sequences"):
                some.do(f"grant select on all {kind} in schema {schema} to {login}")
        some.do("do $$ begin perform lo_unlink(oid) from pg_largeobject_metadata; end $$")
        some.do(before.format(login=login))
        url = some.target(user=login, password="well known").url(show_password=True)
        (some.root / "a.sql").write_text("the one before")
        with pytest.raises(error, match=words):
            dumped(some, "plain", url=url, overwrite=True, **how)
        assert (some.root / "a.sql").read_text() == "the one before"
        assert left(some.root) == []
    finally:
        some.do(f"drop owned by {login}; drop role {login}")


@pytest.mark.parametrize(
    ("name", "what", "overwrite", "words"),
    [
        ("a.sql", "file", False, "a.sql is there already: add --overwrite"),
        ("a.sql", "folder", True, "a.sql is there already, and a folder"),
        ("a", "file", True, "a is there already, and no folder"),
        ("a", "folder", True, "a is no dump, and is not written over"),
        ("none/a.sql", "", False, "there is no folder .*/none: make it"),
        ("a.sql", "pipe", True, "and no regular file"),
    ],
)
def test_a_place_that_is_taken(some: Database, name: str, what: str, overwrite: bool, words: str) -> None:
    place = some.root / name
    if what == "folder":
        place.mkdir()
        (place / "mine.txt").touch()
    elif what == "pipe":
        os.mkfifo(place)
    elif what:
        place.write_text("mine")
    form: Form = "plain" if name.endswith(".sql") else "directory"
    with opened(some) as at, pytest.raises(Misconfigured, match=words):
        dump.dump(at, place, How(form, overwrite=overwrite))
    assert not place.is_file() or place.read_text() == "mine"


def test_a_link_stays_one_and_what_takes_the_place_meanwhile_stays(some: Database) -> None:
    (some.root / "real.sql").write_text("old")
    (some.root / "a.sql").symlink_to("real.sql")
    dumped(some, "plain", overwrite=True)
    assert (some.root / "a.sql").is_symlink()
    assert "CREATE TABLE" in (some.root / "real.sql").read_text()
    for folder in (False, True):
        place = some.root / f"taken{folder}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(beside.open_beside(place, folder=folder, overwrite=False))
            place.mkdir() if folder else place.write_text("theirs")
            with pytest.raises(Misconfigured, match="is there by now"):
                stack.close()
        assert place.is_dir() if folder else place.read_text() == "theirs"
    assert left(some.root) == []


@pytest.mark.parametrize("has_step", [True, False], ids=["exchanged", "renamed twice"])
def test_a_folder_is_written_over_in_one_step_where_the_system_has_it(
    some: Database, monkeypatch: pytest.MonkeyPatch, has_step: bool
) -> None:
    if not has_step:
        monkeypatch.setattr(beside, "renamed", lambda *_: False)
    dumped(some, "directory")
    (some.root / "a" / "old.txt").touch()
    dumped(some, "directory", overwrite=True, jobs=2)
    assert (some.root / "a" / "toc.dat").exists()
    assert not (some.root / "a" / "old.txt").exists()
    assert left(some.root) == []


@needs_root
@pytest.mark.parametrize("form", FORMS)
def test_a_disk_that_fills_up(some: Database, form: Form) -> None:
    some.do("create table big as select n, md5(n::text) || md5((n + 1)::text) as x from generate_series(1, 60000) n")
    small = some.root / "small"
    with small_disk(small, "1m"):
        place = small / FORMS[form]
        if form != "directory":
            place.write_text("the one before")
        with opened(some) as at, pytest.raises(Problem, match="the disk is full: free some space there"):
            dump.dump(at, place, How(form, overwrite=form != "directory"))
        assert [path.name for path in small.iterdir()] == ([] if form == "directory" else [FORMS[form]])


def test_a_table_that_another_session_holds(some: Database, capfd: pytest.CaptureFixture[str]) -> None:
    with some.connect() as other, other.transaction():
        other.execute("lock table people in access exclusive mode")
        holder = other.info.backend_pid
        with opened(some, lock_timeout="2") as at, pytest.raises(Problem) as told:
            dump.dump(at, some.root / "a.sql", How("plain"))
    assert "another session holds a table" in str(told.value)
    assert "for longer than 2 s (db.lock_timeout): inv db.sessions shows whose it is" in str(told.value)
    assert f"waiting for a lock held by pid {holder}" in capfd.readouterr().err
    assert left(some.root) == []


# --- the server goes away ---------------------------------------------------------------


class CutAfter(Relay):
    """A way to a server that ends when that has said so many bytes to pg_dump.

    What psycopg asks before comes through: only a connection that reads tables counts.
    """

    def __init__(self, to: int, count: int) -> None:
        self.left = count
        super().__init__(to)

    def passes(self, data: bytes, line: dict[str, Any], back: bool) -> bytes:
        if not back:
            line["dump"] = line.get("dump") or b"SET row_security" in data  # pg_dump's own beginning
            return data
        if line.get("dump"):
            data, self.left = data[: self.left], max(0, self.left - len(data))
        return data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [0, 1, 5_000, 60_000, 100_000])
def test_a_server_that_goes_away_at_any_byte_leaves_what_was_there(some: Database, form: Form, count: int) -> None:
    place = some.root / FORMS[form]
    dumped(some, form)
    before = {path: path.read_bytes() for path in [place, *place.rglob("*")] if path.is_file()}
    some.do("create table more as select * from people")
    with CutAfter(some.server.port, count) as relay:
        url = some.target(port=str(relay.port)).url(show_password=True)
        with pytest.raises(
            Problem, match=r"the server, or something on the way, closed the connection; nothing was written: run"
        ):
            dumped(some, form, url=url, overwrite=True, jobs=2 if form == "directory" else 1)
    assert {path: path.read_bytes() for path in [place, *place.rglob("*")] if path.is_file()} == before
    assert left(some.root) == []


def test_through_the_relay_it_is_the_same_file_and_the_same_end(some: Database, tmp_path: Path) -> None:
    direct = dumped(some, "plain")
    wanted = Path(direct.file).read_bytes()
    with open_front(tmp_path / "front", some.server) as front:
        url = front.target(some.name).url(show_password=True)
        dumped(some, "plain", url=url, overwrite=True)
        assert Path(direct.file).read_bytes() == wanted
        some.do("create table big as select n, repeat('x', 1000) as x from generate_series(1, 60000) n")

        def end() -> None:
            kill = "select pg_terminate_backend(pid) from pg_stat_activity where query like 'COPY public.big%'"
            while not some.query(kill):
                time.sleep(0.01)

        ender = threading.Thread(target=end)
        ender.start()
        with pytest.raises(Problem, match="nothing was written: run this again"):
            dumped(some, "plain", url=url, overwrite=True)
        ender.join()
    assert Path(direct.file).read_bytes() == wanted
    assert left(some.root) == []


def test_a_server_that_falls_silent_is_left(some: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "limit", 2.0)
    with cutting.Proxy(some.server.port, cutting.Cut(b"COPY public.people", cutting.ASKING, cutting.SILENT)) as proxy:
        url = some.target(port=str(proxy.port)).url(show_password=True)
        with (
            opened(some, url) as at,
            pytest.raises(Problem, match=r"has given no answer for 2 s \(db.silence_timeout\): see that it is up"),
        ):
            dump.dump(at, some.root / "a.sql", How("plain"))
        assert proxy.hit
    assert left(some.root) == []
    assert not (some.root / "a.sql").exists()


SAID = {
    'pg_dump: error: query failed: ERROR:  could not obtain lock on relation "public.people"': "another session wants public.people for itself",
    "pg_dump: error: query failed: ERROR:  canceling statement due to conflict with recovery": "the replica ended the dump",
    "pg_dump: error: could not write to output file: No space left on device": "a.sql: the disk is full",
    'pg_dump: error: query failed: ERROR:  could not write to file "base/pgsql_tmp/x": No space left on device': "could not be dumped: query failed",
    'pg_dump: error: connection to server at "x" failed: FATAL:  password authentication failed': "wrong user or password: correct CONNECTION_URL",
    "pg_dump: error: query failed: FATAL:  terminating connection due to administrator command": "nothing was written: run this again",
    "": "could not be dumped: pg_dump failed without a word",
}  # fmt: skip


def test_what_pg_dump_says_becomes_the_next_step(some: Database) -> None:
    with opened(some) as at:
        for text, words in SAID.items():
            told = str(dump.failure(at, Path("a.sql"), text))
            assert words in told
            assert "\n" not in told


# --- killed -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_ended_leaves_the_file_as_it_was_and_the_next_one_clears_up(
    some: Database, inv: Cli, how: signal.Signals
) -> None:
    file = inv.root / "a.sql"
    file.write_text("the one before")
    env = {"CONNECTION_URL": some.url}
    with some.connect() as other, other.transaction():
        other.execute("lock table people in access exclusive mode")
        argv = [str(Path(sys.executable).parent / "inv"), "db.dump", "--file", "a.sql", "--overwrite"]
        run = subprocess.Popen(argv, cwd=inv.root, env={**os.environ, **env}, stderr=subprocess.PIPE, text=True)
        waits = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        deadline = time.monotonic() + 60
        while not some.query(waits) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left(inv.root) != []
        [child] = children(run.pid)
        assert some.server.params["password"] not in Path(f"/proc/{child}/cmdline").read_text()
        run.send_signal(how)
        assert run.wait(30) == (130 if how == signal.SIGINT else -how)
    run.stderr.close()  # type: ignore[union-attr]
    assert file.read_text() == "the one before"
    if how == signal.SIGINT:
        assert left(inv.root) == []
    while (
        Path(f"/proc/{child}").exists() and time.monotonic() < deadline
    ):  # it goes on without us, into what nobody names
        time.sleep(0.02)
    inv.ok("db.dump", "--file", "a.sql", "--overwrite", env=env)
    assert "person 2000" in file.read_text()
    assert left(inv.root) == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


DIES = """
import os, sys
from pathlib import Path
from ops.db.copies import beside
place, folder, where = Path(sys.argv[1]), sys.argv[2] == "folder", sys.argv[3]
die = lambda *_, **__: os._exit(9)
if where == "between two renames":
    beside.renamed, rename = lambda *_: False, Path.rename
    Path.rename = lambda self, to: die() if to == place else rename(self, to)
elif where != "writing":
    setattr(beside, where, die)
with beside.open_beside(place, folder=folder, overwrite=True) as made:
    (made.path / "toc.dat" if folder else made.path).write_text("new")
    if where == "writing":
        die()
"""
DEATHS = [
    *((kind, where, "old") for kind in ("file", "folder") for where in ("writing", "give", "put")),
    *((kind, "remove", "new") for kind in ("file", "folder")),
    ("folder", "between two renames", "old"),
]


@pytest.mark.parametrize(("kind", "where", "there"), DEATHS)
def test_killed_anywhere_it_is_the_old_one_or_the_new_one(root: Path, kind: str, where: str, there: str) -> None:
    place = root / "a"
    if kind == "folder":
        place.mkdir()
    held = place / "toc.dat" if kind == "folder" else place
    held.write_text("old")
    done = subprocess.run([sys.executable, "-c", DIES, place, kind, where], cwd=SUITE, check=False)
    assert done.returncode == 9
    beside.sweep(place)
    assert held.read_text() == there
    assert left(root) == []


def test_one_that_is_still_being_written_is_not_cleared_up(some: Database) -> None:
    place = some.root / "a.sql"
    with beside.open_beside(place, folder=False, overwrite=False) as other:
        with contextlib.suppress(Misconfigured):
            dumped(some, "plain")
        assert other.path.exists()
        place.unlink()


# --- replicas, and how far it is --------------------------------------------------------


def test_a_replica_is_dumped_as_its_primary_is(some: Database, tmp_path: Path) -> None:
    folder = binaries.wheel_bin()
    if not folder or not (folder / "pg_basebackup").exists():
        pytest.skip("no pg_basebackup here")
    home = Path("/tmp") / f"replica-{some.name}"
    who = binaries.runner(home / "none")
    home.mkdir()
    who.own(home)
    env = {f"PG{name.upper()}": value for name, value in some.server.params.items()}
    clean = {**{k: v for k, v in os.environ.items() if not k.startswith("PG")}, **env, "LC_ALL": "C.UTF-8"}
    bin_folder = some.server.home / folder.parent.parent.name / "pginstall" / "bin" if some.server.home else folder
    bin_folder = bin_folder if bin_folder.exists() else folder
    try:
        argv = [str(bin_folder / "pg_basebackup"), "-D", str(home / "data"), "-R", "-c", "fast", "-X", "stream"]
        subprocess.run(argv, env=clean, check=True, cwd=home, **who.options())
        port = servers.free_port()
        options = ["-c", f"port={port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        options += ["-c", "max_prepared_transactions=2"]  # no fewer than the primary
        replica = subprocess.Popen(
            [bin_folder / "postgres", "-D", home / "data", *options],
            cwd=home, env=clean, stderr=subprocess.DEVNULL, **who.options(),
        )  # fmt: skip
        try:
            url = some.target(port=str(port)).url(show_password=True)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                with contextlib.suppress(psycopg.Error), psycopg.connect(url):
                    break
                time.sleep(0.05)
            primary = text_of(dumped(some, "plain"))
            assert text_of(dumped(some, "plain", url=url, overwrite=True)) == primary
            assert dumped(some, "directory", url=url, jobs=2).tables == 5
        finally:
            replica.send_signal(signal.SIGINT)
            replica.wait(30)
    finally:
        shutil.rmtree(home)


def test_at_a_terminal_it_is_shown_how_far_it_is(some: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    some.do("create table big as select n, repeat('x', 1000) as x from generate_series(1, 20000) n; analyze big")
    bars: list[meter.Meter] = []
    real = meter.measured

    @contextlib.contextmanager
    def measured(*args: Any) -> Iterator[meter.Meter]:
        with real(*args) as bar:
            bars.append(bar)
            yield bar

    monkeypatch.setattr(meter, "measured", measured)
    monkeypatch.setattr(console, "watched", lambda: True)
    with opened(some) as at, at.connect() as reader:
        tables = [
            dump.Table(**{key: row[key] for key in dump.Table._fields}) for row in postgres.fetch(reader, dump.READ)
        ]
        with reader.cursor().copy("copy big to stdout") as copy:
            copy.read()
            with dump.shown(at, tables):
                deadline = time.monotonic() + 30
                while not bars[0].done and time.monotonic() < deadline:
                    time.sleep(0.05)
            for _ in copy:
                pass
    assert 0 < bars[0].done < bars[0].total
