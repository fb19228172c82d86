"""`inv` by a fork: what all starts have in common is imported once, and each call goes on in a process of its own.

A call reads tasks.py of its folder itself, as a start does, and config/ and ops/ where they are not those of this suite by
size and time; it ends as an interpreter does. Its directory, environment, umask and streams are those that it was given. tests/forked.py
asks for calls, and makes a start of what would see a difference; so do programs on the PATH of a shell (tests/fork_client.py).
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import marshal
import os
import re
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ", "OPENSSL_", "MALLOC_", "GLIBC_")
"""What an interpreter and libraries in C read as they start: for each way to set these there is a server of its own."""
PRELOADED = (
    "invoke.main",
    "psycopg",
    "psycopg.conninfo",
    "psycopg.rows",
    "psycopg.sql",
    "psycopg.types.json",
    "boto3",
    "botocore.config",
    "botocore.exceptions",
    "encodings.idna",
    "psutil",
    "rich.console",
    "rich.progress",
    "rich.table",
    "rich.text",
    "yaml",
)
PRELOADED_FOR_AWS = ("awscli.clidriver", "awscli.handlers", "awscli.formatter", "awscli.customizations.commands")
PRELOADED_FOR_PYTEST = (
    *PRELOADED,
    *("pytest", "pytest_cov.plugin", "pytest_timeout", "xdist.plugin", "hypothesis"),
    *(
        "asyncio",
        "http.server",
        "unittest.mock",
        "flask",
        "psycopg_pool",
        "moto.server",
        "moto.backends",
        "waitress",
        "docker",
    ),
)
"""The libraries of the tests and of what they test; ours each call reads from its own folder, where one of them has been changed."""
SUITE = Path(__file__).resolve().parent.parent
OURS = ("config", "ops", "functions", "backend")
"""The packages of ours, of which the first two are imported here, with what those import of the others."""
UNREAD = ("ops.testing", "ops.workspace.mutants", "ops.lambdas.package.bytecode")
"""Those of ours that no task imports: they bring in pytest, or are programs."""
SERVICES = (
    "sts",
    "rds",
    "ec2",
    "iam",
    "lambda",
    "logs",
    "cognito-idp",
    "cloudwatch",
    "scheduler",
    "sns",
    "ssm",
    "secretsmanager",
)
"""Those that the tasks ask: one that is missing here is read by each call."""
LONGEST = 1 << 20
"""Bytes of a call; the environment is most of it."""


@contextlib.contextmanager
def noting() -> Iterator[set[str]]:
    """Note which variables are asked for, as what is imported may keep what they say."""
    kind: Any = type(os.environ)
    usual, names = kind.__getitem__, set[str]()

    def noted(environ: Any, name: str) -> Any:
        names.add(os.fsdecode(name))
        return usual(environ, name)

    kind.__getitem__ = noted
    try:
        yield names
    finally:
        kind.__getitem__ = usual


def share_models() -> None:
    """Have botocore read the description of a service once, and not for each session: a tenth of a second each time.

    It keeps them within a session, whose clients share them, and changes none. Those of other folders are others (AWS_DATA_PATH, ~/.aws/models).
    """
    from botocore.loaders import Loader

    kind: Any = Loader
    usual, known = kind.__init__, dict[tuple[str, ...], dict[Any, Any]]()

    def sharing(loader: Any, *args: Any, **how: Any) -> None:
        usual(loader, *args, **how)
        there = tuple(path for path in loader.search_paths if Path(path).is_dir())
        if not (args or how.keys() - {"extra_search_paths"}):
            loader._cache = known.setdefault(there, loader._cache)

    kind.__init__ = sharing


def read_models() -> None:
    """Read what clients of our services are made of; a loader looks at no variable."""
    from botocore.loaders import Loader

    loader = Loader()
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        loader.load_data(name)
    for service in SERVICES:
        for kind in ("service-2", "endpoint-rule-set-1"):
            loader.load_service_model(service, kind, api_version=None)


Made = list[tuple[Any, str, Any]]
"""Owners, and their attributes and values."""


def made_of(text: str, among: Sequence[str] = ()) -> Made:
    """Return where a folder was put as modules were imported, in them, their classes, and the defaults of functions: each call has its own."""
    modules = [module for name, module in list(sys.modules.items()) if not among or name.partition(".")[0] in among]
    things = [thing for module in modules for thing in list(vars(module).values())]
    classes = [thing for thing in things if isinstance(thing, type)]
    members = [thing for each in classes for thing in list(vars(each).values())]
    owners: list[Any] = [*modules, *classes, *(each for each in (*things, *members) if isinstance(each, FunctionType))]
    return [
        (owner, name, value) for owner in owners for name, value in values(owner) if put(value, text, "") is not value
    ]


def values(owner: Any) -> list[tuple[str, Any]]:
    """Return what may hold a folder."""
    if isinstance(owner, FunctionType):
        found: list[tuple[str, Any]] = [("__defaults__", owner.__defaults__), ("__kwdefaults__", owner.__kwdefaults__)]
        return [(name, value) for name, value in found if value]
    return [(name, value) for name, value in vars(owner).items() if name != "__cached__"]


def put(value: Any, before: str, now: str) -> Any:
    """Return what a value would be if the folder had been another one."""
    if isinstance(value, str | Path):
        return type(value)(str(value).replace(before, now)) if before in str(value) else value
    made: Any = value
    if type(value) in (tuple, list):
        made = type(value)(put(each, before, now) for each in value)
    elif type(value) is dict:
        made = {name: put(each, before, now) for name, each in value.items()}
    return made if made != value else value


def put_in(found: Made, before: str, now: str) -> None:
    """Have what was made of a folder be as if it had been made of another one."""
    for owner, name, value in found:
        setattr(owner, name, put(value, before, now))


@dataclass
class Ours:
    """config/ and ops/ of this suite, imported for the calls in copies of it."""

    files: dict[str, tuple[int, int]]
    """Size and time of each file that was read, by its path in the suite: a copy keeps them, a change does not."""
    places: Made
    """What was made of the suite's folder."""

    def is_in(self, folder: Path) -> bool:
        """Whether a call would read the same there."""
        try:
            return all(stamp(f"{folder}/{path}") == known for path, known in self.files.items())
        except OSError:
            return False

    def move(self, folder: Path | None) -> None:
        """Have been imported in another folder; without one, not at all."""
        if folder is None:
            for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
                del sys.modules[name]
        elif folder != SUITE:
            put_in(self.places, str(SUITE), str(folder))


