"""uv, from this environment: it installs for another Python and platform than its own, and knows where Pythons are."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from config import proxies
from ops import console, process, silence
from ops.errors import Problem

SETTINGS = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROJECT": "1", "UV_COMPILE_BYTECODE": "0"}
"""What somebody's uv may be set to otherwise; indexes and proxies stay theirs."""
SYSTEM = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}
"""Trust whom the system trusts; the second is the name before uv 0.11. SSL_CERT_FILE is uv's own in any case."""
UNTRUSTED = "invalid peer certificate"
TIMEOUT = 300.0
"""Seconds for fetching the wheels."""
LOOK = 20.0
"""Seconds for finding a Python."""


def install(site: Path, *arguments: str, what: str, python: Path | None = None) -> None:
    """Run `uv pip install` into a folder, for the running Python unless told otherwise; raises `Problem`."""
    site.mkdir(parents=True, exist_ok=True)
    interpreter = str(python or sys.executable)
    argv = ["pip", "install", "--color", "never", "--python", interpreter]
    argv += [] if console.watched() else ["--quiet", "--no-progress"]
    argv += ["--target", str(site), "--link-mode", "copy", *arguments]
    try:
        done = run(argv, TIMEOUT, site)
        # uv brings a list of its own, which also a container without any goes by; a company's CA is in the system's
        if UNTRUSTED in done.stderr:
            done = run(argv, TIMEOUT, site, SYSTEM)
    except subprocess.TimeoutExpired:
        raise Problem(f"{what} cannot be built: uv did not end within {TIMEOUT:g} s, check the network") from None
    if done.returncode:
        said = done.stderr
        if failed := re.search(r"^ *error: ", said, re.MULTILINE):
            said = said[failed.start() :]  # before it, at a terminal, is what uv drew
        problem = by_proxy(said) or Problem(advice(said))
        raise type(problem)(f"{what} cannot be built: {problem}")


def by_proxy(said: str) -> Problem | None:
    """Return what it means that a proxy did not lead uv to its index; None where it was none.

    uv does not tell the proxy's answer, unless that asks for a login.
    """
    asked = re.search(r"https?://[^\s)]+", said)
    by = proxies.leading(asked[0], process.environ()) if asked else None
    if (
        not asked
        or not by
        or UNTRUSTED in said
        or not re.search("client error .Connect|timed out|proxy", said, re.IGNORECASE)
    ):
        return None
    why = said.partition("hint: ")[0].rpartition("cause: ")[2].removeprefix("tunnel error: ").strip()
    if "407" in why or why == "proxy authorization required":
        why = "407 Proxy Authentication Required"
    host = urlsplit(asked[0]).netloc.rpartition("@")[2]
    return proxies.failed(by, host, "" if why == "unsuccessful" else " ".join(why.split()))


def advice(said: str) -> str:
    """Return what uv said when it failed, in one line that ends with the next step."""
    told = re.split(r"^ *(?:error|cause): ", said.partition("hint: ")[0], flags=re.MULTILINE)
    causes = [" ".join(cause.split()) for cause in told if cause.strip()] or ["uv gives no reason"]
    host = found[1] if (found := re.search(r"https?://(?:[^@/\s]*@)?([^/\s]+)", said)) else "the index"
    if UNTRUSTED in said:
        return (
            f"neither uv nor this system trusts the certificate of {host}: set SSL_CERT_FILE to your company's CA file"
        )
    if "Failed to fetch" in said or "Failed to download" in said:
        return f"{host} does not give the wheels ({causes[-1]}): check the network, HTTPS_PROXY and UV_DEFAULT_INDEX"
    if causes[0].startswith("No solution found"):
        why = " ".join(causes[1:]).partition(", we can conclude")[0]
        return f"{why}: pin a version that has a wheel for it, or see that your index (UV_DEFAULT_INDEX) has this one"
    return f"{'; '.join(causes)}: mend that, then run this again"


def python(version: str) -> str | None:
    """Return the interpreter of a version, such as 3.13, that uv has installed for this user."""
    argv = ["python", "find", "--system", "--managed-python", "--offline", "--color", "never", version]
    try:
        done = run(argv, LOOK)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def typed() -> str:
    """Return what a person types for the uv that installs Pythons: their own, or that of this environment, which is seldom on the PATH."""
    return "uv" if shutil.which("uv") else f"{shlex.quote(sys.executable)} -m uv"


def run(
    argv: Sequence[str], timeout: float, cwd: Path | None = None, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the uv of the package in this environment to its end; `more` is set beside our settings."""
    from uv import find_uv_bin

    with silence.waiting(f"uv {argv[0]} {argv[1]}") as wait:
        drawn = console.watched() and "--quiet" not in argv and argv[0] == "pip"
        wait.quiet = silence.ALL if drawn else ""
        run_it = process.run_drawing if drawn else process.run
        return run_it([str(find_uv_bin()), *argv], {**SETTINGS, **(more or {})}, timeout=timeout, cwd=cwd)
