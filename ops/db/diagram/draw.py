"""db.diagram: the tables of a target as a picture, in a file or on stdout."""

from __future__ import annotations

from pathlib import Path

from config.settings import Settings
from ops import console
from ops.console import say
from ops.db.copies import beside
from ops.db.diagram import schema, svg
from ops.errors import Misconfigured
from ops.targets import opening


def show(settings: Settings, target: str, file: str) -> None:
    """Draw a target's tables, and write them to a file or print them."""
    place = Path.cwd() / Path(file).expanduser() if file not in ("", "-") else None
    if place:
        check_place(place)
    with opening.open_target(settings, target, "db.diagram", login="reader") as at:
        at.required()
        with at.connect() as conn:
            found = schema.read(conn)
        picture = svg.drawn(found)  # not the name of the database, which a branch or a copy has not
    if not place:
        console.result(picture.rstrip("\n"))
        return
    changed = write(place, picture)
    say(f"{file}: {svg.told(found)}{'' if changed else ', as before'}")


def check_place(place: Path) -> None:
    """See that a picture may be written there; raises `Misconfigured` where what is there is none."""
    beside.check_place(place, folder=False, overwrite=True)
    if place.is_file() and place.stat().st_size and b"<svg" not in place.read_bytes()[:2000]:
        raise Misconfigured(f"{place} is there already, and no SVG: give another name")


def write(place: Path, picture: str) -> bool:
    """Write a picture, whole or not at all; False where the file held it already."""
    data = picture.encode()
    if place.is_file() and place.read_bytes() == data:
        return False
    beside.write(place, data, overwrite=True)
    return True