def stamp(path: str) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116 # a Path for each of hundreds would cost more than to look
    return found.st_size, found.st_mtime_ns


def read_ours() -> Ours:
    """Import what of ours the tasks may ask for; what runs as they are imported is that of each call (tasks.py)."""
    files = {"tasks.py": stamp(f"{SUITE}/tasks.py")}
    sys.path.insert(0, str(SUITE))
    for top in OURS[:2]:
        for path in sorted((SUITE / top).rglob("*.py")):
            name = ".".join(path.relative_to(SUITE).with_suffix("").parts).removesuffix(".__init__")
            if not name.startswith(UNREAD):
                importlib.import_module(name)
    del sys.path[0]
    for name, module in sys.modules.items():
        if name.partition(".")[0] in OURS and module.__file__:
            files[str(Path(module.__file__).relative_to(SUITE))] = stamp(module.__file__)
    importlib.invalidate_caches()
    return Ours(files, made_of(str(SUITE), OURS))


def folder_of(argv: Sequence[str], env: Mapping[str, str]) -> Path | None:
    """Return the folder whose tasks.py a call reads, as invoke looks for it; None where it is told another one."""
    if (
        any(re.match("-[cr]|--collection|--search-root", word) for word in argv[1:])
        or "INVOKE_TASKS_COLLECTION_NAME" in env
    ):
        return None
    here = Path.cwd()
    return next(
        (each for each in (here, *here.parents) if any((each / name).exists() for name in ("tasks.py", "tasks"))), None
    )


