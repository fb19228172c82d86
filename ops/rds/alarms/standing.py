"""What watches an instance, and who is told, as rds.status shows it."""

from __future__ import annotations

from dataclasses import dataclass

DAYS = 2
"""After which SNS forgets an address whose link was not clicked (SNS's user guide, "Email notifications")."""


@dataclass(frozen=True)
class Alarm:
    """An alarm of ours."""

    kind: str
    """storage, cpu-credits, connections, failed-sign-ups, or replica-lag- and the replica's name."""
    state: str | None
    """In CloudWatch's word: OK, ALARM or INSUFFICIENT_DATA; null for one that would be made."""
    means: str
    """What has happened when it goes off."""


@dataclass(frozen=True)
class Alarms:
    """What watches an instance, and who is told."""

    alarms: list[Alarm]
    """Those that are there."""
    confirmed: int
    """Addresses that get an e-mail."""
    unconfirmed: int
    """Addresses that get none until the link in AWS's e-mail was clicked."""


def words(holds: Alarms) -> str:
    """Return alarms in words, with what is left to a person."""
    off = [one.kind for one in holds.alarms if one.state == "ALARM"]
    state = f"{len(holds.alarms)} alarms, " + (f"going off: {', '.join(off)}" if off else "none going off")
    return f"{state}; {who(holds)}"


def who(told: Alarms) -> str:
    """Return who is told, in words."""
    parts = [f"{told.confirmed} e-mail address(es) told"] * bool(told.confirmed)
    if told.unconfirmed:
        parts.append(
            f"{told.unconfirmed} unconfirmed: no alarm arrives there until the link in the e-mail from AWS was clicked "
            f"(AWS forgets it after {DAYS} days: then inv rds.alarms --email again)"
        )
    return ", ".join(parts) or "nobody is told: inv rds.alarms --email ADDRESS"
