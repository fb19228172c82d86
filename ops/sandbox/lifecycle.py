"""Up, status and down of the sandbox, whose all lies in .local/sandbox."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config import paths
from config.paths import DEVELOPMENT, local_dir, own_folder, suite_of, write_private
from config.settings import Settings
from ops import console, file_lock, own_files, silence
from ops.console import say
from ops.errors import Problem
from ops.process import lasting_environ
from ops.sandbox import certificates, gate, instances, proxies, shell
from ops.targets import identity, last_look
from ops.targets.embedded import binaries, launch
from ops.targets.embedded import state as kept

NAME = f"*.aaaaaaaaaa.{shell.REGION}.rds.amazonaws.com"
"""The endpoints that moto gives to instances."""
OF_CLUSTERS = tuple(NAME.replace("*.", f"*.{word}", 1) for word in ("cluster-", "cluster-ro-"))
"""The endpoints of a cluster of Aurora: that of the one that writes, and that of its readers."""
PROXIES = f"*.{proxies.PLACE}.{shell.REGION}.rds.amazonaws.com"
"""Those that proxies get."""
SECONDS = 60.0
NEEDED = ("moto", "flask", "cryptography")


STANDS_IN = {
    "MOTO_IAM_LOAD_MANAGED_POLICIES": "true",
    "MOTO_EC2_LOAD_DEFAULT_AMIS": "false",  # hundreds of which nobody asks for any
    "AWS_EC2_METADATA_DISABLED": "true",
}
OURS = (
    gate.SERVING,
    f"{gate.KEY}*",
    "state.*",
    "ports.*",
    "log",
    "calls.log",
    "ca.*",
    "server.*",
    "env",
    "env.*",
    f"{instances.LIST.removesuffix('json')}*",
    "rdsadmin*",
)
"""What is made in its folder, beside the servers of its instances; the last of when one stood behind all."""
MODULE = "ops.sandbox.serve"
"""What the sandbox's process runs."""
SHAPE = {"pid": own_files.pid, "aws_port": own_files.port, "port": own_files.port}
"""state.json."""
ACCOUNT = "123456789012"
"""The account of everything in moto, which AWS keeps for its examples."""


def folder(root: Path) -> Path:
    return root / ".local" / "sandbox"


@contextlib.contextmanager
def or_false(*, json: bool) -> Iterator[None]:
    """Print `false` where the lines for eval were to be, so that `eval "$(…)" && …` stops."""
    try:
        yield
    except BaseException:
        if not json:
            console.result("false")
        raise


def up(settings: Settings) -> shell.Change:
    """Start what does not run of the sandbox, and return what a shell does to enter it."""
    home = own_folder(folder(settings.root))
    needs()
    with turns(local_dir(settings.root)):
        home.mkdir(exist_ok=True)
        env_file = settings.root / shell.ENV_FILE
        if not env_file.exists():
            certificates.write(env_file, b"", 0o600)
        if not certificates.good(home, NAME, PROXIES, *OF_CLUSTERS):
            certificates.make(home, NAME, PROXIES, *OF_CLUSTERS)
            end(home)  # it would go on with those it has read
        if not (key := key_of(home)):
            end(home)  # it may be one from before there were keys
            key = secrets.token_urlsafe(24)
            certificates.write(home / gate.KEY, key.encode(), 0o600)
        if (kept.folder(home) / "server.json").exists():  # it is from when one Postgres stood behind all instances
            end(home)
        state = settled(home)
        if not state:
            binaries.server_bin()
            instances.wipe_all(home)  # those of a process that was killed: moto has forgotten them
            say("starting the sandbox: moto as AWS; each instance gets a Postgres of its own, behind TLS")
            state = spawn(settings.root, home)
    say(f"the sandbox runs: AWS at 127.0.0.1:{state['aws_port']}, RDS at 127.0.0.1:{state['port']} (inv sandbox.down)")
    if sys.stdout.isatty():
        say('these lines are for the shell: eval "$(inv sandbox.up)"')
    environ = settings.vars.environ
    targets = settings.targets.values()
    values = shell.exports(state["aws_port"], state["port"], home / "ca.pem", environ, key, targets)
    return shell.enter(values, environ, targets)


