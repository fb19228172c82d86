"""The env file: read without interpolation, written in place and atomically."""

from __future__ import annotations

import os
import re
from pathlib import Path

from config.paths import hand_over
from ops.errors import Misconfigured


def read(path: Path) -> dict[str, str]:
    """Return the variables of the file at `path`; an absent file has none.

    Interpolation is off, so a password that holds ``${`` stays as written.
    Raises `Misconfigured` naming the first line that is not NAME=VALUE.
    """
    try:
        stream = path.open(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Misconfigured(f"cannot read {path}: {error.strerror}") from error
    from dotenv.parser import parse_stream

    values: dict[str, str] = {}
    with stream:
        try:
            for binding in parse_stream(stream):
                if binding.error or (binding.key and binding.value is None):
                    raise Misconfigured(f"{path}:{binding.original.line}: write NAME=VALUE on this line")
                if binding.key:
                    values[binding.key] = binding.value or ""
        except UnicodeDecodeError as error:
            raise Misconfigured(f"{path} is not UTF-8: save it as UTF-8") from error
    return values


def write(path: Path, name: str, value: str) -> None:
    """Set one variable, keeping order and comments; the file ends up 0600.

    The write is a rename, so a reader sees the old file or the new one.
    """
    from dotenv import set_key

    read(path)  # a file we cannot understand is not ours to rewrite
    exported = False
    if path.exists():
        path.chmod(0o600)  # before the rename: the new file takes over this mode
        exported = (
            re.search(rf"^\s*export\s+{name}\s*=", path.read_text(encoding="utf-8-sig"), re.MULTILINE) is not None
        )
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
    set_key(path, name, value, export=exported, follow_symlinks=True)
    leave(path)


def remove(path: Path, name: str) -> None:
    """Take one variable out, keeping order and comments; the write is a rename."""
    from dotenv import unset_key

    if name in read(path):
        path.chmod(0o600)
        unset_key(path, name, follow_symlinks=True)
        leave(path)


def leave(path: Path) -> None:
    """As root, leave the new file to the user whose folder it is in: dotenv has made it, and for nobody else's eyes."""
    real = path.resolve()
    fd = os.open(real, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        hand_over(fd, real.parent)
    finally:
        os.close(fd)
