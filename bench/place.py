"""Where a comparison runs: a copy of the suite with a server of its own."""

from __future__ import annotations

import contextlib
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from bench.measure import Command, Unavailable, nothing, unwatched
from config.settings import Settings
from ops.db import scratch_server
from ops.errors import Problem
from ops.process import clean_environ
from ops.sandbox import lifecycle
from ops.targets.embedded import binaries, server, state

PARTS = ("tasks.py", "invoke.yaml", "config", "ops", "functions", "sql")
INV = str(Path(sys.executable).parent / "inv")


OTHER_LOGIN = """
create role by_password login password '{password}';
grant usage on schema public to by_password;
grant select, insert on users to by_password;
"""


@dataclass(frozen=True)
class Ways:
    """How a function logs in at the instance of inv sandbox.up, over TLS that is verified in full."""

    token: str
    """A URL without a password."""
    stored: str
    """A URL with one."""
    aws: Mapping[str, str]
    """Lambda's variables of the role by which a token is signed."""


@dataclass(frozen=True)
class Bench:
    """What a comparison is given to work with."""

    settings: Settings
    folder: Path
    """A copy of the suite; its embedded server is stopped and removed at the end."""
    tiny: bool
    stack: contextlib.ExitStack
    """For what else has to be undone."""

    def size(self, full: int, tiny: int) -> int:
        """Return how much of something there is to be."""
        return tiny if self.tiny else full

    def inv(
        self,
        *args: str,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: Callable[[], object] = nothing,
    ) -> Command:
        """Return a call of one of our tasks, in the copy or another one."""
        return Command([INV, *args], cwd or self.folder, env or {}, before=before)

    @cached_property
    def server(self) -> state.Server:
        """The embedded server of the copy, with the database of the sample SQL."""
        self.inv("db.setup")()
        made = state.load(self.folder)
        assert made is not None
        return made

    @cached_property
    def libpq(self) -> dict[str, str]:
        """The variables by which any client of Postgres finds that server."""
        made = self.server
        return {"PGHOST": "127.0.0.1", "PGPORT": str(made.port), "PGUSER": made.user, "PGPASSWORD": made.passwords[0]}

    @cached_property
    def sandbox(self) -> dict[str, str]:
        """The variables of a shell in the sandbox, with an instance in it; `Unavailable` without moto."""
        if missing := [name for name in lifecycle.NEEDED if find_spec(name) is None]:
            raise Unavailable(f"{', '.join(missing)} not installed: pip install -r requirements-dev.txt")
        self.stack.callback(self.inv("sandbox.down"))
        lines = output(self.inv("sandbox.up")).splitlines()
        exports = dict(shlex.split(line)[1].split("=", 1) for line in lines if line.startswith("export "))
        self.inv("rds.create", env=exports)()
        return exports

    @cached_property
    def ways(self) -> Ways:
        """The instance set up for both ways to log in; once, as whoever has declared its roles makes none by hand any more."""
        folder, env, word = self.sub("ways"), self.sandbox, secrets.token_urlsafe(16)
        (folder / "by_password.sql").write_text(OTHER_LOGIN.format(password=word), encoding="utf-8")
        go = ("-t", "prod", "--confirm", "cruddur")
        file = ("--file", str(folder / "by_password.sql"))
        for task, *more in (
            ("db.setup", "--force"),
            ("db.seed", *file),
            ("db.roles",),
        ):  # a role is made before they are declared
            self.inv(task, *go, *more, env=env)()
        host = output(self.inv("rds.endpoint", env=env)).strip()
        rest = f"@{host}:{env['POSTGRES_PORT']}/cruddur?hostaddr=127.0.0.1&sslrootcert={env['PROD_DB_SSLROOTCERT']}"
        login = {name: env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
        return Ways(f"postgresql://lambda_signup{rest}", f"postgresql://by_password:{word}{rest}", login)

    def url(self, database: str) -> str:
        return self.server.target(database).url(show_password=True)

    def psql(self, database: str, *args: str, before: Callable[[], object] = nothing) -> Command:
        """Return a call of the psql that the suite uses itself, as a script would have it."""
        program = str(binaries.server_bin() / "psql")
        argv = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database, *args]
        return Command(argv, self.folder, self.libpq, before=before)

    def sub(self, name: str) -> Path:
        path = self.folder / "bench" / name
        path.mkdir(parents=True)
        return path


def copy(settings: Settings, folder: Path) -> None:
    """Copy what a user drops into a repository."""
    for part in PARTS:
        source = settings.root / part
        if source.is_dir():
            shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / part)


@contextlib.contextmanager
def opened(settings: Settings, *, tiny: bool) -> Iterator[Bench]:
    """Yield a copy of the suite, and remove it with all that was started there."""
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    home.chmod(0o755)  # the user that runs the server as root is another
    folder = home / "clone"
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(server.remove_data, folder)
        stack.callback(scratch_server.remove_all, folder)
        copy(settings, folder)
        yield Bench(settings, folder, tiny, stack)


def output(command: Command) -> str:
    """Return what a command prints, or raise what it says."""
    env = unwatched(clean_environ(command.env))
    done = subprocess.run(command.argv, cwd=command.cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Problem(f"{' '.join(command.argv[:3])} exits with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout
