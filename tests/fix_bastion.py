"""A bastion: a real sshd on loopback, and the machine's own ssh with a configuration of the test's instead of the user's."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from ops.targets.tunnel import way
from tests import servers

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
# ssh takes ~ from the system's list of users and not from HOME
WRAPPER = """#!/bin/sh
exec {ssh} -F {config} "$@"
"""
SERVER = """
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host
AuthorizedKeysFile {home}/authorized
StrictModes no
UsePAM no
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
{more}
"""
CLIENT = """
Host *
  IdentityFile {home}/mine
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {home}/known
  GlobalKnownHostsFile none
  StrictHostKeyChecking no
  ControlMaster auto
  ControlPath {home}/%p
{more}
"""
"""Of a careless user: what must not hold for a tunnel is in it."""


@dataclass
class Bastion:
    """An sshd with one user, who is the one that runs the tests."""

    home: Path
    port: int = field(default_factory=servers.free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def via(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        return self.home / "config"

    def make(self) -> None:
        for name in ("host", "mine", "other"):
            keygen(self.home / name)
        shutil.copy(self.home / "mine.pub", self.home / "authorized")
        self.trust(self.home / "host.pub")
        self.config.write_text(CLIENT.format(home=self.home, more=""))
        programs = self.home / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(WRAPPER.format(ssh=shutil.which("ssh"), config=self.config))
        (programs / "ssh").chmod(0o755)

    def trust(self, key: Path) -> None:
        (self.home / "known").write_text(f"[127.0.0.1]:{self.port} {key.read_text()}")

    def start(self, more: str = "") -> None:
        """Start the sshd, with more settings."""
        assert SSHD
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(
                mode=0o755, exist_ok=True
            )  # where it locks itself in, made by its service otherwise
        (self.home / "server").write_text(SERVER.format(home=self.home, port=self.port, more=more))
        with (self.home / "log").open("ab") as log:
            argv = [SSHD, "-D", "-e", "-f", str(self.home / "server")]
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        begun = f"Server listening on 127.0.0.1 port {self.port}"
        while (self.home / "log").read_text().count(begun) <= self.starts:
            assert self.process.poll() is None, (self.home / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        self.starts += 1

    starts: int = 0

    def stop(self) -> None:
        if self.process:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                child.kill()
            self.process.kill()
            self.process.wait(20)
        self.process = None

    def left(self) -> list[psutil.Process]:
        """Return the processes of ssh and its keepers that there are for this bastion."""
        found = []
        for process in psutil.process_iter():
            try:
                words = process.cmdline()
            except psutil.Error:
                continue
            if words and words[0] != SSHD and any(str(self.port) == word for word in words) and "-L" in words:
                found.append(process)
        return found

    def cut(self) -> None:
        """Kill the programs of all tunnels, as the network would."""
        for process in self.left():
            with contextlib.suppress(psutil.NoSuchProcess):  # its keeper and it end together
                if process.name() == "ssh":
                    process.send_signal(signal.SIGKILL)


def keygen(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)]
    subprocess.run(argv, check=True, capture_output=True)


def need_sshd() -> None:
    """Skip with the reason where there is no sshd; fail where one is required."""
    if SSHD and shutil.which("ssh") and shutil.which("ssh-keygen"):
        return
    if os.environ.get("REQUIRE_SSHD"):
        pytest.fail("sshd is required here")
    pytest.skip("sshd is not installed here: Debian's package openssh-server")


@pytest.fixture
def bastion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bastion]:
    """A running bastion that takes the test's key; `ssh` on the PATH reads the test's configuration."""
    need_sshd()
    home = tmp_path / "bastion"
    home.mkdir()
    made = Bastion(home)
    made.make()
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    made.start()
    yield made
    way.shut()
    made.stop()
    assert made.left() == []
