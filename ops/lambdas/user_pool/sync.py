"""lambda.sync-users: every confirmed user of the pool has a row, also those whom the trigger never saw.

Admin-created and imported users have no trigger, and one that failed never
comes again. The pool is read page by page, and one page at a time is kept.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from config.sign_up import COLUMNS, TABLE
from config.targets import Target
from ops import console, row_values
from ops.aws import Aws
from ops.console import say
from ops.errors import Misconfigured, NoDatabase, Problem
from ops.lambdas import function, snap_start
from ops.lambdas.user_pool import bulk, link, pool
from ops.targets import open_target, opening, production_guard

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp.client import CognitoIdentityProviderClient
    from mypy_boto3_cognito_idp.type_defs import UserTypeTypeDef
    from psycopg import Connection

    from functions.post_confirmation.people import Person

CONFIRMED = ("CONFIRMED", "EXTERNAL_PROVIDER", "RESET_REQUIRED")
"""Those who have confirmed themselves, by a code, at their provider, or before a new password was asked of them."""
EXPECTED = f"select {', '.join(COLUMNS)} from {TABLE} limit 0"
KNOWN = f"select cognito_user_id::text from {TABLE} where cognito_user_id = any(%s)"
REFUSED = "refused by the table"
PAGE = 60
"""The most that Cognito gives at once."""


@dataclass(frozen=True)
class Skipped:
    """Users without a row, for one reason."""

    reason: str
    """In words."""
    users: int
    """How many they are."""


@dataclass(frozen=True)
class Synced:
    """How many users of the pool became what."""

    written: bool
    """False on a dry run: then it is what would become of them."""
    inserted: int
    """They had no row."""
    linked: int
    """They were given a seeded row, with --link."""
    present: int
    """They had a row."""
    skipped: int
    """They have none."""
    refused: int
    """Those among the skipped whom the table did not take; there are some: the exit code is 1."""
    skipped_for: list[Skipped]
    """Why, with how many."""


@dataclass
class Report:
    """What became of the users of a pool."""

    counts: Counter[str] = field(default_factory=Counter)
    """By outcome: inserted, linked, present, skipped."""
    skipped: Counter[str] = field(default_factory=Counter)
    """By reason."""

    @property
    def refused(self) -> int:
        """How many the table did not take."""
        return sum(count for why, count in self.skipped.items() if why.startswith(REFUSED))

    def skip(self, why: str) -> None:
        self.counts["skipped"] += 1
        self.skipped[why] += 1

    def synced(self, *, written: bool) -> Synced:
        """Return the report for JSON."""
        reasons = [Skipped(why, count) for why, count in sorted(self.skipped.items())]
        return Synced(
            written=written,
            inserted=self.counts["inserted"],
            linked=self.counts["linked"],
            present=self.counts["present"],
            skipped=self.counts["skipped"],
            refused=self.refused,
            skipped_for=reasons,
        )

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        shown = [f"{word}: {self.counts[word]}" for word in ("inserted", "linked", "present", "skipped")]
        return [*shown, *(f"  {count} {why}" for why, count in sorted(self.skipped.items()))]


def sync_users(
    settings: Settings, aws: Aws, pool_id: str, target: str, *, dry_run: bool, linking: bool, confirm: str = ""
) -> Report:
    """Insert a row for every confirmed user who has none; `linking` gives a seeded row to whom it was meant for."""
    client, report = aws.client("cognito-idp"), Report()
    try:
        about = client.describe_user_pool(UserPoolId=pool_id)["UserPool"]
    except client.exceptions.ResourceNotFoundException as error:
        raise pool.Missing(pool_id, aws.region) from error
    deployed = function.find_function(aws, settings.lambdas)
    with opening.open_target(settings, target or settings.focus.name, "lambda.sync-users", writes=not dry_run) as at:
        at.work.by_steps = True
        if not at.database():
            raise NoDatabase(f"{at.target.address}: the database is not there yet: inv db.setup -t {at.target.name}")
        sync_pages(settings, about, deployed, at, confirm, dry_run=dry_run)
        links = link.Links(client, pool_id, dry_run=dry_run) if linking else None
        counting = console.counting(int(about.get("EstimatedNumberOfUsers") or 0), "users")
        with at.connect() as conn, expected(at.target), counting as show:
            conn.execute(EXPECTED)
            for page in pages(client, pool_id):
                sync(conn, page, report, links, dry_run=dry_run)
                show(sum(report.counts.values()))
    return report


def sync_pages(
    settings: Settings,
    about: Mapping[str, Any],
    deployed: Mapping[str, Any] | None,
    at: open_target.OpenTarget,
    confirm: str,
    *,
    dry_run: bool,
) -> None:
    """See that pool and database belong together, as the deployed function tells.

    The users of one application in the database of another are an accident: production
    wants its name where there is a doubt, another database is told of it.
    """
    name = settings.lambdas.function
    if deployed is None:
        say(
            f"note: there is no function {name} yet, which would tell whether this pool and this database belong together"
        )
        found = []
    else:
        found = list(doubts(name, about, deployed["Configuration"], at.target))
    for doubt in found:
        say(f"note: {doubt}")
    if confirm or (found and not dry_run):
        production_guard.confirm(at, "sync-users", confirm)


def doubts(name: str, about: Mapping[str, Any], configuration: Mapping[str, Any], here: Target) -> Iterator[str]:
    """Yield why the users of a pool may not be meant for a database."""
    calls = pool.trigger(dict(about))
    arn = str(configuration["FunctionArn"])
    if calls not in (arn, snap_start.arn_of(arn)):
        yield f"the pool {about['Id']} calls {calls or 'nothing'} and not {name} (inv lambda.attach)"
    try:
        its = function.login({"Configuration": configuration})
    except Misconfigured:
        yield f"{name} has no {function.URL} that tells its database (inv lambda.deploy)"
        return
    if location(its) != location(here):
        yield f"{name} writes to {location(its)} and not to {location(here)}"


def location(target: Target) -> str:
    """Return which database a target is, whoever logs in and by whatever way."""
    return f"{target.host.lower().rstrip('.')}:{target.port}/{target.dbname}"


@contextlib.contextmanager
def expected(target: Target) -> Iterator[None]:
    """Say at once, and not of each user, that the table is not as the function needs it."""
    from psycopg import errors

    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise Problem(
            f"{TABLE} of {target.address} is not as the function needs it ({row_values.message(error.diag)}): "
            f"mend sql/schema.sql, then inv db.setup -t {target.name}"
        ) from error


def pages(client: CognitoIdentityProviderClient, pool_id: str) -> Iterator[list[UserTypeTypeDef]]:
    """Yield the users of a pool, page by page."""
    for page in client.get_paginator("list_users").paginate(UserPoolId=pool_id, PaginationConfig={"PageSize": PAGE}):
        yield page["Users"]


def sync(
    conn: Connection[Any],
    page: list[UserTypeTypeDef],
    report: Report,
    links: link.Links | None = None,
    *,
    dry_run: bool = False,
) -> None:
    """Bring one page of users into the database."""
    people = list(confirmed(page, report))
    rows = conn.execute(KNOWN, [[person.cognito_user_id for person, _ in people]]).fetchall()
    known = {row["cognito_user_id"] for row in rows}
    if links:
        links.left(conn, [(person, attributes) for person, attributes in people if person.cognito_user_id in known])
    new = [person for person, _ in people if person.cognito_user_id not in known]
    done = bulk.insert(conn, new) if new and not links and not dry_run else set()
    for person, attributes in people:
        if person.cognito_user_id in known:
            report.counts["present"] += 1
            continue
        if person.cognito_user_id in done:
            report.counts["inserted"] += 1
            continue
        try:
            word = (links.give(conn, person, attributes) if links else "") or insert(conn, person, dry_run=dry_run)
        except link.Doubtful as doubt:
            report.skip(str(doubt))
            continue
        if word in ("inserted", "linked", "present"):
            report.counts[word] += 1
        else:
            report.skip(word)


def confirmed(page: list[UserTypeTypeDef], report: Report) -> Iterator[tuple[Person, Mapping[str, str]]]:
    """Yield the confirmed users of a page with their attributes, and report the others."""
    from functions.post_confirmation.people import Person, Unusable

    for user in page:
        status = user.get("UserStatus", "UNKNOWN")
        if status not in CONFIRMED:
            report.skip(f"not confirmed ({status})")
            continue
        attributes = {item["Name"]: item.get("Value", "") for item in user.get("Attributes", [])}
        try:
            yield Person.of(attributes, user.get("Username", "")), attributes
        except Unusable as error:
            report.skip(str(error))


def insert(conn: Connection[Any], person: Person, *, dry_run: bool) -> str:
    """Return what became of a person: inserted, present, or why the table does not take them."""
    import psycopg

    from functions.post_confirmation.people import store

    if dry_run:
        return "inserted"
    try:
        outcome = store(conn, person)
    except (
        psycopg.OperationalError,
        psycopg.InterfaceError,
        psycopg.errors.UndefinedTable,
        psycopg.errors.UndefinedColumn,
    ):
        raise  # of the connection or the schema: the next one would fare no better
    except psycopg.Error as error:
        what = error.diag.column_name or error.diag.constraint_name
        return f"{REFUSED}: {type(error).__name__}" + (f" ({what})" if what else "")
    if outcome.changed:
        say(
            f"{person.cognito_user_id}: {', '.join(outcome.changed)} stored otherwise than in the pool, which the table demands"
        )
    return outcome.word
