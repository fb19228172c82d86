"""An existing production goes on where it is: what another tool's table tells becomes our history."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from config.settings import load
from ops.db.migrations import apply, files, history, standing
from ops.db.migrations.importing import books, record
from ops.errors import InProgress, Misconfigured, Refused
from tests import fix_migrations as given
from tests.fix_suppliers import Database

RUNNER = "create table schema_information (id int unique, last_successful_run text);"
GOLANG = "create table schema_migrations (version bigint primary key, dirty boolean not null);"
ALEMBIC = "create table alembic_version (version_num varchar(32) primary key);"
FLYWAY = (
    "create table flyway_schema_history (installed_rank int primary key, version text, description text, type text,"
    " script text, checksum int, success boolean);"
)
DJANGO = (
    "create table django_migrations (id bigint generated always as identity, app text, name text, applied timestamptz);"
)
GOOSE = (
    "create table goose_db_version (id int generated always as identity, version_id bigint, is_applied boolean);"
    "insert into goose_db_version (version_id, is_applied) values (0, true);"
)
SQLX = "create table _sqlx_migrations (version bigint primary key, description text, success boolean);"
RAILS = "create table schema_migrations (version character varying primary key);"

STAMPED = given.pairs(digits=14, begin=20230415061733)
HEADS = {
    "up.sql": "".join(
        f"-- Running upgrade {after} -> {key}\n\nselect {number};\n"
        for number, (after, key) in enumerate([("", "a"), ("a", "b"), ("a", "c"), ("b, c", "d"), ("d", "e")], 1)
    )
}
APPS = {
    f"{n:04}_{name}.up.sql": f"select {n};"
    for n, name in enumerate(("auth.0001_initial", "shop.0001_initial", "shop.0002_more"), 1)
}
STRUCTURE = {
    "structure.sql": "create table t ();\nINSERT INTO \"schema_migrations\" (version) VALUES\n('20240101000000'),\n('20230101000000');\n"
}


def flyway(rows: str) -> str:
    return f"{FLYWAY} insert into flyway_schema_history (installed_rank, version, type, script, success) values {rows}"


# The old table, the files, the names of those that have run there
STANDINGS: dict[str, tuple[str, dict[str, str], Sequence[str]]] = {
    "runner_at_none": (RUNNER + "insert into schema_information values (1, '0')", given.MODULES, []),
    "runner_without_row": (RUNNER, given.MODULES, []),
    "runner_at_one": (RUNNER + "insert into schema_information values (1, '1681539453')", given.MODULES, ["users"]),
    "runner_at_the_last": (
        RUNNER + "insert into schema_information values (1, '16815394531234568')",
        {name: text for name, text in given.MODULES.items() if "enum" not in name},
        ["users", "bio", "touch", "more"],
    ),
    "golang": (GOLANG + "insert into schema_migrations values (2, false)", given.pairs(), ["users", "bio"]),
    "golang_empty": (GOLANG, given.pairs(), []),
    "alembic": (ALEMBIC + "insert into alembic_version values ('c')", HEADS, ["a", "c"]),
    "alembic_two_heads": (ALEMBIC + "insert into alembic_version values ('c'), ('b')", HEADS, ["a", "b", "c"]),
    "alembic_head": (ALEMBIC + "insert into alembic_version values ('e')", HEADS, ["a", "b", "c", "d", "e"]),
    "alembic_elsewhere": (
        "create schema app; set search_path = app; " + ALEMBIC + "insert into alembic_version values ('a')", HEADS, ["a"],
    ),
    "flyway": (
        flyway(
            "(1, '1', 'SQL', 'V1__users.sql', true), (2, '1.9', 'SQL', 'V1.9__bio.sql', true), (3, '1.10', 'SQL', 'V1_10__touch.sql', true),"
            " (4, '1.10', 'UNDO_SQL', 'U1_10__touch.sql', true), (5, null, 'SQL', 'sql/R__view.sql', true)"
        ),
        given.flyway(),
        ["users", "bio", "view"],
    ),
    "flyway_baseline": (flyway("(1, '1.9', 'BASELINE', '<< Flyway Baseline >>', true)"), given.flyway(), ["users", "bio"]),
    "django": (
        DJANGO + "insert into django_migrations (app, name) values ('auth', '0001_initial'), ('shop', '0001_initial'), ('gone', '0001_x')",
        APPS,
        ["auth_0001_initial", "shop_0001_initial"],
    ),
    "goose": (
        GOOSE + "insert into goose_db_version (version_id, is_applied) values (1, true), (2, true), (2, false), (3, true)",
        given.goose(),
        ["users", "touch"],
    ),
    "sqlx": (SQLX + "insert into _sqlx_migrations values (20230415061733, 'users', true)", STAMPED, ["users"]),
    "rails": (RAILS + "insert into schema_migrations values ('20230101000000'), ('20240101000000')", STRUCTURE, ["structure"]),
    "rails_empty": (RAILS, STRUCTURE, []),
}  # fmt: skip


@pytest.fixture
def live(one: Database) -> Database:
    one.do(f'create database "{one.name}"', "postgres")
    return one


def take_over(
    database: Database,
    texts: dict[str, str],
    *,
    ran: Sequence[str] = (),
    pending: Sequence[str] = (),
    dry_run: bool = False,
) -> None:
    folder = given.written(database.root / "old", texts)
    record.run(database.settings(), str(folder), "local", "", record.Said(ran, pending), dry_run=dry_run)


def recorded(database: Database) -> list[str]:
    """Return the names of the files whose versions the database has."""
    with database.connect() as conn:
        versions = {each.version for each in history.applied(conn)}
    return [each.name for each in files.find(database.settings().migrations) if each.version in versions]


@pytest.mark.parametrize("name", STANDINGS)
def test_what_has_run_is_recorded_once(live: Database, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    sql, texts, names = STANDINGS[name]
    live.do(sql)
    tables = live.query("select count(*) from pg_tables")
    take_over(live, texts, dry_run=True)
    assert not live.settings().migrations.exists()
    assert live.query("select count(*) from pg_tables") == tables
    for _ in range(2):
        take_over(live, texts)
        assert recorded(live) == list(names)
    assert "nothing to do in the database" in capsys.readouterr().err


def test_golang_migrates_table_makes_room_and_is_kept(live: Database) -> None:
    live.do(GOLANG + "insert into schema_migrations values (2, false)")
    take_over(live, given.pairs())
    assert live.query(f"select version, dirty from {books.SET_ASIDE}") == [{"version": 2, "dirty": False}]
    assert live.query("select version from schema_migrations order by 1") == [
        {"version": "00000000000001"},
        {"version": "00000000000002"},
    ]


def test_a_production_goes_on_where_it_is(database: Database) -> None:
    """What has run is not run again, what has not is, and all of it can be taken back."""
    live = database
    live.do(f'create database "{live.name}"', "postgres")
    for _, up, _ in given.STEPS[:2]:
        live.do(up)
    live.do(GOLANG + "insert into schema_migrations values (2, false)")
    take_over(live, given.pairs())
    apply.migrate(live.settings(), "local", "", "")
    assert recorded(live) == ["users", "bio", "touch", "index"]
    assert live.query("select id, bio from users") == [{"id": 1, "bio": "none"}]
    apply.rollback(live.settings(), "local", "0", "")
    assert live.scalar("select to_regclass('users') is null")


def test_what_was_taken_back_since_is_not_recorded_again(live: Database) -> None:
    live.do(RUNNER + "insert into schema_information values (1, '16815394531234')")
    take_over(live, given.MODULES)
    assert recorded(live) == ["users", "bio"]
    with live.connect() as conn:
        found = history.read(conn)
        conn.execute(history.note_down(found, found.applied[-1].version, "test"))
    take_over(live, given.MODULES)
    assert recorded(live) == ["users"]


def test_what_the_old_tool_has_run_since_is_added(live: Database) -> None:
    live.do(ALEMBIC + "insert into alembic_version values ('a')")
    take_over(live, HEADS)
    live.do("update alembic_version set version_num = 'b'")
    take_over(live, HEADS)
    assert recorded(live) == ["a", "b"]


# The old table, the files, what is said
REFUSED: dict[str, tuple[str, dict[str, str], str]] = {
    "nothing": ("", given.MODULES, "has no schema_information, which would tell what has run there: leave -t out"),
    "of_another_tool": (
        RAILS,
        given.pairs(),
        "has no schema_migrations or schema_migrations_of_golang_migrate or _sqlx_migrations",
    ),
    "no_number": (
        RUNNER + "insert into schema_information values (1, 'x')",
        given.MODULES,
        "last_successful_run is 'x', which is no number",
    ),
    "passed_over": (
        RUNNER + "insert into schema_information values (1, '16815394531234568')",
        given.MODULES | {"1681539454_late.py": "migrate_sql = 'select 1'"},
        "does not tell whether 1681539454 has run: it is younger than 16815394531234568, and a lower number: the runner may have passed over it",
    ),
    "dirty": (
        GOLANG + "insert into schema_migrations values (2, true)",
        given.pairs(),
        "version 2 was broken off (dirty)",
    ),
    "golang_ahead": (
        GOLANG + "insert into schema_migrations values (9, false)",
        given.pairs(),
        "9 has run there and is not in the folder",
    ),
    "alembic_ahead": (
        ALEMBIC + "insert into alembic_version values ('z')",
        HEADS,
        "z has run there and is not in the folder",
    ),
    "flyway_failed": (flyway("(1, '1', 'SQL', 'V1__users.sql', false)"), given.flyway(), "1 has failed there"),
    "flyway_ahead": (
        flyway("(1, '7.1', 'SQL', 'V7.1__x.sql', true)"),
        given.flyway(),
        "7.1 has run there and is not in the folder",
    ),
    "goose_ahead": (
        GOOSE + "insert into goose_db_version (version_id, is_applied) values (9, true)",
        given.goose(),
        "9 has run there",
    ),
    "sqlx_failed": (
        SQLX + "insert into _sqlx_migrations values (20230415061733, 'users', false)",
        STAMPED,
        "20230415061733 has failed",
    ),
    "rails_behind": (
        RAILS + "insert into schema_migrations values ('20230101000000')",
        STRUCTURE,
        "20240101000000 have not run there",
    ),
    "rails_ahead": (
        RAILS + "insert into schema_migrations values ('20230101000000'), ('20240101000000'), ('20250101000000')",
        STRUCTURE,
        "20250101000000 are not in the structure",
    ),
    "rails_far_ahead": (
        RAILS + "insert into schema_migrations select '2023010100000' || n from generate_series(0, 7) n;"
        " insert into schema_migrations values ('20240101000000')",
        STRUCTURE,
        "20230101000005 and 2 more are not in the structure",
    ),
    "two_tables": (
        "".join(f"create schema {name}; set search_path = {name}; {ALEMBIC}" for name in ("a", "b")),
        HEADS,
        "a.alembic_version and b.alembic_version both tell what has run",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_asked_and_nothing_is_written(live: Database, name: str) -> None:
    sql, texts, told = REFUSED[name]
    live.do(sql or "select 1")
    with pytest.raises(Misconfigured) as error:
        take_over(live, texts)
    assert told in str(error.value)
    assert not live.settings().migrations.exists()


@pytest.mark.parametrize(
    ("ran", "pending", "names"), [(["1681539454"], [], ["users", "late"]), ([], ["1681539454_late.py"], ["users"])]
)
def test_a_person_knows_what_the_table_does_not(
    live: Database, ran: list[str], pending: list[str], names: list[str]
) -> None:
    live.do(RUNNER + "insert into schema_information values (1, '16815394531')")
    texts = {"16815394531_users.py": "migrate_sql = 'select 1'", "1681539454_late.py": "migrate_sql = 'select 2'"}
    with pytest.raises(Misconfigured, match="--ran 1681539454 or --pending 1681539454"):
        take_over(live, texts)
    with pytest.raises(Misconfigured, match="--ran x: the folder has no migration of that name or number"):
        take_over(live, texts, ran=["x"])
    take_over(live, texts, ran=ran, pending=pending)
    assert recorded(live) == names


def test_what_rails_has_run_before_its_structure_is_past(live: Database) -> None:
    """It stays in schema_migrations, so that Rails goes on, too."""
    live.do(STANDINGS["rails"][0])
    take_over(live, STRUCTURE)
    with live.connect() as conn:
        found = standing.stand(files.find(live.settings().migrations), history.read(conn))
    assert [(each.version, each.state) for each in found.states] == [("20240101000000", "applied")]
    assert live.scalar("select count(*) from schema_migrations") == 2


def test_production_wants_its_name(live: Database) -> None:
    live.do(ALEMBIC + "insert into alembic_version values ('c')")
    folder = given.written(live.root / "old", HEADS)
    settings = live.settings(PROD_CONNECTION_URL=live.url)
    with pytest.raises(Refused, match=f"migration-import on production .*add --confirm {live.name}"):
        record.run(settings, str(folder), "prod")
    assert not settings.migrations.exists()
    assert live.scalar("select to_regclass('schema_migrations') is null")
    record.run(settings, str(folder), "prod", live.name)
    assert recorded(live) == ["a", "c"]
    record.run(settings, str(folder), "prod")


def test_a_table_in_use_is_waited_for_by_short_locks(live: Database, capsys: pytest.CaptureFixture[str]) -> None:
    live.do(GOLANG + "insert into schema_migrations values (1, false)")
    folder = given.written(live.root / "old", given.pairs())
    impatient = load({"migrate": {"patience": "1s"}}, {"CONNECTION_URL": live.url}, live.root)
    other = live.connect()
    other.execute("begin; select from schema_migrations")
    with pytest.raises(InProgress):
        record.run(impatient, str(folder), "local")
    assert f"in the way is pid {other.info.backend_pid}" in capsys.readouterr().err
    assert live.scalar("select dirty from schema_migrations") is False
    record.run(live.settings(), str(folder), "local", end_idle=True)
    other.close()
    assert recorded(live) == ["users"]
