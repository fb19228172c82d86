"""The bytes of an SQL file, in memory or, where there are many, in the file that holds them.

A dump may be larger than the memory. What is loaded must be what was checked:
the file stays open, so that another one put in its place is not seen, and
`FileText.check` raises once somebody has written to it. It is not mapped: the
system ends a process without a word when a mapped file is cut off.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator
from typing import IO, TypeAlias

from ops.errors import Problem

WHOLE = 8 << 20
"""Bytes up to which a text is held in memory."""

BLOCK = 1 << 18
"""Bytes that are read at once; as many as stay in a processor's cache."""

Stamp: TypeAlias = tuple[int, ...]


class FileText:
    """A text in an open file; it has of `bytes` what the scan and the faults use."""

    def __init__(self, file: IO[bytes], name: str, skip: int = 0) -> None:
        """Take a file that may be closed afterwards; `skip` bytes at its start are no part of the text."""
        self._fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._fd)
        self._name, self._skip = name, skip
        self._stamp = stamp(os.fstat(self._fd))
        self._size = os.fstat(self._fd).st_size - skip

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, end, _ = part.indices(self._size)
        pieces = []
        while start < end and (piece := os.pread(self._fd, end - start, self._skip + start)):
            pieces.append(piece)
            start += len(piece)
        if start < end:
            raise self._changed()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def find(self, wanted: bytes, start: int = 0, end: int | None = None) -> int:
        end = self._size if end is None else min(end, self._size)
        while start + len(wanted) <= end:
            upto = min(start + BLOCK, end)
            if (at := self[start:upto].find(wanted)) >= 0:
                return start + at
            start = upto if upto == end else upto - len(wanted) + 1
        return -1

    def rfind(self, wanted: bytes, start: int, end: int) -> int:
        while start + len(wanted) <= end:
            since = max(start, end - BLOCK)
            if (at := self[since:end].rfind(wanted)) >= 0:
                return since + at
            end = since if since == start else since + len(wanted) - 1
        return -1

    def count(self, wanted: bytes, start: int, end: int) -> int:
        """Count a single byte."""
        return sum(self[at : min(at + BLOCK, end)].count(wanted) for at in range(start, end, BLOCK))

    def startswith(self, wanted: bytes | tuple[bytes, ...], start: int = 0) -> bool:
        longest = wanted if isinstance(wanted, bytes) else max(wanted, key=len)
        return self[start : start + len(longest)].startswith(wanted)

    def check(self) -> None:
        """Raise `Problem` if somebody has written to the file since it was opened."""
        if stamp(os.fstat(self._fd)) != self._stamp:
            raise self._changed()

    def _changed(self) -> Problem:
        return Problem(f"{self._name} was written to while it was read, and nothing of it was kept: run it again")


Text: TypeAlias = bytes | FileText


def stamp(found: os.stat_result) -> Stamp:
    """Return what tells a file from another, and from itself when it was written to."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def blocks(text: Text, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield a text, or a part of it, piece by piece."""
    end = len(text) if end is None else end
    for at in range(start, end, BLOCK):
        yield text[at : min(at + BLOCK, end)]


def line_end(text: Text, number: int, start: int = 0) -> int:
    """Return the offset of the newline that ends a line, counted from 1 at `start`, or the text's end."""
    at = start
    for block in blocks(text, start):
        if (there := block.count(b"\n")) >= number:
            inside = -1
            for _ in range(number):
                inside = block.find(b"\n", inside + 1)
            return at + inside
        number -= there
        at += len(block)
    return len(text)


class Digest(threading.Thread):
    """The SHA-256 of a text, made while others read it: neither hashing nor reading holds Python up."""

    def __init__(self, text: Text) -> None:
        super().__init__(daemon=True)
        self.text, self.content = text, hashlib.sha256()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            for block in blocks(self.text):
                self.content.update(block)
        except Exception as error:  # raised again by result()
            self.error = error

    def result(self) -> hashlib._Hash:
        """Wait for its end; raise what it ended in."""
        self.join()
        if self.error:
            raise self.error
        return self.content.copy()
