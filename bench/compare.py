"""The comparisons of `inv bench`, one line for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bench import (
    branches,
    copies,
    db,
    feed,
    files,
    fresh,
    function,
    grow,
    look,
    migrations,
    people,
    place,
    pull,
    quota,
    rds,
    report,
    signup,
    stall,
    startup,
    suite,
    tunnel,
)
from bench.measure import Comparison, Figures, Unavailable, machine, run
from config.settings import Settings
from ops import console
from ops.errors import Misconfigured

COMPARISONS: dict[str, Callable[[place.Bench], Comparison]] = {
    "list": startup.listing,
    "complete": startup.completion,
    "alone": startup.alone,
    "setup": db.setup,
    "setup-from-nothing": db.nothing,
    "schema": files.schema,
    "seed": files.seed,
    "copy": files.data,
    "dump": copies.dump,
    "dump-tls": copies.dump_tls,
    "dump-tls-sql": copies.dump_tls_sql,
    "restore": copies.restore,
    "restore-tls": copies.restore_tls,
    "stall": stall.stall,
    "migrate": migrations.many,
    "migrate-nothing": migrations.none,
    "drift": migrations.drift,
    "fresh": fresh.working,
    "fresh-empty": fresh.empty,
    "branch": branches.made,
    "branch-follow": branches.followed,
    "tunnel": tunnel.kept,
    "pull": pull.two,
    "pull-keyed": pull.half,
    "rds-unchanged": rds.unchanged,
    "rds-changed": rds.changed,
    "layer": function.layer,
    "deploy": function.deploy,
    "sync-users": people.sync,
    "look": look.address,
    "look-paint": look.paint,
    "look-load": look.load,
    "feed": feed.feed,
    "pool": grow.pool,
    "pgbench": grow.transactions,
    "cold": signup.cold,
    "cold-quota": quota.cold,
    "token": signup.token,
    "warm": signup.warm,
    "warm-token": signup.warm_token,
    "suite": suite.suite,
}
TABLE = "docs/performance.md"


def main(settings: Settings, only: Sequence[str], runs: int, *, tiny: bool, write: bool, json: bool) -> None:
    """Run the comparisons and print a table, or JSON; write it into the documentation if asked to."""
    for name in only:
        if name not in COMPARISONS:
            raise Misconfigured(f"--only {name}: there is no such comparison, use {', '.join(COMPARISONS)}")
    if write and tiny:
        raise Misconfigured("--write with --tiny: the figures of tiny runs mean nothing")
    results = []
    with place.opened(settings, tiny=tiny) as at:
        for name in only or COMPARISONS:
            try:
                comparison = COMPARISONS[name](at)
            except Unavailable as reason:
                console.say(f"skipped {name}: {reason}")
                continue
            if tiny:  # there, only starting up is measured
                comparison = replace(comparison, reach={}, memory=0)
            console.say(f"measuring {name}")
            results.append(run(name, comparison, runs, warm=not tiny))
            if write:  # each at once: what was measured stays where a later one is broken off
                report.write(settings.root / TABLE, results[-1:], machine(), list(COMPARISONS))
    if json:
        console.as_json(Figures(machine(), results))
    else:
        report.show(results, machine())
    if write:
        console.say(f"written into {TABLE}")
