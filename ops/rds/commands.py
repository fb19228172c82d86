"""RDS: the instance provisioned, and the door to it opened for this workspace."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, task


@task(
    help={
        "target": OF_AWS,
        "dry-run": "print the request as JSON, password masked, and send nothing (default: no)",
        "adopt": "take over an instance of this name that was made by hand: it is tagged (default: no)",
        "express": "a cluster of Aurora in a minute: no network, no password, IAM logins alone (default: no)",
    },
    answer="ops.rds.create.Created",
)
def create(
    c: Context,
    target: str = "",
    dry_run: bool = False,
    adopt: bool = False,
    express: bool = False,
    json: bool = False,
) -> None:
    """Make the instance, or go on waiting for it."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds import create

    found = settings_of_aws(c, target, may_make_env_file=True)
    made = (
        create.plan_instance(found, aws(found), quick=express)
        if dry_run
        else create.create_or_resume(found, aws(found), Clock(), adopt=adopt, quick=express)
    )
    if json:
        console.as_json(made)
    elif dry_run:
        console.as_json(made.request)
    else:
        console.result(made.endpoint or "")


@task(help={"target": OF_AWS}, answer="ops.rds.instance.Instance")
def status(c: Context, target: str = "", json: bool = False) -> None:
    """Show the instance as AWS knows it, and where it differs."""
    from ops import console
    from ops.cloud.facts import table_rows
    from ops.rds import instance

    found = settings_of_aws(c, target)
    cloud = aws(found)
    facts = instance.facts(found, cloud, instance.require_instance(cloud, found.rds))
    if json:
        console.as_json(facts)
    else:
        console.table(("about", "value"), table_rows(instance.told(facts)))


@task(
    help={"target": OF_AWS, "hours": "how far to look back, 336 at most (default: 24)"},
    answer="list[ops.rds.events.Event]",
)
def events(c: Context, target: str = "", hours: str = "24", json: bool = False) -> None:
    """Show what RDS has done with the instance, newest last."""
    from ops import console
    from ops.rds import events

    found = settings_of_aws(c, target)
    since = events.read_hours(hours)
    listed = events.find(found, aws(found), since)
    if json:
        console.as_json(listed)
    elif listed:
        console.table(("at", "of", "event"), map(events.table_row, listed))
    else:
        console.say(f"{found.rds.identifier}: nothing in the last {since} hours; --hours looks back further")


@task(
    help={"target": OF_AWS, "save": "save it in the env file, whatever stands there (default: no)"},
    answer="ops.rds.instance.Endpoint",
)
def endpoint(c: Context, target: str = "", save: bool = False, json: bool = False) -> None:
    """Print the host name of the instance."""
    from ops import console
    from ops.rds import env_file, instance

    found = settings_of_aws(c, target, may_make_env_file=save)
    row = instance.require_instance(aws(found), found.rds)
    reached = instance.endpoint_of(row)
    if json:
        console.as_json(reached)
    else:
        console.result(reached.endpoint)
    if save:
        env_file.save(found, row, force=True)


@task(
    help={
        "user": "who logs in: a role of sql/roles.yaml, or any other user of the database",
        "target": OF_AWS,
    }
)
def connect_policy(c: Context, user: str, target: str = "") -> None:
    """Print the right that a login by token needs, for IAM."""
    from ops import console
    from ops.rds import connect_policy, instance
    from ops.targets import iam

    found = settings_of_aws(c, target)
    row = instance.require_instance(aws(found), found.rds)
    console.as_json(connect_policy.document(row, iam.name_of(found, user)))


@task(help={"target": OF_AWS})
def start(c: Context, target: str = "") -> None:
    """Start the stopped instance, and wait for it."""
    from ops.cloud.clock import Clock
    from ops.console import say
    from ops.rds import instance

    found = settings_of_aws(c, target)
    say(instance.start_instance(aws(found), found.rds, Clock()))


@task(help={"target": OF_AWS})
def stop(c: Context, target: str = "") -> None:
    """Stop the instance; AWS starts it again after 7 days."""
    from ops.cloud.clock import Clock
    from ops.console import say
    from ops.rds import instance

    found = settings_of_aws(c, target)
    say(instance.stop_instance(aws(found), found.rds, Clock()))


