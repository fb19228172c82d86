"""The loader: environment over env file over invoke.yaml over built-in default."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config import dotenv
from config.declared import BUILT_IN, Declared, declared, overlaid
from config.defaults import DEFAULTS
from config.paths import ROOT
from config.section import Section, refuse
from ops.errors import Misconfigured

if TYPE_CHECKING:  # each section is imported by the tasks that read it: db.* is to start without the others
    from config.app import App
    from config.aws import Limits
    from config.diagnose import Diagnose
    from config.lambdas import Lambda
    from config.migrate import Migrate
    from config.rds import Door, Rds

INVOKES_OWN = ("run", "runners", "sudo", "tasks", "timeouts")


@dataclass(frozen=True)
class Value:
    """A variable's value and the place that it came from."""

    text: str = field(repr=False)
    origin: str


@dataclass(frozen=True)
class Variables:
    """Environment variables over those of the env file; an empty one is unset."""

    environ: Mapping[str, str] = field(repr=False)
    saved: Mapping[str, str] = field(repr=False)
    env_file: Path

    def find(self, name: str) -> Value | None:
        for values, origin in ((self.environ, "environment"), (self.saved, self.env_file.name)):
            if text := values.get(name, ""):
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise Misconfigured(f"{name} is not UTF-8: write it anew") from None
                return Value(text, origin)
        return None

    def get(self, name: str, default: str = "") -> str:
        value = self.find(name)
        return value.text if value else default

    def hides(self, name: str) -> bool:
        """Whether the process environment hides another value saved in the env file."""
        mine, saved = self.environ.get(name), self.saved.get(name)
        return bool(mine and saved and mine != saved)


@dataclass(frozen=True)
class Settings:
    """Everything a task needs to know, loaded once per command."""

    root: Path
    vars: Variables
    target: str
    schema: Path
    seed: Path
    queries: Path
    migrations: Path
    masks: Path
    roles: Path
    database: str
    lock_timeout: float
    """Seconds to wait for another run on the same database."""
    connect_timeout: int
    """Seconds to wait for a server that is not on this machine."""
    pull_timeout: float
    """Seconds that one table of a source may take to be copied."""
    read_lag: float
    """Seconds that a replica may lag to be read in the place of its primary."""
    silence_timeout: float
    """Seconds after which a server that answers nothing, nor another connection, is given up."""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """invoke's configuration, for the sections that only some tasks read."""
    targets: Mapping[str, Declared] = field(default_factory=lambda: BUILT_IN)
    focus: Declared = BUILT_IN["prod"]
    """The target whose variables and sections are meant: prod's, until a task is for another one."""
    whole: Mapping[str, Any] | None = field(default=None, repr=False)
    """The configuration before any target's own sections were laid over it; None: `config` is that."""
    least_login: bool = True
    """Whether a task takes the login of a role that does for it, where db.roles has made one."""
    per_branch: bool = False
    """Whether the local target is the database of the git branch that is checked out."""
    branch: str = ""
    """The git branch to take for that; empty: what is checked out."""

    def on(self, name: str, source: str = "--target") -> Settings:
        """Return the settings as a target has them; without a name, that of the setting `target`.

        Raises `Misconfigured` naming those there are.
        """
        name = name or self.target
        if name not in self.targets:
            raise Misconfigured(f"{source}: there is no target {name!r}, use one of {', '.join(self.targets)}")
        focus = self.targets[name]
        if focus is self.focus:
            return self
        whole = self.config if self.whole is None else self.whole
        return replace(self, focus=focus, whole=whole, config=overlaid(whole, focus))

    @functools.cached_property
    def rds_read(self) -> tuple[Rds, list[str]]:
        """The instance, and what of it cannot be read; on first use, so that db.* does not stumble over it."""
        from config.rds import rds

        return rds(self.config.get("rds", {}))

    @property
    def rds(self) -> Rds:
        """The instance; raises `Misconfigured` naming each value that cannot be read."""
        found, faults = self.rds_read
        refuse("invoke.yaml", faults)
        return found

    @functools.cached_property
    def door(self) -> Door:
        """The door to the instance."""
        from config.rds import door

        return door(self.config.get("door", {}))

    @functools.cached_property
    def aws(self) -> Limits:
        """How long AWS is waited for."""
        from config.aws import limits

        return limits(self.config.get("aws", {}))

    @functools.cached_property
    def migrate(self) -> Migrate:
        """How long a change of a live database may wait, and be waited for."""
        from config.migrate import migrate

        return migrate(self.config.get("migrate", {}))

    @functools.cached_property
    def look_hosts(self) -> tuple[str, ...]:
        """The names that inv look is asked by, besides this machine's; `{port}` in one is the page's port."""
        from config.look import hosts, of_workspace

        return tuple(dict.fromkeys((*hosts(self.config.get("look", {})), *of_workspace(self.vars.environ))))

    @functools.cached_property
    def diagnose(self) -> Diagnose:
        """From when on something counts as a fault of a database."""
        from config.diagnose import diagnose

        return diagnose(self.config.get("diagnose", {}))

    @functools.cached_property
    def app(self) -> App:
        """How the feed is served."""
        from config.app import app

        return app(self.config.get("app", {}))

    @functools.cached_property
    def lambdas(self) -> Lambda:
        """The function that stores sign-ups."""
        from config.lambdas import lambdas

        return lambdas(self.config.get("lambda", {}))


