"""A database for each git branch: made from another one with all that belongs to it, listed, removed; on real servers."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from config.targets import Target
from ops import cli
from ops.db import build, swap
from ops.db.branches import branches, clone
from ops.db.drift import catalog, compare
from ops.db.migrations import apply, listing
from ops.errors import Misconfigured, NoDatabase, Problem, Refused
from ops.targets import git_branch, identity, opening
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Proxy
from tests.fix_cli import SUITE, Cli
from tests.fix_git import commit, git, repository
from tests.fix_suppliers import Database
from tests.test_docs import blocks, shell

TWIN = """
select pg_get_userbyid(datdba) as owner, datconnlimit, encoding, datcollate,
  array(select acl::text from unnest(datacl) acl order by 1) as grants,
  array(select format('%s %s', setrole::regrole, setconfig) from pg_db_role_setting where setdatabase = d.oid order by 1) as settings
from pg_database d where datname = '{}'
"""


@pytest.fixture(autouse=True)
def at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_branch, "first_use", cli.make_branch)


@pytest.fixture
def app(one: Database) -> Database:
    """A repository with a database that is set up."""
    return prepared(one)


def prepared(database: Database) -> Database:
    repository(database.root)
    build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
    return database


def following(database: Database) -> Settings:
    return replace(database.settings(), per_branch=True)


def switch(database: Database, *words: str) -> str:
    """Switch to a git branch, and return the name of its database as it follows the main one's."""
    git(database.root, "switch", "-q", *words)
    return suffix(database, words[-1])


def suffix(database: Database, branch: str) -> str:
    return git_branch.database_of(database.name, branch).removeprefix(database.name)


def use(settings: Settings) -> str:
    """Have a task use the database, and return which it was."""
    with opening.open_target(settings, "local", "db.query") as at:
        at.required()
        return at.name


def make(database: Database, name: str = "", *, force: bool = False) -> str:
    return branches.branch(database.settings(), "local", name, force=force)


# --- made ------------------------------------------------------------------------------------------------


def test_a_branch_has_all_that_its_origin_has(database: Database) -> None:
    """Objects, rows, owner, grants, settings, limit and comment, on each version."""
    prepared(database)
    n = database.name
    database.do(f"create role {n}_r login", "postgres")
    try:
        for statement in (
            f"alter database {n} owner to {n}_r", f"alter database {n} connection limit 7",
            f"alter database {n} set search_path to public, \"it's\"", f"alter role {n}_r in database {n} set work_mem = '7MB'",
            f"revoke temporary on database {n} from public", f"grant create on database {n} to {n}_r with grant option",
            f"comment on database {n} is 'it''s ours'",
        ):  # fmt: skip
            database.do(statement, "postgres")
        database.do(f"create table more (id serial, at {'timestamptz'} default now()); insert into more default values; "
                    f"create unlogged table fast as select 1 as a; grant select on more to {n}_r; select lo_from_bytea(0, 'x')")  # fmt: skip
        branch = switch(database, "-c", "feature/A")
        made = make(database)
        assert made == n + branch
        one, two = (database.query(TWIN.format(name), "postgres")[0] for name in (n, made))
        assert one == two
        assert one["grants"]
        assert len(one["settings"]) == 2
        with database.connect() as left, database.connect(made) as right:
            assert not compare.differences(catalog.read(left), catalog.read(right))
        for rows in (
            "select * from users order by 1",
            "select * from more",
            "select * from fast",
            "select loid, data from pg_largeobject",
        ):
            assert database.query(rows) == database.query(rows, made)
        found = git_branch.find(database.root)
        assert found
        comment = database.scalar(
            f"select shobj_description(oid, 'pg_database') from pg_database where datname = '{made}'", "postgres"
        )
        assert comment == f"it's ours [inv: branch feature/A of {found.clone}]"
        assert database.names() == {"", branch}
    finally:
        for each in database.names():
            database.do(f'drop database "{n}{each}" with (force)', "postgres")
        database.do(f"drop role {n}_r", "postgres")


@pytest.mark.parametrize("strategy", ["clone", "wal_log", "file_copy"])
def test_each_way_to_copy(app: Database, strategy: clone.Strategy) -> None:
    app.do(f"alter role postgres in database {app.name} set work_mem = '7MB'", "postgres")
    with app.connect("postgres") as conn:
        clone.clone_database(conn, app.name, f"{app.name}_x", strategy, owner="postgres")
        assert conn.execute("show file_copy_method").fetchone() == {"file_copy_method": "copy"}
    assert app.scalar("select count(*) from users", f"{app.name}_x") == 5


