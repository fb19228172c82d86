"""The Post Confirmation trigger of a Cognito user pool: a confirmed sign-up becomes a row of public.users.

Cognito waits five seconds, calls up to three times, and shows an error to a
user who is confirmed already, whose trigger never comes again. So the event is
always returned, and each sign-up leaves one line of JSON in the log:

    {"function": "post_confirmation", "outcome": "inserted", "sub": "…", "changed": [], "attempts": 1, "ms": 12}

`outcome` is inserted, present or failed, and a metric filter counts what was
missed by `{ $.outcome = "failed" }`. No e-mail address, name or URL is in it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .iam import Unsigned, keys, signed
from .people import NO_HANDLE, Outcome, Person, Unusable, store

if TYPE_CHECKING:
    from psycopg import Connection

starting = time.monotonic()
"""When this sandbox was started, until its first event."""
SNAPSHOT = os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start"
"""Whether sandboxes are made from a snapshot of this one: what is read from here on was ready long before their first event."""
if SNAPSHOT:
    import http.client  # noqa: F401 - by which keys are asked for: here that costs no sign-up its time

with contextlib.suppress(ImportError):  # while the sandbox starts the processor is lent in full; missed at each event
    import psycopg

SIGN_UP = "PostConfirmation_ConfirmSignUp"
COGNITO = 5.0
"""Seconds that Cognito waits."""
MARGIN = 0.5
"""Seconds to answer in, once the database is given up."""
COLD = 0.3
"""Seconds that the start of a sandbox takes before this file is read."""
PAUSE, LONGEST = 0.1, 0.4
"""Seconds before the first new attempt; twice as long before each further one, up to the longest."""
SILENCE = 1500
"""Milliseconds without any sign from the server after which a connection counts as dead."""
# In China, and where only governments are, the region follows the service
RDS_HOST = re.compile(
    r"\.rds(\.[a-z0-9-]+)?\.(amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov"
    r"|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)$"
)
BY_TOKEN_ALONE = "PAM authentication failed"  # noqa: S105 - what is said
"""What RDS says to a password where the login is by token, and to a token that it does not take."""
BEHIND = "DB_IAM"
"""The variable with the instance's own HOST:PORT, for which a token is signed, where a tunnel leads there by another port."""
CERTIFICATES = Path(__file__).parent / "rds-ca.pem"
"""RDS's own roots, put here when the function is packaged."""


class Database:
    """The one connection of this sandbox: opened when it is needed, kept, opened anew when it has died.

    It is used in a thread of its own beside which there is a clock: neither a
    name that does not resolve nor a server that hangs may outlast it.
    """

    def __init__(self) -> None:
        self.connection: Connection[Any] | None = None
        self.attempts = 0
        self.jobs: queue.SimpleQueue[tuple[Person, float, queue.SimpleQueue[Outcome | Exception]] | None]
        self.jobs = queue.SimpleQueue()
        threading.Thread(target=self.work, daemon=True).start()

    def within(self, person: Person, deadline: float) -> Outcome:
        """Store a person by a time of the monotonic clock; raises psycopg's errors, or `TimeoutError`."""
        answer: queue.SimpleQueue[Outcome | Exception] = queue.SimpleQueue()
        self.jobs.put((person, deadline, answer))
        try:
            outcome = answer.get(timeout=max(0.0, deadline + MARGIN / 2 - time.monotonic()))
        except queue.Empty:
            self.jobs.put(None)
            raise TimeoutError("the database did not answer in time") from None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def work(self) -> None:
        """Do what is asked for, one after the other, until told to stop."""
        while job := self.jobs.get():
            person, deadline, answer = job
            try:
                answer.put(self.store(person, deadline))
            except Exception as error:  # raised again where it is waited for
                answer.put(error)
        self.close()

    def store(self, person: Person, deadline: float) -> Outcome:
        """Store a person, trying again until the time is up where that may help."""
        pause = PAUSE
        while True:
            self.attempts += 1
            kept = self.connection is not None
            try:
                if self.connection is None:
                    self.connection = opened(deadline - time.monotonic())
                return store(self.connection, person, timeout=max(0.1, deadline - time.monotonic()))
            except psycopg.Error as error:
                self.close()
                if time.monotonic() + pause >= deadline or not heals(error):
                    raise
            if not kept:  # one that died since the last event says nothing about the server
                time.sleep(pause)
                pause = min(2 * pause, LONGEST)

    def close(self) -> None:
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()


database = Database()


def handler(event: Any, context: Any) -> Any:
    """Store who has signed up, and return the event as it came. Never raises."""
    global database, starting  # noqa: PLW0603 - one sandbox, one connection
    began, mine = time.monotonic(), database
    # Cognito has waited for a sandbox that was made from a snapshot, and not for the one of which that was taken
    begun = began if SNAPSHOT and starting > float("-inf") else starting
    spent, starting = began - begun + COLD, float("-inf")
    report: dict[str, Any] = {"function": "post_confirmation", "outcome": "failed"}
    mine.attempts = 0
    try:
        if event["triggerSource"] != SIGN_UP:
            return event
        person = Person.of(event["request"]["userAttributes"], event.get("userName"))
        report["sub"] = person.cognito_user_id[:64]
        outcome = mine.within(person, began + allowed(context, spent))
        report.update(outcome=outcome.word, changed=list(outcome.changed))
    except Exception as error:  # whatever it is, the user is confirmed and must not be told that it failed
        report.update(told(error))
        if isinstance(error, TimeoutError):  # what hangs is left behind; should it end after all, its row is wanted
            database = Database()
    report.update(attempts=mine.attempts, ms=int((time.monotonic() - began) * 1000))
    print(json.dumps(report))
    return event


