"""What the way through a bastion costs a task."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from pathlib import Path

from bench.measure import Comparison, Unavailable
from bench.place import Bench
from ops.targets.embedded.postmaster import free_port

STRAIGHT, ALONE = "the same task without a tunnel", "the same task, its tunnel opened for it"
SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {home}/host
AuthorizedKeysFile {home}/mine.pub
StrictModes no
UsePAM no
PidFile none
"""
WRAPPER = """#!/bin/sh
exec {ssh} -F none -i {home}/mine -o IdentityAgent=none -o UserKnownHostsFile={home}/known "$@"
"""


def bastion(at: Bench, home: Path) -> str:
    """Start an sshd on loopback that ends with the comparison; return the way by it."""
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    ssh = shutil.which("ssh")
    if not sshd or not ssh:
        raise Unavailable("no sshd here: install openssh-server")
    for name in ("host", "mine"):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(home / name)]
        subprocess.run(argv, check=True, capture_output=True)
    port = free_port()
    (home / "known").write_text(f"[127.0.0.1]:{port} {(home / 'host.pub').read_text()}")
    (home / "server").write_text(SERVER.format(port=port, home=home))
    (home / "ssh").write_text(WRAPPER.format(ssh=ssh, home=home))
    (home / "ssh").chmod(0o755)
    Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen([sshd, "-D", "-f", str(home / "server")], stderr=subprocess.DEVNULL)
    at.stack.callback(daemon.wait)
    at.stack.callback(daemon.terminate)
    for _ in range(500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return f"ssh://{getpass.getuser()}@127.0.0.1:{port}"
        time.sleep(0.01)
    raise Unavailable("the sshd does not start: see that this user may run one")


def kept(at: Bench) -> Comparison:
    """`inv db.status` over a tunnel that `inv db.tunnel` keeps open."""
    home = at.sub("tunnel")
    via = bastion(at, home)
    path = at.folder / "invoke.yaml"
    names = ", ".join([f'open: {{via: "{via}"}}', f'alone: {{via: "{via}"}}', "straight: {}"])
    path.write_text(path.read_text().replace("targets: {}", f"targets: {{{names}}}"))
    url = at.url("cruddur")
    env = {f"{name}_CONNECTION_URL": url for name in ("OPEN", "STRAIGHT")}
    # by another name of the same host it is another tunnel, which nobody keeps open
    env |= {"ALONE_CONNECTION_URL": url.replace("127.0.0.1", "localhost"), "PATH": f"{home}:/usr/bin:/bin"}
    at.stack.callback(at.inv("db.tunnel", "--stop", env=env))
    at.inv("db.tunnel", "-t", "open", env=env)()
    return Comparison(
        "inv db.status, through a bastion",
        at.inv("db.status", "-t", "open", env=env),
        {
            STRAIGHT: at.inv("db.status", "-t", "straight", env=env),
            ALONE: at.inv("db.status", "-t", "alone", env=env),
        },
        {STRAIGHT: 1.3},
        note=(
            "The tunnel is kept open by inv db.tunnel, to an sshd on this machine: what is left is to read where it is, to see that it is ours, "
            "and ssh's own share of each packet. Opened for one task, it costs a login by SSH."
        ),
    )
