"""The Python versions of Lambda: which there are, and what they run on."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from ops.errors import Misconfigured

ARCHITECTURES = {"x86_64": "x86_64", "arm64": "aarch64"}
"""What Lambda calls a processor, and what wheels do."""


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
    if python not in pythons():
        raise Misconfigured(f"Lambda has no Python {python}: use {', '.join(pythons()[-5:])}")
    if architecture not in ARCHITECTURES:
        raise Misconfigured(f"Lambda has no architecture {architecture}: use {' or '.join(ARCHITECTURES)}")
    return Runtime(python, architecture)


@functools.cache
def pythons() -> tuple[str, ...]:
    """Return the versions of Python 3 that this boto3 knows Lambda to have, oldest first."""
    from botocore.session import Session

    names = Session().get_service_model("lambda").shape_for("Runtime").enum
    found = (name.removeprefix("python") for name in names if name.startswith("python3."))
    return tuple(sorted(found, key=lambda version: int(version.partition(".")[2])))
