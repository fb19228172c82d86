"""The figures as a table to read, and as the one in docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from bench.measure import OURS, Machine, Result, Side
from ops import console
from ops.errors import Misconfigured

COLUMNS = ("comparison", "side", "time", "spread", "cpu", "memory", "ours / side", "to reach", "besides")


def rows(result: Result) -> list[dict[str, str]]:
    """Return a row for each side of a comparison."""
    found = []
    for side in result.sides:
        ours = side.side == OURS
        found.append(
            {
                "comparison": result.name,
                "side": result.command if ours else side.side,
                "time": ("" if result.figure == "median" else f"{result.figure} ") + duration(side.figure_seconds),
                "spread": f"{duration(side.least_seconds)} to {duration(side.most_seconds)}",
                "cpu": duration(side.cpu_seconds),
                "memory": f"{side.memory_bytes / (1 << 20):.0f} MB" if side.memory_bytes else "",
                "ours / side": "" if ours else f"{side.ratio:.2f}",
                "to reach": target(side),
                "besides": side.fact,
            }
        )
    return found


def duration(seconds: float) -> str:
    if seconds >= 120:
        return f"{seconds / 60:.1f} min"
    if seconds < 0.1:
        return f"{seconds * 1000:.2f} ms"
    return f"{seconds * 1000:.0f} ms" if seconds < 10 else f"{seconds:.1f} s"


def target(side: Side) -> str:
    """Return what a side was measured for, and whether that was reached."""
    if side.reached is None:
        return ""
    wanted = f"{side.reach_bytes / (1 << 20):.0f} MB" if side.reach_bytes else f"{side.reach_ratio:.2f}"
    return f"{wanted}: {'reached' if side.reached else 'missed'}"


def show(results: Sequence[Result], machine: Machine) -> None:
    """Print the table, and below it what explains it."""
    facts = {"cpus": machine.cpus, "memory": gigabytes(machine), "system": machine.system, "python": machine.python}
    console.result("  ".join(f"{key}: {value}" for key, value in facts.items()))
    console.table(COLUMNS, [row for result in results for row in rows(result)])
    for result in results:
        if result.note:
            console.result(f"{result.name}: {result.note}")


def write(path: Path, results: Sequence[Result], machine: Machine, order: Sequence[str]) -> None:
    """Put the figures into the table of a document; those of other comparisons stay, with their date."""
    text = path.read_text(encoding="utf-8")
    for kind, lines in (("table", table_lines), ("notes", note_lines)):
        begin, end = f"<!-- {kind} -->\n", f"<!-- end of {kind} -->"
        if begin not in text or end not in text:
            raise Misconfigured(f"{path.name} has lost its line {begin.strip()} or {end}: bring it back")
        head, _, rest = text.partition(begin)
        body, _, tail = rest.partition(end)
        kept: dict[str, list[str]] = {}
        for line in body.splitlines():
            if named := re.match(r"(?:\| |- )`([\w.-]+)`", line):
                kept.setdefault(named[1], []).append(line)
        kept |= {result.name: lines(result, machine) for result in results}
        top = [] if kind == "notes" else [f"| {' | '.join(COLUMNS)} |", "|" + " --- |" * len(COLUMNS)]
        names = [*order, *(name for name in kept if name not in order)]
        body = "\n".join([*top, *(line for name in names for line in kept.get(name, []))])
        text = f"{head}{begin}{body}\n{end}{tail}"
    path.write_text(text, encoding="utf-8")


def table_lines(result: Result, _: Machine) -> list[str]:
    lines = []
    for row in rows(result):
        cells = [row[column].replace("|", "\\|") for column in COLUMNS]
        lines.append(f"| `{cells[0]}` | {' | '.join(cells[1:])} |")
    return lines


def gigabytes(machine: Machine) -> str:
    return f"{machine.memory_bytes >> 30} GB"


def note_lines(result: Result, machine: Machine) -> list[str]:
    """Return when, where and with what a comparison was measured, and what explains it."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    where = f"{machine.cpus} CPUs, {gigabytes(machine)}, {machine.system}, Python {machine.python}"
    runs = f"{result.runs} run{'s' if result.runs > 1 else ''} of each side"
    parts = [f"- `{result.name}`: {datetime.now(timezone.utc):%Y-%m-%d}, {runs}; {where}", versions]
    return [" ".join(["; ".join(filter(None, parts)) + ".", result.note]).strip()]