def key_of(home: Path) -> str:
    """Return what the sandbox's AWS is to be asked with, nothing where it has none yet; raise `Problem` where it is not ours."""
    try:
        with open(paths.opened(home / gate.KEY, os.O_RDONLY), encoding="ascii") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def needs() -> None:
    """Refuse to begin without the packages of the stand-in."""
    from importlib.util import find_spec

    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise Problem(f"the sandbox needs {', '.join(missing)}: {sys.executable} -m pip install -r {DEVELOPMENT}")


@contextlib.contextmanager
def turns(local: Path) -> Iterator[None]:
    """Let one run at a time start or stop the sandbox; the folder that it lies in is the lock, and stays."""
    lock = os.open(local, os.O_RDONLY)
    try:
        file_lock.take(lock, "another run that starts or stops the sandbox")
        yield
    finally:
        os.close(lock)


def serving(home: Path) -> dict[str, Any] | None:
    """Return what state.json says, if the process that wrote it still serves."""
    if has_process(home):
        with contextlib.suppress(Problem):
            state: dict[str, Any] | None = own_files.read(home / "state.json", SHAPE, "")
            return state
    return None


def settled(home: Path) -> dict[str, Any] | None:
    """Return what `serving` does, once a process that is about to serve does, and one that has done so is gone."""
    deadline = time.monotonic() + SECONDS
    with silence.waiting("the sandbox's process, which starts or stops"):
        while not (state := serving(home)) and has_process(home) and time.monotonic() < deadline:
            time.sleep(0.02)
    return state