def load(
    config: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    root: Path = ROOT,
    *,
    may_make_env_file: bool = False,
) -> Settings:
    """Return the settings of one command.

    `config` is invoke's merged configuration (invoke.yaml, INVOKE_*, -f).
    Raises `Misconfigured` for an unknown key, a value that does not parse, and
    an ENV_FILE that is not there: without it another database would be meant.
    """
    environ = os.environ if environ is None else environ
    check_keys(config)
    named = environ.get("ENV_FILE", "").strip()
    env_file = root / (named or ".env")
    if named and not may_make_env_file and not env_file.exists():
        raise Misconfigured(f"ENV_FILE names {env_file}, which is not there: correct or unset ENV_FILE")

    top, db, paths = (Section(name, config.get(name, {}) if name else config) for name in ("", "db", "paths"))
    targets, unusable = declared(config.get("targets", {}) if isinstance(config.get("targets", {}), Mapping) else {})
    read = Settings(
        root=root,
        vars=Variables(environ, dotenv.read(env_file), env_file),
        target=top.text("target"),
        schema=root / paths.text("schema"),
        seed=root / paths.text("seed"),
        queries=root / paths.text("queries"),
        migrations=root / paths.text("migrations"),
        masks=root / paths.text("masks"),
        roles=root / paths.text("roles"),
        database=db.text("name"),
        lock_timeout=db.seconds("lock_timeout"),
        connect_timeout=max(1, round(db.seconds("connect_timeout"))),
        pull_timeout=db.duration("pull_timeout"),
        read_lag=db.duration("read_lag"),
        silence_timeout=db.seconds("silence_timeout"),
        config=config,
        targets=targets,
        least_login=db.flag("least_login"),
        per_branch=db.flag("per_branch"),
    )
    refuse("invoke.yaml", [*top.faults, *db.faults, *paths.faults, *unusable])
    read.on("", "target (invoke.yaml, INVOKE_TARGET)")
    return read


def check_keys(config: Mapping[str, Any]) -> None:
    """Refuse keys that nobody would read, since invoke merges them in silence.

    Top-level keys that are not ours may belong to the tasks of a repository
    that the suite was dropped into; only near misses of ours are refused there.
    """
    for key, value in config.items():
        if key in DEFAULTS:
            known = DEFAULTS[key]
            if isinstance(known, dict):
                if not isinstance(value, Mapping):
                    raise Misconfigured(
                        f"{key} in invoke.yaml: write it as a section with {', '.join(known) or 'your targets by name'}"
                    )
                for name in value if key != "targets" else ():
                    if name not in known:
                        raise Misconfigured(
                            f"{key}.{name} in invoke.yaml: no such setting, use one of {', '.join(known)}"
                        )
        elif key not in INVOKES_OWN:
            import difflib

            if near := difflib.get_close_matches(str(key), DEFAULTS, n=1, cutoff=0.8):
                raise Misconfigured(f"{key} in invoke.yaml: no such setting, do you mean {near[0]}?")
