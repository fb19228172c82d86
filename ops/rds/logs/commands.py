"""What an instance has logged."""

from __future__ import annotations

from invoke.context import Context

from ops.cli import OF_AWS, aws, settings_of_aws, task


@task(
    help={
        "target": OF_AWS,
        "file": "one of the log files (default: the newest)",
        "lines": "how many of the last lines (default: 100)",
        "follow": "go on until Ctrl-C, from file to file (default: no)",
        "values": "at a terminal: statements and errors with the values in them, which may be people's data (default: no)",
    },
    answer="lines[ops.rds.logs.reading.Line]",
)
def logs(
    c: Context,
    target: str = "",
    file: str = "",
    lines: str = "100",
    follow: bool = False,
    values: bool = False,
    json: bool = False,
) -> None:
    """Print what the server of the instance has logged."""
    from ops.db import sessions
    from ops.db.shown import without_values
    from ops.rds.logs import reading

    found = settings_of_aws(c, target)
    sessions.check_values(values, json=json)
    wanted = reading.Wanted(reading.read_lines(lines), file, follow, values, json)
    reading.show(found, aws(found), wanted, without_values)
