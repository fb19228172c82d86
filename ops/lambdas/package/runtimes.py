"""The Python versions of Lambda: which there are, what they run on, and until when they are maintained."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import date, timedelta

from ops.errors import Misconfigured

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What Lambda calls a processor, and what wheels do."""
# Until when AWS maintains a runtime. It moves these dates and tells them by no call; "Lambda runtimes", read 2026-11-22
END_OF_LIFE = {
    "3.8": "2024-10-14",
    "3.9": "2025-12-15",
    "3.10": "2026-10-31",
    "3.11": "2027-06-30",
    "3.12": "2028-10-31",
    "3.13": "2029-06-30",
    "3.14": "2029-06-30",
}
SOON = timedelta(days=180)
SNAP_START = 12
"""The oldest Python 3.x of which AWS takes snapshots (Lambda Developer Guide, "Improving startup performance with Lambda SnapStart")."""


@dataclass(frozen=True)
class Runtime:
    """A Python of Lambda on one processor."""

    python: str
    """Major and minor version, such as 3.13."""
    architecture: str
    """x86_64 or arm64."""

    @property
    def name(self) -> str:
        """As Lambda names it: python3.13."""
        return f"python{self.python}"

    @property
    def minor(self) -> int:
        return int(self.python.partition(".")[2])

    @property
    def machine(self) -> str:
        """The processor as wheels and ELF name it: x86_64 or aarch64."""
        return ARCHITECTURES[self.architecture]

    @property
    def glibc(self) -> tuple[int, int]:
        """The C library it runs on: Amazon Linux 2023 since Python 3.12, Amazon Linux 2 before."""
        return (2, 34) if self.minor >= 12 else (2, 26)

    @property
    def platform(self) -> str:
        """The newest platform of uv's that this runtime can run."""
        return f"{self.machine}-manylinux_2_34" if self.glibc >= (2, 34) else f"{self.machine}-manylinux2014"


def find(python: str, architecture: str) -> Runtime:
    """Return a runtime that Lambda has; raises `Misconfigured` naming those there are."""
    if python not in END_OF_LIFE and python not in pythons():  # to ask botocore takes a fifth of building a layer
        raise Misconfigured(f"Lambda has no Python {python}: set lambda.python to one of {', '.join(pythons()[-5:])}")
    if architecture not in ARCHITECTURES:
        raise Misconfigured(
            f"Lambda has no architecture {architecture}: set lambda.architecture to {' or '.join(ARCHITECTURES)}"
        )
    return Runtime(python, architecture)


def check_snap_start(runtime: Runtime) -> None:
    """Raise `Misconfigured` where AWS takes no snapshots of a runtime."""
    if runtime.minor < SNAP_START:
        raise Misconfigured(
            f'lambda.snap_start: AWS takes no snapshot of {runtime.name}: set lambda.python to 3.{SNAP_START} or newer, or lambda.snap_start: "no"'
        )


@functools.cache
def pythons() -> tuple[str, ...]:
    """Return the versions of Python 3 that this boto3 knows Lambda to have, oldest first."""
    from botocore.session import Session

    names = Session().get_service_model("lambda").shape_for("Runtime").enum
    found = (name.removeprefix("python") for name in names if name.startswith("python3."))
    return tuple(sorted(found, key=lambda version: int(version.partition(".")[2])))


def end_of_life(runtime: str, today: date | None = None) -> tuple[str, bool]:
    """Return the day until which AWS maintains a runtime, as 2029-06-30, and whether it is near or past.

    The day is empty for a runtime that is newer than the table.
    """
    end = END_OF_LIFE.get(runtime.removeprefix("python"), "")
    today = today or date.today()  # noqa: DTZ011 - the day where the user is
    return end, bool(end) and date.fromisoformat(end) - today < SOON
