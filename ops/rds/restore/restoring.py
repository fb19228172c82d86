"""rds.restore: beside, then swapped where that is asked for; a swap that was cut off is ended."""

from __future__ import annotations

from dataclasses import replace

from config.settings import Settings
from ops.aws import Aws
from ops.cloud.clock import Clock
from ops.console import say
from ops.errors import Refused
from ops.rds import instance, server
from ops.rds.connect_policy import Follow, nobody
from ops.rds.proxy import following as proxied
from ops.rds.restore import making, swapping
from ops.rds.restore.making import Restored
from ops.rds.restore.names import AS, SOURCE, have, is_prev, is_restored
from ops.rds.restore.source import Source


def restore(
    settings: Settings,
    aws: Aws,
    clock: Clock,
    source: Source,
    given: str,
    *,
    swap: bool,
    confirm: str,
    follow: Follow = nobody,
) -> Restored:
    """Restore beside, under the name that is given or one of its own, and swap; return what became of it.

    `follow` lets the function in there: before an exchange of names into both, after it into the new one alone.
    """
    rds = settings.rds
    which, live = making.target_name(aws, rds, source, given)
    its = server.of(rds)
    prev = instance.find_named(aws, its, which.prev)
    if live is None and prev is not None and is_prev(prev, rds):
        there = None if which.beside == which.live else instance.find_named(aws, its, which.beside)
        if there is None or not swap:
            raise Refused(
                f"a swap of {which.live} was cut off, and nothing has that name now: nothing was done; the same command as then "
                "(--swap, and --as where that was given) ends it, inv rds.undo goes back"
            )
        making.require_same(there, rds, source)
        return swapping.finish(settings, aws, clock, source, which, follow=follow)
    if swap and live is not None and is_restored(live, rds) and have(live)[SOURCE] == str(source):
        say(f"{which.live} is the one from {source} already: nothing to swap")
        follow([live], [prev] if prev is not None and is_prev(prev, rds) else [])
        named = replace(which, beside=have(live).get(AS, which.beside))
        swapping.rename_members(settings, aws, clock, named, which.prev, f"rds.restore {source.option} --swap")
        return making.told(live, source, swapped=True, previous=which.prev if prev else None)
    if swap and live is not None and which.beside != which.live:
        proxied.check_swap(aws, live)  # before an instance is made, and paid for
    row = making.ensure_restored(settings, aws, clock, source, which, live)
    if swap and live is not None and which.beside != which.live:
        return swapping.swap(settings, aws, clock, source, which, confirm, follow)
    return making.told(row, source, swapped=False, previous=None)