def keep_preloaded() -> None:
    """Have nobody free what is here by now, or a call would copy each page of it only to let go of it at its end."""
    gc.freeze()
    gc.enable()
    _preloaded.update(sys.modules)
    for name in ("builtins", "sys", "__main__"):
        del _preloaded[name]
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(_preloaded))


def leave_preloaded() -> None:
    """Take what the server had imported from what Python frees at the end; what the call has imported is freed."""
    for name in _preloaded.keys() & sys.modules.keys():
        del sys.modules[name]


_preloaded: dict[str, Any] = {}
"""What is there before the first call, and is never let go."""


def opened_again(fd: int, like: Any) -> Any:
    """Return a stream as Python makes it when it starts (create_stdio in CPython's pylifecycle.c): it looks at what its file is."""
    is_unbuffered = like.write_through  # -u, PYTHONUNBUFFERED
    mode = "w" if fd else "r"
    buffer: Any = open(fd, f"{mode}b", 0 if fd and is_unbuffered else -1, closefd=False)  # noqa: SIM115
    getattr(buffer, "raw", buffer).name = like.name
    lines = not is_unbuffered and (fd == 2 or buffer.isatty())
    newline = "\n" if fd else None
    made: Any = io.TextIOWrapper(buffer, like.encoding, like.errors, newline, lines, is_unbuffered)
    made.mode = mode
    return made


