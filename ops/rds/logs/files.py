"""The log files of an instance, as RDS hands them out.

DownloadDBLogFilePortion gives the last lines of a file where no marker is named, all from a marker on where one is, at most 10000
lines and 1 MB at once, and with each portion the marker of the next (RDS API Reference). RDS begins a file each hour, or as
log_filename and log_rotation_age say, called `postgresql.log.` with the time; `.csv` has the same again where log_destination names
csvlog (RDS User Guide, "Parameters for logging in RDS for PostgreSQL").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ops.aws_errors import code
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from mypy_boto3_rds.client import RDSClient

START = "0"
"""The marker of a file's beginning."""
MOST = 10_000
"""Lines that RDS gives at once."""
SERVERS = "postgresql.log"
FORMATTED = (".csv", ".json")


@dataclass(frozen=True, order=True)
class LogFile:
    """One of them; the last written is the greatest."""

    written: int
    """When it last was, in ms since 1970."""
    name: str
    size: int = 0
    """In bytes."""


@dataclass(frozen=True)
class Portion:
    """Some lines of a file."""

    text: str
    marker: str
    """Of what comes after them."""
    pending: bool
    """Whether there is more already."""


class Logs:
    """The log files of one instance."""

    def __init__(self, client: RDSClient, identifier: str) -> None:
        self.client, self.identifier = client, identifier

    def files(self) -> list[LogFile]:
        """Return those of the server's own format, the last written last."""
        pages = self.client.get_paginator("describe_db_log_files").paginate(DBInstanceIdentifier=self.identifier)
        every = [
            LogFile(one.get("LastWritten", 0), one["LogFileName"], one.get("Size", 0))
            for page in pages
            for one in page["DescribeDBLogFiles"]
        ]
        plain = sorted(one for one in every if not one.name.endswith(FORMATTED))
        return [one for one in plain if SERVERS in one.name] or plain  # beside them is one of its starts

    def portion(self, name: str, marker: str = "", lines: int = 0) -> Portion:
        """Return the file's last lines, or those from a marker on."""
        how: dict[str, Any] = {"Marker": marker} if marker else {}
        if lines:
            how["NumberOfLines"] = lines
        try:
            answer = self.client.download_db_log_file_portion(
                DBInstanceIdentifier=self.identifier, LogFileName=name, **how
            )
        except self.client.exceptions.ClientError as error:
            if not code(error).startswith("DBLogFileNotFound"):
                raise
            raise Misconfigured(f"{self.identifier} has no log file {name}: it has {self.some()}") from error
        return Portion(
            answer.get("LogFileData") or "",
            answer.get("Marker") or marker or START,
            bool(answer.get("AdditionalDataPending")),
        )

    def rest(self, name: str, marker: str) -> Iterator[Portion]:
        """Yield portions from a marker to the end of the file as it is now."""
        while True:
            found = self.portion(name, marker)
            yield found
            if not found.pending or found.marker == marker:
                return
            marker = found.marker

    def some(self) -> str:
        """Return the names of the newest files."""
        return ", ".join(one.name for one in self.files()[-3:]) or "none yet"
