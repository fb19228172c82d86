"""Postgres: create, load, seed, set up, connect, inspect."""

from __future__ import annotations

from typing import Literal

from invoke.context import Context

from ops.cli import CONFIRM, TARGET, VAR, settings, task, variables

FORCE = "end sessions that are at work, on production all, and leave behind what does not go along (default: no)"
ALLOW_STALL = (
    "on production: tables may be closed to all others for longer than migrate.stall (default: that is undone)"
)
END_IDLE = "end sessions in the way that are idle in a transaction, and no others (default: wait for them)"


@task(help={"target": TARGET})
def up(c: Context, target: str = "") -> None:
    """Start the server: embedded, or the compose service."""
    from ops.db import lifecycle

    lifecycle.up(settings(c, target), target)


@task(
    help={
        "target": TARGET,
        "wipe": "remove the data too (default: no)",
        "confirm": "with --wipe: the database's name, which stands for typing it (default: ask)",
    }
)
def down(c: Context, target: str = "", wipe: bool = False, confirm: str = "") -> None:
    """Stop the server that db.up has started."""
    from ops.db import lifecycle

    lifecycle.down(settings(c, target), target, wipe=wipe, confirm=confirm)


@task(
    help={
        "target": TARGET,
        "watch": "at a terminal: draw what goes on there every other second, until Ctrl-C (default: one look)",
    },
    answer="ops.db.status.Status",
)
def status(c: Context, target: str = "", watch: bool = False, json: bool = False) -> None:
    """Show what runs where: version, tables, rows, sizes."""
    from ops.db import lifecycle

    lifecycle.show(settings(c, target), target, watch=watch, json=json)


@task(help={"target": TARGET})
def create(c: Context, target: str = "") -> None:
    """Create the database if it is not there."""
    from ops.console import say
    from ops.db import swap
    from ops.targets import opening

    with opening.open_target(settings(c, target), target, "db.create", writes=True) as at:
        made = swap.create(at)
        say(f"created {at.name}" if made else f"{at.name} is there already: nothing to do")


@task(help={"target": TARGET, "force": FORCE, "confirm": CONFIRM})
def drop(c: Context, target: str = "", force: bool = False, confirm: str = "") -> None:
    """Drop the database; db.undo brings it back."""
    from ops.console import say
    from ops.db import swap
    from ops.targets import identity, opening, production_guard

    with opening.open_target(settings(c, target), target, "db.drop", writes=True) as at:
        production_guard.confirm(at, "drop", confirm)
        dropped = swap.drop(at, force=force)
        kept = f"dropped {at.name}; it is kept as {at.name}{identity.PREV} until another takes that place (inv db.undo brings it back)"
        say(kept if dropped else f"there is no {at.name}: nothing to do")


@task(help={"target": TARGET, "force": FORCE, "confirm": CONFIRM})
def undo(c: Context, target: str = "", force: bool = False, confirm: str = "") -> None:
    """Bring back what was before a setup, pull or drop."""
    from ops.console import say
    from ops.db import swap, table_rows
    from ops.targets import opening, production_guard

    with opening.open_target(settings(c, target), target, "db.undo", writes=True) as at:
        production_guard.confirm(at, "undo", confirm)
        swapped = swap.undo(at, force=force)
        with at.connect() as conn:
            rows = table_rows.summary(table_rows.tables(conn))
        again = "; inv db.undo swaps back" if swapped else ""
        say(f"{at.name} is the previous one again: {rows}{again}")


@task(
    help={
        "target": TARGET,
        "file": "the SQL file, - for standard input (default: paths.schema)",
        "var": VAR,
        "allow-stall": ALLOW_STALL,
        "end-idle-transactions": END_IDLE,
        "confirm": CONFIRM,
    },
    iterable=["var"],
)
def schema_load(
    c: Context,
    target: str = "",
    file: str = "",
    var: list[str] | None = None,
    allow_stall: bool = False,
    end_idle_transactions: bool = False,
    confirm: str = "",
) -> None:
    """Load the schema into the database, all or nothing."""
    from ops.db import build

    care = build.Care(allow_stall, end_idle_transactions)
    build.schema_load(settings(c, target), target, file, variables(var), confirm, care)


@task(
    help={
        "target": TARGET,
        "file": "the SQL file, - for standard input (default: paths.seed)",
        "var": VAR,
        "again": "apply a seed that was applied before (default: no)",
        "allow-stall": ALLOW_STALL,
        "end-idle-transactions": END_IDLE,
        "confirm": CONFIRM,
    },
    iterable=["var"],
)
def seed(
    c: Context,
    target: str = "",
    file: str = "",
    var: list[str] | None = None,
    again: bool = False,
    allow_stall: bool = False,
    end_idle_transactions: bool = False,
    confirm: str = "",
) -> None:
    """Load seed rows, once for each content of the file."""
    from ops.db import build

    care = build.Care(allow_stall, end_idle_transactions)
    build.seed_load(settings(c, target), target, file, variables(var), confirm, care, again=again)


