"""The command line by subprocess: one line on stderr, the right exit code, nothing secret, nothing changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from invoke.exceptions import Exit
from psycopg import sql

import tasks
from ops.db import build
from tests import servers
from tests.fix_cli import Cli, copy_suite, lines_of
from tests.fix_suppliers import Database, made

INV = str(Path(sys.executable).parent / "inv")


@pytest.fixture(scope="module")
def live(postgres: servers.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database that is set up, and a clone whose `local` it is."""
    root = copy_suite(tmp_path_factory.mktemp("cli") / "clone é x")
    for name, text in FILES.items():
        (root / name).write_text(text, encoding="utf-8")
    (root / "latin1.sql").write_bytes(b"select '\xe9';\n")
    (root / "folder").mkdir()
    for database in made(postgres, root):
        build.setup(database.settings(), "local", "", build.DEFAULT, {}, "", force=False)
        yield database


FILES = {
    "bad.sql": "create table fine (x int);\ncreate table bad (x intt);\n",
    "unclosed.sql": "select 'abc;\n",
    "names.sql": "create table t (x int);\n\\c other\n",
    "variable.sql": "create table t (x text default :'who');\n",
    "late.sql": "insert into users (handle) values ('x');\n",
    "outside.sql": "create table t (x int);\nvacuum;\n",
    "lacks.sql": 'create extension "not_there";\n',
    "bad.env": "CONNECTION_URL=postgresql://u:hushhush@h/db\nhushhush\n",
}


