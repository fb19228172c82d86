"""db.tunnel: what is opened to stay, and ended."""

from __future__ import annotations

import os

from config.paths import local_dir
from config.settings import Settings
from config.targets import Target
from ops.console import say
from ops.errors import Misconfigured
from ops.targets import opening
from ops.targets.tunnel import shared
from ops.targets.tunnel.program import open_log
from ops.targets.tunnel.way import Tunnel, begun, led


def start(settings: Settings, name: str) -> None:
    """Open the tunnel of a target for all tasks of this clone, and say where its near end is."""
    target = opening.resolve_target(settings, name)
    if not target.via:
        where = target.declared.names.via
        way = f": {where} names a bastion (ssh://user@bastion, or ssm://i-…)" if where else ""
        raise Misconfigured(f"{target.name} has no tunnel: it is reached straight{way}")
    entry, before = stay(settings, target)
    is_open = "is open already" if before else "is open"
    say(
        f"the tunnel to {target.name} by {target.via} {is_open}, at 127.0.0.1:{entry.port}: db.* take it, "
        f"psql by inv db.url -t {target.name}; inv db.tunnel --stop ends it"
    )


def stop(settings: Settings, name: str) -> None:
    """End the tunnel of a target, or without a name all of this clone; what has ended by itself is forgotten."""
    keys = None
    if name:
        way = opening.resolve_target(settings, name).way
        keys = {way.ends.key} if isinstance(way, Tunnel) else set()
    ended = shared.stop(settings.root, keys)
    say(f"ended the tunnel to {', '.join(ended)}" if ended else "no tunnel is open: nothing to do")


def stay(settings: Settings, target: Target) -> tuple[shared.Open, bool]:
    """Open the tunnel of a target for all tasks of this clone, until `shared.stop`; return it, and whether it was open before.

    Killed before it is noted, it ends with this process; after that it is known by its note, and lives or not.
    """
    tunnel = led(settings, target).way
    assert isinstance(tunnel, Tunnel)
    root = settings.root
    with shared.turns(root):
        if found := shared.find(root, tunnel.ends.key):
            return found, True
        mark = shared.mark()
        path = local_dir(root) / shared.LOG.format(mark)
        log = open_log(path)
        try:
            program, port = begun(tunnel, log, mark)
            entry = shared.Open(port, program.keeper.pid, mark, target.name)
            try:
                shared.note(root, tunnel.ends.key, entry)
            except BaseException:
                program.close()
                raise
            program.let_go()
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(log)
    return entry, False
