"""db.up, db.down, db.status and db.wait: the server behind a target."""

from __future__ import annotations

import time

from config.declared import Kind, assert_never
from config.settings import Settings
from config.targets import Target, kind_of, resolve
from ops import console, own_files, postgres
from ops.console import say
from ops.db import scratch_server, status, table_rows
from ops.errors import LoginFailed, Misconfigured, NoDatabase, NothingAnswers, Problem, Unreachable
from ops.targets import compose, last_look, opening
from ops.targets.embedded import postmaster, server, state
from ops.targets.roles import passwords
from ops.typed_name import require_confirmation


def up(settings: Settings, name: str) -> None:
    """Start the server of a target, and wait until it lets us in."""
    settings = settings.on(name)
    name = settings.focus.name
    match kind_of(settings, settings.focus):
        case Kind.EMBEDDED:
            made = server.start_server(settings.root)
            say(f"the embedded server runs at 127.0.0.1:{made.port}: inv db.setup makes the database")
        case Kind.COMPOSE:
            resolve(settings, name)
            compose.up(settings.root)
            wait_for(settings, name, 60)
        case Kind.RDS:
            about = "production" if settings.focus.protected else name
            raise Misconfigured(f"{about} is not started from here: inv rds.start, or inv db.wait -t {name}")
        case Kind.SERVER:
            up_server(settings, name)
        case never:
            assert_never(never)


def up_server(settings: Settings, name: str) -> None:
    """Start the embedded server with the login of a URL that names this machine, unless another one answers there."""
    target = resolve(settings, name)
    assert target is not None
    console.hide(target.password)
    login = server.login_of(target)
    try:
        opening.maintenance(settings, target, "db.up").close()
    except (NothingAnswers, LoginFailed) as error:
        if isinstance(error, LoginFailed) and not server.is_answering(settings.root, target.port):
            raise
        server.start_server(settings.root, login)
        say(f"the embedded server runs at {target.address}: inv db.setup makes the database")
    else:
        say(f"a server answers at {target.address} already: nothing to do")


def down(settings: Settings, name: str, *, wipe: bool, confirm: str) -> None:
    """Stop the server of a target; with `wipe` its data goes too."""
    settings = settings.on(name)
    name = settings.focus.name
    match kind_of(settings, settings.focus):
        case Kind.RDS:
            about = "production" if settings.focus.protected else name
            raise Misconfigured(f"{about} is not stopped from here: inv rds.stop")
        case Kind.COMPOSE:
            if wipe:
                ask_to_wipe(settings, name, confirm)
            compose.down(settings.root, wipe=wipe)
            if wipe:
                forget(settings, name, passwords.COMPOSE)
            say("stopped the compose service" + (" and removed its data" if wipe else ""))
        case Kind.SERVER:
            require_ours(settings, name)
            down_embedded(settings, name, wipe=wipe, confirm=confirm)
        case Kind.EMBEDDED:
            down_embedded(settings, name, wipe=wipe, confirm=confirm)
        case never:
            assert_never(never)


def require_ours(settings: Settings, name: str) -> None:
    """Raise `Misconfigured` where a URL names another server than the embedded one: that is not ours to stop."""
    target = resolve(settings, name)
    made = state.load(settings.root)
    if target and not (target.loopback and made and made.port == target.port):
        raise Misconfigured(
            f"{target.source} names {target.address}, which is not the embedded server: nothing to stop or wipe here "
            "(unset it for that one)"
        )


def down_embedded(settings: Settings, name: str, *, wipe: bool, confirm: str) -> None:
    """Stop the embedded server; with `wipe` its data goes too."""
    if wipe:
        ask_to_wipe(settings, name, confirm)
        left = server.remove_data(settings.root)
        scratch_server.remove_all(settings.root)
        forget(settings, name, passwords.EMBEDDED)
        say("removed the embedded server and its data")
        own_files.name_foreign(left)
    elif server.stop_server(settings.root):
        say("stopped the embedded server; its data is kept (inv db.up)")
    else:
        say("the embedded server does not run: nothing to do")


