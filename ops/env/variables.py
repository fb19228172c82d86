"""The variables that the suite reads, where each came from, and saving one."""

from __future__ import annotations

import difflib
import re
import shutil
import subprocess
from collections.abc import Container
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from config import dotenv
from config.settings import Settings
from config.targets import MASK, parse
from config.variables import holds_secret, variables
from ops import process, silence
from ops.console import ask_secret, hide, say
from ops.errors import Misconfigured, Problem, Silent


def urls(settings: Settings) -> set[str]:
    """Return the variables that hold the URL of a target."""
    return {target.names.url for target in settings.targets.values()}


def file(settings: Settings) -> str:
    """Return the env file as users name it: relative to the root where it lies in there, else in full."""
    path = settings.vars.env_file
    return str(path.relative_to(settings.root) if path.is_relative_to(settings.root) else path)


@dataclass(frozen=True)
class Shown:
    """A variable that the suite reads, whether it is set or not."""

    variable: str
    """Its name."""
    value: str | None
    """As it may be shown: of a URL without its password, a secret is ****; null where it is not set."""
    source: Literal["environment", "env_file"] | None
    """Where the value comes from; null where it is not set."""
    hides_saved: bool
    """Whether one of the environment hides another one in the env file."""
    fault: str | None
    """What keeps a URL from being read; null where nothing does."""
    meaning: str
    """What it is for, in words."""


def shown(settings: Settings) -> list[Shown]:
    """Return each variable with its value, masked, and its origin."""
    rows = []
    for variable in variables(settings.targets.values()):
        found = settings.vars.find(variable.name)
        value, fault = masked(variable.name, found.text, urls(settings)) if found else (None, None)
        source: Literal["environment", "env_file"] = (
            "environment" if found and found.origin == "environment" else "env_file"
        )
        hides = settings.vars.hides(variable.name)
        rows.append(Shown(variable.name, value, source if found else None, hides, fault, variable.meaning))
    return rows


def as_row(settings: Settings, shown: Shown) -> dict[str, str | None]:
    """Return a variable for people."""
    origin = {"environment": "environment", "env_file": settings.vars.env_file.name, None: "not set"}[shown.source]
    return {
        "variable": shown.variable,
        "value": f"{shown.value} ({shown.fault})" if shown.fault else shown.value,
        "from": f"{origin} (hides another value in {file(settings)})" if shown.hides_saved else origin,
        "meaning": shown.meaning,
    }


def masked(name: str, text: str, urls: Container[str]) -> tuple[str, str | None]:
    """Return a value as it may be shown, secrets not at all, URLs without their password; and what is wrong with it.

    A URL is shown as it was understood. Of one that cannot be, nothing is
    shown but why: no pattern tells where its password ends.
    """
    if name in urls:
        try:
            return parse(text, name, "local").url(), None
        except Misconfigured as error:
            return MASK, str(error)
    return MASK if holds_secret(name, text) else text, None


def save(settings: Settings, pair: str, *, share: bool) -> None:
    """Write one variable to the env file, and to `gp env` where that command exists.

    `pair` is NAME=VALUE, or NAME alone to read the value where nobody sees it.
    """
    name, given, value = pair.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Misconfigured("give NAME=VALUE, or NAME alone for a secret; the name in letters, digits and _")
    if name == "ENV_FILE":
        raise Misconfigured("ENV_FILE says which file is read, so it cannot stand in that file: export it instead")
    if given and holds_secret(name, value):
        raise Misconfigured(
            f"{name} holds a secret, and a command line is kept in the shell's history: "
            f"inv env.set {name} asks for it (or pipe it in)"
        )
    if not given:
        value = ask_secret(f"{name}:")
    if not value.strip():
        raise Misconfigured(f"{name}: the value is empty; to unset it, remove the line from {file(settings)}")
    if re.search(r"[\0\r\n]", value):
        raise Misconfigured(f"{name}: a value is one line of text")
    if name in urls(settings):
        parse(value, name, "local")  # one that would not work is not saved
    known = [variable.name for variable in variables(settings.targets.values())]
    if name not in known and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
        say(f"note: nothing here reads {name}: do you mean {near[0]}?")
    store(settings, name, value, share=share)


def store(settings: Settings, name: str, value: str, *, share: bool = False) -> None:
    """Write one variable to the env file, and to `gp env` where that command exists."""
    dotenv.write(settings.vars.env_file, name, value)
    say(f"saved {name} in {file(settings)}")
    if holds_secret(name, value) and tracked(settings.vars.env_file):
        say(f"note: git does not ignore {file(settings)}: add it to .gitignore before you commit")
    if settings.vars.environ.get(name, value) != value:
        say(f"note: {name} of the environment hides it in this shell: unset {name}")
    if shared(settings):
        share_by_gp(name, value, share=share)


def asked(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program that should answer at once; raises `Silent` where it does not."""
    watch = partial(silence.watching_child, program, lambda: None)
    return process.run([program, *arguments], {}, watch=watch)


def tracked(file: Path) -> bool:
    """Whether git would take a file into the next commit."""
    if not shutil.which("git"):
        return False
    try:
        done = asked("git", "-C", str(file.parent), "check-ignore", "-q", file.name)
    except Silent:
        return False
    return done.returncode == 1  # 0: ignored; 128: no repository


def forget(settings: Settings, name: str) -> None:
    """Take one variable out of the env file, and out of `gp env`."""
    dotenv.remove(settings.vars.env_file, name)
    say(f"removed {name} from {file(settings)}")
    if shared(settings):
        asked("gp", "env", "-u", name)


def shared(settings: Settings) -> bool:
    """Whether Gitpod is to know too: where it is there, and what is saved is the repository's own.

    Another ENV_FILE holds another world, which the next workspace must not wake up in.
    """
    return shutil.which("gp") is not None and not settings.vars.environ.get("ENV_FILE")


def share_by_gp(name: str, value: str, *, share: bool) -> None:
    """Give a variable to Gitpod, for the next workspace; secrets only when told to."""
    if holds_secret(name, value):
        hide(value)
        if not share:
            say(
                f"not given to gp env, which takes values on its command line: inv env.set {name} --share does it all the same"
            )
            return
    try:
        done = asked("gp", "env", f"{name}={value}")
    except Silent as error:
        raise Problem(f"saved, but {error}") from None
    if done.returncode != 0:
        raise Problem(f"saved, but gp env {name} failed: {' '.join(done.stderr.split())}")
    say(f"saved {name} by gp env for the next workspace")
