"""The comparisons, and the table that `inv bench` prints."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import signup
from bench.feed import feed
from bench.measure import INV, Command, Comparison, machine, run
from config.settings import Settings
from ops import console
from ops.errors import Misconfigured

PARTS = ("tasks.py", "invoke.yaml", "config", "ops", "functions", "sql")

TRIVIAL = '''
from invoke.tasks import task

@task
def hello(c):
    """Say hello."""
'''

BASH = """
set -e
psql -q -X postgres -c 'drop database if exists other'
psql -q -X postgres -c 'create database other'
psql -q -X other -v ON_ERROR_STOP=1 -f sql/schema.sql
psql -q -X other -v ON_ERROR_STOP=1 -f sql/seed.sql
"""


@contextlib.contextmanager
def clone(settings: Settings) -> Iterator[Path]:
    """Yield a copy of the suite with an embedded server of its own, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    folder.chmod(0o755)
    try:
        for part in PARTS:
            source = settings.root / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)
        yield folder
    finally:
        subprocess.run([INV, "db.down"], cwd=folder, capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def listing(settings: Settings, folder: Path) -> Comparison:
    """`inv --list` beside that of a tasks.py with one empty task."""
    trivial = folder / "trivial"
    trivial.mkdir()
    (trivial / "tasks.py").write_text(TRIVIAL, encoding="utf-8")
    return Comparison(
        "list",
        Command([INV, "--list"], folder),
        {"trivial tasks.py": Command([INV, "--list"], trivial)},
        {"trivial tasks.py": 1.15},
    )


def setup(settings: Settings, folder: Path) -> Comparison:
    """`inv db.setup` beside four calls of psql that drop, create, load and seed, on one server."""
    from ops.db import state

    if not shutil.which("psql"):
        raise LookupError("no psql on the PATH to compare with: install postgresql-client")
    Command([INV, "db.setup"], folder)()
    made = state.load(folder)
    assert made is not None
    env = {"PGHOST": "127.0.0.1", "PGPORT": str(made.port), "PGUSER": made.user, "PGPASSWORD": made.passwords[0]}
    beside = {"bash, 4 × psql": Command(["bash", "-c", BASH], folder, env)}
    # Debian's psql is a wrapper that looks for the newest client each time
    direct = sorted(Path("/usr/lib/postgresql").glob("*/bin/psql"))
    if direct:
        first = {**env, "PATH": f"{direct[-1].parent}:/usr/bin:/bin"}
        beside["bash, 4 × psql without Debian's wrapper"] = Command(["bash", "-c", BASH], folder, first)
    beside["floor: invoke and a connection"] = Command([INV, "db.wait"], folder)
    return Comparison("setup", Command([INV, "db.setup"], folder), beside, {"bash, 4 × psql": 1.5})


COMPARISONS: dict[str, Callable[[Settings, Path], Comparison]] = {
    "list": listing,
    "setup": setup,
    "feed": feed,
    "cold": signup.cold,
    "warm": signup.warm,
}


def main(settings: Settings, only: list[str], runs: int, *, json: bool) -> None:
    """Run the comparisons and print a table, or JSON."""
    for name in only:
        if name not in COMPARISONS:
            raise Misconfigured(f"--only {name}: there is no such comparison, use {', '.join(COMPARISONS)}")
    found = []
    for name in only or COMPARISONS:
        with clone(settings) as folder:
            try:
                comparison = COMPARISONS[name](settings, folder)
            except LookupError as reason:
                console.say(f"skipped {name}: {reason}")
                continue
            console.say(f"measuring {name}, {runs} runs of each side in turn")
            found.append(run(comparison, runs))
    if json:
        console.as_json({"machine": machine(), "comparisons": found})
        return
    console.result("  ".join(f"{key}: {value}" for key, value in machine().items()))
    rows = [
        {
            "comparison": result["name"],
            "side": side["side"],
            "time": f"{result['figure']} {milliseconds(side['seconds'])}",
            "spread": f"{milliseconds(side['least'])} to {milliseconds(side['most'])}",
            "ours / side": "" if side["side"] == "ours" else f"{side['ratio']:.2f}",
            "to reach": f"{side['reach']:.2f}" if side["reach"] else "",
        }
        for result in found
        for side in result["sides"]
    ]
    console.table(("comparison", "side", "time", "spread", "ours / side", "to reach"), rows)


def milliseconds(seconds: float) -> str:
    """Return a time as people compare it."""
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.2f} ms"
