"""The function that turns a confirmed Cognito sign-up into a row."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, settings_of_function, task

POOL = "the user pool, by id or ARN (default: AWS_COGNITO_USER_POOL_ID)"
FUNCTION = "the function's name (default: the setting lambda.function of that target, or of prod)"
CHANGES = "ops.lambdas.plan.Changes"
DRY = "tell what would be done, and write nothing (default: no)"


@task(
    help={"target": OF_AWS, "publish": "publish it, unless that content is there already (default: no)"},
    answer="ops.lambdas.publish.Layer",
)
def layer(c: Context, target: str = "", publish: bool = False, json: bool = False) -> None:
    """Build psycopg for the function's Python."""
    from ops import console
    from ops.lambdas import plan
    from ops.lambdas import publish as publishing
    from ops.lambdas.package import function_code, layer, sbom

    found = settings_of_aws(c, target)
    lam = found.lambdas
    built = layer.build(lam.python, lam.architecture, function_code.folder(found))
    done = ", compiled" if built.compiled else ""
    console.say(
        f"{built.path}: {built.size / 1e6:.1f} MB for {lam.runtime} on {lam.architecture}{done}, sha256:{built.sources}; "
        f"what is in it: {sbom.place(built).name}"
    )
    doing = plan.Plan(tell=plan.lines(json=json))
    version = publishing.ensure_layer(aws(found), lam, built, doing) if publish else None
    if not publish and not built.compiled:
        console.say(publishing.uncompiled_warning(lam))
    if json:
        console.as_json(publishing.described(built, lam, version))
    else:
        console.result(version or str(built.path))


@task(
    help={
        "target": OF_AWS,
        "dry-run": DRY,
        "adopt": "take over a function or role of this name that was made by hand (default: no)",
    },
    answer=CHANGES,
)
def deploy(c: Context, target: str = "", dry_run: bool = False, adopt: bool = False, json: bool = False) -> None:
    """Make the function and what it needs, or what differs."""
    from ops.cloud.clock import Clock
    from ops.console import as_json
    from ops.lambdas import deploy, plan

    found = settings_of_aws(c, target)
    done = deploy.deploy(found, aws(found), Clock(), dry_run=dry_run, adopt=adopt, tell=plan.lines(json=json))
    if json:
        as_json(done.changes)


@task(
    help={
        "target": OF_AWS,
        "pool": POOL,
        "replace": "take the place of another function (default: stop and say which)",
        "dry-run": DRY,
    },
    answer=CHANGES,
)
def attach(
    c: Context, target: str = "", pool: str = "", replace: bool = False, dry_run: bool = False, json: bool = False
) -> None:
    """Let the pool call the function when a user confirms."""
    from ops.console import as_json
    from ops.lambdas import plan
    from ops.lambdas.user_pool import attach
    from ops.lambdas.user_pool import pool as pools

    found = settings_of_aws(c, target)
    cloud = aws(found)
    doing = plan.Plan(write=not dry_run, tell=plan.lines(json=json))
    attach.attach(found, cloud, pools.open_pool(found, cloud, pool), doing, replace=replace)
    if json:
        as_json(doing.changes)


@task(help={"target": OF_AWS, "pool": POOL, "dry-run": DRY}, answer=CHANGES)
def detach(c: Context, target: str = "", pool: str = "", dry_run: bool = False, json: bool = False) -> None:
    """Take the function out of the pool's trigger."""
    from ops.console import as_json
    from ops.lambdas import plan
    from ops.lambdas.user_pool import attach
    from ops.lambdas.user_pool import pool as pools

    found = settings_of_aws(c, target)
    cloud = aws(found)
    doing = plan.Plan(write=not dry_run, tell=plan.lines(json=json))
    attach.detach(found, cloud, pools.open_pool(found, cloud, pool), doing)
    if json:
        as_json(doing.changes)