def state(database: Database) -> tuple[object, ...]:
    """Return what a command that fails must leave as it was: databases, rows, tables, comment, files."""
    rows = database.query(
        """select oid, (select count(*) from users) + (select count(*) from activities) as rows,
        (select array_agg(relname::text order by 1) from pg_class where relkind = 'r'
          and relnamespace = 'public'::regnamespace) as tables,
        shobj_description(oid, 'pg_database') as comment from pg_database where datname = current_database()"""
    )
    files = {
        str(path.relative_to(database.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in database.root.rglob("*")
        if path.is_file() and not {".local", "__pycache__"} & set(path.relative_to(database.root).parts)
    }
    return rows, database.names(), files


def secret_forms(password: str) -> set[str]:
    return {password, quote(password, safe=""), quote(password), quote(password, safe="/:")}


def words(database: Database) -> dict[str, str]:
    """Return what the placeholders of the table below stand for."""
    server = database.server.params
    login = f"postgres:{quote(server['password'], safe='')}"
    at = f"127.0.0.1:{server['port']}"
    return {
        "{url}": database.url,
        "{name}": database.name,
        "{missing}": f"postgresql://{login}@{at}/nowhere_{database.name}",
        "{maintenance}": f"postgresql://{login}@{at}/postgres",
        "{wrong}": f"postgresql://postgres:hushhush@{at}/{database.name}",
        "{nopassword}": f"postgresql://postgres@{at}/{database.name}",
        "{norole}": f"postgresql://nobody_{database.name}:hushhush@{at}/{database.name}",
        "{tls}": f"{database.url}?sslmode=require",
        "{refused}": "postgresql://u:hushhush@127.0.0.1:1/db",
        "{nohost}": "postgresql://u:hushhush@no-such-host.invalid/db",
        "{port}": server["port"],
    }


LOCAL, PROD = "CONNECTION_URL", "PROD_CONNECTION_URL"
PARTS = {"PROD_DB_ENDPOINT": "127.0.0.1", "POSTGRES_PORT": "{port}", "POSTGRES_MASTER_USERNAME": "postgres"}
NO_TARGET = "there is no target"
NOT_THERE = "the database is not there yet: inv db.setup -t local"

# command line; variables beside CONNECTION_URL; exit code; what the line says
BAD: list[tuple[str, dict[str, str], int, str]] = [
    # targets and options
    ("db.setup -t staging", {}, 2, NO_TARGET),
    ("db.status -t PROD", {}, 2, NO_TARGET),
    ("db.drop --target=", {"INVOKE_TARGET": "stag"}, 2, NO_TARGET),
    ("db.rehearse -t staging", {}, 2, NO_TARGET),
    ("db.rehearse --rows most", {}, 2, "--rows most: give a share of the target's rows, 0% to 100%"),
    ("db.rehearse --max-gb 0", {}, 2, "--max-gb 0: give the most gigabytes"),
    ("db.rehearse --json --markdown", {}, 2, "give one of --json, --markdown"),
    ("db.rehearse", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.rehearse", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.pull -t staging", {PROD: "{missing}"}, 2, NO_TARGET),
    ("db.pull --from staging", {}, 2, NO_TARGET),
    ("db.pull --from local", {}, 2, "--from local: that is where the copy lands"),
    ("db.pull --from local -t prod", {PROD: "{missing}"}, 2, "prod is declared as production: a copy lands in none"),
    ("db.pull", {PROD: "{url}"}, 2, "is the very database that --from prod names"),
    ("db.pull", {PROD: "{missing}"}, 1, "the database is not there yet: inv db.setup -t prod"),
    ("db.pull --rows half", {PROD: "{url}"}, 2, "--rows half: give a share of the rows, like 5%"),
    ("db.pull --jobs 0", {PROD: "{url}"}, 2, "--jobs 0: give a number from 1 to 16"),
    ("db.pull --where users", {PROD: "{url}"}, 2, "--where users: write it as TABLE=CONDITION"),
    ("db.pull --propose", {PROD: "{url}"}, 2, "sql/masks.yaml is there already, and stays as it is"),
    ("db.pull", {PROD: "{url}", "INVOKE_PATHS_MASKS": "sql/none.yaml"}, 2, "sql/none.yaml: no such file"),
    ("db.pull", {PROD: "{url}", "INVOKE_PATHS_MASKS": "bad.sql"}, 2, "bad.sql:1:1: the file is no mapping"),
    (
        "db.pull",
        {"INVOKE_DB_PULL_TIMEOUT": "3"},
        2,
        "db.pull_timeout (INVOKE_DB_PULL_TIMEOUT): 3 is not a length of time",
    ),
    ("db.pull --plans --from staging", {}, 2, NO_TARGET),
    ("db.pull --plans --from local", {}, 2, "--plans: local is not the embedded server of PostgreSQL 18"),
    ("db.grant-access anna -t staging", {}, 2, NO_TARGET),
    ("db.grant-access", {}, 1, "did not receive required positional arguments: 'name'"),
    ("db.grant-access Anna", {}, 2, "Anna: name a person in at most 30 lower-case letters"),
    ("db.grant-access anna --expires soon", {}, 2, "--expires soon: give a length of time of up to 366 days"),
    ("db.grant-access anna --role owner", {}, 2, "--role owner: nobody logs in as it in sql/roles.yaml, use one of"),
    ("db.grant-access anna", {}, 1, "_reader yet: inv db.roles -t local makes it"),
    ("db.grant-access anna", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.revoke-access Anna", {}, 2, "Anna: name a person"),
    ("db.revoke-access anna", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.access", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.query home --explain --var nothing=1", {}, 2, "--var nothing: home takes"),
    ("db.url", {"INVOKE_TARGET": "false"}, 2, NO_TARGET),
    ("db.setup prod", {}, 1, "No idea what 'prod' is!"),
    ("db.drop prod", {}, 1, "No idea what 'prod' is!"),
    ("db.nothing", {}, 1, "No idea what 'db.nothing' is!"),
    ("db.setup --nothing", {}, 1, "No idea what '--nothing' is!"),
    ("db.setup -t", {}, 1, "needed value and was not given one"),
    ("-R db.setup", {}, 2, "-R/--dry only holds back shell commands"),
    ("--dry db.drop", {}, 2, "-R/--dry only holds back shell commands"),
    ("-f missing.yaml db.setup", {}, 2, "-f missing.yaml: no such file"),
    ("-f bad.sql db.setup", {}, 2, "are not supported"),
    ("db.setup --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.drop --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.undo --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.seed --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.schema-load --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.mark", {}, 2, "give one of --production, --not-production"),
    ("db.mark --not-production --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.migration-lint --json --markdown", {}, 2, "give one of --json, --markdown"),
    ("db.migration-lint --file missing.sql", {}, 2, "--file missing.sql: no such file"),
    ("db.migration-lint --file bad.sql", {}, 2, "bad.sql:1: its name has no stamp"),
    ("db.kill-sessions --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.setup --var novalue", {}, 2, "--var novalue: write it as NAME=VALUE"),
    ("db.seed --var =x", {}, 2, "write it as NAME=VALUE"),
    ("db.schema-load --var a-b=c", {}, 2, "--var a-b: write it as NAME=VALUE"),
    ("db.branch", {}, 2, "is in no git repository: git init makes one"),
    ("db.branch --delete feature/x", {}, 2, "is in no git repository"),
    ("db.branch x -t docker", {}, 2, "db.branch -t docker: only the target local has databases of git branches"),
    ("db.branch --delete --prune", {}, 2, "give one of --delete, --prune"),
    ("db.branch --prune x", {}, 2, "--prune removes what has no git branch any more, and x names one"),
    ("db.branch --dry-run", {}, 2, "--dry-run says what --delete or --prune would remove"),
    ("db.branch x y", {}, 1, "No idea what 'y' is!"),
    ("db.branches -t prod", {}, 2, "db.branches -t prod: only the target local"),
    ("db.branches", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    (
        "db.branches",
        {"INVOKE_DB_PER_BRANCH": "true"},
        2,
        "db.per_branch (INVOKE_DB_PER_BRANCH): true is none of yes, no",
    ),
    ("db.tunnel", {}, 2, "local has no tunnel: it is reached straight"),
    ("db.tunnel -t staging", {}, 2, NO_TARGET),
    ("db.tunnel --stop", {}, 0, "no tunnel is open: nothing to do"),
    ("db.status -t prod", {"PROD_DB_VIA": "nowhere", "PROD_CONNECTION_URL": "{wrong}"}, 2, "PROD_DB_VIA: is no way"),
    ("db.wait --timeout x", {}, 2, "--timeout x: give a number of seconds"),
    ("db.wait --timeout -1", {}, 2, "--timeout -1: give a number of seconds"),
    ("db.wait --timeout nan", {}, 2, "--timeout nan: give a number of seconds"),
    ("db.wait --timeout=", {}, 2, "--timeout : give a number of seconds"),
    ("db.sessions --values", {}, 2, "--values shows what is in people's rows: at a terminal only"),
    ("db.sessions --values --json", {}, 2, "--values shows what is in people's rows: at a terminal only"),
    (
        "db.schema-load",
        {"INVOKE_MIGRATE_LOCK_TIMEOUT": "0"},
        2,
        "migrate.lock_timeout (INVOKE_MIGRATE_LOCK_TIMEOUT): 0 is not",
    ),
    ("db.migration-new", {}, 1, "did not receive required positional arguments"),
    ("db.migration-new 2026", {}, 2, "a migration is called by what it does"),
    ("db.migrate", {}, 2, "sql/migrations: no such folder: inv db.migration-new NAME makes it"),
    ("db.migrate", {"INVOKE_PATHS_MIGRATIONS": "bad.sql"}, 2, "bad.sql is no folder: correct paths.migrations"),
    ("db.migrate", {"INVOKE_PATHS_MIGRATIONS": "folder", LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.migrate --to 1", {"INVOKE_PATHS_MIGRATIONS": "folder"}, 2, "--to 1: there is no such migration"),
    ("db.migrate -t staging", {}, 2, NO_TARGET),
    ("db.rollback", {}, 2, "sql/migrations: no such folder"),
    ("db.rollback --to 1", {"INVOKE_PATHS_MIGRATIONS": "folder"}, 2, "--to 1: there is no such migration"),
    ("db.migrations", {}, 2, "sql/migrations: no such folder"),
    ("db.migrations --json", {"INVOKE_PATHS_MIGRATIONS": "folder", LOCAL: "{wrong}"}, 1, "wrong user or password"),
    ("db.restore", {}, 1, "did not receive required positional arguments"),
    ("db.restore missing.dump", {}, 2, "missing.dump: no such file"),
    ("db.restore folder", {}, 2, "folder is a folder without toc.dat: no dump"),
    ("db.restore bad.sql -t staging", {}, 2, NO_TARGET),
    ("db.restore bad.sql --jobs many", {}, 2, "--jobs many: give a number of sessions, 1 to 64"),
    ("db.restore bad.sql --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.restore bad.sql --table users", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.previous -t staging", {}, 2, NO_TARGET),
    ("db.purge --confirm other", {}, 2, "--confirm other is not the name of this database"),
    ("db.diagnose -t staging", {}, 2, NO_TARGET),
    ("db.diagnose --fail-on blue", {}, 2, "--fail-on blue: give red or yellow"),
    ("db.diagnose", {LOCAL: "{missing}"}, 1, NOT_THERE),
    (
        "db.diagnose",
        {"INVOKE_DIAGNOSE_LONG": "5"},
        2,
        "diagnose.long (INVOKE_DIAGNOSE_LONG): 5 is not a length of time",
    ),
    ("db.status --watch", {}, 2, "--watch draws on a terminal, and this is none: leave it out"),
    ("db.status --watch --json", {}, 2, "give one of --watch, --json"),
    ("db.diagram -t staging", {}, 2, NO_TARGET),
    ("db.diagram --file bad.sql", {}, 2, "bad.sql is there already, and no SVG: give another name"),
    ("db.diagram", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.roles -t staging", {}, 2, NO_TARGET),
    ("db.roles --dry-run --check", {}, 2, "give one of --dry-run, --check"),
    ("db.roles", {"INVOKE_PATHS_ROLES": "missing.yaml"}, 2, "missing.yaml: no role is declared there"),
    ("db.roles", {"INVOKE_PATHS_ROLES": "bad.sql"}, 2, "bad.sql:1:"),
    ("db.roles", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.roles", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.compare", {}, 2, "--with: name the other target"),
    ("db.compare --with local", {}, 2, "--with local: it is the same target: name another one"),
    ("db.compare --with staging", {}, 2, NO_TARGET),
    ("db.compare --with prod", {LOCAL: "{missing}", PROD: "{missing}"}, 1, NOT_THERE),
    ("db.drift -t staging", {}, 2, NO_TARGET),
    ("db.drift --var novalue", {}, 2, "--var novalue: write it as NAME=VALUE"),
    ("db.drift", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.drift", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.drift", {"INVOKE_PATHS_SCHEMA": "missing.sql"}, 2, "missing.sql"),
    ("db.dump -t staging", {}, 2, NO_TARGET),
    ("db.dump --schema-only --data-only", {}, 2, "give one of --schema-only, --data-only"),
    ("db.dump --file users.txt", {}, 2, "--file users.txt: the name's end says what is written, .sql, .sql.gz, .dump"),
    ("db.dump --file out.sql --jobs 2", {}, 2, "--jobs 2: only a folder is written by several at once"),
    ("db.dump --jobs 0", {}, 2, "--jobs 0: give a number from 1 to 64"),
    ("db.dump --jobs two", {}, 2, "--jobs two: give a number from 1 to 64"),
    ("db.dump --file bad.sql", {}, 2, "bad.sql is there already: add --overwrite, or give another name"),
    ("db.dump --file missing/out.sql", {}, 2, "missing: make it, or give another name"),
    ("db.dump --file sql/ --overwrite", {}, 2, "sql is no dump, and is not written over"),
    ("db.dump --file out.sql --table peopel", {}, 2, "--table peopel: "),
    ("db.dump --file out.sql", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.dump --file out.sql", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.dump --file out.sql", {LOCAL: "{refused}"}, 1, "nothing answers at"),
    ("db.query", {}, 1, "did not receive required positional arguments"),
    ("db.query nothing", {}, 2, "there is no query nothing in"),
    ("db.query ../schema", {}, 2, "use one of home, users"),
    ("db.query home --limit 0", {}, 2, "--limit 0: give a whole number above 0"),
    ("db.query home --limit ten", {}, 2, "--limit ten: give a whole number above 0"),
    ("db.query home --limit 99999999999999999999", {}, 2, "give a whole number above 0"),
    ("db.query users --var who=zoe", {}, 2, "--var who: users takes limit"),
    ("db.query home --var before=yesterday-ish", {}, 1, "invalid input syntax for type timestamp"),
    ("db.query home", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.query home", {"INVOKE_PATHS_QUERIES": "folder"}, 2, "there are no queries in"),
    ("db.migration-import", {}, 1, "did not receive required positional arguments"),
    ("db.migration-import nowhere", {}, 2, "nowhere: no such folder: name the one that holds the migrations"),
    ("db.migration-import sql --dry-run", {}, 2, "sql: holds no migrations of a known kind"),
    ("db.migration-import folder -t staging", {}, 2, NO_TARGET),
    ("app.run --port x", {}, 2, "--port x: give a port from 1 to 65535"),
    ("app.run", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("app.run -t staging", {}, 2, NO_TARGET),
    ("app.logs --lines x", {}, 2, "--lines x: give a whole number"),
    ("bench --runs 0", {}, 2, "--runs 0: give a number from 1 to 1000"),
    ("bench --runs ten", {}, 2, "--runs ten: give a number from 1 to 1000"),
    # URLs and variables
    ("db.setup", {LOCAL: "postgresql://u:hush@hush@h/db"}, 2, "CONNECTION_URL: a raw @"),
    ("db.create", {LOCAL: "postgresql://u:hush/hush@h/db"}, 2, "CONNECTION_URL: a raw /"),
    ("db.drop", {LOCAL: "postgresql://u:hushhush@h"}, 2, "CONNECTION_URL: no database name"),
    ("db.sessions", {LOCAL: "postgresql://u:${PASSWORD}@h/db"}, 2, "CONNECTION_URL: holds an unexpanded"),
    ("db.url --show-password", {LOCAL: "'postgresql://u:hushhush@h/db'"}, 2, "CONNECTION_URL: has quotes"),
    ("db.connect", {LOCAL: "jdbc:postgresql://h/db?password=hushhush"}, 2, "CONNECTION_URL: must begin with"),
    ("db.wait", {LOCAL: "postgresql://u:hushhush@h:port/db"}, 2, "CONNECTION_URL: the port must be a number"),
    ("db.status -t docker", {"CONNECTION_LOCAL_DOCKER_URL": "hushhush"}, 2, "CONNECTION_LOCAL_DOCKER_URL: must begin"),
    ("db.setup", {LOCAL: "{maintenance}"}, 2, "the database postgres belongs to the server itself"),
    ("db.setup", {LOCAL: "postgresql://h/" + "d" * 64}, 2, "longer than the 63 bytes"),
    ("db.setup -t prod", {}, 2, "prod is not configured: set PROD_CONNECTION_URL"),
    ("db.status -t prod", PARTS, 2, "prod needs POSTGRES_MASTER_PASSWORD"),
    ("db.status -t prod", {PROD: "{url}", "PROD_DB_SSLMODE": "on"}, 2, "PROD_DB_SSLMODE: use one of"),
    ("db.status -t prod", {PROD: "{url}", "PROD_DB_HOSTADDR": "here"}, 2, "PROD_DB_HOSTADDR: the address"),
    ("db.setup", {"ENV_FILE": "missing.env"}, 2, "ENV_FILE names"),
    ("db.setup", {"ENV_FILE": "folder"}, 2, "Is a directory"),
    ("db.setup", {"ENV_FILE": "bad.env"}, 2, "bad.env:2: write NAME=VALUE on this line"),
    ("db.setup", {"INVOKE_DB_LOCK_TIMEOUT": "soon"}, 2, "soon is not a number of seconds"),
    ("env.set 1X=y", {}, 2, "give NAME=VALUE"),
    ("env.set a-b=y", {}, 2, "give NAME=VALUE"),
    ("env.set =y", {}, 2, "give NAME=VALUE"),
    ("env.set X=", {}, 2, "X: the value is empty"),
    ("env.set X", {}, 2, "X: the value is empty"),
    ("env.set", {}, 1, "did not receive required positional arguments"),
    ("env.set ENV_FILE=x", {}, 2, "export it instead"),
    ("env.set POSTGRES_MASTER_PASSWORD=x", {}, 2, "inv env.set POSTGRES_MASTER_PASSWORD asks for it"),
    ("env.set PROD_CONNECTION_URL=postgresql://u:x@h/db", {}, 2, "holds a secret"),
    ("env.set CONNECTION_URL=postgresql://h", {}, 2, "CONNECTION_URL: no database name"),
    (
        "rds.create --express --dry-run",
        {"AWS_DEFAULT_REGION": "ca-central-1"},
        2,
        "rds.engine postgres: --express makes a cluster of Aurora",
    ),
    # servers that do not let us in
    ("db.status", {LOCAL: "{wrong}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.setup", {LOCAL: "{nopassword}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.sessions", {LOCAL: "{norole}"}, 1, "wrong user or password: correct CONNECTION_URL"),
    ("db.setup -t prod", {PROD: "{wrong}"}, 1, "wrong user or password: correct PROD_CONNECTION_URL"),
    ("db.create", {LOCAL: "{nohost}"}, 1, "the host name does not resolve: correct CONNECTION_URL"),
    ("db.status -t prod", {PROD: "{nohost}"}, 1, "the host name does not resolve: correct PROD_CONNECTION_URL"),
    ("db.setup", {LOCAL: "{refused}"}, 1, "nothing answers at u@127.0.0.1:1/db: inv db.up starts a server"),
    ("db.kill-sessions -t prod", {PROD: "{refused}"}, 1, "nothing answers at u@127.0.0.1:1/db"),
    ("db.setup", {LOCAL: "{tls}"}, 1, "the server offers no TLS, and CONNECTION_URL asks for it: switch it on"),
    # databases that are not there
    ("db.undo", {LOCAL: "{missing}"}, 1, "to bring back"),
    ("db.seed", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.schema-load", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.connect", {LOCAL: "{missing}"}, 1, NOT_THERE),
    ("db.undo", {}, 1, "to bring back"),
    # production without a person who confirms
    ("db.setup -t prod", {PROD: "{url}"}, 2, "if a person has decided to, add --confirm"),
    ("db.drop -t prod --force", {PROD: "{url}"}, 2, "if a person has decided to, add --confirm"),
    ("db.seed -t prod", {PROD: "{url}"}, 2, "if a person has decided to, add --confirm"),
    ("db.schema-load -t prod", {PROD: "{url}"}, 2, "if a person has decided to, add --confirm"),
    ("db.drop", {PROD: "{url}"}, 2, "if a person has decided to, add --confirm"),
    ("db.drop -t prod --confirm cruddur", {PROD: "{url}"}, 2, "--confirm cruddur is not the name"),
    ("db.up -t prod", {PROD: "{url}"}, 2, "production is not started from here"),
    ("db.down -t prod", {PROD: "{url}"}, 2, "production is not stopped from here"),
    ("db.up", {LOCAL: "postgresql://u:hushhush@far.invalid/db"}, 2, "far.invalid, which is not this machine"),
    ("db.up", {LOCAL: "postgresql://u@127.0.0.1:1/db"}, 2, "give user and password"),
    ("db.down --wipe", {}, 2, "which is not the embedded server"),
    ("db.down --wipe --confirm other", {}, 2, "which is not the embedded server"),
    # what rds.restore has an option for, and rds.undo has not
    (
        "rds.undo",
        {"INVOKE_RDS_IDENTIFIER": "a" * 60, "AWS_DEFAULT_REGION": "ca-central-1"},
        2,
        "first a letter (a shorter rds.identifier leaves room)",
    ),
    # files
    ("db.setup --schema missing.sql", {}, 2, "missing.sql"),
    ("db.setup --seed missing.sql", {}, 2, "missing.sql"),
    ("db.setup", {"INVOKE_PATHS_SCHEMA": "missing.sql"}, 2, "missing.sql"),
    ("db.schema-load --file folder", {}, 2, "folder"),
    ("db.seed --file missing.sql", {}, 2, "missing.sql"),
    ("db.setup --schema latin1.sql", {}, 2, "latin1.sql"),
    ("db.setup --schema bad.sql", {}, 1, 'bad.sql:2:21: type "intt" does not exist'),
    ("db.schema-load --file bad.sql", {}, 1, "bad.sql:2:21"),
    ("db.setup --schema unclosed.sql", {}, 1, "unclosed.sql:1:8"),
    ("db.setup --schema names.sql", {}, 2, "names.sql:2:1"),
    ("db.setup --schema variable.sql", {}, 2, "who"),
    ("db.seed --file late.sql --again", {}, 1, "late.sql:1"),
    ("db.schema-load --file outside.sql", {}, 2, "outside.sql:2"),
    ("db.setup --schema lacks.sql", {}, 1, "not_there"),
]


@pytest.mark.spread(most=2)
@pytest.mark.parametrize(("line", "env", "code", "message"), BAD, ids=[f"{i}-{row[0]}" for i, row in enumerate(BAD)])
def test_bad_input_is_one_line_and_changes_nothing(
    live: Database, line: str, env: dict[str, str], code: int, message: str
) -> None:
    stands_for = words(live)

    def filled(text: str) -> str:
        for word, meaning in stands_for.items():
            text = text.replace(word, meaning)
        return text

    shutil.rmtree(live.root / ".local", ignore_errors=True)  # where a row above has noted what prod is
    before = state(live)
    done = Cli(live.root)(*line.split(), env={k: filled(v) for k, v in ({LOCAL: "{url}"} | env).items()})
    output = done.stdout + done.stderr
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr
    last = [text for text in lines_of(done.stderr) if not text.startswith((" ", "local: ", "prod: ", "docker: "))]
    assert len(last) == 1, done.stderr
    assert "Traceback" not in output
    assert "hush" not in output
    assert not [form for form in secret_forms(live.server.params["password"]) if form in output]
    assert state(live) == before


def test_an_error_on_top_of_a_ctrl_c_is_a_cancellation() -> None:
    from invoke.context import Context

    from ops import cli

    def broken(c: Context) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            raise ValueError("wrong nesting level")  # noqa: B904

    with pytest.raises(Exit) as caught:
        cli.task()(broken).body(Context())  # type: ignore[attr-defined]
    assert caught.value.code == 130


def test_the_table_holds_every_task_of_the_database() -> None:
    names = {name for name in tasks.ns.task_names if name.startswith("db.")}
    assert names <= {word for row in BAD for word in row[0].split()}


# --- standard streams ---------------------------------------------------------------------


def shell(live: Database, script: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in the clone, with `$inv` for the command."""
    buffered = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}  # as it is for users
    return subprocess.run(
        ["bash", "-c", script],
        cwd=live.root,
        env={**buffered, LOCAL: live.url, "inv": INV},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize("task", ["db.sessions", "db.sessions --json", "db.status", "db.url", "env.show", "doctor"])
def test_a_reader_that_has_gone_is_no_error(live: Database, task: str) -> None:
    done = shell(live, f'"$inv" {task} | true; exit ${{PIPESTATUS[0]}}')
    assert done.returncode == 0, done.stderr
    assert "Broken" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("task", ["db.sessions", "db.url", "env.show --json", "doctor"])
def test_a_result_that_cannot_be_written_is_an_error(live: Database, task: str) -> None:
    for script, message in (
        (f'"$inv" {task} >/dev/full', "No space left on device"),
        (f'"$inv" {task} >&-', "there is no standard output"),
    ):
        done = shell(live, script)
        assert done.returncode == 1, script
        assert message in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_a_reader_that_has_gone_is_no_error_where_something_is_bad_either(live: Database) -> None:
    done = shell(live, 'CONNECTION_URL=x "$inv" doctor | true')
    assert "Exception ignored" not in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_standard_input_and_error(live: Database) -> None:
    done = shell(live, '"$inv" env.set X <&-')
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert shell(live, '"$inv" db.drop -t prod <&-').returncode == 2
    done = shell(live, '"$inv" db.status --json 2>&-')
    assert done.returncode == 0
    assert done.stdout.startswith("{")


def test_a_schema_comes_from_standard_input(live: Database) -> None:
    before = state(live)
    done = Cli(live.root)("db.schema-load", "--file", "-", env={LOCAL: live.url}, stdin="select 1;\nselect x;\n")
    assert (done.returncode, done.stdout) == (1, "")
    assert ":2:8" in done.stderr
    assert state(live) == before


def test_works_from_a_sub_directory(live: Database) -> None:
    done = Cli(live.root)("db.status", env={LOCAL: live.url}, cwd=live.root / "sql")
    assert done.returncode == 0, done.stderr
    assert "public.users" in done.stdout


def test_ctrl_c_is_exit_130(live: Database) -> None:
    with subprocess.Popen(
        [INV, "db.wait", "--timeout", "30"],
        cwd=live.root,
        env={**os.environ, LOCAL: "postgresql://u:hushhush@127.0.0.1:1/db"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        assert "waiting" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (130, "", "cancelled\n")


def test_the_shells_libpq_variables_lead_nowhere_else(live: Database) -> None:
    """They are meant for psql; here they would redirect or break what the URL says."""
    foreign = {
        "PGHOSTADDR": "127.0.0.9",
        "PGSSLMODE": "require",
        "PGSERVICE": "nowhere",
        "PGOPTIONS": "-c search_path=x",
        "PGCLIENTENCODING": "LATIN1",
    }
    assert "public.users" in Cli(live.root).ok("db.status", env={LOCAL: live.url, **foreign})
    assert Cli(live.root).ok("db.connect", env={LOCAL: live.url, **foreign}, stdin="show search_path;").count("public")


# --- what listens on the port ------------------------------------------------------------


@contextlib.contextmanager
def listening(handle: type[socketserver.BaseRequestHandler], port: int = 0) -> Iterator[int]:
    """Serve connections by `handle` on a port of the loopback address."""

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", port), handle) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()


class ClosesAtOnce(socketserver.BaseRequestHandler):
    pass


class SaysHttp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.request.recv(100)
        self.request.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


class StaysSilent(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            while self.request.recv(1000):
                pass


class IsStarting(socketserver.BaseRequestHandler):
    """What a Postgres says that has not finished its start."""

    def handle(self) -> None:
        while self.request.recv(8)[4:8] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # asks for TLS or GSS
            self.request.sendall(b"N")
        fields = b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0"
        self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (ClosesAtOnce, "takes the connection and closes it"),
        (SaysHttp, "what answers there is not Postgres"),
        (StaysSilent, "did not answer in time"),
        (IsStarting, "the server is starting or stopping, try again (inv db.wait)"),
    ],
)
def test_what_is_no_postgres_is_said_in_time(
    live: Database, handle: type[socketserver.BaseRequestHandler], message: str
) -> None:
    with listening(handle) as port:
        begun = time.monotonic()
        done = Cli(live.root)(
            "db.status",
            env={LOCAL: f"postgresql://u:hushhush@127.0.0.1:{port}/db", "INVOKE_DB_CONNECT_TIMEOUT": "2"},
        )
        took = time.monotonic() - begun
    *waiting, last = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert not waiting or waiting == [f"waiting for u@127.0.0.1:{port}/db (local) to let us in"]
    assert message in last
    assert took < 8


# --- db.wait ------------------------------------------------------------------------------


def wait(live: Database, url: str, timeout: str) -> tuple[subprocess.CompletedProcess[str], float]:
    begun = time.monotonic()
    done = Cli(live.root)("db.wait", "--timeout", timeout, env={LOCAL: url})
    return done, time.monotonic() - begun


def test_wait_answers_at_once_where_a_server_does(live: Database) -> None:
    done, _ = wait(live, live.url, "0")
    assert (done.returncode, done.stdout) == (0, "")
    done, _ = wait(live, words(live)["{missing}"], "0")
    assert done.returncode == 0
    assert "the database is not there yet (inv db.setup -t local)" in done.stderr


@pytest.mark.parametrize("word", ["{wrong}", "{norole}", "{tls}"])
def test_wait_stops_at_once_on_what_never_heals(live: Database, word: str) -> None:
    done, took = wait(live, words(live)[word], "30")
    assert (done.returncode, len(lines_of(done.stderr))) == (1, 1)
    assert took < 5


@pytest.mark.parametrize("handle", [None, StaysSilent, IsStarting])
def test_wait_gives_up_in_time(live: Database, handle: type[socketserver.BaseRequestHandler] | None) -> None:
    with listening(handle) if handle else contextlib.nullcontext(1) as port:
        done, took = wait(live, f"postgresql://u:hushhush@127.0.0.1:{port}/db", "1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1].startswith("waited 1 s: ")
    assert 1 < took < 6


def test_wait_ends_when_the_server_has_come_up(live: Database) -> None:
    """Nobody listens, then one that is starting, then the real one."""

    class Forwards(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", live.server.port)) as other:
                back = threading.Thread(target=pump, args=(other, self.request), daemon=True)
                back.start()
                pump(self.request, other)

    def pump(one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    port = servers.free_port()
    url = live.target(port=str(port)).url(show_password=True)
    with subprocess.Popen(
        [INV, "db.wait"], cwd=live.root, env={**os.environ, LOCAL: url}, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        assert "waiting: nothing answers" in process.stderr.readline()
        with listening(IsStarting, port):
            time.sleep(0.6)
            assert process.poll() is None
        with listening(Forwards, port):
            _, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert err.endswith("answers\n")


# --- the canary ---------------------------------------------------------------------------

CANARY = "k@n%a:r/y'\"$\\Zq9"


class Watch:
    """Looks at the command lines of all processes for as long as it is open."""

    def __init__(self, text: str) -> None:
        self.needles = [form.encode() for form in secret_forms(text)]
        self.seen: list[bytes] = []
        self.looks = 0

    def watch(self, done: threading.Event) -> None:
        while not done.wait(0.03):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = path.read_bytes()
                    if any(needle in line for needle in self.needles):
                        self.seen.append(line)


@contextlib.contextmanager
def watching(text: str) -> Iterator[Watch]:
    watch, done = Watch(text), threading.Event()
    thread = threading.Thread(target=watch.watch, args=(done,), daemon=True)
    thread.start()
    yield watch
    done.set()
    thread.join()


def holding(folder: Path, needles: list[bytes]) -> set[str]:
    """Return the files below a folder that hold one of the needles."""
    found = set()
    for path in folder.rglob("*"):
        if path.is_file() and any(needle in path.read_bytes() for needle in needles):
            found.add(str(path.relative_to(folder)))
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="process lists are read from /proc")
def test_a_password_appears_nowhere(live: Database, clone: Path) -> None:
    """Not in output, echo, process list or files, whether tasks succeed or fail."""
    role = f"{live.name}_canary"
    with live.connect("postgres") as conn:
        conn.execute(
            sql.SQL("create role {} superuser login password {}").format(sql.Identifier(role), sql.Literal(CANARY))
        )
    inv = Cli(clone)
    url = live.target(user=role, password=CANARY, dbname=f"{live.name}_canary").url(show_password=True)
    (clone / "copy.sql").write_text("create table t (x int);\ncopy t from stdin;\n1\n\\.\n", encoding="utf-8")
    (clone / "bad.sql").write_text("select intt;\n", encoding="utf-8")
    (clone / "sub").mkdir()
    commands: list[tuple[str, Mapping[str, str], str, int]] = [
        ("env.set CONNECTION_URL", {}, url + "\n", 0),
        ("env.set POSTGRES_MASTER_PASSWORD", {}, CANARY + "\n", 0),
        ("db.setup", {}, "", 0),
        ("db.setup --schema copy.sql --no-seed", {}, "", 0),
        ("db.setup --schema bad.sql", {}, "", 1),
        ("db.status", {}, "", 0),
        ("db.status --json", {}, "", 0),
        ("db.sessions", {}, "", 0),
        ("db.url", {}, "", 0),
        ("db.wait", {}, "", 0),
        ("db.connect", {}, "select 1; select pg_sleep(0.2);", 0),
        ("env.show", {}, "", 0),
        ("env.show --json", {}, "", 0),
        ("doctor", {}, "", 0),
        ("db.status", {"CONNECTION_URL": url.replace(f"{role}:", "postgres:")}, "", 1),
        ("db.status", {"CONNECTION_URL": f"postgresql://u:{CANARY}@127.0.0.1/db"}, "", 2),
        ("env.show", {"CONNECTION_URL": f"postgresql://u:{CANARY}@127.0.0.1/db"}, "", 0),
        ("doctor", {"CONNECTION_URL": f"postgresql://u:{CANARY}@127.0.0.1/db"}, "", 1),
        ("db.drop", {}, "", 0),
        ("db.status -t prod", {"PROD_DB_ENDPOINT": "127.0.0.1", "POSTGRES_MASTER_USERNAME": "u"}, "", 1),
    ]
    needles = [form.encode() for form in secret_forms(CANARY)]
    try:
        with watching(CANARY) as watch:
            for line, env, stdin, code in commands:
                done = inv("-e", *line.split(), env=dict(env), stdin=stdin)
                assert done.returncode == code, (line, done.stderr)
                output = (done.stdout + done.stderr).encode()
                assert not [needle for needle in needles if needle in output], line
        assert watch.looks > 20
        assert not watch.seen
        assert holding(clone, needles) == {".env"}
        assert holding(Path(os.environ["HOME"]), needles) == set()
    finally:
        with live.connect("postgres") as conn:
            for suffix in ("", "__prev"):
                conn.execute(sql.SQL("drop database if exists {}").format(sql.Identifier(role + suffix)))
            conn.execute(sql.SQL("drop role {}").format(sql.Identifier(role)))


def test_the_embedded_servers_password_appears_nowhere_else(clone: Path) -> None:
    """Given by CONNECTION_URL, at the start of the server and in all that follows."""
    inv = Cli(clone)
    port = servers.free_port()
    url = f"postgresql://me:{quote(CANARY, safe='')}@127.0.0.1:{port}/mine"
    needles = [form.encode() for form in secret_forms(CANARY)]
    try:
        with watching(CANARY) as watch:
            for line in ("db.up", "db.setup", "db.status", "db.url"):
                done = inv("-e", *line.split(), env={LOCAL: url})
                assert done.returncode == 0, (line, done.stderr)
                assert not [n for n in needles if n in (done.stdout + done.stderr).encode()], line
        assert not watch.seen
        assert {Path(name).parts[:2] for name in holding(clone, needles)} <= {(".local", "postgres")}
        shown = inv.ok("db.url", "--show-password", env={LOCAL: url}).strip()
        with psycopg.connect(shown) as conn:
            assert conn.info.password == CANARY
    finally:
        inv.ok("db.down", "--wipe", "--confirm", "mine", env={LOCAL: url})


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [["--list"], ["db.setup", "--help"], ["--list", "--list-format=json"]])
def test_what_invoke_prints_may_find_no_reader(inv: Cli, args: list[str], unbuffered: str) -> None:
    """As in inv --list | head: the reader has gone before all is written, which is no fault."""
    reader, writer = os.pipe()
    os.close(reader)
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(
        [INV, *args], cwd=inv.root, env=env, stdout=writer, stderr=subprocess.PIPE, text=True
    ) as child:
        os.close(writer)
        _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_list_on_a_full_disk_is_one_line(inv: Cli, unbuffered: str) -> None:
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [INV, "--list"], cwd=inv.root, env=env, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (1, "standard output: No space left on device\n")


INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == sys.argv[1]:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupts())
sys.argv[1:], sys.argv[0] = [*sys.argv[1:2]], "inv"
import tasks
"""


@pytest.mark.parametrize("module", ["ops.app.commands", "config.defaults", "ops.workspace.commands"])
def test_ctrl_c_while_the_tasks_are_read_is_one_word(inv: Cli, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, module], cwd=inv.root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "cancelled\n")


def test_the_url_of_rds_needs_no_network(inv: Cli) -> None:
    url = "postgresql://u:p@db.c1.ca-central-1.rds.amazonaws.com:5432/cruddur"
    env = {"PROD_CONNECTION_URL": url, "INVOKE_RDS_CA_URL": "https://127.0.0.1:1/x.pem"}
    done = inv("db.url", "-t", "prod", env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("postgresql://u:****@db.c1.ca-central-1.rds.amazonaws.com:5432/cruddur?")
    assert "note: the URL names the file for them, but the RDS certificates were not fetched" in done.stderr
    assert inv("db.status", "-t", "prod", env=env).returncode == 1


def test_a_section_that_is_none_is_one_line(inv: Cli) -> None:
    (inv.root / "invoke.yaml").write_text("5\n")
    done = inv("db.status")
    assert (done.returncode, "it has to be sections, each with its settings" in done.stderr) == (2, True)
