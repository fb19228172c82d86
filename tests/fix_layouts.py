"""Repositories as people have them: where schema and seed lie, what is in them, and what else is there.

Each row of the table is one that was seen. All are of the same application; `loads` is what psql
makes of schema and seed, stopping at the first error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

EXTENSION = 'CREATE EXTENSION IF NOT EXISTS "uuid-ossp";\n'
TABLES = """\
DROP TABLE IF EXISTS public.users;
DROP TABLE IF EXISTS public.activities;
CREATE TABLE public.users (
  uuid UUID DEFAULT uuid_generate_v4() PRIMARY KEY,
  display_name text NOT NULL,
  handle text NOT NULL,
  email text NOT NULL,
  cognito_user_id text NOT NULL,
  created_at TIMESTAMP default current_timestamp NOT NULL
);
CREATE TABLE public.activities (
  uuid UUID DEFAULT uuid_generate_v4() PRIMARY KEY,
  user_uuid UUID NOT NULL,
  message text NOT NULL,
  replies_count integer DEFAULT 0,
  reposts_count integer DEFAULT 0,
  likes_count integer DEFAULT 0,
  reply_to_activity_uuid integer,
  expires_at TIMESTAMP,
  created_at TIMESTAMP default current_timestamp NOT NULL
)"""
SCHEMA = EXTENSION + TABLES + ";"
USERS = """\
-- this file was manually created
INSERT INTO public.users (display_name, email, handle, cognito_user_id)
VALUES
  ('Andrew Brown', 'andrew@example.com', 'andrewbrown', 'MOCK'),
  ('Andrew Bayko', 'bayko@example.com', 'bayko', 'MOCK');