def test_the_fastest_way_is_that_of_size_and_file_system(root: Path) -> None:
    settings = Database(servers.Server("none", {"port": "1"}), "x", root).settings()
    facts = {"version_num": 180000, "data_directory": str(root)}
    pair = [root / "one", root / "two"]
    pair[0].write_bytes(bytes(8192))
    by_cp = subprocess.run(["cp", "--reflink=always", *pair], capture_output=True, check=False).returncode == 0
    before = sorted(root.iterdir())
    assert clone.shares(root) is by_cp
    assert sorted(root.iterdir()) == before
    assert (clone.fastest(settings, facts, 1) == "clone") is by_cp
    noted = json.loads((root / ".local" / clone.TRIED).read_text())
    assert noted == {f"{root}:{root.stat().st_dev}": by_cp}
    (root / ".local" / clone.TRIED).write_text(json.dumps(dict.fromkeys(noted, True)))
    assert clone.fastest(settings, facts, 1) == "clone"
    for other in ({"version_num": 170009}, {"data_directory": None}, {"data_directory": "/nowhere"}):
        assert clone.fastest(settings, {**facts, **other}, 1) == "wal_log"
        assert clone.fastest(settings, {**facts, **other}, clone.WORTH_FILES) == "file_copy"


def test_a_branch_is_made_from_the_one_it_was_begun_from(app: Database, capsys: pytest.CaptureFixture[str]) -> None:
    a = switch(app, "-c", "a")
    make(app)
    app.do("create table on_a ()", app.name + a)
    b = switch(app, "-c", "b")
    make(app)
    assert app.scalar("select to_regclass('on_a') is not null", app.name + b)
    switch(app, "main")
    c = switch(app, "-c", "c")
    make(app)
    assert not app.scalar("select to_regclass('on_a') is not null", app.name + c)
    switch(app, "a")
    git(app.root, "branch", "d", "main")
    make(app, "d")  # of another branch: from the current one
    assert app.scalar("select to_regclass('on_a') is not null", app.name + suffix(app, "d"))
    assert app.names() == {"", a, b, c, suffix(app, "d")}
    capsys.readouterr()
    assert make(app, "d") == app.name + suffix(app, "d")
    assert make(app, "main") == app.name
    told = capsys.readouterr().err
    assert "has already: nothing to do" in told.replace(app.name + suffix(app, "d") + " ", "")
    assert f"main is the main branch, and has {app.name}: nothing to do" in told


def test_the_tasks_follow_the_branch(app: Database) -> None:
    settings = following(app)
    assert use(settings) == app.name
    a = switch(app, "-c", "a")
    assert use(settings) == app.name + a
    app.do("delete from activities", app.name + a)
    git(app.root, "checkout", "-q", "--detach")
    assert use(settings) == app.name + a
    switch(app, "main")
    assert use(settings) == app.name
    assert app.scalar("select count(*) from activities") == 9
    switch(app, "a")
    assert use(settings) == app.name + a
    assert app.scalar("select count(*) from activities", app.name + a) == 0
    assert app.names() == {"", a}


def test_setup_drop_and_undo_are_about_the_branch(app: Database) -> None:
    """None of them makes a copy first, and what they build carries the mark of the branch."""
    settings = following(app)
    a = switch(app, "-c", "a")
    own = replace(app, name=app.name + a)
    build.setup(settings, "local", "", "", {}, "", force=False)
    assert own.names() == {""}
    assert app.scalar("select count(*) from users", app.name + a) == 0
    [_, of_a] = branches.listed(settings, "local")
    assert (of_a.branch, of_a.in_git, of_a.previous_database) == ("a", True, None)
    build.setup(settings, "local", "", "", {}, "", force=False)
    with opening.open_target(settings, "local", "db.drop", writes=True) as at:
        swap.drop(at, force=False)
    assert own.names() == {"__prev"}
    with pytest.raises(NoDatabase, match=r"the database was dropped: inv db.undo"):
        use(settings)
    with pytest.raises(Problem, match=r"the database was dropped: inv db.undo"):
        make(app)
    with opening.open_target(settings, "local", "db.undo", writes=True) as at:
        swap.undo(at, force=False)
    assert own.names() == {""}
    git(app.root, "switch", "-q", "main")
    git(app.root, "branch", "-q", "-D", "a")
    branches.prune(settings, "local", force=False, dry_run=False)
    assert app.names() == {""}