@task(
    help={
        "pool": POOL,
        "target": "the database: local, docker, prod or one of yours, whose function and pool are meant then (default: prod)",
        "function": FUNCTION,
        "link": "give seeded rows with made-up ids to their users, by handle or verified e-mail (default: no)",
        "confirm": "the database's name, where pool and database may not belong together (default: ask)",
        "dry-run": DRY,
    },
    answer="ops.lambdas.user_pool.sync.Synced",
)
def sync_users(
    c: Context,
    pool: str = "",
    target: str = "",
    function: str = "",
    link: bool = False,
    confirm: str = "",
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """Insert every confirmed user of the pool who has no row."""
    from ops import console
    from ops.errors import Problem
    from ops.lambdas.user_pool import pool as pools
    from ops.lambdas.user_pool import sync

    found = settings_of_function(c, target, function)
    named = pools.identifier(found, pool)
    report = sync.sync_users(found, aws(found), named, target, dry_run=dry_run, linking=link, confirm=confirm)
    if json:
        console.as_json(report.synced(written=not dry_run))
    else:
        if dry_run:
            console.say("nothing was written; it would be:")
        console.result("\n".join(report.lines()))
    if report.refused:
        raise Problem(
            f"{report.refused} users have no row, since public.users refused them: mend what is named, then run this again"
        )


@task(
    help={
        "local": "run the packaged function on this machine (default: the deployed one, in AWS)",
        "event": "a file, a sample's name or - (default: forgot-password, which writes nothing)",
        "target": "with --local, the database: local, docker, prod or one of yours (default: the deployed function's)",
        "function": FUNCTION,
        "confirm": "with a sample that adds its user to production: the database's name (default: ask)",
    },
    answer="ops.lambdas.invoke.Invoked",
)
def invoke(
    c: Context,
    local: bool = False,
    event: str = "",
    target: str = "",
    function: str = "",
    confirm: str = "",
    json: bool = False,
) -> None:
    """Send the function an event, and print its answer."""
    from ops.console import as_json
    from ops.errors import Misconfigured
    from ops.lambdas import invoke

    found = settings_of_function(c, target, function)
    if target and not local:
        raise Misconfigured("--target goes with --local: the deployed function has its own database")
    sent, made_up = invoke.event(event), invoke.is_sample(event)
    name = found.lambdas.function
    if not local:
        returned = invoke.invoke_in_aws(aws(found), found, sent, made_up=made_up, confirm=confirm)
        as_json(invoke.Invoked(name, False, returned, None) if json else returned)
        return
    answer = invoke.invoke_here(found, aws(found), target, sent, made_up=made_up, confirm=confirm)
    as_json(invoke.Invoked(name, True, answer.returned, round(answer.seconds, 3)) if json else answer.returned)
    invoke.check_stored(answer)


@task(
    help={
        "target": OF_AWS,
        "follow": "go on until Ctrl-C (default: no)",
        "minutes": "how far to look back (default: 60)",
    },
    answer="lines[ops.lambdas.logs.Event]",
)
def logs(c: Context, target: str = "", follow: bool = False, minutes: str = "60", json: bool = False) -> None:
    """Print what the function has logged."""
    from ops.errors import Misconfigured
    from ops.lambdas import logs

    found = settings_of_aws(c, target)
    if not (minutes.isascii() and minutes.isdigit() and len(minutes) < 7):
        raise Misconfigured(f"--minutes {minutes}: give a whole number")
    logs.show(aws(found), found, int(minutes), follow=follow, json=json)


@task(
    help={"target": OF_AWS, "days": "how many, today among them, 1 to 90 (default: 14)"},
    answer="ops.lambdas.sign_ups.SignUps",
)
def sign_ups(c: Context, target: str = "", days: str = "14", json: bool = False) -> None:
    """Count sign-ups and their failures, day by day."""
    from ops.lambdas import sign_ups

    found = settings_of_aws(c, target)
    sign_ups.show(found, aws(found), days, json=json)


@task(help={"target": OF_AWS, "pool": POOL}, answer="ops.lambdas.status.Status")
def status(c: Context, target: str = "", pool: str = "", json: bool = False) -> None:
    """Show the function, and where it has drifted."""
    from ops import console
    from ops.cloud.facts import table_rows
    from ops.lambdas import status
    from ops.lambdas.user_pool import pool as pools

    found = settings_of_aws(c, target)
    named = pools.identifier(found, pool) if pool or pools.is_configured(found) else ""
    facts = status.facts(found, aws(found), named)
    if json:
        console.as_json(facts)
    else:
        rows = table_rows(status.told(facts))
        console.table(("about", "value"), rows, red=lambda row: bool(facts.drift) and row["about"] == "drift")


@task(
    help={"target": OF_AWS, "confirm": "the function's name, which stands for typing it (default: ask)"},
    answer=CHANGES,
)
def delete(c: Context, target: str = "", confirm: str = "", json: bool = False) -> None:
    """Delete the function and what belongs to it alone."""
    from ops.cloud.clock import Clock
    from ops.console import as_json
    from ops.lambdas import delete, plan

    found = settings_of_aws(c, target)
    done = delete.delete_all(found, aws(found), Clock(), confirm=confirm, tell=plan.lines(json=json))
    if json:
        as_json(done.changes)
