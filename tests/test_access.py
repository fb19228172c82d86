"""db.grant-access, db.revoke-access and db.access: a person's login, and that its end holds."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from config.urls import read as read_url
from ops.db import lifecycle
from ops.db.access import ends, grant, standing
from ops.db.access.grant import revoke
from ops.errors import Misconfigured, Problem, Refused
from ops.targets import opening, persons
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Proxy
from tests.fix_access import MASTER, PASSWORD, Team, teamed
from tests.fix_cli import Cli
from tests.fix_suppliers import supply

PAST = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)


def give(
    place: Team, capsys: pytest.CaptureFixture[str], name: str = "anna", role: str = "reader", expires: str = "8h"
) -> str:
    """Give somebody access and return the password."""
    grant.grant(place.settings(), "local", name, role, expires, "", show_password=True)
    url = capsys.readouterr().out.strip()
    return read_url(url, "test")["password"]


def is_dead(conn: psycopg.Connection[Any], seconds: float = 5) -> bool:
    """Whether a session is ended within a moment."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            conn.execute("select 1")
        except psycopg.OperationalError:
            return True
        time.sleep(0.01)
    return False


# --- given --------------------------------------------------------------------------------


def test_a_person_has_the_rights_of_the_role_and_no_more(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(team, capsys)
    login = team.login()
    with team.enter(login, word) as anna:
        assert anna.execute("select x from t").fetchall() == [(1,)]
        for act in ("insert into t (x) values (2)", "delete from t", "create table u ()", "drop table t", "truncate t"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                anna.execute(act)
        if anna.info.server_version >= 160000:  # an open session that is the reader would stay it
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                anna.execute(f"set role {team.name}_reader")
    found = team.role(login)
    assert found
    assert found["roles"] == [f"{team.name}_reader"]
    access = persons.read_mark(found["comment"], team.name)
    assert access
    assert access.role == "reader"
    assert access.until == found["until"]
    assert abs(access.until - datetime.now(timezone.utc) - timedelta(hours=8)) < timedelta(minutes=2)


def test_given_again_the_role_the_end_and_the_password_are_new(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    first = give(team, capsys)
    second = give(team, capsys, role="migrator", expires="30m")
    assert first != second
    with pytest.raises(psycopg.OperationalError):
        team.enter(team.login(), first)
    found = team.role(team.login())
    assert found
    assert found["roles"] == [f"{team.name}_migrator"]
    with team.enter(team.login(), second) as anna:
        anna.execute(f"set role {team.name}_owner")
        anna.execute("create table made (n int)")
    assert team.scalar("select tableowner from pg_tables where tablename = 'made'") == f"{team.name}_owner"
    team.do("drop table made")


@pytest.mark.parametrize(
    ("name", "role", "expires", "error", "said"),
    [
        ("Anna", "reader", "8h", Misconfigured, "Anna: name a person in at most 30"),
        ("anna", "owner", "8h", Misconfigured, "--role owner: nobody logs in as it in sql/roles.yaml, use one of"),
        ("anna", "boss", "8h", Misconfigured, "--role boss: there is none such"),
        ("anna", "reader", "soon", Misconfigured, "--expires soon: give a length of time"),
        ("anna", "reader", "0h", Misconfigured, "--expires 0h"),
        ("anna", "reader", "9999d", Misconfigured, "--expires 9999d"),
        ("reader", "reader", "8h", Refused, "has a role {db}_reader that db.grant-access has not made"),
    ],
)
def test_what_cannot_be_given(band: Team, name: str, role: str, expires: str, error: type[Problem], said: str) -> None:
    before = band.query("select rolname, rolcanlogin, rolvaliduntil from pg_roles order by 1", "postgres")
    with pytest.raises(error, match=re.escape(said.replace("{db}", band.name))):
        grant.grant(band.settings(), "local", name, role, expires, "")
    assert band.query("select rolname, rolcanlogin, rolvaliduntil from pg_roles order by 1", "postgres") == before


@pytest.mark.parametrize(
    "comment", [None, "a colleague of mine", "[inv: login reader of other until 2026-01-02T03:04:05Z]"]
)
def test_a_strangers_role_is_refused_and_stays(band: Team, comment: str | None) -> None:
    login = band.login()
    band.do(f"create role {login} login", "postgres")
    if comment:
        band.do(f"comment on role {login} is '{comment}'", "postgres")
    before = band.role(login)
    acts: list[Callable[[], None]] = [
        lambda: grant.grant(band.settings(), "local", "anna", "reader", "8h", ""),
        lambda: revoke(band.settings(), "local", "anna"),
    ]
    for act in acts:
        with pytest.raises(Refused, match="not made for"):
            act()
    lifecycle.show(band.settings(), "local", json=True)
    assert band.role(login) == before


def test_a_dry_run_does_nothing(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    grant.grant(band.settings(), "local", "anna", "reader", "8h", "", dry_run=True)
    assert f"would make {band.login()}: reader of {band.name} for 8 h 00 min, until" in capsys.readouterr().err
    assert band.role(band.login()) is None
    give(band, capsys)
    before = band.role(band.login())
    revoke(band.settings(), "local", "anna", dry_run=True)
    assert f"would remove {band.login()}, reader until" in capsys.readouterr().err
    assert band.role(band.login()) == before


def test_what_a_login_has_beside_is_taken_when_it_is_given_again(
    band: Team, capsys: pytest.CaptureFixture[str]
) -> None:
    give(band, capsys)
    band.do(f"alter role {band.login()} createdb createrole; grant pg_read_all_data to {band.login()}", "postgres")
    grant.grant(band.superusers(), "local", "anna", "reader", "8h", "", show_password=True)
    found = band.role(band.login())
    assert found
    assert found["roles"] == [f"{band.name}_reader"]
    beyond = band.query(f"select rolcreatedb, rolcreaterole from pg_roles where rolname = '{band.login()}'", "postgres")
    assert beyond == [{"rolcreatedb": False, "rolcreaterole": False}]


# --- its end ------------------------------------------------------------------------------


def test_an_end_holds_with_open_sessions_by_the_next_task(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word, other = give(team, capsys), give(team, capsys, "bob")
    with team.enter(team.login(), word) as anna, team.enter(team.login("bob"), other) as bob:
        anna.execute("begin; select x from t")
        team.expire(team.login())
        lifecycle.show(team.settings(), "local", json=False)
        said = capsys.readouterr().err
        assert f"ended, as db.grant-access has set it: {team.login()}, 2026-01-02T03:04:05Z" in said
        assert is_dead(anna)
        assert bob.execute("select x from t").fetchall() == [(1,)]
    assert team.is_shut(team.login())
    with pytest.raises(psycopg.OperationalError, match="not permitted to log in"):
        team.enter(team.login(), word)
    lifecycle.show(team.settings(), "local", json=False)
    assert "ended" not in capsys.readouterr().err, "once is enough"


def test_a_hundred_of_a_hundred_are_shut(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        for server in supply("embedded", ["max_connections=150"]):
            for place in teamed(server, root):
                shut_a_hundred(place, capsys)
    except LookupError as reason:
        pytest.skip(str(reason))


def shut_a_hundred(place: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(place, capsys, "p0")
    with place.enter(MASTER, PASSWORD) as conn:  # 99 more like it, without 99 more passwords
        conn.execute(
            f"do $$ begin for i in 1..99 loop execute format('create role %I login password %L; grant %I to %1$I',"
            f" '{place.name}_p' || i, '{word}', '{place.name}_reader');"
            f" execute format('comment on role %I is %L', '{place.name}_p' || i, '{place.role(place.login('p0'))['comment']}');"  # type: ignore[index]
            " end loop; end $$".encode()
        )
    names = [place.login(f"p{i}") for i in range(100)]
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(contextlib.closing(place.enter(name, word))) for name in names]
        place.expire(*names)
        lifecycle.show(place.settings(), "local", json=True)
        assert sum(is_dead(each) for each in open_ones) == 100
    found = place.query(
        "select count(*) filter (where rolcanlogin) as open, count(m.member) as rights from pg_roles r"
        f" left join pg_auth_members m on m.member = r.oid where rolname ^@ '{place.name}_p'",
        "postgres",
    )
    assert found == [{"open": 0, "rights": 0}]


def test_who_may_not_shut_it_says_so_and_does_its_work(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(band, capsys)
    band.do(f"create role {band.name}_guest login password 'guest'", "postgres")
    way = band.target(user=f"{band.name}_guest", password="guest")
    guest = band.settings(CONNECTION_URL=way.url(show_password=True))
    with band.enter(band.login(), word) as anna:
        band.expire(band.login())
        lifecycle.show(guest, "local", json=False)
        done = capsys.readouterr()
        assert "PostgreSQL" in done.out
        assert f"note: to be ended, and still open: {band.login()}, 2026-01-02T03:04:05Z (" in done.err
        assert "permission denied" in done.err
        assert anna.execute("select 1").fetchone() == (1,)
        found = look(band)
        assert not any(each.state == "to_be_ended" for each in found.logins), "db.access has shut it before it looked"
        assert is_dead(anna)


@pytest.mark.parametrize("by", ["a superuser", "the master", "a master who may signal nobody"])
def test_who_shuts_it_and_what_of_others_goes(team: Team, by: str, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(team, capsys)
    team.do(f"grant pg_read_all_data to {team.login()}", "postgres")
    settings = team.superusers() if by == "a superuser" else team.settings()
    if by.endswith("nobody"):
        team.do(f"revoke rds_superuser from {MASTER}", "postgres")
    try:
        with team.enter(team.login(), word) as anna:
            team.expire(team.login())
            lifecycle.show(settings, "local", json=False)
            assert is_dead(anna)
    finally:
        team.do(f"grant rds_superuser to {MASTER}", "postgres")
    found = team.role(team.login())
    assert found
    assert found["opens"] is False
    assert found["roles"] == (["pg_read_all_data"] if team.newer and by != "a superuser" else []), (
        "what a superuser gave, from 16 on only one takes"
    )
    if team.newer and by != "a superuser":
        assert "pg_read_all_data" in capsys.readouterr().err


# --- taken away ---------------------------------------------------------------------------


def test_revoked_it_is_gone_with_its_open_sessions(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    grant.grant(team.settings(), "local", "anna", "reader", "8h", "")
    path = Path(capsys.readouterr().out.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    word = read_url(path.read_text().strip(), "test")["password"]
    with team.enter(team.login(), word) as anna:
        anna.execute("begin; select x from t")
        revoke(team.settings(), "local", "anna")
        assert f"removed {team.login()}, and ended 1 sessions of it" in capsys.readouterr().err
        assert is_dead(anna)
    assert team.role(team.login()) is None
    assert not path.exists()
    revoke(team.settings(), "local", "anna")
    assert "there is no such login: nothing to do" in capsys.readouterr().err


def test_what_owns_something_stays_and_lets_nobody_in(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(band, capsys)
    band.do(f"create table mine (); alter table mine owner to {band.login()}")
    with pytest.raises(Problem, match=r"may not log in any more, and is still needed \(.*reassign owned by"):
        revoke(band.settings(), "local", "anna")
    with pytest.raises(psycopg.OperationalError, match=r"not permitted to log in|authentication failed"):
        band.enter(band.login(), word)
    band.do("drop table mine")
    revoke(band.settings(), "local", "anna")
    assert band.role(band.login()) is None


# --- cut, and several at once -------------------------------------------------------------

GRANTED = (b"pg_current_xact_id", b"pg_advisory_xact_lock", b"create role", b"alter role", b"comment on role", b"grant ", b"COMMIT\0")  # fmt: skip
REVOKED = (b"pg_advisory_xact_lock", b"alter role", b"comment on role", b"COMMIT\0", b"pg_try_advisory_xact_lock", b"drop role")  # fmt: skip


def cut(place: Team, word: bytes, way: str, act: Callable[[Settings], None]) -> None:
    """Do something through a proxy that breaks the connection off at a statement; the first message with it is the one meant."""
    with Proxy(place.server.port, Cut(word, way, CLOSE)) as proxy:
        url = place.target(port=str(proxy.port)).url(show_password=True)
        with contextlib.suppress(Problem, psycopg.Error):
            act(place.settings(CONNECTION_URL=url))
        assert proxy.hit


@pytest.mark.parametrize("way", [ASKING, ANSWER])
@pytest.mark.parametrize("word", GRANTED)
def test_a_grant_that_is_cut_is_none_or_whole(
    band: Team, word: bytes, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(
        band, word, way, lambda settings: grant.grant(settings, "local", "anna", "reader", "8h", "", show_password=True)
    )
    found = band.role(band.login())
    assert (found is None) is not (word.startswith(b"COMMIT") and way == ANSWER)
    if found:
        assert (found["opens"], found["roles"]) == (True, [f"{band.name}_reader"])
        assert persons.read_mark(found["comment"], band.name)
    capsys.readouterr()
    with band.enter(band.login(), give(band, capsys)) as anna:
        assert anna.execute("select x from t").fetchall() == [(1,)]


@pytest.mark.parametrize("way", [ASKING, ANSWER])
@pytest.mark.parametrize("word", REVOKED)
def test_a_revocation_that_is_cut_is_carried_on(
    band: Team, word: bytes, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    login = give(band, capsys)
    with band.enter(band.login(), login) as anna:
        cut(band, word, way, lambda settings: revoke(settings, "local", "anna"))
        found = band.role(band.login())
        before = word in REVOKED[:3] or (word.startswith(b"COMMIT") and way == ASKING)
        if before:
            assert found
            assert (found["opens"], found["roles"]) == (True, [f"{band.name}_reader"]), "as it was"
        else:
            lifecycle.show(band.settings(), "local", json=True)  # whatever of ours comes next
            assert is_dead(anna)
            assert band.role(band.login()) is None or band.role(band.login())["roles"] == []  # type: ignore[index]
        revoke(band.settings(), "local", "anna")
        assert is_dead(anna)
    assert band.role(band.login()) is None


def at_once(*acts: Callable[[], object]) -> list[BaseException]:
    """Do several things at once; return what they raise."""
    failed: list[BaseException] = []
    gate = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        gate.wait()
        try:
            act()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=[act]) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_two_at_once_take_turns(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    def granting(name: str, role: str) -> Callable[[], None]:
        return lambda: grant.grant(team.settings(), "local", name, role, "8h", "")

    assert at_once(granting("anna", "reader"), granting("anna", "migrator"), granting("bob", "reader")) == []
    found = team.role(team.login())
    assert found
    access = persons.read_mark(found["comment"], team.name)
    assert access
    assert found["roles"] == [f"{team.name}_{access.role}"]
    team.expire(team.login("bob"))
    revoking = lambda: revoke(team.settings(), "local", "anna")  # noqa: E731
    looking = lambda: lifecycle.show(team.settings(), "local", json=True)  # noqa: E731
    assert at_once(revoking, revoking, looking, looking) == []
    assert team.role(team.login()) is None
    assert team.role(team.login("bob"))["opens"] is False  # type: ignore[index]


# --- who may what -------------------------------------------------------------------------


def look(place: Team) -> standing.Access:
    settings = place.settings()
    with opening.open_target(settings, "local", "db.access") as at:
        return standing.look(settings, at)


def test_db_access_tells_who_may_what(team: Team, capsys: pytest.CaptureFixture[str]) -> None:
    word = give(team, capsys)
    give(team, capsys, "bob", "migrator", "5d")
    give(team, capsys, "carl")
    by = f" granted by {MASTER}" if team.newer else ""
    team.do(f"revoke {team.name}_reader from {team.login('carl')}{by}", "postgres")
    give(team, capsys, "dora")
    team.expire(team.login("dora"))
    with team.enter(team.login(), word), team.enter(team.login(), word):
        found = look(team)
        states = {each.person or each.role: (each.role, each.state, each.sessions, each.may) for each in found.logins}
        assert states == {
            "anna": ("reader", "open", 2, "read rows, run functions, see sessions"),
            "bob": ("migrator", "open", 0, "become owner, see sessions, end sessions"),
            "carl": ("reader", "without_rights", 0, "read rows, run functions, see sessions"),
            "dora": ("reader", "ended", 0, "read rows, run functions, see sessions"),
            "reader": ("reader", "open", 0, "read rows, run functions, see sessions"),
            "migrator": ("migrator", "open", 0, "become owner, see sessions, end sessions"),
            "app": ("app", "open", 0, "read rows, write rows, run functions"),
            "lambda_signup": ("lambda_signup", "open", 0, "select, insert on public.users"),
        }
        assert (found.schedule.by, found.schedule.runs) == (None, False)
        assert "no schedule runs here (pg_cron is not installed on this server)" in found.schedule.note
        standing.show(team.settings(), "local", json=False)
        done = capsys.readouterr()
        assert re.search(rf"anna +{team.login()} +reader +read rows, run.* UTC \(7 h 5\d min\) +2 sessions", done.out)
        assert "(ended)" in done.out
        assert "no schedule runs here" in done.err


def test_nobody_is_said(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    standing.show(band.settings(), "local", json=False)
    assert f"nobody has a login of their own for {band.name}: inv db.grant-access gives one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("left", "text"),
    [(timedelta(minutes=7, seconds=59), "7 min"), (timedelta(hours=8), "8 h 00 min"), (timedelta(days=5), "5 days")],
)
def test_a_time_is_told_for_people(left: timedelta, text: str) -> None:
    assert ends.words(left) == text


@pytest.mark.parametrize(
    "comment",
    [None, "", "[inv: login reader of x]", "[inv: login reader of y until 2026-01-02T03:04:05Z]", "[inv: login reader of x until 2026-13-02T03:04:05Z]"],
)  # fmt: skip
def test_what_is_no_mark_is_not_read_as_one(comment: str | None) -> None:
    assert persons.read_mark(comment, "x") is None
    assert persons.read_mark(f"Anna, {persons.mark('x', 'reader', PAST)}", "x") == ("reader", PAST)


def test_an_end_that_is_none_breaks_no_task(band: Team, capsys: pytest.CaptureFixture[str]) -> None:
    give(band, capsys)
    for end in ("2026-13-32T99:00:00Z", "infinity", "2026-01-02T03:04:05+00"):
        band.do(f"comment on role {band.login()} is '[inv: login reader of {band.name} until {end}]'", "postgres")
        lifecycle.show(band.settings(), "local", json=True)
    band.do(f"comment on role {band.login()} is null", "postgres")


# --- by pg_cron ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clocked() -> Iterator[servers.Server]:
    """A server of Debian's with its pg_cron."""
    if not list(Path("/usr/share/postgresql/15/extension").glob("pg_cron.control")):
        pytest.skip("no pg_cron here: apt-get install postgresql-15-cron")
    more = ["shared_preload_libraries=pg_cron", "cron.use_background_workers=on", "cron.timezone=UTC"]
    try:
        for server in supply("debian", more):
            with psycopg.connect(**{**server.params, "dbname": "postgres"}, autocommit=True) as conn:  # type: ignore[arg-type]
                conn.execute("create extension pg_cron; grant usage on schema cron to public")
            yield server
    except LookupError as reason:
        pytest.skip(str(reason))


def test_pg_cron_shuts_it_while_nothing_of_ours_runs(
    clocked: servers.Server, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in teamed(clocked, root):
        word = give(place, capsys)
        found = look(place)
        assert (found.schedule.by, found.schedule.runs) == ("pg_cron", True), found.schedule.note
        with place.enter(place.login(), word) as anna:
            place.expire(place.login())
            assert is_dead(anna, 120), place.query("select * from cron.job_run_details", "postgres")
        assert place.is_shut(place.login())
        deadline = time.monotonic() + 10
        while not (found := look(place)).schedule.last_run_at and time.monotonic() < deadline:
            time.sleep(0.1)
        assert found.schedule.runs
        assert [each.state for each in found.logins if each.person] == ["ended"]
        place.do("update cron.job set active = false", "postgres")
        assert (look(place).schedule.runs, "switched off" in look(place).schedule.note) == (False, True)
        revoke(place.settings(), "local", "anna")
        assert place.query("select * from cron.job", "postgres") == [], "nobody is left to be ended"


# --- secrets ------------------------------------------------------------------------------


def test_no_password_leaves_by_any_other_way(root: Path, inv: Cli, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither in what is printed, nor in arguments or variables of a child, nor in the server's log of all statements."""
    try:
        servers_ = supply("embedded", ["log_statement=all", "log_min_duration_statement=0", "log_connections=on"])
        for server in servers_:
            for place in teamed(server, root):
                shutil.copy(root / "sql" / "roles.yaml", inv.root / "sql" / "roles.yaml")
                env = {"CONNECTION_URL": place.url}
                done = inv("db.grant-access", "anna", env=env)
                assert done.returncode == 0, done.stderr
                path = inv.root / done.stdout.strip()
                word = read_url(path.read_text().strip(), "test")["password"]
                shown = inv("db.grant-access", "bob", "--show-password", env=env)
                other = read_url(shown.stdout.strip(), "test")["password"]
                again = inv("db.access", "--json", env=env)
                assert {each["person"] for each in json.loads(again.stdout)["logins"]} >= {"anna", "bob"}
                failed = inv("db.grant-access", "anna", "--role", "boss", env=env)
                assert failed.returncode == 2
                gone = inv("db.revoke-access", "anna", env=env)
                assert gone.returncode == 0, gone.stderr
                assert server.home
                log = (server.home / "log").read_text(errors="replace")
                assert f"{place.name}_anna" in log
                made = next(line for line in log.splitlines(keepends=True) if PASSWORD in line)  # by the test itself
                told = [done.stdout, done.stderr, shown.stderr, again.stdout, again.stderr, failed.stderr, gone.stdout, gone.stderr, log]  # fmt: skip
                for secret in (word, other, PASSWORD):
                    assert not [text for text in told if secret in text.replace(made, "")]
                    kept = [
                        p
                        for p in inv.root.rglob(".local/**/*")
                        if p.is_file() and secret in p.read_text(errors="replace")
                    ]
                    assert kept == [], "the file of anna went with her access"
    except LookupError as reason:
        pytest.skip(str(reason))