def test_without_anything_to_copy_setup_is_the_next_step(one: Database) -> None:
    repository(one.root)
    switch(one, "-c", "a")
    with pytest.raises(
        NoDatabase, match=r"there is no database for a yet: inv db.branch makes it, inv db.setup builds it"
    ):
        use(following(one))
    with pytest.raises(Problem, match=rf"there is no {one.name} to make it from: inv db.setup"):
        make(one)
    assert one.names() == set()


def test_migrations_that_only_the_branch_has_are_told(app: Database, capsys: pytest.CaptureFixture[str]) -> None:
    settings = following(app)
    folder = settings.migrations
    folder.mkdir(parents=True, exist_ok=True)
    text = "-- migrate:up\ncreate table {} ();\n-- migrate:down\ndrop table {};\n"
    commit(app.root, "sql/migrations/20260101000000_one.sql", text.format("one", "one"))
    a = switch(app, "-c", "a")
    commit(app.root, "sql/migrations/20260102000000_two.sql", text.format("two", "two"))
    apply.migrate(settings, "local", "", "", apply.Care((), False))
    capsys.readouterr()
    listing.show(settings, "local", check=False, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"], row["on_main"]) for row in found] == [
        ("one", "applied", True),
        ("two", "applied", False),
    ]
    listing.show(settings, "local", check=False, json=False)
    assert [line.split()[-2:] for line in capsys.readouterr().out.splitlines()[1:]][1] == ["only", "here"]
    switch(app, "main")
    listing.show(settings, "local", check=False, json=True)
    assert [(row["name"], row["on_main"]) for row in json.loads(capsys.readouterr().out)] == [("one", None)]
    assert app.scalar("select to_regclass('one') is null")
    assert app.scalar("select to_regclass('two') is not null", app.name + a)


# --- who is in the way ------------------------------------------------------------------------------------


