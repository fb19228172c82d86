"""What libpq says of a connection that failed, and what to do next: a table of texts, asked from its top."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from config.declared import Kind
from config.targets import Target
from ops.errors import (
    LoginFailed,
    NoDatabase,
    NotAllowed,
    NothingAnswers,
    Problem,
    Unreachable,
    WrongLogin,
)


def always(_: Target) -> bool:
    return True


class Row(NamedTuple):
    """What one text of libpq means."""

    pattern: str
    """Searched for in the text, which is in one line."""
    error: type[Problem]
    advice: str
    """The next step; {at} is the target's address, {to} the target, {said} what the server said last."""
    where: Callable[[Target], bool] = always
    """For which targets the row holds."""


def asks_for_no_tls(target: Target) -> bool:
    return target.params.get("sslmode", "") not in ("require", "verify-ca", "verify-full")


def has_rds_host(target: Target) -> bool:
    return target.rds


def is_behind_a_door(target: Target) -> bool:
    return target.rds or target.kind is Kind.RDS


def may_be_a_service(target: Target) -> bool:
    return target.kind is Kind.SERVER and "." not in target.host


def can_be_started(target: Target) -> bool:
    return target.kind is Kind.SERVER and target.loopback and not target.protected


def is_compose(target: Target) -> bool:
    return target.kind is Kind.COMPOSE


def is_by_token(target: Target) -> bool:
    return target.token is not None


NO_NAME = (
    "could not translate host name|failed to resolve host|Name or service not known|nodename nor servname"
    "|Temporary failure in name resolution|No address associated"
)
NO_SUCH_NAME = "{at}: the host name does not resolve: correct {to.source}, or wait until it does"
SILENT = "timeout|timed out|unreachable|No route"
REFUSED = "Connection refused|No such file or directory"

