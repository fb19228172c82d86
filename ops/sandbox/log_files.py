"""The logs of the instances, as RDS hands them out: moto has one file with nothing in it, and no portions.

Each server keeps one file, where RDS begins one each hour; when a start has put it away, there is the one before.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.sax.saxutils import escape

from config import paths
from ops.errors import Problem
from ops.targets.embedded.state import Server

NAME, BEFORE = "error/postgresql.log", "error/postgresql.log.before"
MOST, LINES = 2**20, 10_000
"""Bytes and lines of one portion, as RDS has it."""
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def of(server: Server) -> dict[str, Path]:
    """Return the files of a server's log, by the names that RDS would have for them."""
    every = {BEFORE: server.log.with_suffix(".old"), NAME: server.log}
    return {name: path for name, path in every.items() if path.is_file() and not path.is_symlink()}


def listed(server: Server) -> str:
    """Return the answer to DescribeDBLogFiles."""
    rows = ""
    for name, path in of(server).items():
        about = path.stat()
        rows += (
            f"<DescribeDBLogFilesDetails><LogFileName>{name}</LogFileName><LastWritten>{int(about.st_mtime * 1000)}</LastWritten>"
            f"<Size>{about.st_size}</Size></DescribeDBLogFilesDetails>"
        )
    return f"<DescribeDBLogFiles>{rows}</DescribeDBLogFiles>"


def portion(server: Server, name: str, marker: str, lines: str) -> str:
    """Return the answer to DownloadDBLogFilePortion: the last lines, or those from a marker on, which is an offset here."""
    path = of(server).get(name)
    if path is None:
        raise Problem(f"there is no log file {name}")
    with open(paths.opened(path, os.O_RDONLY), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        wanted = min(int(lines or LINES), LINES)
        start = int(marker) if marker.isascii() and marker.isdigit() else max(size - MOST, 0)
        file.seek(min(start, size))
        data = file.read(min(size - file.tell(), MOST))
    found = data.splitlines(keepends=True)
    text = b"".join(found[:wanted] if marker else found[-wanted:])
    end = start + len(text) if marker else size
    said = escape(_NOT_IN_XML.sub("\ufffd", text.decode(errors="replace")), {"\r": "&#13;"})
    return (
        f"<LogFileData>{said}</LogFileData><Marker>{end}</Marker>"
        f"<AdditionalDataPending>{str(end < size).lower()}</AdditionalDataPending>"
    )
