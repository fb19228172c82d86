"""The env file: read without interpolation, written in place and atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from config.paths import make_folders, opened, write_private
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from dotenv.parser import Binding


def read(path: Path) -> dict[str, str]:
    """Return the variables of the file at `path`; an absent file has none.

    Interpolation is off, so a password that holds ``${`` stays as written.
    Raises `Misconfigured` naming the first line that is not NAME=VALUE.
    """
    return {each.key: each.value or "" for each in parts(path) if each.key}


def parts(path: Path, *, ours: bool = False) -> list[Binding]:
    """Return the variables of the file, and what is between them, as they are written there.

    `ours`: raises `Foreign` for a link, and for a file of another user than the folder's.
    """
    try:
        with open(path, encoding="utf-8-sig", opener=own if ours else None) as stream:
            from dotenv.parser import parse_stream

            found = list(parse_stream(stream))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{path} is not UTF-8: save it as UTF-8") from error
    for each in found:
        if each.error or (each.key and each.value is None):
            raise Misconfigured(f"{path}:{each.original.line}: write NAME=VALUE on this line")
    return found


def own(path: str, flags: int) -> int:
    """Open a file of ours, as `open` asks."""
    return opened(Path(path), flags)


def write(path: Path, name: str, value: str) -> None:
    """Set one variable, keeping order and comments; the file ends up 0600.

    The write is a rename, so a reader sees the old file or the new one.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    real, found = whole(path)
    exported = any(each.key == name and each.original.string.split()[0] == "export" for each in found)
    line = f"{'export ' if exported else ''}{name}='{escaped}'\n"
    texts = [line if each.key == name else each.original.string for each in found]
    if all(each.key != name for each in found):
        texts += ["\n"] if texts and not texts[-1].endswith("\n") else []
        texts.append(line)
    make_folders(real.parent)
    write_private(real, "".join(texts), lasting=False)


def remove(path: Path, name: str) -> None:
    """Take one variable out, keeping order and comments; the write is a rename."""
    real, found = whole(path)
    if any(each.key == name for each in found):
        write_private(real, "".join(each.original.string for each in found if each.key != name), lasting=False)


def whole(path: Path) -> tuple[Path, list[Binding]]:
    """Return where the file really is, and its parts: what we cannot understand is not ours to rewrite.

    As root, no link is followed in another user's folder, who could have it lead to anything: raises `Foreign`.
    """
    if os.geteuid() == 0 and path.parent.is_dir() and path.parent.stat().st_uid != 0:
        return path, parts(path, ours=True)
    return path.resolve(), parts(path)
