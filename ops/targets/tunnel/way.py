"""The tunnel of a target: opened when a connection first wants it, again where it has ended, and closed with this process."""

from __future__ import annotations

import atexit
import contextlib
import re
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from config.settings import Settings
from config.targets import Target
from ops import silence
from ops.console import say
from ops.errors import NothingAnswers, NoTunnel, Problem, Unreachable
from ops.targets.embedded import postmaster
from ops.targets.tunnel import shared
from ops.targets.tunnel.ends import Ends, Means, last
from ops.targets.tunnel.program import Program, environment
from ops.targets.tunnel.ssh import Ssh
from ops.targets.tunnel.ssm import Ssm

TRIES = 5
"""To find a loopback port that nobody takes in the meantime."""
PATIENT = 3
"""How many times `db.connect_timeout` a tunnel may take as a whole: there may be a hop in between, and a key that wants a touch."""
HEARD = 0.3
"""Seconds in which a tunnel says why it has closed a connection."""
CUT = "closed the connection|reset by peer|Broken pipe|Connection refused|EOF|SSL SYSCALL"
"""What libpq says of a connection that the tunnel has closed."""
SLOW = "timeout|timed out"


@dataclass(eq=False)
class Tunnel:
    """A way through one bastion to one server; all targets of this process there have it in common."""

    settings: Settings
    ends: Ends
    source: str
    """The variable or setting that names the bastion."""
    target: str
    """The variable that names the server."""
    means: Means
    lock: threading.Lock = field(default_factory=threading.Lock)
    program: Program | shared.Standing | None = None
    """The one of this process, or one that stands open for all of this clone."""
    log: Any = None
    """The file with what that says."""
    port: int = 0
    """Of the near end, 0 before it is opened."""
    heard: int = 0
    """How much of what it said was there before the connection that was made last."""

    def open(self) -> int:
        """Return the loopback port of the near end; raises `Problem` where the tunnel does not come up."""
        with self.lock:
            if self.program and self.program.is_alive():
                self.heard = self.program.length()
                return self.port
            self.drop()
            root = self.settings.root
            if found := shared.find(root, self.ends.key):
                self.program, self.port = shared.Standing(root, found), found.port
                self.heard = self.program.length()
            else:
                self.start()
            return self.port

    def start(self) -> None:
        """Start the tunnel's program, and wait until it is up."""
        if not self.log:
            self.log = tempfile.TemporaryFile()  # noqa: SIM115 (the program writes to it as long as it runs)
        self.program, self.port = begun(self, self.log.fileno(), shared.mark())
        self.heard = self.program.length()

    def fault(self, said: str) -> Problem | None:
        """Return why a connection through the tunnel has failed, by what libpq said; None where the tunnel had no part in it."""
        if not self.program:
            return None
        via, far = self.ends.via, str(self.ends)
        if not re.search(f"{CUT}|{SLOW}", said):
            return None
        deadline = time.monotonic() + HEARD
        while time.monotonic() < deadline:
            if problem := self.means.behind(self.ends, self.program.said(self.heard), self.target):
                return problem
            if not self.program.is_alive():
                return NoTunnel(f"{self.ended()}: run this again, which opens it anew")
            time.sleep(0.01)
        if re.search(SLOW, said):
            return Unreachable(
                f"{far}: the tunnel by {via} is up, and the server behind it does not answer: see that it runs, and lets the bastion in"
            )
        return NothingAnswers(
            f"{far}: the tunnel by {via} is up, and what is behind it closes the connection: see that Postgres runs there"
        )

    def ended(self) -> str:
        """Return that the tunnel has ended, and why as far as it said; nothing where it is up."""
        deadline = time.monotonic() + HEARD
        while not self.program or self.program.is_alive():
            if not self.program or time.monotonic() > deadline:
                return ""
            time.sleep(0.01)
        said = last(self.program.said(self.heard))
        return f"the tunnel by {self.ends.via} has ended ({said})"

    def drop(self) -> None:
        """Close the tunnel of this process."""
        if self.program:
            self.program.close(politely=self.means.politely)
        self.program = None


def begun(tunnel: Tunnel, log: int, mark: str) -> tuple[Program, int]:
    """Start a tunnel's program and wait until it is up; return it and the loopback port; raises `Problem`.

    `log` is the file that it writes to, `mark` stands in its keeper's command line.
    """
    ends, means = tunnel.ends, tunnel.means
    limit = PATIENT * tunnel.settings.connect_timeout
    for _ in range(TRIES):
        port = postmaster.free_port()
        argv, env = means.start(tunnel.settings, ends, port)
        program = Program(argv, environment(env), log, mark)
        try:
            with silence.waiting(f"the tunnel by {ends.via}"):
                if program.wait_for(means.is_up, port, limit):
                    return program, port
            alive, said = program.is_alive(), program.said()
        except BaseException:
            program.close()
            raise
        program.close()
        if alive:
            raise Unreachable(
                f"{ends.via}: the tunnel is not up after {limit} s (db.connect_timeout): {means.hint(ends)}"
            )
        if not means.is_taken(said, port):
            raise means.not_up(ends, said, tunnel.source)
    raise NoTunnel(f"{ends.via}: other programs take each port before the tunnel can: run this again")


_tunnels: dict[tuple[Path, str], Tunnel] = {}


def led(settings: Settings, target: Target) -> Target:
    """Return a target with the tunnel that it is reached by, which is not opened yet; one without is returned as it is."""
    if not target.via:
        return target
    ends = Ends(target.via, target.params.get("hostaddr") or target.host, target.port)
    names = target.declared.names
    source = names.via if names.via and settings.vars.get(names.via) else "invoke.yaml"
    means: Means = Ssh() if ends.via.kind == "ssh" else Ssm()
    made = _tunnels.setdefault((settings.root, ends.key), Tunnel(settings, ends, source, target.source, means))
    return replace(target, way=made)


def standing(settings: Settings, target: Target) -> Target:
    """Return a target as other programs than a task of ours reach it: by its shared tunnel, where that is open."""
    made = led(settings, target)
    if isinstance(made.way, Tunnel):
        if shared.find(settings.root, made.way.ends.key):
            return made.direct()
        say(
            f"note: {target.name} is reached by {target.via}: inv db.tunnel -t {target.name} opens it for other programs, too"
        )
    return made


def shut() -> None:
    """Close all tunnels that this process has opened."""
    for tunnel in _tunnels.values():
        with contextlib.suppress(OSError):
            tunnel.drop()


atexit.register(shut)
