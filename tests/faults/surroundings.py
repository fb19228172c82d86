"""What is wrong around a task, made so: a room without space, a clock that jumps, a resolver that is silent, messages that take their time.

Rooms and resolver are in a mount namespace of the run's own (unshare(1)), so that nothing of this machine changes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cutting import Line, Proxy
from tests.forked import INV

OWN = ["unshare", *([] if os.geteuid() == 0 else ["-r"]), "-m"]
DELAY = 0.01
"""Seconds that each message takes longer."""
ROOM = {"disk full": "size=24m", "no inodes": "size=24m,nr_inodes=1500"}
RESOLVER = "127.0.0.153"

CROWDED = r"""
out=$1 options=$2 kind=$3; shift 3
room=$out/room
mkdir "$room"
mount -t tmpfs -o "$options" room "$room"
number=0
for place in .local tmp sql/migrations; do
  number=$((number + 1))
  mkdir -p "$place" && cp -a "$place" "$room/$number" && mount --bind "$room/$number" "$place"
done
look() { find .local tmp sql/migrations -type f -exec sha256sum {} + | sort -k 2; }
look >"$out/before"
if [ "$kind" = "disk full" ]; then
  dd if=/dev/zero of="$room/filler" bs=4k 2>/dev/null
else
  mkdir "$room/filler"; n=0
  while { : >"$room/filler/$n"; } 2>/dev/null; do n=$((n + 1)); done
