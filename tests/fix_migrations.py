"""Migrations as other tools have them: a folder of each kind, with a few kinds of object."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

USERS = "create table users (\n  id int primary key,\n  handle text not null default 'x;y' -- it's; one\n)"
NO_USERS = "drop table users"
BIO = "alter table users add column bio text; comment on column users.bio is '100% ''own'''"
NO_BIO = "alter table users drop column bio"
TRIGGER = """create function touch() returns trigger language plpgsql as $$
begin
  -- begin; commit;
  new.bio := coalesce(new.bio, 'none');
  return new;
end
$$;
create trigger touch before insert on users for each row execute function touch();
insert into users (id) values (1)"""
NO_TRIGGER = "delete from users where id = 1; drop trigger touch on users; drop function touch()"
INDEX, NO_INDEX = "create index concurrently by_bio on users (bio)", "drop index concurrently by_bio"

MIXED = f"{INDEX};\ncreate table notes (i int);\n-- why\n{INDEX.replace('by_bio', 'again')}"
NO_MIXED = "drop index concurrently again; drop table notes; drop index concurrently by_bio"

STEPS = (("users", USERS, NO_USERS), ("bio", BIO, NO_BIO), ("touch", TRIGGER, NO_TRIGGER), ("index", INDEX, NO_INDEX))

# By name: attributes, functions without self, the shape of a hand-made runner's generator, module level
MODULES = {
    "1681539453_users.py": f'class Users:\n    migrate_sql = """{USERS}"""\n    rollback_sql = "{NO_USERS};"\n',
    "16815394531234_bio.py": f'''"""The runner's own shape."""
from lib.db import db

class BioMigration:
  def migrate_sql():
    data = """
    {BIO.replace("%", "%%")}
    """
    return data
  def rollback_sql():
    data = """
    {NO_BIO};
    """
    return data
  def migrate():
    db.query_commit(BioMigration.migrate_sql(), {{}})
  def rollback():
    db.query_commit(BioMigration.rollback_sql(), {{}})

migration = BioMigration
''',
    "1681539453123456_touch.py": f'''from textwrap import dedent
TABLE = "users"
class Touch:
    @staticmethod
    def migrate_sql():
        sql = dedent("""{TRIGGER}""")
        sql += ";"
        return sql.strip()
    @staticmethod
    def rollback_sql():
        return (f"delete from {{TABLE}} where id = 1; "
                f"drop trigger touch on {{TABLE}}; " + "drop function touch()")
''',
    "16815394531234568_more.py": 'def migrate_sql():\n    return "create view all_users as select id from users"\n\ndef rollback_sql():\n    return "drop view all_users"\n',
    "20230415061735_enum.py": "class Enum:\n    migrate_sql = [\"create type mood as enum ('ok')\", \"alter type mood add value 'sad';\"]\n    rollback_sql = 'drop type mood'\n",
    "__init__.py": "",
    "readme.txt": "not a migration",
}


def pairs(*, digits: int = 6, begin: int = 1) -> dict[str, str]:
    """Return golang-migrate's files."""
    found = {}
    for number, (name, up, down) in enumerate(STEPS, begin):
        wrapped = f"BEGIN;\n{up};\nCOMMIT;\n" if name == "bio" else f"{up};\n"
        found[f"{number:0{digits}}_{name}.up.sql"] = wrapped
        found[f"{number:0{digits}}_{name}.down.sql"] = down
    return found


def flyway() -> dict[str, str]:
    """Return Flyway's files, with a version that only sorts right by its parts."""
    found = {"R__view.sql": "create or replace view all_users as select id from users;"}
    for version, (name, up, down) in zip(("1", "1.9", "1_10", "2.0"), STEPS, strict=True):
        found |= {f"V{version}__{name}.sql": up, f"U{version}__{name}.sql": down}
    return found


def goose() -> dict[str, str]:
    """Return goose's files."""
    found = {}
    for number, (name, up, down) in enumerate(STEPS, 1):
        alone = "-- +goose NO TRANSACTION\n" if name == "index" else ""
        found[f"{number:05}_{name}.sql"] = (
            f"{alone}-- +goose Up\n-- +goose StatementBegin\n{up};\n-- +goose StatementEnd\n\n-- +goose Down\n{down};\n"
        )
    return found


def written(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files into a folder, and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())
    return folder