# On TLS never to check less: whoever sits in between can take TLS away, or show a certificate of his own,
# and would be given the password next
ROWS = (
    Row(
        "PAM authentication failed",
        WrongLogin,
        "{at}: the token is refused: see that this login to AWS may rds-db:connect as this user (inv rds.connect-policy), "
        "and this machine's clock",
        is_by_token,
    ),
    Row(
        "PAM authentication failed",
        WrongLogin,
        "{at}: this user logs in by a token of IAM alone (rds_iam): take the password out of {to.login}",
        has_rds_host,
    ),
    Row(
        "password authentication failed",
        WrongLogin,
        "{at}: the server has no such user, or one without rds_iam, which takes no token: inv db.roles -t {to.name}, "
        "or correct {to.login}",
        is_by_token,
    ),
    Row(
        "no password supplied",
        WrongLogin,
        "{at}: no password is given: set one in {to.login}; a login with rds_iam takes a token where rds.login is iam",
        has_rds_host,
    ),
    Row(
        "password authentication failed|no password supplied",
        WrongLogin,
        "{at}: wrong user or password: correct {to.login}",
    ),
    Row('role ".*" does not exist', WrongLogin, "{at}: the server has no such user: correct {to.login}"),
    Row(
        'role ".*" is not permitted to log in',
        WrongLogin,
        "{at}: this user may not log in: alter role … login, or correct {to.login}",
    ),
    Row(
        'permission denied for database ".*"',
        NotAllowed,
        "{at}: this user may not connect to the database: grant connect on database to it",
    ),
    Row('database ".*" does not exist', NoDatabase, "{at}: the database is not there yet: inv db.setup -t {to.name}"),
    Row(
        'database ".*" is not currently accepting connections',
        NotAllowed,
        "{at}: the database allows no connections: alter database … allow_connections true opens it",
    ),
    Row(
        "cannot connect to invalid database",
        NotAllowed,
        "{at}: the removal of this database was broken off, nothing in it can be read: drop it",
    ),
    Row(
        "no encryption",
        LoginFailed,
        "{at}: the server lets this user and address in by TLS only, or not at all: "
        "add ?sslmode=verify-full to {to.source}, and its root certificate as sslrootcert",
        asks_for_no_tls,
    ),
    Row(
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        LoginFailed,
        "{at}: the server has no rule for this user, database and address: add one to its pg_hba.conf",
    ),
    Row(
        "does not support SSL|sslmode",
        LoginFailed,
        "{at}: the server offers no TLS, and {to.source} asks for it: switch it on there (ssl = on); "
        "where it was on before, somebody on the way may have taken it out: send no password there",
    ),
    Row(
        "root certificate file",
        LoginFailed,
        "{at}: the certificates to check it against are not there: inv rds.ca fetches RDS's own",
        has_rds_host,
    ),
    Row(
        "root certificate file",
        LoginFailed,
        "{at}: the certificates to check it against are not there: correct sslrootcert in {to.source}",
    ),
    Row(
        "does not match host name",
        LoginFailed,
        "{at}: its certificate is for another host: name the one that it is for in {to.source} (a tunnel's "
        "address goes into hostaddr); else do not trust it",
    ),
    Row(
        "certificate verify failed",
        LoginFailed,
        "{at}: its certificate is not by RDS: inv rds.ca fetches the roots anew; else do not trust it",
        has_rds_host,
    ),
    Row(
        "certificate verify failed",
        LoginFailed,
        "{at}: its certificate is not by a root that we trust: "
        "name the root that signed it as sslrootcert in {to.source}; else do not trust it",
    ),
    Row(
        "channel binding|authentication method requirement",
        LoginFailed,
        "{at}: the login is not the one that {to.source} asks for (channel_binding, require_auth): "
        "somebody may sit in between: see that this is the server, before a password goes there",
    ),
    Row(
        "^(?!.*invalid response).*(certificate|SSL)",
        LoginFailed,
        "{at}: TLS failed: see what lies between (a proxy, a VPN) and the certificates of {to.source}, "
        "then run this again ({said})",
    ),
    Row(
        NO_NAME,
        Unreachable,
        NO_SUCH_NAME + "; a service of docker-compose.yml belongs in CONNECTION_LOCAL_DOCKER_URL (-t docker)",
        may_be_a_service,
    ),
    Row(NO_NAME, Unreachable, NO_SUCH_NAME),
    Row(
        REFUSED,
        NothingAnswers,
        "nothing answers at {at}: inv db.up starts a server with this login, inv db.up -t docker the compose one",
        can_be_started,
    ),
    Row(REFUSED, NothingAnswers, "nothing answers at {at}: inv db.up -t docker", is_compose),
    Row(REFUSED, NothingAnswers, "nothing answers at {at}: is {to.name} ({to.source}) running?"),
    Row(
        SILENT,
        Unreachable,
        "{at} did not answer in time: open the door for this address (inv rds.allow-my-ip), or see that the server runs",
        is_behind_a_door,
    ),
    Row(SILENT, Unreachable, "{at} did not answer in time: check the host, or see that the server runs"),
    Row(
        "closed the connection unexpectedly|Connection reset",
        NothingAnswers,
        "{at} takes the connection and closes it: the server is starting, or it is not Postgres",
    ),
    Row(
        "starting up|shutting down|recovery mode|not yet accepting connections",
        NothingAnswers,
        "{at}: the server is starting or stopping, try again (inv db.wait)",
    ),
    Row(
        "expected authentication request|invalid response to SSL",
        Problem,
        "{at}: what answers there is not Postgres: check host and port in {to.source}",
    ),
    Row(
        "too many|remaining connection slots",
        Problem,
        "{at}: all connections are taken: inv db.sessions, inv db.kill-sessions",
    ),
    Row(
        "read-only|hot standby",
        Unreachable,
        "{at}: this server takes no writes: correct {to.source}, which asks for one that does",
    ),
    Row(
        "(?i)out of memory|No space left|could not fork|too many open files",
        Problem,
        "{at}: the server is out of memory, disk or processes: see to that, then run this again",
    ),
    Row("", Problem, "{at}: the login failed, see the server's log and correct {to.source} ({said})"),
)
"""The first that fits holds; the last one fits anything."""


def refusal(target: Target, text: str) -> Problem:
    """Turn libpq's account of a failed connection into what to do next.

    libpq gives no SQLSTATE for these, only text, which servers may translate;
    what is not recognised is passed on, on one line.
    """
    text = " ".join(text.split())
    found = row(target, text)
    said = text.rpartition("failed: ")[2] or text
    return found.error(found.advice.format(at=target.address, to=target, said=said))


def row(target: Target, text: str) -> Row:
    """Return the row that holds for a text, which is in one line."""
    return next(one for one in ROWS if re.search(one.pattern, text) and one.where(target))
