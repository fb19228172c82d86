"""Other tools' migrations: what is read of them, in which order, and what is named with its line."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from ops.db.migrations import files
from ops.db.migrations.importing import convert, stamps
from ops.errors import Misconfigured
from tests import fix_migrations as given

# In the order of time, one second or less apart
IN_ORDER = [
    "3",
    "000012",
    "16815",
    "20230415",
    "2023041501",
    "202304150617",
    "1681539452",
    "16815394521",
    "1681539452123",
    "16815394521234",
    "168153945212345",
    "1681539452123456",
    "1681539452123456789",
    "16815394521234568",
    "20230415061733",
    "20230415061733123",
    "20230415061733123456",
    "1681539454",
]


def test_stamps_of_every_length_are_in_the_order_of_time() -> None:
    orders = [stamps.order(digits) for digits in IN_ORDER]
    assert orders == sorted(orders)
    assert len(set(orders)) == len(orders)
    for before, after in itertools.pairwise(stamps.assign(orders, [""] * len(orders))):
        assert before < after
        assert len(after) == 14
    assert stamps.order("1681539453")[:2] == stamps.order("20230415061733")[:2]


@pytest.mark.parametrize("digits", ["99999999999999999999", "301234567890123"])
def test_a_stamp_that_is_no_time_is_named(digits: str) -> None:
    with pytest.raises(Misconfigured, match=f"{digits} is no time of a known form"):
        stamps.order(digits)


def plan(tmp_path: Path, texts: dict[str, str]) -> convert.Plan:
    return convert.plan(str(given.written(tmp_path / "old", texts)), tmp_path / "new")


CLASS = "class M:\n    rollback_sql = 'drop table t'\n"

# The text of the module, what its up part is
READ = {
    "constant": (CLASS + "    migrate_sql = 'create table t ()'", "create table t ()"),
    "annotated": (CLASS + "    migrate_sql: str = 'create table t ()'", "create table t ()"),
    "other_name": ("SQL = 'create table t ()'\n" + CLASS + "    migrate_sql = SQL", "create table t ()"),
    "of_its_class": (CLASS + "    x = 'create '\n    migrate_sql = x + 'table t ()'", "create table t ()"),
    "by_self": (
        CLASS + "    x = 'create table t ()'\n    def migrate_sql(self):\n        return self.x",
        "create table t ()",
    ),
    "by_a_function": (
        CLASS + "    def migrate_sql(self):\n        return made()\ndef made(): return 'create table t ()'",
        "create table t ()",
    ),
    "f_string": (
        "T = 't'\n" + CLASS + "    migrate_sql = f'create table {T} (a char({3}))'",
        "create table t (a char(3))",
    ),
    "joined": (CLASS + "    migrate_sql = ' '.join(['create', 'table t ()'])", "create table t ()"),
    "cleandoc": (
        "import inspect\n" + CLASS + "    migrate_sql = inspect.cleandoc('''\n      create table t\n        ()''')",
        "create table t\n  ()",
    ),
    "several": (
        CLASS + "    migrate_sql = ['create table t ();', 'drop table t']",
        "create table t ();\ndrop table t;",
    ),
    "own_transaction": (CLASS + "    migrate_sql = 'begin; create table t (); commit;'", "create table t ();"),
    "chosen": (
        "class A:\n    migrate_sql = 'a'\nclass M:\n    migrate_sql = 'create table t ()'\n    rollback_sql = ''\nmigration = M()",
        "create table t ()",
    ),
    "percent": (
        CLASS
        + "    migrate_sql = \"select '5%%'\"\n    def migrate(self):\n        print('x')\n        with connect() as c:\n            c.execute(self.migrate_sql, {})",
        "select '5%'",
    ),
    "by_a_name_of_the_runner": (
        CLASS
        + "    migrate_sql = 'create table t ()'\n    def migrate(self):\n        sql = self.migrate_sql\n        db.run(sql)",
        "create table t ()",
    ),
    "no_runner": (CLASS + "    migrate_sql = \"select format('%%')\"", "select format('%%')"),
}


@pytest.mark.parametrize("name", READ)
def test_a_module_is_read_and_never_run(tmp_path: Path, name: str) -> None:
    text, up = READ[name]
    here = plan(tmp_path, {"1681539453_m.py": f"{text}\nraise SystemExit\n"})
    assert files.parts(here.files[0].text, "x")[0].sql.strip() == up


# A file's name, its text, what is named
REFUSED = {
    "runs": (
        "1681539453_m.py",
        CLASS + "    migrate_sql = open('x').read()",
        ":3: open('x').read() is known only when it runs",
    ),
    "loop": (
        "1681539453_m.py",
        CLASS + "    def migrate_sql():\n        for x in (1, 2):\n            pass",
        ":4: migrate_sql decides here",
    ),
    "circle": ("1681539453_m.py", "def migrate_sql(): return a()\ndef a(): return migrate_sql()", "itself"),
    "formatted": (
        "1681539453_m.py",
        CLASS + "    migrate_sql = 'create table {}'.format(1)",
        ":3: 'create table {}'.format(1) is known only",
    ),
    "unknown": (
        "1681539453_m.py",
        "from x import SQL\n" + CLASS + "    migrate_sql = SQL",
        ":4: what SQL is, is known only when it runs",
    ),
    "parameters": (
        "1681539453_m.py",
        CLASS
        + "    migrate_sql = 'select 1'\n    def migrate(self):\n        db.run(self.migrate_sql,\n          {'a': 1})",
        ":6: migrate gives parameters to the SQL",
    ),
    "parameter": (
        "1681539453_m.py",
        CLASS + "    migrate_sql = '''select 1,\n    %s'''\n    def migrate(self): db.run(self.migrate_sql)",
        ":4: %s in migrate_sql is a parameter",
    ),
    "more": (
        "1681539453_m.py",
        CLASS
        + "    migrate_sql = 'select 1'\n    def migrate(self):\n        db.run(self.migrate_sql)\n        db.run('select 2')",
        ":6: migrate does more than run migrate_sql",
    ),
    "two_classes": (
        "1681539453_m.py",
        "class A:\n    migrate_sql = ''\nclass B:\n    migrate_sql = ''",
        ":3: a second class with migrate_sql",
    ),
    "syntax": ("1681539453_m.py", "class A:\n  migrate_sql = (", ":2: Python cannot read this module"),
    "none": ("1681539453_m.py", "x = 1", ":1: has no migrate_sql"),
    "no_stamp": ("m.py", "migrate_sql = 'select 1'", "holds no migrations of a known kind"),
    "commit": (
        "1681539453_m.py",
        CLASS + "    migrate_sql = '''select 1;\n    commit;\n    select 2'''",
        ":4:5: COMMIT: each migration is one",
    ),
    "psql": ("1_m.up.sql", "select 1;\n\\set a b\n", "1_m.up.sql:2:1: only psql understands this"),
    "copied_rows": ("1_m.up.sql", "copy t from stdin;\n1\n\\.\n", "1_m.up.sql:1:1: only psql understands this"),
    "marker": ("1_m.up.sql", "select 1;\n  -- migrate:Down\n", "1_m.up.sql:2: is a marker of dbmate's"),
    "no_up": ("1_m.down.sql", "select 1", "1_m.down.sql:1: takes back what no .up.sql makes"),
    "placeholder": ("V1__m.sql", "select 1;\nselect '${x}'", "V1__m.sql:2: Flyway fills in ${x}"),
    "callback": ("beforeMigrate.sql", "select 1", "beforeMigrate.sql:1: Flyway's baselines, callbacks"),
    "undo": ("U1__m.sql", "select 1", "U1__m.sql:1: takes back what no V file makes"),
    "long_version": ("V1.2000__m.sql", "select 1", "V1.2000__m.sql:1: its version does not fit into 14 digits"),
    "envsub": (
        "1_m.sql",
        "-- +goose Up\nselect 1;\n-- +goose ENVSUB ON\n",
        "1_m.sql:3: +goose ENVSUB ON has no like here",
    ),
    "django": (
        "1_shop.0001_x.up.sql",
        "BEGIN;\n--\n-- Raw Python operation\n--\n-- THIS OPERATION CANNOT BE WRITTEN AS SQL\nCOMMIT;\n",
        "1_shop.0001_x.up.sql:5: Django runs Python here",
    ),
    "alembic_part": (
        "up.sql",
        "-- Running upgrade a -> b\n\nselect 1;\n",
        "up.sql:1: b builds on a, which is not in the folder",
    ),
    "alembic_before": (
        "up.sql",
        "BEGIN;\nselect 1;\n-- Running upgrade  -> b\n\nselect 1;\n",
        "up.sql:2: stands before the first revision",
    ),
    "no_versions": ("structure.sql", "create table t ();\n", "structure.sql:2: has no list of versions"),
    "latin": ("1_m.up.sql", "select 1;\n-- \udce9", "1_m.up.sql:2: is not UTF-8 here"),
    "dbmate": ("1_m.sql", "-- migrate:up\nselect 1;\n", "1_m.sql:3: has no -- migrate:down"),
    "rails": ("1_m.rb", "class X; end", "Rails' migrations are Ruby"),
    "alembic_module": ("versions/a.py", "revision = 'a'\ndown_revision = None\n", "alembic upgrade base:head --sql"),
    "django_module": ("0001_a.py", "class Migration(migrations.Migration):\n    pass\n", "manage.py sqlmigrate"),
    "nothing": ("x.txt", "", "holds no migrations of a known kind"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_converted_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    file, text, told = REFUSED[name]
    path = tmp_path / "old" / file
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Misconfigured) as error:
        convert.plan(str(tmp_path / "old"), tmp_path / "new")
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_all_that_cannot_be_converted_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="2 faults, nothing was done") as error:
        plan(tmp_path, {"1_a.up.sql": "commit;", "2_b.up.sql": "\\x", "3_c.up.sql": "select 1"})
    assert "1_a.up.sql:1:1" in str(error.value)
    assert "2_b.up.sql:1:1" in str(error.value)


def test_two_kinds_in_one_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"holds migrations of 2 kinds, flyway \(V1__a.sql\), goose \(1_b.sql\)"):
        plan(tmp_path, {"V1__a.sql": "select 1", "1_b.sql": "-- +goose Up\nselect 1;"})


def test_two_structures_are_two_databases(tmp_path: Path) -> None:
    text = "INSERT INTO \"schema_migrations\" (version) VALUES\n('1');\n"
    with pytest.raises(Misconfigured, match=r"each of animals_structure.sql, structure.sql is a database of its own"):
        plan(tmp_path, {"structure.sql": text, "animals_structure.sql": text})


def test_the_folder_that_files_go_into_is_not_read_from(tmp_path: Path) -> None:
    folder = given.written(tmp_path / "both", given.pairs())
    with pytest.raises(Misconfigured, match=r"both is paths.migrations, where the new files go"):
        convert.plan(str(folder), folder)


def test_again_is_nothing_and_what_is_there_stays(tmp_path: Path) -> None:
    first = plan(tmp_path, given.flyway())
    stranger, ours = ".00001009000000_bio.sql.new", ".migration.abcdefgh.inv-new"
    folder = given.written(tmp_path / "new", {stranger: "mine", ours: "of a run that was cut off"})
    os.utime(folder / ours, (0, 0))
    paths = convert.write(first)
    assert [path.name for path in paths] == [
        "00001000000000_users.sql", "00001009000000_bio.sql", "00001010000000_touch.sql", "00002000000000_index.sql",
        "00002000000001_view.sql",
    ]  # fmt: skip
    edited = paths[0].read_text(encoding="utf-8") + "-- mine\n"
    paths[0].write_text(edited, encoding="utf-8")
    again = plan(tmp_path, {"V3__late.sql": "select 1"})
    assert [each.name for each in again.new] == ["00003000000000_late.sql"]
    assert any(
        "00001000000000_users.sql: is not as it was made of V1__users.sql: it stays as it is" in note
        for note in again.notes
    )
    assert [path.name for path in convert.write(again)] == ["00003000000000_late.sql"]
    assert paths[0].read_text(encoding="utf-8") == edited
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(
        [*(p.name for p in paths), "00003000000000_late.sql", stranger]
    )


def test_a_branch_of_alembic_that_comes_later_goes_behind(tmp_path: Path) -> None:
    one, two, new = (
        f"-- Running upgrade {a} -> {b}\n\nselect {n};\n" for a, b, n in (("", "a", 1), ("a", "c", 2), ("a", "b", 3))
    )
    convert.write(plan(tmp_path, {"up.sql": one + two}))
    again = plan(tmp_path, {"up.sql": one + new + two + "-- Running upgrade b, c -> d\n\nselect 4;\n"})
    assert [each.name for each in again.new] == ["00000000000004_b.sql", "00000000000006_d.sql"]


def test_a_stamp_that_another_file_has_is_named(tmp_path: Path) -> None:
    given.written(tmp_path / "new", {"00000000000001_mine.sql": "-- migrate:up\nselect 1;\n-- migrate:down\n"})
    with pytest.raises(
        Misconfigured, match=r"000001_users.up.sql:1: would have the stamp of .*00000000000001_mine.sql"
    ):
        plan(tmp_path, given.pairs())


def test_numbers_that_a_tool_compares_plainly_must_agree_with_time(tmp_path: Path) -> None:
    with pytest.raises(
        Misconfigured, match=r"20230101000000_b.up.sql:1: is older than 1681539453_a.up.sql by its stamp"
    ):
        plan(tmp_path, {"1681539453_a.up.sql": "select 1", "20230101000000_b.up.sql": "select 2"})


def test_what_refuses_a_transaction_gets_a_file_of_its_own(tmp_path: Path) -> None:
    here = plan(
        tmp_path,
        {
            "7_a.up.sql": given.MIXED,
            "7_a.down.sql": given.NO_MIXED,
            "8_b.up.sql": "select 1",
            "8_b.down.sql": "select 1",
        },
    )
    assert [each.name for each in here.files] == [
        f"{n:014}_{name}.sql" for n, name in ((7, "a"), (8, "a_2"), (9, "a_3"), (10, "b"))
    ]
    ways = [files.parts(each.text, each.name) for each in here.files]
    assert [(up.transaction, down and down.transaction) for up, down in ways] == [
        (False, False),
        (True, True),
        (False, False),
        (True, True),
    ]
    assert "drop table notes" in here.files[1].text
    convert.write(here)
    assert plan(tmp_path, {}).new == []


def test_steps_that_do_not_match_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        Misconfigured, match=r"7_a.down.sql:1: what cannot run in a transaction \(CONCURRENTLY\) stands beside"
    ):
        plan(tmp_path, {"7_a.up.sql": given.MIXED, "7_a.down.sql": "drop table notes"})


def test_files_of_dbmate_are_taken_as_they_are(tmp_path: Path) -> None:
    text = "-- mine\n-- migrate:up\nselect 1;\r\n-- migrate:down\n"
    convert.write(plan(tmp_path, {"2023_a-b.sql": text}))
    assert (tmp_path / "new" / "2023_a-b.sql").read_bytes().decode() == text


def test_what_has_no_way_back_or_nothing_to_do_is_said(tmp_path: Path) -> None:
    here = plan(
        tmp_path, {"1_a.up.sql": "select 1", "2_b.up.sql": "-- nothing\n", "2_b.down.sql": "", "3_c.up.sql": "select 3"}
    )
    assert [each.version for each in here.files] == ["00000000000001", "00000000000003"]
    assert here.notes == [
        "1_a.up.sql: has no way back: write one below -- migrate:down",
        "2_b.up.sql: has nothing to do on its way up, so it is left out",
        "3_c.up.sql: has no way back: write one below -- migrate:down",
    ]
