"""What libpq says of a failed connection, as the next step."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest

from config.declared import Kind
from config.targets import Target, parse
from ops import postgres, postgres_errors
from ops.errors import LoginFailed, NoDatabase, NotAllowed, NothingAnswers, Problem, Unreachable, WrongLogin
from tests import source

AT = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


# Of production on RDS by a name of its own
TEXTS: list[tuple[str, type[Problem], str]] = [
    (AT + 'FATAL:  password authentication failed for user "u"', WrongLogin, "wrong user or password"),
    (AT + "fe_sendauth: no password supplied", WrongLogin, "wrong user or password"),
    (AT + 'FATAL:  role "u" does not exist', WrongLogin, "no such user"),
    (AT + 'FATAL:  role "u" is not permitted to log in', WrongLogin, "may not log in"),
    (AT + 'FATAL:  database "db" does not exist', NoDatabase, "inv db.setup -t prod"),
    (AT + 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", no encryption', LoginFailed, "?sslmode=verify-full"),
    (AT + 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", SSL encryption', LoginFailed, "to its pg_hba.conf"),
    (AT + "server does not support SSL, but SSL was required", LoginFailed, "send no password there"),
    (
        AT + "SSL error: certificate verify failed",
        LoginFailed,
        "as sslrootcert in PROD_CONNECTION_URL; else do not",
    ),
    (AT + 'server certificate for "a" does not match host name "h"', LoginFailed, "else do not trust it"),
    (AT + "channel binding required, but server authenticated client without", LoginFailed, "sit in between"),
    (AT + "received unencrypted data after SSL response", LoginFailed, "TLS failed: see what lies between"),
    (AT + "SSL SYSCALL error: EOF detected", LoginFailed, "TLS failed: see what lies between"),
    (AT + "session is read-only", Unreachable, "takes no writes"),
    (AT + "FATAL:  could not fork new process for connection: no", Problem, "out of memory, disk or processes"),
    ('root certificate file "/x" does not exist\nEither provide the file', LoginFailed, "correct sslrootcert in"),
    ("[Errno -2] Name or service not known", Unreachable, "does not resolve"),
    ('could not translate host name "h" to address', Unreachable, "does not resolve"),
    (AT + "Connection refused\n\tIs the server running?", NothingAnswers, "is prod (PROD_CONNECTION_URL) running?"),
    ("connection timeout expired", Unreachable, "did not answer in time: open the door"),
    (AT + "No route to host", Unreachable, "did not answer in time"),
    (AT + "FATAL:  the database system is starting up", NothingAnswers, "inv db.wait"),
    (AT + "FATAL:  the database system is shutting down", NothingAnswers, "inv db.wait"),
    (AT + "FATAL:  sorry, too many clients already", Problem, "inv db.kill-sessions"),
    (AT + "received invalid response to SSL negotiation: H", Problem, "is not Postgres"),
    (
        AT + "FATAL:  etwas ganz\n anderes",
        Problem,
        "see the server's log and correct PROD_CONNECTION_URL (FATAL: etwas",
    ),
    (AT + 'FATAL:  permission denied for database "db"', NotAllowed, "grant connect on database to it"),
    (
        AT + 'FATAL:  database "db" is not currently accepting connections',
        NotAllowed,
        "allow_connections true opens it",
    ),
    (AT + 'FATAL:  cannot connect to invalid database "db"', NotAllowed, "was broken off, nothing in it can be read"),
    (AT + "server closed the connection unexpectedly", NothingAnswers, "takes the connection and closes it"),
]
RDS = "x.eu-west-1.rds.amazonaws.com"
# What is another step for another target: its kind, its host
ELSEWHERE: list[tuple[Kind, str, str, type[Problem], str]] = [
    (Kind.RDS, RDS, 'root certificate file "/x" does not exist', LoginFailed, "inv rds.ca fetches RDS's own"),
    (
        Kind.RDS,
        RDS,
        "SSL error: certificate verify failed",
        LoginFailed,
        "not by RDS: inv rds.ca fetches the roots anew",
    ),
    (Kind.SERVER, "db", "Name or service not known", Unreachable, "belongs in CONNECTION_LOCAL_DOCKER_URL (-t docker)"),
    (
        Kind.SERVER,
        "db.example",
        "Name or service not known",
        Unreachable,
        "correct STAGING_CONNECTION_URL, or wait until it does",
    ),
    (Kind.SERVER, "localhost", "Connection refused", NothingAnswers, "inv db.up starts a server with this login"),
    (Kind.COMPOSE, "localhost", "Connection refused", NothingAnswers, "inv db.up -t docker"),
    (Kind.SERVER, "db.example", "Connection refused", NothingAnswers, "is staging (STAGING_CONNECTION_URL) running?"),
    (Kind.SERVER, "db.example", "connection timeout expired", Unreachable, "in time: check the host, or see"),
]


RDS = "cruddur.abcdefghijkl.ca-central-1.rds.amazonaws.com"
BY_TOKEN: list[tuple[bool, str, str]] = [
    (
        True,
        'FATAL:  PAM authentication failed for user "u"',
        "may rds-db:connect as this user (inv rds.connect-policy)",
    ),
    (False, 'FATAL:  PAM authentication failed for user "u"', "take the password out of PROD_CONNECTION_URL"),
    (True, 'FATAL:  password authentication failed for user "u"', "no such user, or one without rds_iam"),
    (False, "fe_sendauth: no password supplied", "takes a token where rds.login is iam"),
]


def of_rds(*, by_token: bool) -> Target:
    found = parse(f"postgresql://u:hushhush@{RDS}/db", "PROD_CONNECTION_URL", "prod")
    return replace(found, kind=Kind.RDS, token=(lambda _: "x") if by_token else None)


def of_prod() -> Target:
    return replace(parse("postgresql://u:hushhush@h/db", "PROD_CONNECTION_URL", "prod"), kind=Kind.RDS)


def of_staging(kind: Kind, host: str) -> Target:
    return replace(parse(f"postgresql://u:hushhush@{host}/db", "STAGING_CONNECTION_URL", "staging"), kind=kind)


@pytest.mark.parametrize(("text", "kind", "message"), TEXTS)
def test_a_refusal_is_one_line_with_the_next_step(text: str, kind: type[Problem], message: str) -> None:
    problem = postgres_errors.refusal(of_prod(), text)
    assert type(problem) is kind
    assert message in str(problem)
    assert "u@h:5432/db" in str(problem)
    assert "\n" not in str(problem)


@pytest.mark.parametrize(("kind", "host", "text", "error", "message"), ELSEWHERE)
def test_the_next_step_is_the_targets(kind: Kind, host: str, text: str, error: type[Problem], message: str) -> None:
    problem = postgres_errors.refusal(of_staging(kind, host), AT + text)
    assert type(problem) is error
    assert message in str(problem)
    assert f"u@{host}:5432/db" in str(problem)


@pytest.mark.parametrize(("by_token", "text", "message"), BY_TOKEN)
def test_a_login_by_token_has_next_steps_of_its_own(by_token: bool, text: str, message: str) -> None:
    problem = postgres_errors.refusal(of_rds(by_token=by_token), AT + text)
    assert type(problem) is WrongLogin
    assert message in str(problem)


def test_each_row_of_the_table_has_an_example_that_reaches_it() -> None:
    asked = [(of_prod(), text) for text, *_ in TEXTS]
    asked += [(of_staging(kind, host), AT + text) for kind, host, text, *_ in ELSEWHERE]
    asked += [(of_rds(by_token=by_token), AT + text) for by_token, text, _ in BY_TOKEN]
    reached = [postgres_errors.row(target, " ".join(text.split())) for target, text in asked]
    assert [row for row in postgres_errors.ROWS if row not in reached] == []


# What libpq 18 says of TLS, certificates and methods; its own advice is to switch the check off
TLS_WORDS = [
    "server does not support SSL, but SSL was required",
    'weak sslmode "prefer" may not be used with sslrootcert=system (use "verify-full")',
    "server sent an error response during SSL exchange",
    "received unencrypted data after SSL response",
    "server accepted connection without a valid SSL certificate",
    "channel binding required, but SSL not in use",
    'authentication method requirement "scram-sha-256" failed: server requested a cleartext password',
    'server certificate for "x" (and 1 other name) does not match host name "h"',
    'could not read root certificate file "/x": no certificate or crl found',
    'root certificate file "/x" does not exist\nEither provide the file, or change sslmode to disable certificate verification.',
    'certificate present, but not private key file "/x"',
    "SSL SYSCALL error: EOF detected",
    "SSL error: certificate verify failed",
    "SSL error: wrong version number",
    "SSL error: decryption failed or bad record mac",
    'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", no encryption',
    'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "u", database "d", SSL encryption',
    'FATAL:  pg_hba.conf rejects connection for host "1.2.3.4", user "u", database "d", no encryption',
]
WEAKENS = re.compile(
    r"(remove|leave out|drop|take out|lower)\b[^:;,]*\b(sslmode|TLS|SSL|certificate|sslrootcert|channel_binding|require_auth)"
    r"|sslmode=(disable|allow|prefer|require)|change sslmode|disable",
    re.IGNORECASE,
)


@pytest.mark.parametrize("text", TLS_WORDS)
@pytest.mark.parametrize("mode", ["", "prefer", "require", "verify-ca", "verify-full"])
@pytest.mark.parametrize("host", ["h", "x.eu-west-1.rds.amazonaws.com"])
def test_no_advice_weakens_a_check(text: str, mode: str, host: str) -> None:
    given = f"?sslmode={mode}" if mode else ""
    target = parse(f"postgresql://u:hushhush@{host}/db{given}", "PROD_CONNECTION_URL", "prod")
    told = str(postgres_errors.refusal(target, AT + text))
    assert not WEAKENS.search(told), told
    assert not told.endswith(f": {text}"), "more than libpq's own words"


@source.GROUP
def test_no_text_of_ours_advises_to_check_less() -> None:
    """Advice is in strings; what a program does by itself (no TLS to a container of ours) is none."""
    root = Path(__file__).parent.parent
    for path in sorted([*root.glob("ops/**/*.py"), *root.glob("config/**/*.py"), *root.glob("functions/**/*.py")]):
        for node in source.nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value.strip():
                assert not re.search(
                    r"(remove|leave out|drop|lower)\b[^:;,.]*\b(sslmode|TLS|sslrootcert|channel_binding|require_auth)"
                    r"|sslmode=(disable|allow|prefer|require)\b|--insecure|--no-verify",
                    node.value,
                ), f"{path}:{node.lineno}: {node.value}"


def test_a_session_is_named_for_its_task_and_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "whoami", lambda: "me@" + "h" * 80)
    name = postgres.application("db.setup")
    assert name.startswith("inv db.setup me@hh")
    assert len(name.encode()) == 63
