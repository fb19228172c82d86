"""db.roles: drift named and mended, cut anywhere, by two at once, and the rights after a swap."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from config.settings import load
from ops.db import build, swap
from ops.db.drift import catalog
from ops.db.migrations import apply
from ops.db.roles import write
from ops.errors import Differs, Misconfigured, Problem, Refused
from ops.targets import opening
from ops.targets.roles import acting, declared, names, passwords
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, Cut, Proxy
from tests.fix_roles import MASTER, PASSWORD, Place, keep_as_ours, placed
from tests.fix_spread import apart
from tests.fix_suppliers import Database

WRITES = "select pg_snapshot_xmax(pg_current_snapshot())::text as next"


@pytest.fixture(scope="module")
def governed(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A database with its declared roles, which each test leaves as it found it."""
    for place in placed(postgres, tmp_path_factory.mktemp("roles")):
        place.roles()
        yield place


def differences(place: Place, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return what a check finds."""
    capsys.readouterr()
    try:
        place.roles(check=True)
    except Differs:
        return capsys.readouterr().out.splitlines()
    return []


# --- drift --------------------------------------------------------------------------------

# What somebody does by hand, what is said of it, and whether --strict is needed to end it
DRIFT = [
    # missing
    ("revoke select on t from {reader}", "{reader}: lacks select on table public.t", False),
    ("revoke insert, update on t, users from {app}", "{app}: lacks insert, update on table public.t, public.users", False),
    ("revoke usage on schema public from {reader}", "{reader}: lacks usage on schema public", False),
    ("revoke usage on sequence s from {app}", "{app}: lacks usage on sequence public.s", False),
    ("revoke execute on function locked() from {app}", "{app}: lacks execute on function public.locked()", False),
    ("revoke connect on database {name} from {app}", "{app}: lacks connect on database {name}", False),
    ("revoke insert on users from {lambda_signup}", "{lambda_signup}: lacks insert on table public.users", False),
    ("revoke {owner} from {migrator} granted by {master}", "{migrator}: is not a member of {owner}", False),
    ("revoke pg_monitor from {reader} granted by rds_superuser", "{reader}: is not a member of pg_monitor", False),
    ("alter default privileges for role {owner} in schema public revoke select on tables from {reader}", "{reader}: lacks select on tables that {owner} will make in schema public", False),
    ("drop owned by {reader}; drop role {reader}", "{reader}: is not there (login)", False),
    # wrong
    ("alter table t owner to {master}", "{owner}: does not own what belongs to {master}: table public.t", False),
    ("alter schema other owner to {master}", "{owner}: does not own schema other, which belongs to {master}", False),
    ("alter function f() owner to {master}; alter type mood owner to {master}", "{owner}: does not own what belongs to {master}: type public.mood", False),
    ("alter database {name} owner to {master}", "{owner}: does not own database {name}, which belongs to {master}", False),
    ("create text search configuration made (copy = simple); create statistics made on id, x from t", "{owner}: does not own what belongs to postgres: statistics object public.made", False),
    ("alter role {app} nologin", "{app}: cannot log in", False),
    ("alter role {migrator} inherit", "{migrator}: has the rights of those it may become before it does (INHERIT)", False),
    ("alter role {reader} valid until '2020-01-01'", "{reader}: has a password that ends (VALID UNTIL)", False),
    ("grant {owner} to {migrator} with inherit true", "{migrator}: is a member of {owner} with inherit true, set true: declared are false, true", False),
    # not declared
    ("grant delete on t to {reader}", "{reader}: has delete on table public.t, which nobody declared", True),
    ("grant update (x) on t to {reader}", "{reader}: has update (x) on column public.t, which nobody declared", True),
    ("grant select on other.secret to {app}", "{app}: has select on table other.secret, which nobody declared", True),
    ("grant select on users to public", "PUBLIC: has select on table public.users, which nobody declared", True),
    ("grant create on schema public to public", "PUBLIC: has create on schema public, which nobody declared", True),
    ("grant usage on type mood to {reader}", "{reader}: has usage on type public.mood, which nobody declared", True),
    ("grant create on database {name} to {app}", "{app}: has create on database {name}, which nobody declared", True),
    ("grant select on t to {reader} with grant option", "{reader}: has the grant option for select on table public.t, which nobody declared", True),
    ("alter default privileges for role {owner} grant all on tables to {app}", "{app}: has delete, insert, maintain, references, select, trigger, truncate, update on tables that {owner} will make, which nobody declared", True),
    ("alter default privileges for role {master} in schema public grant select on tables to public", "PUBLIC: has select on tables that {master} will make in schema public, which nobody declared", True),
    ("grant pg_write_all_data to {reader}", "{reader}: is a member of pg_write_all_data, which nobody declared", True),
    ("grant {app} to {reader}", "{reader}: is a member of {app}, which nobody declared", True),
    ("grant {owner} to {migrator} with admin option", "{migrator}: is one who may give {owner} to others, which nobody declared", True),
    ("alter role {app} createdb", "{app}: is CREATEDB, which nobody declared", True),
    ("alter role {reader} bypassrls superuser", "{reader}: is SUPERUSER, which nobody declared", True),
    ("alter role {owner} login", "{owner}: is one that can log in, which nobody declared", True),
]  # fmt: skip


@pytest.mark.spread
@pytest.mark.parametrize(("drift", "said", "strict"), DRIFT, ids=[row[0][:60] for row in DRIFT])
def test_drift_by_hand_is_named_and_mended(
    drift: str, said: str, strict: bool, governed: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    governed.do(governed.filled(drift))
    assert governed.filled(said) in differences(governed, capsys)
    as_superuser = {"CONNECTION_URL": Database.target(governed).url(show_password=True)}
    if strict:
        governed.roles(as_superuser)
        assert governed.filled(said) in differences(governed, capsys)
    governed.roles(as_superuser, strict=strict)
    assert differences(governed, capsys) == []


def test_a_second_run_writes_nothing(governed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    before = governed.scalar(WRITES)
    governed.roles(strict=True)
    assert governed.scalar(WRITES) == before
    assert f"the roles of {governed.name} are as declared: nothing to do" in capsys.readouterr().err


def test_a_stranger_who_may_something_is_named(governed: Place, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = f"stranger_{governed.name}"
    governed.do(
        f"create role {stranger}; grant select on t to {stranger}; grant {governed.name_of('app')} to {stranger}"
    )
    found = differences(governed, capsys)
    assert found == [
        f"{stranger}: is a member of {governed.name_of('app')}, which nobody declared",
        f"{stranger}: has select on table public.t, which nobody declared",
    ]
    governed.roles({"CONNECTION_URL": Database.target(governed).url(show_password=True)}, strict=True)
    governed.do(f"drop role {stranger}")  # has nothing left
    assert differences(governed, capsys) == []


# --- refused ------------------------------------------------------------------------------


def test_a_strangers_role_of_the_same_name_is_refused(place: Place) -> None:
    place.do(place.filled("create role {reader}"))
    with pytest.raises(Refused, match=rf"the role {place.name}_reader is there and does not carry the mark of inv"):
        place.roles()
    assert place.named() == [place.name_of("reader")]


FILES = [
    ("roles: [", "sql/roles.yaml:1:9: "),
    ("rolls: {}", "sql/roles.yaml:1:1: rolls: no such word here, use schemas or roles"),
    ("roles: {app: {may: [read rows]}}", "sql/roles.yaml: one role, and one only, may own everything: 0 do"),
    ("roles: {owner: {may: [own everything]}, app: {may: [reed rows]}}", "sql/roles.yaml:1:53: reed rows: no such right, use own everything,"),
    ("roles: {owner: {may: [own everything]}, app: {may: [become boss]}}", "sql/roles.yaml:1:41: app may become boss, which is no other role of this file"),
    ("roles: {owner: {login: password, may: [own everything]}}", "sql/roles.yaml:1:9: owner owns everything, and nobody logs in as it: login: none"),
    ("roles: {owner: {login: maybe, may: [own everything]}}", "sql/roles.yaml:1:24: login: write none (cannot log in)"),
    ("roles: {owner: {may: [own everything]}, App: {}}", "sql/roles.yaml:1:41: App: name a role in at most 30 lower-case letters"),
    ("roles: {owner: {may: [own everything]}, app: {may: [sell on public.t]}}", "sql/roles.yaml:1:53: sell: no such privilege of a table"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), FILES)
def test_a_file_that_cannot_be_meant_is_refused_with_the_place(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "roles.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(Misconfigured) as raised:
        declared.read(load({}, {}, tmp_path))
    assert str(raised.value).startswith(said)


def test_without_a_role_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert declared.read(load({}, {}, tmp_path)).roles == {}
    with pytest.raises(Misconfigured, match=r"sql/roles.yaml: no role is declared there"):
        write.run(load({}, {}, tmp_path), "", "", dry_run=False, check=False, strict=False, json=False)


def test_who_may_not_is_told_what_and_nothing_is_changed(place: Place) -> None:
    place.do(f"alter role {MASTER} nocreaterole")
    try:
        with pytest.raises(Problem, match=rf"{MASTER} may not end this, and nothing was changed: .*_owner: is not there.*CREATEROLE"):  # fmt: skip
            place.roles()
    finally:
        place.do(f"alter role {MASTER} createrole")
    assert place.named() == []


# --- cut, and at once ---------------------------------------------------------------------


SENT = (b"create role", b"comment on role", b"grant ", b"alter database", b"alter schema", b"alter table", b"alter default", b"commit")  # fmt: skip


def test_cut_at_each_statement_it_is_all_or_nothing_and_the_next_run_converges(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    cuts, committed = 0, 0
    sent = ((word, way, n) for way in (ASKING, ANSWER) for word in (SENT if way == ASKING else SENT[-1:]) for n in range(1, 50, apart()))  # fmt: skip
    beyond = None
    for word, way, number in sent:
        if (word, way) == beyond:
            continue
        with Proxy(place.server.port, Cut(word, way, CLOSE, number)) as proxy:
            try:
                place.roles({"CONNECTION_URL": place.target(port=str(proxy.port)).url(show_password=True)})
            except Problem:
                assert proxy.hit
        there = place.named()
        assert len(there) in (0, 5), f"half of it after {word!r} {number}"
        if there:
            assert differences(place, capsys) == []
            place.forget()
            committed += 1
        cuts += proxy.hit
        beyond = beyond if proxy.hit else (word, way)
    assert cuts > 30 / apart()
    assert committed
    place.roles()
    assert differences(place, capsys) == []


def test_two_runs_at_once_converge(place: Place, capsys: pytest.CaptureFixture[str], postgres: servers.Server, tmp_path: Path) -> None:  # fmt: skip
    failed: list[BaseException] = []

    def run(one: Place) -> None:
        try:
            one.roles()
        except BaseException as error:
            failed.append(error)

    for other in placed(postgres, tmp_path / "other"):
        other.declare(place.function)  # one role of a function is both databases'
        threads = [threading.Thread(target=run, args=[each]) for each in (place, other, place, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert failed == []
        assert differences(place, capsys) == differences(other, capsys) == []


# --- what is made belongs to the owner ------------------------------------------------------

OWNERS = "select distinct pg_get_userbyid(relowner) as owner from pg_class where relnamespace in ('public'::regnamespace, 'inv'::regnamespace)"


def as_login(place: Place, role: str) -> dict[str, str]:
    """Give a role a password, and return the variable that has a target log in as it."""
    place.do(f"alter role {place.name_of(role)} password 'login-p1'")
    return {"CONNECTION_URL": place.target(user=place.name_of(role), password="login-p1").url(show_password=True)}


@pytest.mark.parametrize("login", ["migrator", "master"])
def test_what_migrations_and_seeds_make_belongs_to_the_owner(
    login: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    place.do("drop schema inv cascade")
    place.roles()
    environ = as_login(place, login) if login != "master" else {}
    settings = place.settings(**environ)
    settings.migrations.mkdir(parents=True)
    up = "-- migrate:up\ncreate table made (id serial primary key);\n-- migrate:down\ndrop table made;\n"
    (settings.migrations / "20261130000000_made.sql").write_text(up, encoding="utf-8")
    apply.migrate(settings, "", "", "")
    seed = place.sql("insert into made default values;\nreset role;\ncreate table more (x int);\n")
    build.seed_load(settings, "", str(seed), {}, "", again=False)
    build.schema_load(settings, "", str(place.sql("create table loaded (x int);", "more.sql")), {}, "")
    assert place.query(OWNERS) == [{"owner": place.name_of("owner")}]
    assert differences(place, capsys) == []
    apply.rollback(settings, "", "0", "")
    assert place.scalar("select to_regclass('made')") is None


def test_setup_and_undo_give_the_declared_rights_again(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.roles()
    settings = place.settings()
    schema = place.sql("create table users (display_name text, handle text, email text, cognito_user_id text); create table fresh (x int);")  # fmt: skip
    build.setup(settings, "", str(schema), "", {}, "", force=True)
    assert place.scalar(f"select has_table_privilege('{place.name_of('reader')}', 'fresh', 'select')")
    assert [each for each in differences(place, capsys) if "other" not in each] == []
    with opening.open_target(settings, "", "db.undo", writes=True) as at:
        swap.undo(at, force=True)
    assert differences(place, capsys) == []


def test_the_rights_of_declared_roles_are_no_drift(place: Place) -> None:
    with place.connect() as conn:
        before = catalog.read(conn).things
    place.roles()
    with place.connect() as conn:
        after = catalog.read(conn).things
        assert {key: thing.facets for key, thing in after.items()} == {key: thing.facets for key, thing in before.items()}  # fmt: skip
        conn.execute("grant delete on t to public")
        assert catalog.read(conn).things != after


def test_a_role_that_is_declared_no_more_is_named(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.roles()
    path = place.root / "sql" / "roles.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("  reader:\n", "  analyst:\n"), encoding="utf-8")
    reader, analyst = place.name_of("reader"), place.name_of("analyst")
    assert {f"{reader}: is a login of ours, which nobody declared", f"{analyst}: is not there (login)"} <= set(
        differences(place, capsys)
    )
    place.roles(strict=True)
    assert not place.scalar(f"select rolcanlogin or has_table_privilege(oid, 't', 'select') from pg_roles where rolname = '{reader}'")  # fmt: skip
    assert differences(place, capsys) == []


def test_the_database_of_a_git_branch_has_the_roles_of_the_main_one(place: Place) -> None:
    main = place.target()
    beside = replace(main.on(dbname=f"{place.name}_bio"), branch="bio", trunk=place.name)
    assert names.database_of(beside) == names.database_of(main) == place.name


def test_a_database_without_roles_of_ours_goes_on_as_before(place: Place) -> None:
    with opening.open_target(place.settings(), "", "db.migrate", writes=True) as at:
        assert acting.role_to_set(at) == ""
        assert not acting.is_with_roles(at)
    place.roles()
    with opening.open_target(place.settings(), "", "db.migrate", writes=True) as at:
        assert acting.role_to_set(at) == place.name_of("owner")
    with opening.open_target(place.settings(**as_login(place, "reader")), "", "db.status") as at:
        assert acting.role_to_set(at) == ""


# --- names and passwords --------------------------------------------------------------------


def test_names_are_told_apart_and_fit() -> None:
    assert names.role_name("cruddur", "reader") == "cruddur_reader"
    long, longer = names.role_name("é" * 40, "reader"), names.role_name("é" * 41, "reader")
    assert long != longer
    assert all(len(each.encode()) <= 63 and each.endswith("_reader") for each in (long, longer))
    assert names.mark("a%b", "app") == "[inv: role app of a%b]"


def test_a_server_of_ours_has_its_passwords_made_and_kept(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    settings = keep_as_ours(place)
    place.roles()
    path = place.root / ".local" / "roles.json"
    assert path.stat().st_mode & 0o777 == 0o600
    target = place.target()
    found = {role: passwords.password_of(settings, target, role) for role in ("migrator", "app", "reader", "owner", "lambda_signup")}  # fmt: skip
    assert found["owner"] is None
    assert found["lambda_signup"] is None
    for role in ("migrator", "app", "reader"):
        assert found[role]
        place.let_in(role, str(found[role]))
    assert differences(place, capsys) == []
    place.do(f"alter role {place.name_of('app')} password 'changed-by-hand'")
    assert differences(place, capsys) == [f"{place.name_of('app')}: has not the password that is known here"]
    place.roles()
    assert passwords.password_of(settings, target, "app") == found["app"]  # what is known is sent again
    assert differences(place, capsys) == []
    assert not any(str(each) in path.read_text() for each in (PASSWORD, "changed-by-hand"))
    passwords.forget(place.root, passwords.COMPOSE)
    assert passwords.password_of(settings, target, "app") == found["app"]
    passwords.forget(place.root, passwords.EMBEDDED)
    assert not path.exists()


def test_elsewhere_a_password_is_the_users_own(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.roles()
    said = capsys.readouterr().err
    assert "no password is known for" in said
    assert "LOCAL_READER_PASSWORD" in said
    assert not (place.root / ".local" / "roles.json").exists()
    place.roles({"LOCAL_READER_PASSWORD": "reader-p1"})
    place.let_in("reader", "reader-p1")
    assert "reader-p1" not in "".join(capsys.readouterr())


def test_logins_that_ask_for_a_token_are_members_of_rds_iam_where_there_is_such(place: Place) -> None:
    place.do("create role rds_iam; grant rds_iam to rds_superuser with admin option")
    try:
        place.roles()
        query = "select m.rolname as name from pg_auth_members join pg_roles m on m.oid = member where roleid = 'rds_iam'::regrole and m.rolname <> 'rds_superuser' order by 1"  # fmt: skip
        logins = ("app", "migrator", "reader", "lambda_signup")
        assert {row["name"] for row in place.query(query)} == {place.name_of(r) for r in logins}
    finally:
        place.do("drop role rds_iam")


def test_the_answer_as_json(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    write.run(place.settings(), "", "", dry_run=True, check=False, strict=False, json=True)
    told = json.loads(capsys.readouterr().out)
    assert [each["role"] for each in told["roles"]] == list(declared.read(place.settings()).roles)
    assert {each["kind"] for each in told["differences"]} >= {"role", "membership", "ownership", "right", "default_right"}  # fmt: skip
    assert place.named() == []
