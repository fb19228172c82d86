"""What libpq says of a failed connection, as the next step."""

from __future__ import annotations

import pytest

from config.targets import parse
from ops import postgres
from ops.errors import LoginFailed, NoDatabase, NothingAnswers, Problem, Unreachable, WrongLogin

AT = 'connection failed: connection to server at "127.0.0.1", port 5432 failed: '


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        (AT + 'FATAL:  password authentication failed for user "u"', WrongLogin, "wrong user or password"),
        (AT + "fe_sendauth: no password supplied", WrongLogin, "wrong user or password"),
        (AT + 'FATAL:  role "u" does not exist', WrongLogin, "no such user"),
        (AT + 'FATAL:  role "u" is not permitted to log in', WrongLogin, "may not log in"),
        (AT + 'FATAL:  database "db" does not exist', NoDatabase, "inv db.setup -t prod"),
        (AT + 'FATAL:  no pg_hba.conf entry for host "1.2.3.4", no encryption', LoginFailed, "add ?sslmode=require"),
        (AT + "server does not support SSL, but SSL was required", LoginFailed, "remove sslmode"),
        (AT + "SSL error: certificate verify failed", LoginFailed, "TLS failed: "),
        ('root certificate file "/x" does not exist\nEither provide the file', LoginFailed, "inv rds.ca fetches"),
        ("[Errno -2] Name or service not known", Unreachable, "does not resolve"),
        ('could not translate host name "h" to address', Unreachable, "does not resolve"),
        (AT + "Connection refused\n\tIs the server running?", NothingAnswers, "is prod (PROD_CONNECTION_URL) running?"),
        ("connection timeout expired", Unreachable, "did not answer in time: open the door"),
        (AT + "No route to host", Unreachable, "did not answer in time"),
        (AT + "FATAL:  the database system is starting up", NothingAnswers, "inv db.wait"),
        (AT + "FATAL:  the database system is shutting down", NothingAnswers, "inv db.wait"),
        (AT + "FATAL:  sorry, too many clients already", Problem, "inv db.kill-sessions"),
        (AT + "received invalid response to SSL negotiation: H", Problem, "is not Postgres"),
        (AT + "FATAL:  etwas ganz\n anderes", Problem, "FATAL: etwas ganz anderes"),
    ],
)
def test_a_refusal_is_one_line_with_the_next_step(text: str, kind: type[Problem], message: str) -> None:
    problem = postgres.refusal(parse("postgresql://u:hushhush@h/db", "PROD_CONNECTION_URL", "prod"), text)
    assert type(problem) is kind
    assert message in str(problem)
    assert "u@h:5432/db" in str(problem)
    assert "\n" not in str(problem)


def test_a_session_is_named_for_its_task_and_person(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "whoami", lambda: "me@" + "h" * 80)
    name = postgres.application("db.setup")
    assert name.startswith("inv db.setup me@hh")
    assert len(name.encode()) == 63
