"""db.migration-lint as a task: which migrations, which server, and the answer as lines, JSON or Markdown."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from config.settings import Settings
from config.targets import resolve
from ops import console
from ops.db.migrations import files, history, lint, live_tables
from ops.db.migrations.files import Migration
from ops.db.migrations.lint import Finding, Lint, Table
from ops.db.sql_file.script import display
from ops.errors import Differs, Misconfigured, NotConfigured, Problem, Refused
from ops.targets import last_look, opening
from ops.targets.embedded import binaries, postmaster, state
from ops.targets.open_target import OpenTarget

MARK = "<!-- inv db.migration-lint -->"
"""By which the comment on a pull request is known again."""
ROWS = 100
"""The most findings in a comment, errors first: GitHub takes 65,536 characters."""
NEWEST = 18
"""The version that is meant where no server tells one."""


def show(
    settings: Settings, target: str, named: Sequence[str], allow: Sequence[str], *, json: bool, markdown: bool
) -> None:
    """Print what is found in the migrations that a target lacks, or in those that are named; raises `Differs` for errors."""
    if json and markdown:
        raise Misconfigured("give one of --json, --markdown")
    settings = settings.on(target)
    done = lint_at(settings, given(named) if named else None, allow)
    if json:
        console.as_json(done)
    elif markdown:
        console.result(as_markdown(done))
    else:
        tables = {table.name: table for table in done.tables}
        for finding in done.findings:
            console.result(as_line(finding, tables.get(finding.table or "")))
    console.say(summary(done))
    if stopping := [each for each in done.findings if each.stops]:
        rules = ", ".join(sorted({each.rule for each in stopping}))
        raise Differs(
            f"{counted(len(stopping), 'error')} ({rules}): mend them, or allow a rule with its reason on the marker's line "
            "(-- migrate:up allow:RULE -- reason), or this once (--allow RULE)"
        )


def tell_before(at: OpenTarget, pending: Sequence[Migration], allow: Sequence[str], *, dry_run: bool) -> None:
    """Say what is found in migrations on their way to a protected target; raises `Refused` for what is not allowed, unless nothing is to be done."""
    findings = lint.check_before(at, pending, allow)
    for finding in findings:
        console.say(as_line(finding, None))
    stopping = sorted({each.rule for each in findings if each.stops})
    if stopping and not dry_run:
        raise Refused(
            f"{', '.join(stopping)}: nothing was applied to {at.name}: mend it, or allow it with its reason on the marker's line "
            f"(-- migrate:up allow:{stopping[0]} -- reason), or this once (--allow {stopping[0]})"
        )


def given(named: Sequence[str]) -> list[Migration]:
    """Read the migrations that are named, in their order; raises `Misconfigured`."""
    paths = sorted({Path(name) for name in named}, key=lambda path: path.name)
    for path in paths:
        if not path.is_file():
            raise Misconfigured(f"--file {path}: no such file")
    return [files.read(path) for path in paths]


def lint_at(settings: Settings, chosen: list[Migration] | None, allow: Sequence[str]) -> Lint:
    """Look at migrations for the focused target, which is asked where it can be reached; None: at those that it lacks."""
    found = files.find(settings.migrations) if chosen is None else []
    with contextlib.ExitStack() as stack:
        at = stack.enter_context(reached(settings))
        major = at.facts["version_num"] // 10000 if at else last_seen(settings)
        conn = stack.enter_context(at.connect()) if at and at.database() else None
        if conn is None:
            why = f"{at.name} is not there yet: " if at else ""
            console.say(f"note: {why}every table counts as large, and what uses it is not seen")
        if chosen is None:
            have = {each.version for each in history.applied(conn)} if conn else set()
            lacking = [each for each in found if each.version not in have]
            chosen = files.read_all(lacking, display(settings.migrations))
        return lint.lint(chosen, allow, settings.focus.name, major, settings.root, conn)


@contextlib.contextmanager
def reached(settings: Settings) -> Iterator[OpenTarget | None]:
    """Yield a target, or None where it cannot be reached, which is said; no server is started for it."""
    with contextlib.ExitStack() as stack:
        found = None
        try:
            if is_stopped(settings):
                raise Problem("the embedded server is stopped (inv db.up starts it)")
            found = stack.enter_context(opening.open_target(settings, settings.focus.name, "db.migration-lint"))
        except Misconfigured:
            raise
        except Problem as error:
            console.say(f"note: {settings.focus.name} is not asked: {error}")
        yield found


def is_stopped(settings: Settings) -> bool:
    """Whether the target is the embedded server, and that does not run."""
    try:
        if resolve(settings, settings.focus.name) is not None:
            return False
    except NotConfigured:
        return False
    made = state.load(settings.root)
    return made is None or not postmaster.is_as_remembered(made)


def last_seen(settings: Settings) -> int:
    """Return the major version that a target had at the last look, else that of the embedded server."""
    look = last_look.recalled(settings).get(settings.focus.name)
    if look and look.major:
        return look.major
    folder = binaries.wheel_bin() or binaries.system_bin()
    return (binaries.major(folder) if folder else None) or NEWEST


def as_line(finding: Finding, table: Table | None) -> str:
    """Return a finding as compilers write theirs, with what its table is like."""
    level = f"allowed ({finding.allowed})" if finding.allowed else finding.level
    help = f" ({finding.help})" if finding.help else ""
    size = f" [{table.name}: {sized(table)}]" if table else ""
    return console.harmless(
        f"{finding.file}:{finding.line}:{finding.column}: {level}: {finding.rule}: {finding.message}{help}{size}"
    )


def sized(table: Table) -> str:
    """Return how large and busy a table is, in words."""
    since = f" since {table.counted_since_at:%Y-%m-%d}" if table.counted_since_at else ""
    busy = f"{table.scans:,} scans and {table.rows_written:,} rows written{since}"
    return f"about {table.rows:,} rows, {live_tables.size(table.size_bytes)}, {busy}"


def summary(done: Lint) -> str:
    """Return how many there are, in what, and for which server."""
    stopping = sum(each.stops for each in done.findings)
    warnings = sum(each.level == "warning" and each.allowed is None for each in done.findings)
    passed = sum(each.allowed is not None for each in done.findings)
    more = f", {passed} allowed" if passed else ""
    return (
        f"{counted(len(done.files), 'migration')} for PostgreSQL {done.server_major}: "
        f"{counted(stopping, 'error')}, {counted(warnings, 'warning')}{more}"
    )


def counted(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def as_markdown(done: Lint) -> str:
    """Return the answer as a comment on a pull request."""
    asked = f"`{done.target}`" if done.live else f"the text alone: `{done.target}` was not asked"
    lines = [MARK, "### Migrations", "", f"{summary(done)} ({asked})."]
    if done.findings:
        lines += ["", "| | where | rule | what |", "| --- | --- | --- | --- |"]
        first = sorted(done.findings, key=lambda each: not each.stops)[:ROWS]
        lines += [row(each) for each in done.findings if each in first]
        if left := len(done.findings) - len(first):
            lines += ["", f"And {counted(left, 'finding')} more: `inv db.migration-lint` shows all."]
    if done.tables:
        lines += ["", "| table | rows (about) | size | scans | rows written |", "| --- | ---: | ---: | ---: | ---: |"]
        lines += [of_table(each) for each in done.tables]
    return "\n".join(lines)


def row(finding: Finding) -> str:
    """Return a finding as a row of a table."""
    sign = "allowed" if finding.allowed else f"**{finding.level}**" if finding.level == "error" else finding.level
    what = f"{cell(finding.message)}<br>{cell(finding.help)}" if finding.help else cell(finding.message)
    what += f"<br>Allowed: {cell(finding.allowed)}" if finding.allowed else ""
    return f"| {sign} | `{code(finding.file)}:{finding.line}` | {finding.rule} | {what} |"


def of_table(table: Table) -> str:
    """Return a table of the database as a row of one."""
    name, size = code(table.name), live_tables.size(table.size_bytes)
    return f"| `{name}` | {table.rows:,} | {size} | {table.scans:,} | {table.rows_written:,} |"


def code(text: str) -> str:
    """Return a text as it may stand between backticks in a table of Markdown."""
    return console.harmless(text).replace("`", "'").replace("|", "\\|")


def cell(text: str) -> str:
    """Return a text as it may stand in a table of Markdown, where names in it are no markup."""
    text = " ".join(console.harmless(text).split())
    for sign, instead in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*"), ("_", "\\_"), ("@", "@\u200b")):
        text = text.replace(sign, instead)
    return text