@task(
    help={"target": OF_AWS, "name": "the snapshot's name (default: the instance's, with the time)"},
    answer="ops.rds.instance.Snapshot",
)
def snapshot(c: Context, target: str = "", name: str = "", json: bool = False) -> None:
    """Make a snapshot of the instance, and wait for it."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds import instance

    found = settings_of_aws(c, target)
    made = instance.Snapshot(found.rds.identifier, instance.take_snapshot(aws(found), found.rds, name, Clock()))
    if json:
        console.as_json(made)
    else:
        console.result(made.snapshot)


@task(
    help={
        "target": OF_AWS,
        "confirm": "the instance's identifier, which stands for typing it (default: ask)",
        "no-snapshot": "leave no final snapshot: the data is gone for good (default: leave one)",
        "dry-run": "say what would be deleted, and what stands without a database then; delete nothing (default: no)",
    }
)
def delete(c: Context, target: str = "", confirm: str = "", no_snapshot: bool = False, dry_run: bool = False) -> None:
    """Delete the instance and its group; a final snapshot stays."""
    from functools import partial

    from ops.cloud.clock import Clock
    from ops.console import say
    from ops.lambdas import left_alone
    from ops.rds import delete, left_over

    found = settings_of_aws(c, target)
    cloud = aws(found)
    stands = partial(left_alone.told, found, cloud)
    say(
        delete.delete_instance(
            found, cloud, Clock(), confirm=confirm, snapshot=not no_snapshot, dry_run=dry_run, stands=stands
        )
    )
    left_over.tell(found, cloud)


@task(help={"target": OF_AWS})
def rotate_password(c: Context, target: str = "") -> None:
    """Give the master user a new password."""
    from ops.cloud.clock import Clock
    from ops.console import say
    from ops.rds import rotate

    found = settings_of_aws(c, target)
    say(rotate.rotate_password(found, aws(found), Clock()))


@task(help={"target": OF_AWS}, answer="ops.rds.ca.Bundle")
def ca(c: Context, target: str = "", json: bool = False) -> None:
    """Fetch the certificates that RDS is checked against."""
    from ops import console
    from ops.rds import ca

    bundle = ca.Bundle(str(ca.fetch(settings_of_aws(c, target))))
    if json:
        console.as_json(bundle)
    else:
        console.result(bundle.path)


@task(
    help={
        "target": OF_AWS,
        "ip": "the address to let in (default: GITPOD_IP, else what two echo services agree on)",
        "expires": "how long the rule stays, like 12h, 30m or 7d (default: the setting door.expires)",
    }
)
def allow_my_ip(c: Context, target: str = "", ip: str | None = None, expires: str | None = None) -> None:
    """Let this workspace's address in, and no other."""
    from ops.rds.security_group import allow

    found = settings_of_aws(c, target)
    allow.allow(aws(found), found, ip, expires)


@task(help={"target": OF_AWS}, answer="list[ops.rds.security_group.allow.Listed]")
def rules(c: Context, target: str = "", json: bool = False) -> None:
    """List who is let in, since when and until when."""
    from ops.rds.security_group import allow

    found = settings_of_aws(c, target)
    allow.show(aws(found), found, json=json)


@task(help={"target": OF_AWS})
def revoke_my_ip(c: Context, target: str = "") -> None:
    """Take this workspace's rule away."""
    from ops.rds.security_group import allow

    found = settings_of_aws(c, target)
    allow.revoke(aws(found), found)


@task(help={"target": OF_AWS})
def prune_rules(c: Context, target: str = "") -> None:
    """Take expired rules away, those with our tags only."""
    from ops.rds.security_group import allow

    found = settings_of_aws(c, target)
    allow.prune(aws(found), found)


@task(
    help={
        "target": OF_AWS,
        "delete": "take it away, with its group and role (default: no)",
        "dry-run": "say what would be done, and write nothing (default: no)",
    },
    answer="ops.rds.bastion.bastion.Bastion",
)
def bastion(c: Context, target: str = "", delete: bool = False, dry_run: bool = False, json: bool = False) -> None:
    """Make the way into the instance's network, by AWS."""
    from ops import console
    from ops.cloud.clock import Clock
    from ops.rds.bastion import bastion

    found = settings_of_aws(c, target, may_make_env_file=True)
    act = bastion.remove if delete else bastion.make
    made = act(found, aws(found), Clock(), dry_run=dry_run)
    if json:
        console.as_json(made)
    elif made.via:
        console.result(made.via)
    elif not made.done:
        console.say("there is no bastion: nothing to do")
