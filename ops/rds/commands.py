"""RDS: the instance provisioned, and the door to it opened for this workspace."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import JSON, aws, settings, task


@task(
    help={
        "dry-run": "print the request as JSON, password masked, and send nothing (default: no)",
        "adopt": "take over an instance of this name that was made by hand: it is tagged (default: no)",
    }
)
def create(c: Context, dry_run: bool = False, adopt: bool = False) -> None:
    """Make the instance, or go on waiting for it."""
    from ops.console import result
    from ops.rds import create, instance
    from ops.rds.waiting import Clock

    found = settings(c, may_make_env_file=True)
    if dry_run:
        create.show(found, aws(found))
    else:
        result(instance.host(create.run(found, aws(found), Clock(), adopt=adopt)))


@task(help={"json": JSON})
def status(c: Context, json: bool = False) -> None:
    """Show the instance as AWS knows it, and where it differs."""
    from ops import console
    from ops.rds import instance

    found = settings(c)
    cloud = aws(found)
    facts = instance.facts(found, cloud, instance.required(cloud, found.rds))
    if json:
        console.as_json(facts)
    else:
        console.table(("about", "value"), instance.rows(facts))


@task(help={"save": "save it in the env file, whatever stands there (default: no)"})
def endpoint(c: Context, save: bool = False) -> None:
    """Print the host name of the instance."""
    from ops.console import result
    from ops.rds import instance, saved

    found = settings(c, may_make_env_file=save)
    row = instance.required(aws(found), found.rds)
    result(instance.endpoint(row))
    if save:
        saved.save(found, row, force=True)


@task()
def start(c: Context) -> None:
    """Start the stopped instance, and wait for it."""
    from ops.console import say
    from ops.rds import instance
    from ops.rds.waiting import Clock

    found = settings(c)
    say(instance.start(aws(found), found.rds, Clock()))


@task()
def stop(c: Context) -> None:
    """Stop the instance; AWS starts it again after 7 days."""
    from ops.console import say
    from ops.rds import instance
    from ops.rds.waiting import Clock

    found = settings(c)
    say(instance.stop(aws(found), found.rds, Clock()))


@task(help={"name": "the snapshot's name (default: the instance's, with the time)"})
def snapshot(c: Context, name: str = "") -> None:
    """Make a snapshot of the instance, and wait for it."""
    from ops.console import result
    from ops.rds import instance
    from ops.rds.waiting import Clock

    found = settings(c)
    result(instance.snapshot(aws(found), found.rds, name, Clock()))


@task(
    help={
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
        "no-snapshot": "leave no final snapshot: the data is gone for good (default: leave one)",
    }
)
def delete(c: Context, confirm: str = "", no_snapshot: bool = False) -> None:
    """Delete the instance and its group; a final snapshot stays."""
    from ops.console import say
    from ops.rds import delete
    from ops.rds.waiting import Clock

    found = settings(c)
    say(delete.run(found, aws(found), Clock(), confirm=confirm, snapshot=not no_snapshot))


@task()
def rotate_password(c: Context) -> None:
    """Give the master user a new password."""
    from ops.console import say
    from ops.rds import rotate
    from ops.rds.waiting import Clock

    found = settings(c)
    say(rotate.run(found, aws(found), Clock()))


@task()
def ca(c: Context) -> None:
    """Fetch the certificates that RDS is checked against."""
    from ops.console import result
    from ops.rds import ca

    result(str(ca.fetch(settings(c))))


@task(
    help={
        "ip": "the address to let in (default: GITPOD_IP, else what two echo services agree on)",
        "expires": "how long the rule stays, like 12h, 30m or 7d (default: the setting door.expires)",
    }
)
def allow_my_ip(c: Context, ip: str | None = None, expires: str | None = None) -> None:
    """Let this workspace's address in, and no other."""
    from ops.rds import doorman

    found = settings(c)
    doorman.allow(aws(found), found, ip, expires)


@task(help={"json": JSON})
def rules(c: Context, json: bool = False) -> None:
    """List who is let in, since when and until when."""
    from ops.rds import doorman

    found = settings(c)
    doorman.show(aws(found), found, json=json)


@task()
def revoke_my_ip(c: Context) -> None:
    """Take this workspace's rule away."""
    from ops.rds import doorman

    found = settings(c)
    doorman.revoke(aws(found), found)


@task()
def prune_rules(c: Context) -> None:
    """Take expired rules away, those with our tags only."""
    from ops.rds import doorman

    found = settings(c)
    doorman.prune(aws(found), found)
