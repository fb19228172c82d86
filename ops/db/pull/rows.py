"""The rows of a copy: several tables at once, each by a COPY at the source that masks it and a COPY beside the target."""

from __future__ import annotations

import contextlib
import queue
import select
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ops import silence
from ops.db.pull import masking, schema
from ops.db.pull.masks_file import Decided
from ops.db.pull.source import begin, connect, set_key, source_problem, told_of
from ops.errors import Problem
from ops.meter import Meter, measured
from ops.targets import identity
from ops.targets.open_target import OpenTarget

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import DictRow

BLOCK = 1 << 18
"""Bytes that are sent at once: a message for each row would cost more than the row."""


@dataclass(frozen=True)
class Copied:
    """A table in the copy."""

    table: str
    """With its schema."""
    what: Literal["all", "part", "skipped"]
    """Which of its rows come along."""
    rows: int
    """How many; with --dry-run as the server estimates them."""
    masked: list[str]
    """The columns whose values do not come along."""
    kept: list[str]
    """The columns whose values do."""
    size_bytes: int | None
    """As they crossed the wire; null with --dry-run."""


@dataclass
class Plan:
    """All that is known before the first row is read."""

    decided: Mapping[str, Decided]
    chosen: Mapping[str, str]
    """By table: the condition of its rows; empty: all."""
    snapshot: str
    jobs: int
    key: str = field(default="", repr=False)


def planned(one: Decided, condition: str, rows: int | None = None, size: int | None = None) -> Copied:
    """Return what becomes of a table."""
    what: Literal["all", "part", "skipped"] = "skipped" if one.skip else "part" if condition else "all"
    kept = [name for name in one.table.columns if name in one.columns and name not in one.masked and one.columns[name].basis != "computed"]  # fmt: skip
    count = 0 if one.skip else one.table.rows if rows is None else rows
    return Copied(one.table.plain, what, count, one.masked, kept, size)


def copy_all(of: OpenTarget, at: OpenTarget, plan: Plan, made: dict[str, Copied]) -> None:
    """Copy the rows of all tables, several tables at once; the largest first. Raises what the first of them failed of."""
    todo: queue.SimpleQueue[Decided] = queue.SimpleQueue()
    wanted = [one for one in plan.decided.values() if not one.skip]
    for one in sorted(wanted, key=lambda one: -one.table.bytes):
        todo.put(one)
    stop = threading.Event()
    failed: list[BaseException] = []
    open_now: list[Connection[DictRow]] = []
    total = sum(one.table.bytes for one in wanted) if not any(plan.chosen.values()) else 0
    with measured(f"rows of {of.target.name}", total) as meter:

        def work() -> None:
            try:
                with contextlib.ExitStack() as held:
                    with told_of(of):
                        reader, pad = connect(of)
                    held.enter_context(contextlib.closing(reader))
                    writer = held.enter_context(contextlib.closing(at.connect(identity.NEXT)))
                    open_now.extend((reader, writer))
                    writer.execute("set synchronous_commit = off")
                    with silence.quiet(reader, silence.PROGRESS), silence.quiet(writer, silence.PROGRESS):
                        with told_of(of):
                            reader.execute("begin")
                            begin(reader, of, plan.snapshot)
                            set_key(reader, of, pad)
                        while not stop.is_set() and (one := taken(todo)):
                            condition = plan.chosen.get(one.table.quoted, "")
                            made[one.table.quoted] = copy_table(of, reader, writer, one, condition, meter, stop)
            except BaseException as error:  # raised again in the thread that waits
                failed.append(error)
                stop.set()

        workers = [threading.Thread(target=work, daemon=True) for _ in range(min(plan.jobs, max(1, len(wanted))))]
        for worker in workers:
            worker.start()
        try:
            for worker in workers:
                while worker.is_alive():
                    worker.join(0.1)
                    if stop.is_set():
                        cancel(open_now)
        except BaseException:
            stop.set()
            cancel(open_now)
            raise
    if failed:
        raise failed[0]


