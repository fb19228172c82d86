"""moto as AWS, with what it leaves out for the data: the master user of an instance.

moto knows instances, but no database. The calls that make a master user, or
give it another password, are carried out on the sandbox's Postgres, as RDS does.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from config.targets import Target

MANAGED = "admin"
"""The user that moto puts into every secret that RDS would manage, always with the same password."""
OWNER = "rdsadmin"
"""The superuser of RDS that master users are made by; postgres itself may be one of them. Its password lies in a file of its name."""
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Recorder:
    """Passes requests on to moto, notes their names, and follows up those about a master user."""

    def __init__(self, app: Wsgi, server: Target, calls: Path) -> None:
        self.app = app
        self.server = server
        self.calls = calls

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        form: dict[str, str] = {}
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        seen: list[str] = []

        def note(status: str, *rest: Any) -> Any:
            seen.append(status)
            return start_response(status, *rest)

        try:
            answer = self.app(environ, note)
        finally:  # what moto stumbles over was asked for all the same
            status = seen[0].partition(" ")[0] if seen else "500"
            if name := call(environ, form):
                with self.calls.open("a", encoding="utf-8") as log:
                    log.write(f"{name} {status}\n")
        if status == "200" and form.get("Action") in ("CreateDBInstance", "ModifyDBInstance"):
            follow_up(self.server, form, managed(environ, form))
        return answer


def call(environ: dict[str, Any], form: dict[str, str]) -> str:
    """Return service and action of a request; nothing for one that is not signed."""
    region, service = scope(environ)
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    action = form.get("Action") or target or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return f"{service} {action}" if region else ""


def scope(environ: dict[str, Any]) -> tuple[str, str]:
    """Return region and service that a request is signed for; nothing if it is not signed."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/([\w-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (found[1], found[2]) if found else ("", "")


def managed(environ: dict[str, Any], form: dict[str, str]) -> str:
    """Give the managed secrets the password that RDS would make now, if it would; return it.

    moto announces a new one and makes none, and its first one anybody knows. One role stands behind all of them, so all change.
    """
    if "true" not in (form.get("ManageMasterUserPassword"), form.get("RotateMasterUserPassword")):
        return ""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.secretsmanager.models import secretsmanager_backends

    password = secrets.token_urlsafe(18)
    held = json.dumps({"username": MANAGED, "password": password})
    backend = secretsmanager_backends[DEFAULT_ACCOUNT_ID][scope(environ)[0]]
    for name in [secret.arn for secret in backend.secrets.values() if secret.name.startswith("rds!db-")]:
        backend.put_secret_value(name, held, "", str(uuid.uuid4()), ["AWSCURRENT"])
    return password


def follow_up(server: Target, form: dict[str, str], new: str = "") -> None:
    """Make the master user and the database of an instance, as they are asked for."""
    from psycopg import sql

    from ops import postgres

    user, password = form.get("MasterUsername", ""), form.get("MasterUserPassword", "")
    if new:
        user, password = MANAGED, new
    instance = form.get("DBInstanceIdentifier", "").lower()
    with postgres.connect(server, task="sandbox", dbname="postgres") as conn:
        conn.execute("create table if not exists masters (instance text primary key, role text)")
        if password and not user:  # a change of the password names the instance only
            known = conn.execute("select role from masters where instance = %s", [instance]).fetchone()
            user = known["role"] if known else ""
        if not user or not password:
            return
        there = conn.execute("select from pg_roles where rolname = %s", [user]).fetchone() is not None
        role, verb = sql.Identifier(user), sql.SQL("alter role" if there else "create role")
        conn.execute(sql.SQL("{} {} login createdb createrole password {}").format(verb, role, sql.Literal(password)))
        conn.execute(sql.SQL("grant pg_monitor, pg_signal_backend to {}").format(role))
        conn.execute(
            "insert into masters values (%s, %s) on conflict (instance) do update set role = excluded.role",
            [instance, user],
        )
        name = form.get("DBName", "")
        if name and conn.execute("select from pg_database where datname = %s", [name]).fetchone() is None:
            conn.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(name), role))
