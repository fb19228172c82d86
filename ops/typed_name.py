"""A dangerous act happens when its name is given, by --confirm or by a person at a terminal."""

from __future__ import annotations

from ops import console
from ops.errors import Refused


def require_confirmation(name: str, given: str, *, this: str, act: str, question: str, caseless: bool = False) -> None:
    """Return where `given` is the name, or a person types it; no terminal and no option means no: `Refused`.

    `this` says whose name it is, `act` what is not done without it, `question` what a person is asked.
    `caseless` is for names that are kept in lower case.
    """

    def same(text: str) -> bool:
        return (text.lower() if caseless else text) == name

    if given and not same(given):
        raise Refused(f"--confirm {given} is not {this}, which is {name}: nothing was done")
    if given:
        return
    if not console.interactive():
        raise Refused(f"{act}: nothing was done; if a person has decided to, add --confirm {name}")
    if not same(console.ask(question)):
        raise Refused("the name does not match: nothing was done")