"""
ACTIVITIES = """\
INSERT INTO public.activities (user_uuid, message, expires_at)
VALUES
  (
    (SELECT uuid from public.users WHERE users.handle = 'andrewbrown' LIMIT 1),
    'This was imported as seed data!',
    current_timestamp + interval '10 day'
  )"""
SEED = USERS + ACTIVITIES
KILL_ALL = "-- kills all sessions, don't run it on prod; it ends yours\nSELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
TEMPLATE = (
    "INSERT INTO public.activities (user_uuid, message, expires_at)\nVALUES (\n  (SELECT uuid FROM public.users WHERE users.handle = %(handle)s LIMIT 1),\n"
    "  %(message)s,\n  %(expires_at)s\n) RETURNING uuid"
)
ARRAY = "SELECT COALESCE(array_to_json(array_agg(row_to_json(t))), '{}'::json) FROM (SELECT * FROM public.users WHERE handle = %(handle)s) t"
MIGRATION = (
    "from lib.db import db\n\nclass AddBioColumnMigration:\n  def migrate_sql():\n    return 'ALTER TABLE public.users ADD COLUMN bio text;'\n"
    "  def rollback_sql():\n    return 'ALTER TABLE public.users DROP COLUMN;'\n\nmigration = AddBioColumnMigration\n"
)
SCRIPT = '#! /usr/bin/bash\n\nschema_path="$(realpath .)/db/schema.sql"\npsql $CONNECTION_URL cruddur < $schema_path\n'
GITIGNORE = "__pycache__/\n*.py[cod]\nbuild/\ndist/\nlib/\nlib64/\nvar/\n*.manifest\n*.log\n*.sql\nenv/\nvenv/\n.env\ndocs/_build/"
HELLO = "from invoke.tasks import task\n\n\n@task\ndef hello(c):\n    print('hello')"
OWN_NS = (
    "from invoke.collection import Collection\nfrom invoke.tasks import task\n\n\n@task\ndef doctor(c):\n    print('mine')\n\n\n@task\ndef migrate(c):\n    print('migrated')\n\n\n"
    "@task\ndef seed(c):\n    print('theirs')\n\n\nns = Collection(doctor)\nns.add_collection(Collection('db', migrate, seed))\n"
)
FLASK = "raise RuntimeError('the application starts')\n"
DB = "backend-flask/db"


@dataclass(frozen=True)
class Layout:
    """One repository."""

    name: str
    schema: str | bytes = SCHEMA
    seed: str | bytes = SEED
    loads: bool = True
    folder: str = DB
    """Where schema.sql and seed.sql lie."""
    more: Mapping[str, str | bytes] = field(default_factory=dict)
    """What else there is, by path."""

    @property
    def paths(self) -> tuple[str, str]:
        return f"{self.folder}/schema.sql", f"{self.folder}/seed.sql"

    def build(self, root: Path) -> Path:
        """Make the repository."""
        files = {
            "README.md": "# FREE AWS Cloud Project Bootcamp\n",
            "backend-flask/app.py": FLASK,
            "backend-flask/requirements.txt": "flask\nflask-cors\npsycopg[binary]\npsycopg[pool]",
            "backend-flask/db/sql/activities/create.sql": TEMPLATE,
            "backend-flask/db/sql/users/show.sql": ARRAY,
            "backend-flask/db/kill-all-connections.sql": KILL_ALL,
            "bin/db/schema-load": SCRIPT,
            "node_modules/pg/schema.sql": "create table elsewhere (a int);",
            **dict(zip(self.paths, (self.schema, self.seed), strict=True)),
            **self.more,
        }
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return root


def crlf(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode()


LAYOUTS = [
    Layout("as it was given", more={f"{DB}/migrations/16815_add_bio.py": MIGRATION, f"{DB}/migrations/.keep": ""}),
    Layout("flat scripts", more={"backend-flask/bin/db-schema-load": SCRIPT, "backend-flask/bin/db-setup": SCRIPT}),
    Layout("scripts at two places", more={"backend-flask/bin/db/setup": SCRIPT, "bin/prepare": SCRIPT}),
    Layout("queries", folder="backend-flask/queries"),
    Layout("scripts with their sql", folder="backend-flask/bin/rds/sql", more={"backend-flask/bin/rds/setup": SCRIPT}),
    Layout("crlf", schema=crlf(SCHEMA), seed=crlf(SEED)),
    Layout("crlf in templates", more={f"{DB}/sql/activities/home.sql": crlf(ARRAY)}),
    Layout("an empty template", more={f"{DB}/sql/users/a/b/short.sql": "", f"{DB}/sql/users/a/b/c.sql": ARRAY}),
    Layout("final newlines", schema=SCHEMA + "\n", seed=SEED + ";\n"),
    Layout("non-ascii", seed=SEED.replace("Andrew Bayko", "Zoë Größe 李")),
    Layout("extension without if", schema=SCHEMA.replace("IF NOT EXISTS ", "", 1)),
    Layout("no extension", schema=TABLES.replace("uuid_generate_v4", "gen_random_uuid")),
    Layout("no drops", schema=EXTENSION + TABLES[TABLES.index("CREATE") :]),
    Layout(
        "foreign key",
        schema=SCHEMA.replace("user_uuid UUID NOT NULL", "user_uuid UUID NOT NULL REFERENCES public.users (uuid)").replace(
            "users;", "users CASCADE;", 1
        ),
    ),
    Layout(
        "function and trigger",
        schema=SCHEMA + "\nCREATE OR REPLACE FUNCTION set_time() RETURNS TRIGGER AS $$\nBEGIN\n  NEW.created_at = now();\n  RETURN NEW;\nEND;\n$$ language 'plpgsql';\n"
        "CREATE TRIGGER t BEFORE UPDATE ON public.users FOR EACH ROW EXECUTE PROCEDURE set_time();",
    ),
    Layout("do block", more={f"{DB}/kill.sql": "DO $$ BEGIN PERFORM 1; END $$;"}, schema=SCHEMA + "\nDO $$ BEGIN PERFORM ';'; END $$;"),
    Layout("bookkeeping", schema=SCHEMA + "\nCREATE TABLE IF NOT EXISTS public.schema_information (id integer UNIQUE, last_successful_run text);\n"
           "INSERT INTO public.schema_information (id, last_successful_run) VALUES (1, '0') ON CONFLICT (id) DO NOTHING;"),
    Layout("comments", schema="-- it's the schema; don't edit\n" + SCHEMA, seed=SEED + "\n-- that's all; folks"),
    Layout("semicolon in a string", seed=SEED.replace("seed data!", "seed;\ndata")),
    Layout("a first line for psql", seed="#!/usr/bin/psql\n" + SEED, loads=False),
    Layout("empty seed", seed=""),
    Layout("a seed of comments", seed="-- nothing yet"),
    Layout("seed without e-mail", seed=SEED.replace(" email,", "").replace(" 'andrew@example.com',", "").replace(" 'bayko@example.com',", ""), loads=False),
    Layout("a comma too many", schema=SCHEMA.replace("NOT NULL\n);", "NOT NULL,\n);", 1), loads=False),
    Layout("a bracket too few", seed=SEED.replace("LIMIT 1)", "LIMIT 1"), loads=False),
    Layout("an open quote", seed=SEED.replace("'MOCK');", "'MOCK);"), loads=False),
    Layout("a handle that is not there", seed=SEED.replace("= 'andrewbrown'", "= 'somebody'"), loads=False),
    Layout("a column that is not there", seed=SEED.replace("(display_name,", "(bio, display_name,"), loads=False),
    Layout("more values than columns", seed=SEED.replace("'bayko', 'MOCK'", "'bayko', 'MOCK', 1"), loads=False),
    Layout("a table that is not there", seed=SEED.replace("INTO public.activities", "INTO public.activity"), loads=False),
    Layout("a role of RDS", schema=SCHEMA + "\nGRANT rds_iam TO postgres;", loads=False),
    Layout("variables of psql", more={f"{DB}/update.sql": "UPDATE public.users SET cognito_user_id = :'sub' WHERE handle = :'handle';"}),
    Layout(
        "config, functions and backend of their own",
        more={"config/__init__.py": FLASK, "config/paths.py": FLASK, "functions/__init__.py": FLASK, "backend/__init__.py": FLASK,
              "backend/app.py": FLASK, "ops/__init__.py": FLASK, "sql/queries/home.sql": "select 1", "docs/rds.md": "theirs\n"},
    ),
    Layout("tasks of their own", more={"tasks.py": HELLO, "invoke.yaml": "run:\n  echo: true"}),
    Layout("tasks with crlf and names of ours", more={"tasks.py": crlf(OWN_NS), "invoke.yml": b"mine: {a: 1}\r\n"}),
    Layout("a package of tasks", more={"tasks/__init__.py": HELLO + "\n", "tasks/more.py": ""}),
    Layout(
        "files to add to",
        more={
            ".gitignore": GITIGNORE,
            ".env.example": b"# ours\r\nexport CONNECTION_URL=postgresql://postgres:password@db:5432/cruddur\r\nAWS_DEFAULT_REGION=",
            "requirements.txt": "# tools\nboto3==1.43.2  # pinned\ninvoke\n-e ./lib\nflask<4",
        },
    ),
    Layout("spaces", folder="backend flask/db files", more={"journal/week 4/notes.sql": "select 1"}),
    Layout("copies elsewhere", more={"journal/schema.sql": "create table old (a int);", "_docs/db/seed.sql": SEED}),
]  # fmt: skip