def allowed(context: Any, spent: float) -> float:
    """Return the seconds that the database may take: what is left of Lambda's clock and of Cognito's.

    Cognito waits while a sandbox starts, which Lambda does not count. `spent` is
    how long ago that began; what is longer ago was not for this event.
    """
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    left = remaining() / 1000 if remaining else COGNITO
    waited = spent if spent < COGNITO else 0.0
    return float(max(0.1, min(left, COGNITO - waited) - MARGIN))


def heals(error: Exception) -> bool:
    """Whether an error may be over at the next attempt: the server's or the connection's, not the row's."""
    limit = isinstance(error, psycopg.errors.ProgramLimitExceeded)
    # the server that a failover has made the second one takes no rows; a new connection leads to the first one
    return isinstance(error, psycopg.OperationalError | psycopg.errors.ReadOnlySqlTransaction) and not limit


def opened(seconds: float) -> Connection[Any]:
    """Open a connection to CONNECTION_URL, in at most so many seconds per address (libpq's least is 2)."""
    url = os.environ.get("CONNECTION_URL", "")
    if not url:
        raise LookupError("CONNECTION_URL is not set")
    ours: dict[str, Any]
    ours = {"connect_timeout": max(2, int(seconds)), "tcp_user_timeout": SILENCE, "client_encoding": "UTF8"}
    params = {**parameters(url), **ours}
    if params.get("password"):
        try:
            return psycopg.connect(autocommit=True, **params)
        except psycopg.OperationalError as error:
            if BY_TOKEN_ALONE not in str(error) or not is_rds(params):
                raise
            # the login is by token since a moment ago, and the URL without a password is on its way here
    if is_rds(params):
        params["password"] = token(params)
    return psycopg.connect(autocommit=True, **params)


def token(params: dict[str, Any]) -> str:
    """Return what stands in for a password just now; raises `Unsigned`, also where it would not go over verified TLS."""
    if params.get("sslmode") != "verify-full":
        raise Unsigned("a token goes over verified TLS only: take sslmode out of CONNECTION_URL")
    host = str(params["host"]).lower().rstrip(".")
    own = os.environ.get(BEHIND, "").rpartition(":")  # behind a tunnel the URL has the port of its near end
    port = own[2] if own[0] == host else str(params.get("port") or 5432)
    return signed(host, port, params.get("user", ""), keys(os.environ), time.time())


def is_rds(params: dict[str, Any]) -> bool:
    """Whether parameters lead to an instance of RDS."""
    return RDS_HOST.search(str(params.get("host")).lower().rstrip(".")) is not None


def parameters(url: str) -> dict[str, Any]:
    """Return libpq's parameters of a URL: TLS verified in full where it leads to RDS and does not say otherwise."""
    from psycopg.conninfo import conninfo_to_dict

    params = {"application_name": os.environ.get("AWS_LAMBDA_FUNCTION_NAME"), **conninfo_to_dict(url)}
    if is_rds(params):
        params["sslmode"] = params.get("sslmode") or "verify-full"
        root = str(params.get("sslrootcert"))
        # a path of the machine that made the URL is none here
        if str(params["sslmode"]).startswith("verify") and root != "system" and not Path(root).is_file():
            params["sslrootcert"] = str(CERTIFICATES)
    return params


# What libpq says of a failed connection, and what a server does, has a part that names no secret; the last is our own
REASONS = re.compile(
    r"FATAL:\s+[^\n]+|Connection refused|timeout expired|failed to resolve host|Network is unreachable|"
    r"root certificate file|does not support SSL|server closed the connection unexpectedly|SSL error[: a-z]*|"
    r"invalid (?:connection option|URI query parameter|percent-encoded token|sslmode value)|missing \"=\"|" + NO_HANDLE
)


def told(error: Exception) -> dict[str, Any]:
    """Return what of an error may stand in a log: its class, its code, and a reason without anybody's data."""
    facts: dict[str, Any] = {"error": type(error).__name__}
    if isinstance(error, Unusable | LookupError | TimeoutError) and not isinstance(error, KeyError):
        facts["reason"] = str(error)
    if isinstance(error, NameError):
        facts["reason"] = "the layer brings no psycopg for this Python and processor"
    diag = getattr(error, "diag", None)
    if diag is not None:
        facts["sqlstate"] = error.sqlstate  # type: ignore[attr-defined]
        if diag.sqlstate is None:  # no answer of a server
            said = REASONS.search(str(error))
            facts.update({"reason": said.group()} if said else {})
        # class 22 quotes the value that it refuses, and a function of the table's owner, which has a context, anything
        elif not diag.sqlstate.startswith("22") and not diag.context:
            facts["reason"] = diag.message_primary
    return facts