@task(
    help={
        "target": TARGET,
        "schema": "the schema file (default: paths.schema)",
        "seed": "the seed file (default: paths.seed)",
        "var": VAR,
        "force": FORCE,
        "no-seed": "leave the tables empty (default: seed them)",
        "confirm": CONFIRM,
    },
    iterable=["var"],
)
def setup(
    c: Context,
    target: str = "",
    schema: str = "",
    seed: str = "",
    var: list[str] | None = None,
    force: bool = False,
    no_seed: bool = False,
    confirm: str = "",
) -> None:
    """Build the database beside the live one, then swap it in."""
    from ops.db import build

    build.setup(
        settings(c, target),
        target,
        schema,
        "" if no_seed else seed or build.DEFAULT,
        variables(var),
        confirm,
        force=force,
    )


@task(help={"target": TARGET, "write": "on production: allow writes (default: read-only there)"})
def connect(c: Context, target: str = "", write: bool = False) -> None:
    """Open psql or pgcli on the database."""
    from ops import process
    from ops.console import interactive
    from ops.db import client, reader
    from ops.targets import opening

    loaded = settings(c, target)
    login: Literal["reader"] | None = "reader" if loaded.focus.protected and not write else None
    with opening.open_target(loaded, target, "db.connect", writes=True, login=login) as at:
        at.required()
        person = interactive()
        tool = client.choose(interactive=person, tls=bool(at.conn.pgconn.ssl_in_use))
        way, options = reader.way(at) if at.prod and not write else (at.target, "")
        argv, env = client.command(tool, way, interactive=person, prod=bool(at.prod), options=options)
    process.replace(argv, process.child_environ(env))


@task(
    help={
        "target": TARGET,
        "name": "a file of paths.queries, without .sql: home, users",
        "limit": "the most rows, where the query takes %(limit)s (default: 20)",
        "var": "another parameter of the query, NAME=VALUE (repeatable; default: null)",
        "explain": "print its plan and do not run it; as on production after db.pull --plans (default: no)",
    },
    iterable=["var"],
    answer="list[ops.db.query.Row]",
)
def query(
    c: Context,
    name: str,
    target: str = "",
    limit: str = "20",
    var: list[str] | None = None,
    explain: bool = False,
    json: bool = False,
) -> None:
    """Print the rows of a query of yours, or its plan."""
    from ops.db import query

    query.show(settings(c, target), name, target, limit, variables(var), json=json, explain=explain)


@task(
    help={
        "target": TARGET,
        "values": "at a terminal: the queries with the values in them, which may be people's data (default: no)",
    },
    answer="list[ops.db.sessions.Session]",
)
def sessions(c: Context, target: str = "", values: bool = False, json: bool = False) -> None:
    """List who is connected to the server."""
    from ops import console
    from ops.db import sessions as all_sessions
    from ops.targets import opening

    all_sessions.check_values(values, json=json)
    with opening.open_target(settings(c, target), target, "db.sessions", login="reader") as at:
        rows = all_sessions.listed(at, values=values)
    if json:
        console.as_json(rows)
    else:
        console.table(all_sessions.COLUMNS, [all_sessions.as_row(row) for row in rows])


@task(help={"target": TARGET, "confirm": CONFIRM})
def kill_sessions(c: Context, target: str = "", confirm: str = "") -> None:
    """End all other sessions on the database."""
    from ops.console import say
    from ops.db import sessions as all_sessions
    from ops.targets import opening, production_guard

    with opening.open_target(settings(c, target), target, "db.kill-sessions", writes=True) as at:
        production_guard.confirm(at, "kill-sessions", confirm)
        at.work.by_steps = True
        rows = all_sessions.in_the_way(at.conn, [at.name])
        all_sessions.end_sessions(at.conn, rows)
        for row in rows:
            say(f"ended {all_sessions.describe(row)}")
        say(f"{len(rows)} sessions ended on {at.name}")


@task(
    help={
        "target": TARGET,
        "production": "it is production, whatever it is called (default: no)",
        "not-production": "it is none, though it lies on RDS or was marked before (default: no)",
        "confirm": CONFIRM,
    }
)
def mark(
    c: Context, target: str = "", production: bool = False, not_production: bool = False, confirm: str = ""
) -> None:
    """Say in the database's comment whether it is production."""
    from ops.console import say
    from ops.errors import Misconfigured
    from ops.targets import opening, production_guard

    if production == not_production:
        raise Misconfigured("give one of --production, --not-production")
    with opening.open_target(settings(c, target), target, "db.mark", writes=True) as at:
        say(production_guard.mark(at, production=production, given=confirm))


@task(
    help={"target": TARGET, "show-password": "print the password too (default: masked)"},
    answer="ops.targets.url.Url",
)
def url(c: Context, target: str = "", show_password: bool = False, json: bool = False) -> None:
    """Print the database's URL."""
    from ops import console
    from ops.targets import opening
    from ops.targets import url as reached

    found = reached.url(opening.resolve_target(settings(c, target), target, shown=True), show_password=show_password)
    if json:
        console.as_json(found)
    else:
        console.result(found.url)


@task(help={"target": TARGET, "timeout": "seconds to wait (default: 30)"})
def wait(c: Context, target: str = "", timeout: str = "30") -> None:
    """Wait until the database answers."""
    from ops.db import lifecycle

    lifecycle.wait(settings(c, target), target, timeout)