def has_process(home: Path) -> bool:
    """Whether the sandbox's process is there, also one that does not serve yet, or no more."""
    try:
        with open(paths.opened(home / gate.SERVING, os.O_WRONLY | os.O_CREAT), "w", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def spawn(root: Path, home: Path) -> dict[str, Any]:
    """Start the sandbox's process and wait until it serves."""
    (home / "state.json").unlink(missing_ok=True)
    own_files.remove(home, ("log",))
    with open(own_files.log(home / "log"), "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(home)],
            cwd=suite_of(root),
            env=lasting_environ(STANDS_IN),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # it outlives this task and the terminal
        )
    deadline = time.monotonic() + SECONDS
    try:
        while not (state := serving(home)):
            if process.poll() or time.monotonic() > deadline:
                raise Problem(f"the sandbox does not start: {launch.last_words(words(home))} (see {home / 'log'})")
            time.sleep(0.02)
    finally:
        if process.returncode is None:
            process.returncode = 0  # it runs on: keep Python from warning about it
    return state


def words(home: Path) -> str:
    return (home / "log").read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Instance:
    """An instance, and the server of its own that stands behind it."""

    host: str
    """Its endpoint's name."""
    postgres_port: int
    """Of its server, on this machine, without TLS."""


@dataclass(frozen=True)
class Where:
    """What of the sandbox runs where; that it does not run is an error."""

    aws_url: str
    """Of what stands in for AWS, without the key that it asks for: AWS_ENDPOINT_URL has it."""
    rds_host: str
    """How its instances are called, * for their names; all are at 127.0.0.1."""
    rds_port: int
    """With TLS."""
    instances: list[Instance]
    """Those of Postgres that there are, in the order in which they were made."""
    ca_file: str
    """The certificate that its TLS is checked against."""
    env_file: str
    """What is saved for the sandbox goes there."""
    inside: bool
    """Whether this shell has entered it."""


def where(settings: Settings) -> Where:
    """Return what runs where; raise `Problem` if it does not."""
    home = folder(settings.root)
    if not (state := serving(home)):
        raise Problem('the sandbox does not run: eval "$(inv sandbox.up)"')
    made = own_files.read(home / instances.LIST, instances.SHAPE, "inv sandbox.down removes it") or []
    mine = settings.vars.environ.get("AWS_ENDPOINT_URL") == shell.endpoint(state["aws_port"], key_of(home))
    return Where(
        aws_url=f"http://127.0.0.1:{state['aws_port']}",
        rds_host=NAME,
        rds_port=state["port"],
        instances=[Instance(row["host"], row["port"]) for row in made],
        ca_file=str(home / "ca.pem"),
        env_file=str(settings.root / shell.ENV_FILE),
        inside=mine,
    )


def status(settings: Settings, *, json: bool) -> None:
    """Print what runs where; raise `Problem` if it does not."""
    found = where(settings)
    if json:
        console.as_json(found)
        return
    console.table(
        ("what", "where"),
        [
            {"what": "AWS (moto)", "where": found.aws_url},
            {"what": "RDS (TLS)", "where": f"127.0.0.1:{found.rds_port} as {found.rds_host}"},
            *(
                {"what": one.host.partition(".")[0], "where": f"127.0.0.1:{one.postgres_port}"}
                for one in found.instances
            ),
            {"what": "CA", "where": found.ca_file},
            {"what": "env file", "where": found.env_file},
            {"what": "this shell", "where": "in the sandbox" if found.inside else 'outside: eval "$(inv sandbox.up)"'},
        ],
    )


def down(settings: Settings) -> shell.Change:
    """Stop the sandbox, remove all of it, and return what a shell does to leave it."""
    home = own_folder(folder(settings.root))
    inside = settings.vars.env_file == settings.root / shell.ENV_FILE
    if not home.is_dir():
        say("there is no sandbox: nothing to do")
    else:
        left: list[Path] = []
        with turns(home.parent):
            if home.is_dir():  # another run may have had its turn
                end(home)
                forget(settings.root)
                left = removed(home)
        say("the sandbox is gone")
        own_files.name_foreign(left)
    if inside and sys.stdout.isatty():
        say('this shell is still in it: eval "$(inv sandbox.down)"')
    return shell.leave(settings.targets.values(), inside=inside)


def removed(home: Path) -> list[Path]:
    """Remove what was made for the sandbox; return what else lies there."""
    left = instances.wipe_all(home)
    others = [home / name for name in own_files.remove(home, OURS)]
    left += [path for path in others if not any(path in one.parents for one in left)]
    if not any(home.iterdir()):
        home.rmdir()
    return left


def forget(root: Path) -> None:
    """Take the sandbox's instances and pools out of what tasks remember about production."""
    local = root / ".local"
    last_look.forget(root, root / shell.ENV_FILE)
    with contextlib.suppress(Problem):  # what cannot be read is not removed either
        entries = identity.seen(root)
        real = [
            entry for entry in entries if not any(f"{name[1:]}:" in entry["address"] for name in (NAME, *OF_CLUSTERS))
        ]
        if not real:
            (local / "prod.json").unlink(missing_ok=True)
        elif real != entries:
            write_private(local / "prod.json", json.dumps(real, indent=2))
    for path in (local / "pools").glob("*.json"):
        with contextlib.suppress(OSError, Problem):
            if f":{shell.REGION}:{ACCOUNT}:userpool/".encode() in own_files.content(path):
                path.unlink()
    with contextlib.suppress(OSError):  # those of real pools stay, and the folder with them
        (local / "pools").rmdir()


def is_ours(pid: int) -> bool:
    """Whether a process is a sandbox's, by what it was started with, or has just ended."""
    import psutil

    try:
        return psutil.Process(pid).cmdline()[-2:-1] in ([MODULE], [])
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


def end(home: Path) -> None:
    """Ask the sandbox's process to stop, and wait until it has."""
    state = serving(home)
    if state is None:
        return
    if not is_ours(state["pid"]):
        raise Problem(
            f"{home / 'state.json'} names process {state['pid']}, which is not the sandbox's: end that of {MODULE} yourself, then run this again"
        )
    with contextlib.suppress(ProcessLookupError):
        os.kill(state["pid"], signal.SIGTERM)
    deadline = time.monotonic() + SECONDS
    with silence.waiting(f"the sandbox's process {state['pid']} to stop"):
        while has_process(home):
            if time.monotonic() > deadline:
                raise Problem(
                    f"the sandbox's process {state['pid']} has not stopped for {SECONDS:.0f} s, which no setting changes: end it, then run this again"
                )
            time.sleep(0.02)