def test_idle_sessions_are_ended_and_those_at_work_want_force(
    app: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    a = switch(app, "-c", "a")
    with app.connect() as idle, app.connect() as busy:
        busy.execute("begin")
        with pytest.raises(Refused, match=r"is in use by pid .* idle in transaction.*nothing was done; --force ends"):
            make(app)
        with pytest.raises(Refused, match=r"a has no database yet, and .*inv db.branch --force ends these sessions"):
            use(following(app))
        idle.execute("select 1")
        assert app.names() == {""}
        busy.execute("commit")
        make(app)
        assert capsys.readouterr().err.count("ended pid") == 2
        with pytest.raises(psycopg.OperationalError):
            idle.execute("select 1")
    git(app.root, "branch", "b")
    switch(app, "main")
    with at_work(app):
        make(app, "b", force=True)
    assert app.names() == {"", a, suffix(app, "b")}


@contextmanager
def at_work(database: Database, name: str | None = None) -> Iterator[None]:
    """A session that is idle in a transaction, until somebody ends it."""
    with contextlib.closing(database.connect(name)) as conn:
        conn.execute("begin")
        yield


def test_a_pool_that_comes_back_at_once_does_not_hold_it_up(app: Database) -> None:
    switch(app, "-c", "a")
    with pool(app):
        begun = time.monotonic()
        make(app)
        assert time.monotonic() - begun < 60
    assert len(app.names()) == 2


@contextmanager
def pool(database: Database) -> Iterator[None]:
    """Clients that connect anew whenever they are ended."""
    done = threading.Event()

    def client() -> None:
        while not done.is_set():
            try:
                with database.connect() as conn:
                    while not done.wait(0.01):
                        conn.execute("select 1")
            except psycopg.Error:
                pass

    threads = [threading.Thread(target=client) for _ in range(4)]
    for each in threads:
        each.start()
    try:
        yield
    finally:
        done.set()
        for each in threads:
            each.join()


def test_two_at_once_make_one(app: Database) -> None:
    a = switch(app, "-c", "a")
    found: list[object] = []

    def run() -> None:
        try:
            found.append(use(following(app)))
        except Exception as error:
            found.append(error)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert found == [app.name + a] * 3
    assert app.names() == {"", a}


@pytest.mark.parametrize(
    ("word", "way", "told"),
    [
        (b"create database", ASKING, "there is no {}, as before"),
        (b"create database", ANSWER, "there is no {}, as before"),
        (b" rename to ", ASKING, "there is no {}, as before"),
        (b" rename to ", ANSWER, "{} was made"),
    ],
)
def test_cut_off_what_became_of_it_is_told_and_the_next_run_does_the_rest(
    app: Database, word: bytes, way: str, told: str
) -> None:
    a = switch(app, "-c", "a")
    with Proxy(app.server.port, Cut(word, way, CLOSE)) as proxy:
        url = app.target(port=str(proxy.port)).url(show_password=True)
        with pytest.raises(Problem, match=re.escape(told.format(app.name + a))):
            branches.branch(app.settings(CONNECTION_URL=url), "local", "", force=False)
    make(app)
    assert app.names() == {"", a}
    assert app.scalar("select count(*) from users", app.name + a) == 5


# --- listed and removed -----------------------------------------------------------------------------------


def test_prune_removes_what_is_ours_and_has_no_git_branch(app: Database, capsys: pytest.CaptureFixture[str]) -> None:
    settings = app.settings()
    for name in ("a", "b", "c"):
        switch(app, "-c", name)
        make(app)
    found = git_branch.find(app.root)
    clone_id = found.clone if found else ""
    others = {
        "_other_clone": (suffix(app, "gone"), git_branch.stamped("", "gone", "ffffffff")),
        "_wrong_hash": ("_gone_0000000000", git_branch.stamped("", "gone", clone_id)),
        "_no_mark": (suffix(app, "unmarked"), "mine"),
    }
    for name, comment in others.values():
        app.do(f"create database {app.name}{name}", "postgres")
        app.do(f"comment on database {app.name}{name} is '{comment}'", "postgres")
    app.do(f"create database {app.name}{suffix(app, 'b')}__next", "postgres")
    git(app.root, "branch", "-q", "-D", "a", "b")
    capsys.readouterr()
    rows = {row.branch: row for row in branches.listed(settings, "local")}
    assert {name: (row.is_current, row.in_git) for name, row in rows.items()} == {
        None: (False, None), "a": (False, False), "b": (False, False), "c": (True, True), "gone": (False, None),
    }  # fmt: skip
    assert "of another clone" in (branches.as_row(rows["gone"])["note"] or "")
    assert "inv db.branch --prune" in (branches.as_row(rows["a"])["note"] or "")
    before = app.names()
    branches.prune(settings, "local", force=False, dry_run=True)
    assert app.names() == before
    with at_work(app, app.name + suffix(app, "a")):
        with pytest.raises(Refused, match="is in use by pid"):
            branches.prune(settings, "local", force=False, dry_run=False)
        kept = {name for name, _ in others.values()} | {"", suffix(app, "c")}
        assert app.names() == kept | {suffix(app, "a")}
        branches.prune(settings, "local", force=True, dry_run=False)
    assert app.names() == kept
    told = capsys.readouterr().err
    assert f"would remove {app.name}{suffix(app, 'a')}, of a" in told
    branches.prune(settings, "local", force=False, dry_run=False)
    assert "each database of a branch has its git branch: nothing to do" in capsys.readouterr().err
    with pytest.raises(Refused, match="does not carry the mark of inv"):
        branches.delete(settings, "local", "unmarked", force=False, dry_run=False)


def test_delete_removes_one_and_never_the_main_one(app: Database, capsys: pytest.CaptureFixture[str]) -> None:
    settings = app.settings()
    with pytest.raises(
        Refused, match=r"main is the main branch, and .* no copy: nothing was done; inv db.drop drops it"
    ):
        branches.delete(settings, "local", "", force=False, dry_run=False)
    a = switch(app, "-c", "a")
    make(app)
    build.setup(following(app), "local", "", "", {}, "", force=False)
    assert app.names() == {"", a, a + "__prev"}
    branches.delete(settings, "local", "", force=False, dry_run=True)
    assert app.names() == {"", a, a + "__prev"}
    branches.delete(settings, "local", "a", force=False, dry_run=False)
    assert app.names() == {""}
    branches.delete(settings, "local", "a", force=False, dry_run=False)
    assert "a has no database here: nothing to do" in capsys.readouterr().err


# --- where it is refused ----------------------------------------------------------------------------------


def test_what_is_not_copied(app: Database) -> None:
    switch(app, "-c", "a")
    app.do(f"comment on database {app.name} is 'x {identity.PLANS}'", "postgres")
    with pytest.raises(Refused, match="has no rows, and shows another database's plans"):
        make(app)
    app.do(f"comment on database {app.name} is ''", "postgres")
    app.do(f"update pg_database set datconnlimit = -2 where datname = '{app.name}'", "postgres")
    with pytest.raises(Problem, match=r"the removal of .* was broken off"):
        make(app)
    assert app.names() == {""}


def test_production_has_no_branches(app: Database) -> None:
    app.do(f"comment on database {app.name} is '{identity.STAMP}'", "postgres")
    switch(app, "-c", "a")
    with opening.open_target(following(app), "local", "db.query") as at:
        assert (at.name, bool(at.prod), at.target.branch) == (app.name, True, "")
        at.required()
    for act in (
        lambda: make(app),
        lambda: branches.prune(app.settings(), "local", force=True, dry_run=False),
        lambda: branches.delete(app.settings(), "local", "a", force=True, dry_run=False),
    ):
        with pytest.raises(
            (Refused, Problem),
            match=r"is production .*: databases of git branches are made on this machine's servers only",
        ):
            act()
    assert app.names() == {""}


def test_the_same_database_as_production_by_another_address_has_none(app: Database) -> None:
    """A task that only reads does not ask who production is; making a database does."""
    switch(app, "-c", "a")
    tunnel = replace(app.settings(PROD_CONNECTION_URL=app.url.replace("127.0.0.1", "localhost")), per_branch=True)
    with pytest.raises(Refused, match="is production"):
        use(tunnel)
    assert app.names() == {""}


def test_another_target_or_machine_is_refused(app: Database) -> None:
    with pytest.raises(
        Misconfigured, match=r"db.branch -t docker: only the target local has databases of git branches"
    ):
        branches.branch(app.settings(), "docker", "", force=False)
    far = Target("local", "CONNECTION_URL", {"host": "db.example.com", "dbname": "x"})
    with opening.open_target(app.settings(), "local", "test") as at:
        with pytest.raises(Refused, match=r"db\.example\.com:5432/x is on another machine"):
            branches.require_local(replace(at, target=far))


def test_a_login_that_may_not_copy_is_told_who_may(app: Database) -> None:
    role = f"{app.name}_poor"
    app.do(f"create role {role} login password 'poor' createdb", "postgres")
    try:
        switch(app, "-c", "a")
        url = app.target(user=role, password="poor").url(show_password=True)
        settings = app.settings(CONNECTION_URL=url)
        with pytest.raises(
            Problem,
            match=rf"{role} may not copy {app.name} .*its owner may, with CREATEDB: grant postgres to this user",
        ):
            branches.branch(settings, "local", "", force=False)
        app.do(f"alter database {app.name} owner to {role}", "postgres")
        branches.branch(settings, "local", "", force=False)
        assert len(app.names()) == 2
    finally:
        for each in app.names():
            app.do(f'drop database "{app.name}{each}" with (force)', "postgres")
        app.do(f"drop role {role}", "postgres")


# --- by the command line ----------------------------------------------------------------------------------


def test_a_day_with_branches(inv: Cli) -> None:
    """The commands of docs/branches.md, on the embedded server."""
    [first, *rest] = blocks("sh branch", [SUITE / "docs" / "branches.md"])
    repository(inv.root)
    done = shell(inv.root, "inv db.setup\n" + first + "\n".join(rest))
    assert done.returncode == 0, done.stderr
    assert "made cruddur_add_bio_" in done.stderr
    assert "removed cruddur_add_bio_" in done.stderr
    assert json.loads(inv.ok("db.branches", "--json"))[0]["database"] == "cruddur"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("db.branch feature/x", "feature/x"), ("db.branch --force feature/x", "feature/x"), ("db.branch --branch=feature/x", "feature/x"),
        ("db.branch", ""), ("db.branch --prune", ""), ("db.branch db.wait", ""), ("db.branch -t local db.wait", ""),
        ("db.wait db.branch feature/x", "feature/x"), ("db.branch feature/x db.wait", "feature/x"), ("db.branch -t local x", "x"),
    ],
)  # fmt: skip
def test_the_branch_may_be_left_out(line: str, expected: str) -> None:
    from invoke.parser import Parser

    import tasks

    found: Any = Parser(tasks.ns.to_contexts()).parse_argv(line.split())
    assert [each.name for each in found] == [word for word in line.split() if word.startswith("db.")]
    assert next(each for each in found if each.name == "db.branch").args["branch"].value == expected


def test_what_is_not_there_is_not_made_by_a_look(app: Database) -> None:
    switch(app, "-c", "a")
    with opening.open_target(following(app), "local", "db.status") as at:
        assert "there is no database for a yet" in at.missing
    assert app.names() == {""}
