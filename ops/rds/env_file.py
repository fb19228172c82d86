"""What an instance leaves in the env file: how to reach it, and never a password that RDS keeps."""

from __future__ import annotations

import socket

from config.declared import Kind
from config.settings import Settings
from config.targets import Target, is_rds, parse
from ops.cloud.facts import Row
from ops.console import hide, say
from ops.env.variables import forget, store
from ops.errors import Misconfigured
from ops.rds import instance, request
from ops.rds.cluster.row import is_express, reader_endpoint


def save(settings: Settings, row: Row, *, force: bool) -> None:
    """Save the endpoint, and the whole URL where the password is the user's own.

    What is saved already is not written again. A URL that leads to a server
    outside RDS is somebody's decision, and kept unless `force`.
    """
    names = settings.focus.names
    wanted = {names.endpoint: instance.host(row)}
    password = settings.vars.get(names.password)
    if password and not row.get("MasterUserSecret") and not is_express(row):
        wanted[names.url] = target(settings, row, password).url(show_password=True)
    for name, value in wanted.items():
        if settings.vars.saved.get(name) == value:
            if settings.vars.hides(name):
                say(
                    f"note: {name} of the environment hides the one saved in {settings.vars.env_file.name}: unset {name}"
                )
            continue
        if not force and (other := host_in_use(settings, name)):
            file = settings.vars.env_file.name
            say(f"note: {name} in {file} names {other}, kept: inv rds.endpoint --save replaces it")
            continue
        store(settings, name, value)
    left = settings.vars.get(names.url)
    if left and names.url not in wanted and host_of(left) != instance.host(row):
        say(f"note: {names.url} is set and names another server: {settings.focus.name} is that one until you unset it")


def target(settings: Settings, row: Row, password: str) -> Target:
    """Return the target as its URL names it, with the user's own password."""
    hide(password)
    params = {
        "user": str(row.get("MasterUsername") or request.master(settings).user),
        "password": password,
        "host": instance.host(row),
        "port": str(instance.port(row)),
        "dbname": settings.database,
    }
    focus = settings.focus
    return Target(focus.name, focus.names.url, params, kind=Kind.RDS, declared=focus)


def host_in_use(settings: Settings, name: str) -> str:
    """Return the server that a saved variable names if that is not this instance, or nothing."""
    saved = settings.vars.saved.get(name, "")
    host = host_of(saved) if name == settings.focus.names.url else saved
    ours = is_rds(host) and host.startswith(f"{settings.rds.identifier}.")
    return host if host and not ours else ""


def host_of(text: str) -> str:
    """Return the host of a URL, or nothing if it cannot be read."""
    try:
        return parse(text, "the saved URL", "").host
    except Misconfigured:
        return ""


def password(settings: Settings) -> str:
    """Return the password in the saved URL, or nothing."""
    try:
        return parse(settings.vars.saved.get(settings.focus.names.url, ""), "the saved URL", "").password
    except Misconfigured:
        return ""


def check_kind(settings: Settings) -> None:
    """Raise `Misconfigured` where what is saved is the endpoint of the other kind of server by the same name.

    A cluster's has `.cluster-` in it (Aurora User Guide, "Types of Aurora endpoints").
    """
    rds, name = settings.rds, settings.focus.names.endpoint
    host = settings.vars.saved.get(name, "")
    if host.startswith(f"{rds.identifier}.") and (".cluster-" in host) is not rds.is_cluster:
        raise Misconfigured(
            f"{name} is the endpoint of {'an instance' if rds.is_cluster else 'a cluster'}: set rds.engine to what {rds.identifier} is, or "
            "take that variable out, then run this again"
        )


def clear(settings: Settings, host: str) -> None:
    """Take out what was saved about an instance that is gone, and nothing else."""
    endpoint, url = settings.focus.names.endpoint, settings.focus.names.url
    if host and settings.vars.saved.get(endpoint) == host:
        forget(settings, endpoint)
    if host and host_of(settings.vars.saved.get(url, "")) == host:
        forget(settings, url)
    for name in (endpoint, url):
        if host and host in settings.vars.environ.get(name, ""):
            say(f"note: {name} of the environment still names the instance that is gone: unset {name}")


def save_reader(settings: Settings, row: Row) -> None:
    """Save at which endpoint a cluster is read, where it has readers; forget it where it has none any more."""
    if address := reader_endpoint(row):
        save_replica(settings, {**row, "Endpoint": {"Address": address, "Port": instance.port(row)}})
    else:
        forget_replica(settings, row["DBInstanceIdentifier"])


def save_replica(settings: Settings, row: Row, *, hostaddr: str = "") -> None:
    """Save where a replica is reached: without a login, since it has that of its primary; `hostaddr` is the address behind its name."""
    name = settings.focus.names.read_url
    if not name:
        say(f"note: {settings.focus.name} has no variable for a replica, so none reads at {instance.host(row)}")
        return
    url, saved = replica_url(settings, row, hostaddr), settings.vars.saved.get(name, "")
    if saved and host_of(saved) != instance.host(row):
        say(
            f"note: {name} in {settings.vars.env_file.name} names {host_of(saved) or 'something else'}, kept: unset it, then run this again"
        )
    elif saved != url and not same_place(saved, url):
        store(settings, name, url)
    elif settings.vars.hides(name):
        say(f"note: {name} of the environment hides the one saved in {settings.vars.env_file.name}: unset {name}")


def same_place(saved: str, url: str) -> bool:
    """Whether a saved URL leads to the same database; it may name a login of its own."""
    if not saved:
        return False
    mine, wanted = parse(saved, "the saved URL", ""), parse(url, "the URL", "")
    return (mine.host, mine.port, mine.dbname) == (wanted.host, wanted.port, wanted.dbname)


def replica_url(settings: Settings, row: Row, hostaddr: str) -> str:
    """Return the URL of the database on a replica, without a login."""
    focus = settings.focus
    try:
        database = parse(settings.vars.get(focus.names.url), focus.names.url, "").dbname
    except Misconfigured:  # not set
        database = settings.database
    params = {"host": instance.host(row), "port": str(instance.port(row)), "dbname": database, "hostaddr": hostaddr}
    return Target(focus.name, focus.names.read_url, params, kind=Kind.RDS, declared=focus).url()


def forget_replica(settings: Settings, identifier: str) -> None:
    """Take out where a replica is reached, and no other's address."""
    name = settings.focus.names.read_url
    if not name:
        return
    if names_instance(settings.vars.saved.get(name, ""), identifier):
        forget(settings, name)
    if names_instance(settings.vars.environ.get(name, ""), identifier):
        say(f"note: {name} of the environment still names {identifier}: unset {name}")


def names_instance(url: str, identifier: str) -> bool:
    host = host_of(url)
    return is_rds(host) and host.startswith(f"{identifier}.")


def leads_to(settings: Settings, host: str) -> bool:
    """Whether the name leads somewhere from here; a tunnel's address stands for that."""
    if settings.vars.get(settings.focus.names.hostaddr):
        return True
    try:
        return bool(socket.getaddrinfo(host, None))
    except OSError:
        return False
