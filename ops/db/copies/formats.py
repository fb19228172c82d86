"""What a file is, as a dump: plain SQL, compressed or not, or one of the three archives of pg_dump.

The head of an archive is read as pg_restore reads it (src/bin/pg_dump/pg_backup_archiver.c, ReadHead): "PGDMP", three bytes
of version, the sizes of a number and of an offset, the format, the compression, then when, of which database and by which version.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import shutil
import struct
import subprocess
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from ops import process
from ops.db.sql_file import script
from ops.db.sql_file.script import Script
from ops.db.sql_file.text import BLOCK, FileText
from ops.errors import Misconfigured, Problem
from ops.meter import measured

Kind = Literal["plain", "custom", "tar", "directory"]

MAGIC = b"PGDMP"
TOC = "toc.dat"
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}
"""What a compressed file begins with."""
OTHERS = {b"SQLite format 3": "an SQLite database", b"PK\x03\x04": "a zip file", b"-- MySQL dump": "a dump of MySQL",
          b"-- MariaDB dump": "a dump of MariaDB", b"%PDF": "a PDF"}  # fmt: skip
ALGORITHMS = ("", "gzip", "lz4", "zstd")
"""Of an archive's data, by their numbers since 1.15 (compression.h, pg_compress_algorithm)."""
HEAD = 1 << 14
"""Bytes of a text that are looked at."""
TITLE, CLUSTER = b"-- PostgreSQL database dump", b"-- PostgreSQL database cluster dump"
END = b"-- PostgreSQL database dump complete"
ROWS_END = b"\\.\n\n\n"
"""What the rows of a table end with in a folder."""
BLOCKS = tarfile.BLOCKSIZE
_WORDS = b"ALTER|ANALYZE|BEGIN|COMMENT|COPY|CREATE|DELETE|DO|DROP|GRANT|INSERT|LOCK|REFRESH|RESET|REVOKE|SELECT|SET|START|TRUNCATE|UPDATE|WITH"
_BEGINS = re.compile(
    rb"(?:\s|--[^\n]*\n|/\*.*?\*/|\\(?:un)?restrict [^\n]*\n)*(?:" + _WORDS + rb")\b", re.IGNORECASE | re.DOTALL
)
_SERVER = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
_PROGRAM = re.compile(rb"^-- Dumped by pg_dump version (\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Format:
    """A dump, as its first bytes tell."""

    kind: Kind
    compression: str = ""
    """Of a plain file, or of an archive's data: gzip, zstd or lz4; empty for none."""
    version: str = ""
    """Of an archive's format: 1.16."""
    server: int = 0
    """Major version of the server that it is of; 0 where it does not say."""
    program: int = 0
    """Major version of the pg_dump that wrote it; 0 where it does not say."""
    complete: bool = True
    """Whether pg_dump's last line, where its first one is, was seen or cannot be looked for yet."""

    @property
    def words(self) -> str:
        """The format for people: a plain SQL file (gzip) of PostgreSQL 18."""
        names = {
            "plain": "plain SQL",
            "custom": "a custom archive",
            "tar": "a tar archive",
            "directory": "a directory archive",
        }
        more = f" ({self.compression})" if self.compression else ""
        return f"{names[self.kind]}{more}" + (f" of PostgreSQL {self.server}" if self.server else "")

    def advise(self, error: Problem, server: int) -> None:
        """Add to an error that the dump is of a newer version than the server, where it is."""
        if self.server > server:
            error.detail += (
                (
                    f"  advice: the dump is of PostgreSQL {self.server}, this server is {server}: "
                    "what that lacks has to be changed before the dump, or restored into a newer server"
                ),
            )


def recognise(path: Path, shown: str = "") -> Format:
    """Return what a file or folder is; raises `Misconfigured` for what is no dump, or one that is cut off."""
    name = shown or str(path)
    try:
        if path.is_dir():
            return of_folder(path, name)
        if not path.exists():
            raise Misconfigured(f"{name}: no such file: name a dump, as inv db.dump or pg_dump writes it")
        if not path.is_file():
            raise Misconfigured(f"{name} is not a regular file: write it into one first")
        with path.open("rb") as file:
            return of_file(file, name)
    except OSError as error:
        raise Misconfigured(f"{name}: {error.strerror or error}") from None


def of_folder(path: Path, name: str) -> Format:
    if not (path / TOC).is_file():
        raise Misconfigured(f"{name} is a folder without {TOC}: no dump; name the folder that pg_dump -Fd has made")
    with (path / TOC).open("rb") as file:
        found = header(file, f"{name}/{TOC}", "directory")
    for each in path.glob("*.dat"):  # rows as they are: pg_restore takes the end of the file for that of the rows
        if each.name.partition(".")[0].isdigit() and not tail_of(each).endswith(ROWS_END):
            raise Misconfigured(
                f"{name}/{each.name} is cut off, and with it the rows of a table: make or fetch the dump anew"
            )
    return found


def of_file(file: BinaryIO, name: str) -> Format:
    head = file.read(HEAD)
    if not head:
        raise Misconfigured(f"{name} is empty: no dump")
    file.seek(0)
    if head.startswith(MAGIC):
        return header(file, name, "custom")
    if head[257:262] == b"ustar" or head.startswith(TOC.encode() + b"\0"):
        return of_tar(file, name)
    compression = next((each for magic, each in COMPRESSED.items() if head.startswith(magic)), "")
    if not compression:
        return of_text(head, tail(file), name, "")
    if compression not in ("gzip", "zstd"):
        raise Misconfigured(f"{name} is compressed by {compression}, which is not read here: unpack it first")
    with unpacking(file, compression, name) as stream:
        head = read_up_to(stream, HEAD)
    if head.startswith(MAGIC):
        raise Misconfigured(
            f"{name} is an archive of pg_dump within {compression}: unpack that first, it is compressed by itself"
        )
    return of_text(head, b"", name, compression)


def tail_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return tail(file)


def of_tar(file: BinaryIO, name: str) -> Format:
    try:
        with tarfile.open(fileobj=file) as archive:
            member = archive.next()
            if member is None or member.name != TOC:
                raise Misconfigured(
                    f"{name} is a tar file, and none of pg_dump's (it does not begin with {TOC}): no dump"
                )
            inside = archive.extractfile(member)
            assert inside is not None
            found = header(cast(BinaryIO, inside), name, "tar")
            # pg_restore takes the end of the file for the end of the rows, and says nothing
            last = archive.getmembers()[-1]
            end = last.offset_data + (last.size + BLOCKS - 1) // BLOCKS * BLOCKS
            if file.seek(0, io.SEEK_END) < end + 2 * BLOCKS:
                raise cut_tar(name)
            return found
    except tarfile.TarError:
        raise cut_tar(name) from None


def cut_tar(name: str) -> Misconfigured:
    return Misconfigured(f"{name} is a tar file that is damaged or cut off: make or fetch it anew")


def of_text(head: bytes, end: bytes, name: str, compression: str) -> Format:
    """Return what a text is; `end` is empty where it cannot be looked at yet."""
    for magic, what in OTHERS.items():
        if head.startswith(magic):
            raise Misconfigured(f"{name} is {what}, and no dump of PostgreSQL")
    if CLUSTER in head:
        raise Misconfigured(
            f"{name} is of a whole server (pg_dumpall): make a dump of the one database, by inv db.dump or pg_dump"
        )
    if b"\0" in head or not _BEGINS.match(head.removeprefix(b"\xef\xbb\xbf")):
        raise Misconfigured(f"{name} is no dump: neither SQL nor an archive of pg_dump")
    server, program = _SERVER.search(head), _PROGRAM.search(head)
    return Format(
        "plain",
        compression,
        server=int(server[1]) if server else 0,
        program=int(program[1]) if program else 0,
        complete=not end or is_complete(head, end),
    )


def is_complete(head: bytes, end: bytes) -> bool:
    """Whether a text that begins as pg_dump begins also ends so."""
    return TITLE not in head or END in end


def tail(file: BinaryIO) -> bytes:
    """Return the last bytes of a file."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 4096))
    return file.read()


def header(file: BinaryIO, name: str, kind: Kind) -> Format:
    """Read an archive's head; raises `Misconfigured` where it is none, or cut off."""

    def take(size: int) -> bytes:
        found = file.read(size)
        if len(found) < size:
            raise Misconfigured(f"{name} is an archive of pg_dump that is cut off in its head: make or fetch it anew")
        return found

    def number() -> int:
        sign = take(1)[0]
        value = int.from_bytes(take(size), "little")
        return -value if sign else value

    def text() -> str:
        length = number()
        return take(length).decode(errors="replace") if 0 < length < HEAD else ""

    if take(len(MAGIC)) != MAGIC:
        raise Misconfigured(f"{name} does not begin as an archive of pg_dump: it is damaged, or none")
    version = struct.unpack("3B", take(3))[:2]
    size, _, form = take(3)
    if version < (1, 10) or not 1 <= size <= 8 or form not in (1, 3, 5):
        raise Misconfigured(f"{name} is an archive of pg_dump whose head is damaged: make or fetch it anew")
    if version >= (1, 15):
        algorithm = take(1)[0]
        compression = ALGORITHMS[algorithm] if algorithm < len(ALGORITHMS) else f"algorithm {algorithm}"
    else:
        compression = "gzip" if number() else ""
    for _ in range(7):
        number()  # when it was made
    text()  # of which database
    server, program = (re.match(r"\d+", text()) for _ in range(2))
    return Format(
        kind,
        compression,
        f"{version[0]}.{version[1]}",
        int(server[0]) if server else 0,
        int(program[0]) if program else 0,
    )


def open_script(path: Path, found: Format, shown: str = "") -> Script:
    """Return a plain dump as a script, unpacked into a nameless file where it is compressed.

    So its check sums are seen to before anything is built. Raises `Misconfigured` for one that is damaged or cut off,
    `Problem` where the disk is too small.
    """
    name = shown or str(path)
    if not found.compression:
        if not found.complete:
            raise cut_off(name)
        return script.read(path, name)
    with path.open("rb") as file, tempfile.TemporaryFile() as whole:
        try:
            with (
                unpacking(file, found.compression, name) as stream,
                measured(f"unpacking {path.name}", path.stat().st_size) as meter,
            ):
                while block := stream.read(BLOCK):
                    whole.write(block)
                    meter.done = file.tell()
            whole.flush()
        except OSError as error:
            if isinstance(error, gzip.BadGzipFile):
                raise damaged(name, found.compression) from None
            raise Problem(
                f"{name} cannot be unpacked into {tempfile.gettempdir()}: {error.strerror} (TMPDIR names another place)"
            ) from None
        data = FileText(cast(IO[bytes], whole), name)
        if not is_complete(data[:HEAD], data[max(0, len(data) - 4096) : len(data)]):
            raise cut_off(name)
        return script.checked(Script(name, data))


def cut_off(name: str) -> Misconfigured:
    return Misconfigured(
        f"{name} is cut off: pg_dump's last line (“{END.decode()[3:]}”) is missing: make or fetch it anew"
    )


def damaged(name: str, compression: str) -> Misconfigured:
    return Misconfigured(f"{name} is damaged or cut off: {compression} cannot unpack it: make or fetch it anew")


@contextlib.contextmanager
def unpacking(file: BinaryIO, compression: str, name: str) -> Iterator[BinaryIO]:
    """Yield what is in a compressed file; raises `Misconfigured` where it is damaged."""
    try:
        if compression == "gzip":
            with gzip.GzipFile(fileobj=file) as stream:
                yield cast(BinaryIO, stream)
        else:
            with by_program(file, name) as stream:
                yield stream
    except (EOFError, zlib.error):
        raise damaged(name, compression) from None


@contextlib.contextmanager
def by_program(file: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """Yield what zstd unpacks; who stops reading before the end is told of no damage behind it."""
    program = shutil.which("zstd")
    if program is None:
        raise Misconfigured(
            f"{name} is compressed by zstd, and nothing here reads that: install the package zstd, or unpack it first"
        )
    argv, env = [program, "-dcq"], process.child_environ({})
    with subprocess.Popen(argv, env=env, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            yield cast(BinaryIO, child.stdout)
            ended = not child.stdout.read(1)
        except BaseException:
            child.kill()
            raise
        if not ended:
            child.kill()
        elif child.wait():
            raise damaged(name, "zstd")


def read_up_to(stream: BinaryIO, size: int) -> bytes:
    """Return the first bytes of a stream, as many as there are, up to `size`."""
    found = b""
    while len(found) < size and (more := stream.read(size - len(found))):
        found += more
    return found