def taken(todo: queue.SimpleQueue[Decided]) -> Decided | None:
    """Return what is next; None where nothing is left."""
    try:
        return todo.get_nowait()
    except queue.Empty:
        return None


def cancel(sessions: Sequence[Connection[DictRow]]) -> None:
    """Have the servers end what these sessions wait for."""
    for conn in sessions:
        with contextlib.suppress(Exception):
            if not conn.closed:
                conn.cancel_safe(timeout=2.0)


def copy_table(
    of: OpenTarget,
    reader: Connection[DictRow],
    writer: Connection[DictRow],
    one: Decided,
    condition: str,
    meter: Meter,
    stop: threading.Event,
) -> Copied:
    """Copy the masked rows of a table; of one in partitions, from each, and into the whole."""
    import psycopg

    rows = size = 0
    names = ", ".join(each.column.quoted for each in one.columns.values() if not each.column.computed)
    into = f"copy {one.table.quoted}{f' ({names})' if names else ''} from stdin"
    for query in queries(one, condition):
        try:
            with writer.cursor() as to:
                with to.copy(into.encode()) as sink:
                    for block in blocks(of, reader, query, one.table.quoted):
                        if stop.is_set():
                            raise Problem("another table failed")
                        sink.write(block)
                        size += len(block)
                        meter.done += len(block)
                rows += max(0, to.rowcount)
        except psycopg.Error as error:
            if writer.closed:
                raise
            raise Problem(f"the copy of {one.table.quoted}: {schema.reason(error)}") from None
    return planned(one, condition, rows, size)


def queries(one: Decided, condition: str) -> Iterator[str]:
    """Yield what reads the masked rows of a table; its rows under the name `t`."""
    copied = [each for each in one.columns.values() if not each.column.computed]
    listed = ", ".join(masking.expression(each.column, each.rule) for each in copied)
    where = f" where {condition}" if condition else ""
    relations = one.table.leaves if one.table.partitioned else [one.table.quoted]
    for relation in relations:
        yield f"copy (select {listed} from only {relation} as t{where}) to stdout"


def blocks(of: OpenTarget, reader: Connection[DictRow], query: str, table: str) -> Iterator[bytes]:
    """Yield the rows of a COPY in pieces of some size.

    By libpq itself: psycopg waits for each row anew, which costs more than all the rest
    (https://www.postgresql.org/docs/current/libpq-copy.html).
    """
    import psycopg
    from psycopg import errors, pq

    pgconn, found = reader.pgconn, bytearray()
    try:
        pgconn.send_query(query.encode())
        first = answer(reader)
        if first is None or first.status != pq.ExecStatus.COPY_OUT:
            raise errors.error_from_result(
                first or pgconn.make_empty_result(pq.ExecStatus.FATAL_ERROR), encoding="utf-8"
            )
        while True:
            size, row = pgconn.get_copy_data(1)
            if size > 0:
                found += row
                if len(found) >= BLOCK:
                    yield bytes(found)
                    found.clear()
            elif size == 0:
                arrived(reader)
            else:
                break
        while (last := answer(reader)) is not None:
            if last.status == pq.ExecStatus.FATAL_ERROR:
                raise errors.error_from_result(last, encoding="utf-8")
        if found:
            yield bytes(found)
    except psycopg.Error as error:
        raise source_problem(of, error, table) from None


def answer(conn: Connection[DictRow]) -> Any:
    """Return the next answer of the server, waiting for it; None where there is none."""
    while conn.pgconn.is_busy():
        arrived(conn)
    return conn.pgconn.get_result()


def arrived(conn: Connection[DictRow]) -> None:
    """Wait until the server has sent something, and take it."""
    pgconn = conn.pgconn
    pgconn.flush()
    if not select.select([pgconn.socket], [], [], 0)[0]:
        with silence.watching(conn):
            select.select([pgconn.socket], [], [])
    pgconn.consume_input()