def forget(settings: Settings, name: str, server: str) -> None:
    """Forget what was known of a server whose data is gone: its databases, and the passwords of its logins and people."""
    from ops.db.access import grant

    last_look.forget(settings.root, settings.vars.env_file, name)
    passwords.forget(settings.root, server)
    target = resolve(settings, name)
    grant.forget_all(settings.root, name, target.dbname if target else settings.database)


def ask_to_wipe(settings: Settings, name: str, given: str) -> None:
    """Ask for the database's name before all data of a server goes, which nothing undoes."""
    target = resolve(settings, name)
    database = target.dbname if target else settings.database
    what = f"all databases of the {name} server for good"
    require_confirmation(
        database,
        given,
        this="the name of this database",
        act=f"--wipe removes {what}",
        question=f"Remove {what}? Type {database} to go on:",
    )


def show(settings: Settings, name: str, *, watch: bool = False, json: bool) -> None:
    """Print what runs where, or draw it until Ctrl-C; a server that is away is a fact, not an error."""
    if watch:
        from ops.db import watching

        watching.require_terminal(json=json)
    settings = settings.on(name)
    name = settings.focus.name
    if is_stopped(settings):
        if json:
            console.as_json(stopped(settings))
        else:
            console.result(f"local: {STOPPED}")
        return
    if watch:
        watching.watch(settings, name)
        return
    with opening.open_target(settings, name, "db.status", announced=False, login="reader") as at:
        found = status.report(at)
    if json:
        console.as_json(found)
        return
    console.result(f"{found.target}: {found.address} from {at.target.source}")
    console.result(
        f"PostgreSQL {found.version}, TLS {'on' if found.tls else 'off'}"
        + (f", PRODUCTION: {at.prod}" if found.production else "")
    )
    if not found.exists:
        console.result(at.missing)
    else:
        kept = f", previous one kept as {found.previous_database}" if found.previous_database else ""
        console.result(f"size {status.human(found.size_bytes)}{kept}")
    if found.tables:
        rows = [
            {"table": t.name, "rows": table_rows.count(t), "size": status.human(t.size_bytes)} for t in found.tables
        ]
        console.table(("table", "rows", "size"), rows)
    if found.note:
        say(f"note: {found.note}")


STOPPED = "the embedded server does not run: inv db.up, or inv db.setup"


def is_stopped(settings: Settings) -> bool:
    """Whether the target of the settings is the embedded server, and that does not run: to look at it is no reason to start it."""
    made = state.load(settings.root)
    return kind_of(settings, settings.focus) is Kind.EMBEDDED and not (made and postmaster.running_pid(made))


def stopped(settings: Settings) -> status.Status:
    return status.Status(settings.focus.name, Kind.EMBEDDED.word, None, running=False)


def look(settings: Settings, name: str) -> status.Status:
    """Return what `show` prints."""
    settings = settings.on(name)
    if is_stopped(settings):
        return stopped(settings)
    with opening.open_target(settings, name, "db.status", announced=False, login="reader") as at:
        return status.report(at)


def wait(settings: Settings, name: str, timeout: str) -> None:
    """Wait until the target's server lets us in, for as long as the option says."""
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise Misconfigured(f"--timeout {timeout}: give a number of seconds")
    wait_for(settings, name, seconds)


def wait_for(settings: Settings, name: str, seconds: float) -> None:
    """Wait until the target's server lets us in, for so long at most; stop at once on what never heals."""
    deadline = time.monotonic() + seconds
    told = False
    target: Target | None = None
    while True:
        try:
            target = target or opening.resolve_target(settings, name)
            left = max(1, round(deadline - time.monotonic()))  # one that stays silent must not hold us longer
            postgres.connect(target, task="db.wait", timeout=min(settings.connect_timeout, left)).close()
        except (NothingAnswers, Unreachable) as error:
            if time.monotonic() >= deadline:
                raise Problem(f"waited {seconds:.0f} s: {error}") from None
            if not told:
                say(f"waiting: {error}")
                told = True
            time.sleep(min(0.25, max(0.0, deadline - time.monotonic())))
        except NoDatabase:
            assert target is not None
            say(f"{target.address}: the server answers; the database is not there yet (inv db.setup -t {target.name})")
            return
        else:
            say(f"{target.address} answers")
            return