class Server:
    """Takes calls, one after the other; the processes that carry them out run beside each other."""

    def __init__(self, channel: socket.socket, door: socket.socket, asked: set[str], ours: Ours | None) -> None:
        self.channel = channel
        self.door = door
        """Where the programs of tests/fork_client.py knock."""
        self.asked = asked - {"HOME"}
        """Which variables the imports have asked for."""
        self.environ = dict(os.environ)
        self.home = os.environ["HOME"]
        self.of_home = made_of(self.home)
        self.ours = ours
        self.running: dict[int, tuple[int, socket.socket]] = {}
        self.selector = selectors.DefaultSelector()
        self.selector.register(channel, selectors.EVENT_READ)
        self.selector.register(door, selectors.EVENT_READ)

    def serve(self) -> dict[str, Any] | None:
        """Return a call in the process that is to carry it out; None in the server's own, when nobody will ask any more."""
        while True:
            for key, _ in self.selector.select():
                if key.fd in self.running:
                    self.tell_end(key.fd)
                    continue
                if key.fd == self.door.fileno():
                    answers, _ = self.door.accept()
                    text, fds, _, _ = socket.recv_fds(answers, LONGEST, 3)
                    call = self.call_of(text, answers)
                    fds.append(answers.detach())
                else:
                    text, fds, _, _ = socket.recv_fds(self.channel, LONGEST, 4)
                    if not text:
                        return None
                    call = json.loads(text)
                if not call:
                    for fd in fds:  # whoever asked becomes a start
                        os.close(fd)
                    continue
                pid = os.fork()
                if not pid:
                    self.become(call, fds)
                    return call
                self.tell_begin(pid, fds)

    def call_of(self, text: bytes, answers: socket.socket) -> dict[str, Any]:
        """Return the call of a program in a shell; nothing where the imports or the session would not be those of a start."""
        if not text:
            return {}
        argv, cwd, environ, umask = marshal.loads(text)  # noqa: S302 # from a program of ours, whose socket nobody else reaches
        env = {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()}
        at_start = {name for name in env.keys() | self.environ.keys() if name.startswith(AT_START)}
        if any(env.get(name) != self.environ.get(name) for name in at_start | self.asked):
            return {}
        asking = struct.unpack("3i", answers.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if os.getsid(asking) != os.getsid(0):
            return {}
        words = [os.fsdecode(word) for word in argv]
        group = os.getpgid(asking)
        return {"argv": words, "cwd": os.fsdecode(cwd), "env": env, "umask": umask, "session": False, "group": group}

    def tell_begin(self, pid: int, fds: list[int]) -> None:
        *streams, told = fds
        for fd in streams:
            os.close(fd)
        answers = socket.socket(fileno=told)
        answers.send(str(pid).encode())
        end = os.pidfd_open(pid)
        self.running[end] = pid, answers
        self.selector.register(end, selectors.EVENT_READ)

    def tell_end(self, end: int) -> None:
        pid, answers = self.running.pop(end)
        self.selector.unregister(end)
        os.close(end)
        _, status = os.waitpid(pid, 0)
        with answers, contextlib.suppress(OSError):  # whoever asked may have gone
            answers.send(str(status).encode())

    def become(self, call: dict[str, Any], fds: list[int]) -> None:
        """Make this process what a start has before its first line."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, fd in enumerate(fds[:3]):
            os.dup2(fd, number)
        self.selector.close()
        for mine in (self.channel, self.door, *(answers for _, answers in self.running.values())):
            mine.close()
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        if call["session"]:
            os.setsid()
        elif "group" in call:
            os.setpgid(0, call["group"])
        os.umask(call["umask"])
        os.chdir(call["cwd"])
        os.environ.clear()
        os.environ.update(call["env"])
        put_in(self.of_home, self.home, str(Path("~").expanduser()))
        sys.argv[:] = call["argv"]
        if self.ours:
            folder = folder_of(sys.argv, os.environ)
            self.ours.move(folder if folder and self.ours.is_in(folder) else None)
        for fd, name in enumerate(("stdin", "stdout", "stderr")):
            made = opened_again(fd, getattr(sys, name))
            setattr(sys, name, made)
            setattr(sys, f"__{name}__", made)
        atexit.register(leave_preloaded)  # the first of all, and so the last that runs


def serve(fd: int, door: int, preloaded: Sequence[str], *, of_inv: bool) -> dict[str, Any] | None:
    """Import, tell which variables had a say in that, and take calls."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's is for the tests and for what they have started
    gc.disable()  # what is imported is kept: no need to look for garbage among it
    with noting() as names:
        for name in preloaded:
            importlib.import_module(name)
        ours = read_ours() if of_inv else None
    share_models()
    read_models()
    channel = socket.socket(fileno=fd)
    server = Server(channel, socket.socket(fileno=door), names, ours)
    keep_preloaded()
    _preloaded["the server"] = server  # to free it would touch each page that it points to
    channel.send(json.dumps(sorted(names)).encode())
    return server.serve()


def main(program: str, channel: str, door: str) -> None:
    sys.path[0] = str(Path(program).parent)
    name = Path(program).name
    preloaded = {"aws": PRELOADED_FOR_AWS, "pytest": PRELOADED_FOR_PYTEST}.get(name, PRELOADED)
    if serve(int(channel), int(door), preloaded, of_inv=name in ("inv", "invoke")) is None:
        return
    try:
        code = run(name)
    except SystemExit as end:
        leave(end.code)
        raise
    leave(code)
    sys.exit(code)


def run(name: str) -> Any:
    """Do what the program of that name does, and return its code."""
    if name == "aws":
        from awscli.clidriver import main as aws

        return aws()
    if name == "pytest":
        import pytest

        return pytest.main()
    from invoke.main import program as inv

    return inv.run()


def leave(code: object) -> None:
    """End as an interpreter does up to where it would free what is in memory: to touch all of it costs more than most tasks."""
    if not isinstance(code, int | None):
        return
    atexit.unregister(leave_preloaded)
    threading._shutdown()  # type: ignore[attr-defined] # as Py_FinalizeEx does: threads, atexit, streams
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        return
    os._exit((code or 0) & 0xFF)


if __name__ == "__main__":
    main(*sys.argv[1:])
