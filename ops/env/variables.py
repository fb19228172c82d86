"""The variables that the suite reads, where each came from, and saving one."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from config import dotenv
from config.settings import Settings
from config.targets import MASK
from config.variables import VARIABLES
from ops.console import ask_secret, say
from ops.errors import Misconfigured, Problem


def shown(settings: Settings, *, show_unset: bool = True) -> list[dict[str, Any]]:
    """Return each variable with its value, masked, and its origin."""
    rows = []
    for variable in VARIABLES:
        value = settings.vars.find(variable.name)
        if value is None and not show_unset:
            continue
        origin = value.origin if value else "not set"
        if settings.vars.hides(variable.name):
            origin += f" (hides another value in {settings.vars.env_file.name})"
        rows.append(
            {
                "variable": variable.name,
                "value": masked(value.text, secret=variable.secret) if value else None,
                "from": origin,
                "meaning": variable.meaning,
            }
        )
    return rows


def masked(text: str, *, secret: bool) -> str:
    """Return a value as it may be shown: secrets not at all, URLs without their password.

    Everything between the scheme and the last `@` but the user goes: a password
    with a raw `@` or `/` in it must not leak because the URL is wrong.
    """
    if secret:
        return MASK
    return re.sub(r"^(\w[\w+.-]*://[^:@/]*):.*@", rf"\1:{MASK}@", text, flags=re.DOTALL)


def save(settings: Settings, pair: str, *, share: bool) -> None:
    """Write one variable to the env file, and to `gp env` where that command exists.

    `pair` is NAME=VALUE, or NAME alone to read the value where nobody sees it.
    """
    name, given, value = pair.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise Misconfigured("give NAME=VALUE, or NAME alone for a secret; the name in letters, digits and _")
    known = next((v for v in VARIABLES if v.name == name), None)
    secret = known is not None and known.holds_secret(value)
    if given and secret:
        raise Misconfigured(
            f"{name} holds a secret, and a command line is kept in the shell's history: "
            f"inv env.set {name} asks for it (or pipe it in)"
        )
    if not given:
        value = ask_secret(f"{name}:")
    if not value:
        raise Misconfigured(
            f"{name}: the value is empty; to unset it, remove the line from {settings.vars.env_file.name}"
        )
    if "\0" in value or "\n" in value:
        raise Misconfigured(f"{name}: a value is one line of text")
    check(name, value)
    dotenv.write(settings.vars.env_file, name, value)
    say(f"saved {name} in {settings.vars.env_file.name}")
    if settings.vars.environ.get(name, value) != value:
        say(f"note: {name} of the environment hides it in this shell: unset {name}")
    if shutil.which("gp"):
        if (known is not None and known.holds_secret(value)) and not share:
            say("not given to gp env, which takes values on its command line: --share does it all the same")
            return
        done = subprocess.run(
            ["gp", "env", f"{name}={value}"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
        )
        if done.returncode != 0:
            raise Problem(f"saved, but gp env {name} failed: {done.stderr.decode(errors='replace').strip()}")
        say(f"saved {name} by gp env for the next workspace")


def check(name: str, value: str) -> None:
    """Refuse a URL that would not work, before it is saved."""
    from config.targets import parse

    if name in ("CONNECTION_URL", "CONNECTION_LOCAL_DOCKER_URL", "PROD_CONNECTION_URL"):
        parse(value, name, "local")
