"""The function that turns a confirmed Cognito sign-up into a row."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import JSON, OF_AWS, aws, settings_of_aws, settings_of_function, task

POOL = "the user pool, by id or ARN (default: AWS_COGNITO_USER_POOL_ID)"
FUNCTION = "the function's name (default: the setting lambda.function of that target, or of prod)"
DRY = "tell what would be done, and write nothing (default: no)"


@task(help={"target": OF_AWS, "publish": "publish it, unless that content is there already (default: no)"})
def layer(c: Context, target: str = "", publish: bool = False) -> None:
    """Build psycopg for the function's Python."""
    from ops.console import result, say
    from ops.lambdas import layer, package
    from ops.lambdas import publish as publishing
    from ops.lambdas.plan import Plan

    found = settings_of_aws(c, target)
    lam = found.lambdas
    built = layer.build(lam.python, lam.architecture, package.folder(found))
    done = ", compiled" if built.compiled else ""
    say(
        f"{built.path}: {built.size / 1e6:.1f} MB for {lam.runtime} on {lam.architecture}{done}, sha256:{built.sources}"
    )
    if publish:
        result(publishing.ensure(aws(found), lam, built, Plan()))
        return
    if not built.compiled:
        say(publishing.uncompiled(lam))
    result(str(built.path))


@task(
    help={
        "target": OF_AWS,
        "dry-run": DRY,
        "adopt": "take over a function or role of this name that was made by hand (default: no)",
    }
)
def deploy(c: Context, target: str = "", dry_run: bool = False, adopt: bool = False) -> None:
    """Make the function and what it needs, or what differs."""
    from ops.lambdas import deploy
    from ops.rds.waiting import Clock

    found = settings_of_aws(c, target)
    deploy.run(found, aws(found), Clock(), dry_run=dry_run, adopt=adopt)


@task(
    help={
        "target": OF_AWS,
        "pool": POOL,
        "replace": "take the place of another function (default: stop and say which)",
        "dry-run": DRY,
    }
)
def attach(c: Context, target: str = "", pool: str = "", replace: bool = False, dry_run: bool = False) -> None:
    """Let the pool call the function when a user confirms."""
    from ops.lambdas import attach
    from ops.lambdas import pool as pools
    from ops.lambdas.plan import Plan

    found = settings_of_aws(c, target)
    cloud = aws(found)
    attach.attach(found, cloud, pools.opened(found, cloud, pool), Plan(write=not dry_run), replace=replace)


@task(help={"target": OF_AWS, "pool": POOL, "dry-run": DRY})
def detach(c: Context, target: str = "", pool: str = "", dry_run: bool = False) -> None:
    """Take the function out of the pool's trigger."""
    from ops.lambdas import attach
    from ops.lambdas import pool as pools
    from ops.lambdas.plan import Plan

    found = settings_of_aws(c, target)
    cloud = aws(found)
    attach.detach(found, cloud, pools.opened(found, cloud, pool), Plan(write=not dry_run))


@task(
    help={
        "pool": POOL,
        "target": "the database: local, docker, prod or one of yours, whose function and pool are meant then (default: prod)",
        "function": FUNCTION,
        "link": "give seeded rows with made-up ids to their users, by handle or verified e-mail (default: no)",
        "confirm": "the database's name, where pool and database may not belong together (default: ask)",
        "dry-run": DRY,
    }
)
def sync_users(
    c: Context,
    pool: str = "",
    target: str = "",
    function: str = "",
    link: bool = False,
    confirm: str = "",
    dry_run: bool = False,
) -> None:
    """Insert every confirmed user of the pool who has no row."""
    from ops.console import result, say
    from ops.errors import Problem
    from ops.lambdas import pool as pools
    from ops.lambdas import sync

    found = settings_of_function(c, target, function)
    named = pools.identifier(found, pool)
    report = sync.run(found, aws(found), named, target, dry_run=dry_run, linking=link, confirm=confirm)
    if dry_run:
        say("nothing was written; it would be:")
    result("\n".join(report.lines()))
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
    }
)
def invoke(
    c: Context, local: bool = False, event: str = "", target: str = "", function: str = "", confirm: str = ""
) -> None:
    """Send the function an event, and print its answer."""
    from ops.console import as_json
    from ops.errors import Misconfigured
    from ops.lambdas import invoke

    found = settings_of_function(c, target, function)
    if target and not local:
        raise Misconfigured("--target goes with --local: the deployed function has its own database")
    sent, made_up = invoke.event(event), invoke.made_up(event)
    if not local:
        as_json(invoke.remote(aws(found), found, sent, made_up=made_up, confirm=confirm))
        return
    answer = invoke.here(found, aws(found), target, sent, made_up=made_up, confirm=confirm)
    as_json(answer.returned)
    invoke.stored(answer)


@task(
    help={
        "target": OF_AWS,
        "follow": "go on until Ctrl-C (default: no)",
        "minutes": "how far to look back (default: 60)",
    }
)
def logs(c: Context, target: str = "", follow: bool = False, minutes: str = "60") -> None:
    """Print what the function has logged."""
    from ops.errors import Misconfigured
    from ops.lambdas import logs

    found = settings_of_aws(c, target)
    if not (minutes.isascii() and minutes.isdigit() and len(minutes) < 7):
        raise Misconfigured(f"--minutes {minutes}: give a whole number")
    logs.show(aws(found), found, int(minutes), follow=follow)


@task(help={"target": OF_AWS, "pool": POOL, "json": JSON})
def status(c: Context, target: str = "", pool: str = "", json: bool = False) -> None:
    """Show the function, and where it has drifted."""
    from ops import console
    from ops.lambdas import pool as pools
    from ops.lambdas import status
    from ops.rds import instance

    found = settings_of_aws(c, target)
    named = pools.identifier(found, pool) if pool or pools.configured(found) else ""
    facts = status.facts(found, aws(found), named)
    if json:
        console.as_json(facts)
    else:
        drifted = bool(facts["drift"])
        console.table(("about", "value"), instance.rows(facts), red=lambda row: drifted and row["about"] == "drift")


@task(help={"target": OF_AWS, "confirm": "the function's name, which stands for typing it (default: ask)"})
def delete(c: Context, target: str = "", confirm: str = "") -> None:
    """Delete the function and what belongs to it alone."""
    from ops.lambdas import delete
    from ops.rds.waiting import Clock

    found = settings_of_aws(c, target)
    delete.run(found, aws(found), Clock(), confirm=confirm)