fi
"$@" >"$out/stdout" 2>"$out/stderr" </dev/null; echo $? >"$out/code"
look >"$out/after"
rm -r "$room/filler"
"$@" >"$out/stdout2" 2>"$out/stderr2" </dev/null; echo $? >"$out/code2"
look >"$out/end"
# what it has started is known by files that go with the room
if [ -e .local/sandbox ]; then "$inv" sandbox.down >/dev/null 2>&1; fi
if [ -n "$(find .local -name postgres -print -quit)" ]; then "$python" -c "$END"; fi
"""

END = """
from pathlib import Path
from ops.db import scratch_server
from ops.targets.embedded import server
server.remove_data(Path.cwd())
scratch_server.remove_all(Path.cwd())
"""

JUMPS = '''
"""A clock that is a day ahead, or two behind, each time it is read."""

import datetime
import itertools
import time

_time, _offsets = time.time, itertools.cycle([0, 86_400, -172_800, 3_600])
time.time = lambda: _time() + next(_offsets)


class _Kind(type):
    def __instancecheck__(cls, one):
        return isinstance(one, _usual)

    def __subclasscheck__(cls, one):
        return issubclass(one, _usual)


_usual = datetime.datetime


class _Jumping(_usual, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _usual.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls):
        return _usual.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)


datetime.datetime = _Jumping
'''


@dataclass(frozen=True)
class Crowded:
    """What became of a task without room, and of the same once there was some."""

    code: int
    said: str
    before: dict[str, str]
    """Each file by its name: a digest of what is in it."""
    after: dict[str, str]
    again: int
    said_again: str
    end: dict[str, str]


def reason_against() -> str:
    """Return why there are no namespaces here, or an empty text."""
    if not shutil.which("unshare"):
        return "there is no unshare here"
    words = ["sh", "-c", "d=$(mktemp -d) && mount -t tmpfs -o size=1m room $d"]
    done = subprocess.run([*OWN, *words], capture_output=True, text=True, check=False)
    return f"no mount namespace to be had here: {done.stderr.strip()}" if done.returncode else ""


def crowded(kind: str, args: Sequence[str], cwd: Path, env: Mapping[str, str], out: Path) -> Crowded:
    """Run inv where its places have no room, and again when they have."""
    out.mkdir()
    argv = [*OWN, "bash", "-uc", CROWDED, "-", str(out), ROOM[kind], kind, str(INV), *args]
    there = {**env, "END": END, "inv": str(INV), "python": sys.executable, "PYTHONPATH": str(cwd)}
    subprocess.run(argv, cwd=cwd, env=there, capture_output=True, check=True, timeout=180)

    def told(name: str) -> str:
        return (out / name).read_text(encoding="utf-8")

    def files(name: str) -> dict[str, str]:
        lines = [line.split(maxsplit=1) for line in told(name).splitlines()]
        return {path: digest for digest, path in lines}

    codes = int(told("code")), int(told("code2"))
    looks = files("before"), files("after"), files("end")
    return Crowded(codes[0], told("stderr"), looks[0], looks[1], codes[1], told("stderr2"), looks[2])


def unresolved(args: Sequence[str], cwd: Path, env: Mapping[str, str], quiet: Path) -> subprocess.CompletedProcess[str]:
    """Run inv where the resolver says nothing."""
    words = ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(quiet), str(INV), *args]
    return subprocess.run([*OWN, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=120)


def jumping(folder: Path, args: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run inv by a clock that jumps."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    there = {**env, "PYTHONPATH": str(folder)}
    return subprocess.run(
        [INV, *args],
        cwd=cwd,
        env=there,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=120,
    )


class Slow(Proxy):
    """Takes its time for each message of a client."""

    def meets(self, text: bytes) -> bool:  # noqa: ARG002 (it is none)
        time.sleep(DELAY)
        return False


class Liar(Proxy):
    """Changes what the server says, message by message (https://www.postgresql.org/docs/18/protocol-message-formats.html)."""

    def meets(self, text: bytes) -> bool:  # noqa: ARG002 (it is none)
        return False

    def answer(self, line: Line, data: bytes) -> bytes:
        line.said += data
        told = b""
        while line.said:
            if not line.speaks and line.said[:1] in b"NSG":  # to a request for encryption
                told, line.said = told + line.said[:1], line.said[1:]
                continue
            line.speaks = True
            size = 1 + int.from_bytes(line.said[1:5], "big")
            if len(line.said) < max(size, 5):
                break
            told += self.lie(line, line.said[:1], line.said[5:size])
            line.said = line.said[size:]
        return told

    def lie(self, line: Line, kind: bytes, body: bytes) -> bytes:  # noqa: ARG002 (it is for others)
        return message(kind, body)


def message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


class Noisy(Liar):
    """Says much before each end of an answer, and tries to steer the terminal."""

    def lie(self, line: Line, kind: bytes, body: bytes) -> bytes:  # noqa: ARG002
        # https://www.postgresql.org/docs/18/protocol-error-fields.html
        text = b"SWARNING\0VWARNING\0C01000\0M\x1b]0;steered\x07\x1b[2J" + b"blah " * 40_000 + b"\0\0"
        return (message(b"N", text) * 5 if kind == b"Z" else b"") + message(kind, body)


class Empty(Liar):
    """Has nothing where a value was."""

    def lie(self, line: Line, kind: bytes, body: bytes) -> bytes:  # noqa: ARG002
        if kind == b"D":
            body = body[:2] + b"\xff\xff\xff\xff" * int.from_bytes(body[:2], "big")
        return message(kind, body)


NUMBERS, TEXTS, JSON = {20, 21, 23, 26, 700, 701, 1700}, {18, 19, 25, 1043}, {114, 3802}
"""Types by their numbers in pg_type."""
STEERS = b"\x1b]0;steered\x07\x1b[2J\n-1"


@dataclass
class Wrong(Liar):
    """Has other values than there are, of these types; not of the facts about itself, where `late`: they are looked at at once."""

    lies: Mapping[int, bytes] = field(default_factory=dict)
    late: bool = False

    def lie(self, line: Line, kind: bytes, body: bytes) -> bytes:
        if kind == b"T":
            line.columns, at = [], 2
            while at < len(body):
                end = body.index(0, at)
                line.columns.append((body[at:end], int.from_bytes(body[end + 7 : end + 11], "big")))
                at = end + 19
        if kind == b"D" and not (self.late and b"system_id" in dict(line.columns)):
            values, at = [], 2
            for _, kind_of in line.columns:
                size = int.from_bytes(body[at : at + 4], "big", signed=True)
                value = None if size < 0 else body[at + 4 : at + 4 + size]
                values.append(value if value is None else self.lies.get(kind_of, value))
                at += 4 + max(size, 0)
            body = body[:2] + b"".join(
                (-1).to_bytes(4, "big", signed=True) if each is None else len(each).to_bytes(4, "big") + each
                for each in values
            )
        return message(kind, body)


LIES: dict[str, dict[str, Any]] = {
    "a text for a number": {"lies": dict.fromkeys(NUMBERS, b"many")},
    "numbers below zero": {"lies": dict.fromkeys(NUMBERS, b"-1")},
    "later, a text for a number": {"lies": dict.fromkeys(NUMBERS, b"many"), "late": True},
    "later, all else": {
        "lies": {**dict.fromkeys(NUMBERS, b"-1"), **dict.fromkeys(TEXTS, STEERS), **dict.fromkeys(JSON, b"[-1]")},
        "late": True,
    },
}
"""What a server says in the place of what is so."""


PAGE = "200 OK", b"<html><body>what you are looking for is not here</body></html>"
"""What a web server says in the place of a service of AWS."""


def looks(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Return mode, owner and content of all that lies in a folder, itself included."""
    found = {}
    for path in (folder, *sorted(folder.rglob("*"))):
        seen = path.lstat()
        found[str(path)] = (seen.st_mode, seen.st_uid, path.read_bytes() if path.is_file() else b"")
    return found
