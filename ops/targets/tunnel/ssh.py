"""A tunnel by the machine's own OpenSSH, with the user's configuration, agent and known hosts.

The options are those of https://man.openbsd.org/ssh_config; what stands on the command line holds over the user's file.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping

from config.settings import Settings
from config.via import Via
from ops.errors import Misconfigured, NothingAnswers, NoTunnel, Problem, Unreachable
from ops.targets.tunnel.ends import Ends, Row, Start, first, last

UP = "inv: the tunnel is up"
ALIVE, DEAD = 15, 3
"""Seconds between two questions whether the bastion is there, and how many it may leave unanswered."""

# A master of the user's would keep our tunnel after we are gone, and a prompt would be waited for by nobody. LocalCommand is
# run once the login has succeeded and the port is listened on: before that, nothing would tell
OPTIONS: Mapping[str, str] = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "UpdateHostKeys": "no",
    "ExitOnForwardFailure": "yes",
    "GatewayPorts": "no",
    "ControlMaster": "no",
    "ControlPath": "none",
    "RemoteCommand": "none",
    "LogLevel": "INFO",
    "PermitLocalCommand": "yes",
    "LocalCommand": f"echo '{UP}'",
    "ServerAliveInterval": str(ALIVE),
    "ServerAliveCountMax": str(DEAD),
}


def command(ends: Ends, port: int, timeout: int) -> list[str]:
    """Return ssh's command line for a tunnel from a loopback port; raises `Problem`.

    `timeout` is in seconds, for reaching the bastion.
    """
    via, host = ends.via, ends.host
    if not shutil.which("ssh"):
        raise NoTunnel(f"{via}: there is no ssh here: install the package openssh-client")
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+", host):
        raise Misconfigured(f"{via}: {host!r} is no host name that ssh could be given")
    options = {**OPTIONS, "ConnectTimeout": str(timeout)}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    login = [*(("-p", via.port) if via.port else ()), *(("-l", via.user) if via.user else ())]
    return ["ssh", "-N", "-T", "-a", "-x", *words, "-L", f"127.0.0.1:{port}:{ends}", *login, via.host]


# A key that is not the known one is never passed over: whoever sits in between would see all of the tunnel
NOT_UP = (
    Row(
        r"Host key for (\S+) has changed|IDENTIFICATION HAS CHANGED",
        NoTunnel,
        "{via}: the bastion shows another host key than the one that is known: somebody may sit in between; only where its keeper "
        "says that it was made anew: ssh-keygen -R '{known}', then {login}, and compare the fingerprint",
    ),
    Row(
        "host key is known for|Host key verification failed",
        NoTunnel,
        "{via}: its host key is not known here: run {login} once, and say yes only to the fingerprint that its keeper has told you",
    ),
    Row(
        r"Permission denied \(([^)]*)\)|Too many authentication failures",
        NoTunnel,
        "{via}: the bastion does not take our key: give it to the agent (ssh-add), name it in ~/.ssh/config (IdentityFile), or have "
        "it added there for this user",
    ),
    Row(
        r"Could not resolve hostname",
        Unreachable,
        "{via}: the bastion's name does not resolve: correct it in {source}, or in ~/.ssh/config",
    ),
    Row(r"Connection refused", Unreachable, "{via}: no sshd answers on the bastion: see that it runs, and its port"),
    Row(
        r"timed out|Operation timed out|No route to host|unreachable",
        Unreachable,
        "{via}: the bastion did not answer in time: see that it runs, and that its firewall lets this address in",
    ),
    Row(
        r"Bad owner or permissions on (\S+)|Bad configuration option: (\S+)|(terminating, \d+ bad configuration options)",
        Misconfigured,
        "{via}: ssh refuses its own configuration ({said}): correct that, {login} shows the same",
    ),
    Row(
        r"(?:cannot listen to port: |bind \S+:)(\d+)",
        NoTunnel,
        "{via}: ~/.ssh/config forwards port {1} for this bastion, too, and that is taken: end the other ssh, or give it a Host of its own",
    ),
    Row(
        r"Connection (?:closed|reset) by|kex_exchange_identification|banner exchange|UNKNOWN port",
        Unreachable,
        "{via}: the bastion takes the connection and closes it: {login} shows the same; see its sshd's log ({said})",
    ),
    Row(r"", NoTunnel, "{via}: the tunnel does not come up: {login} shows why ({said})"),
)
"""Of a tunnel that does not come up. The first that fits holds."""

BEHIND = (
    Row(
        r"open failed: administratively prohibited|open failed: unknown channel type",
        NoTunnel,
        "{via}: the bastion forwards nothing to {far}: allow it in its sshd_config (AllowTcpForwarding, PermitOpen)",
    ),
    Row(
        r"open failed: connect failed: .*(?:refused)",
        NothingAnswers,
        "{far}: the tunnel by {via} is up, and nothing answers behind it: see that the server runs, and its port",
    ),
    Row(
        r"open failed: connect failed: .*(?:not known|resolve|No address|name resolution|Unknown host)",
        Unreachable,
        "{far}: the tunnel by {via} is up, and the bastion does not know this name: correct the host in {target}",
    ),
    Row(
        r"open failed",
        Unreachable,
        "{far}: the tunnel by {via} is up, and the server behind it is not reached ({said}): let the bastion in there",
    ),
)
"""Of a connection through a tunnel that is up."""


def login(via: Via) -> str:
    """Return the command for a login by hand."""
    port = f"-p {via.port} " if via.port else ""
    return f"ssh {port}{via.user}@{via.host}" if via.user else f"ssh {port}{via.host}"


class Ssh:
    """OpenSSH, as `Means` says."""

    politely = 0

    def start(self, settings: Settings, ends: Ends, port: int) -> Start:
        return Start(command(ends, port, settings.connect_timeout), {})

    def is_up(self, said: str, port: int) -> bool:
        del port
        return UP in said

    def is_taken(self, said: str, port: int) -> bool:
        return re.search(rf"cannot listen to port: {port}\b|bind \[127\.0\.0\.1\]:{port}: ", said) is not None

    def not_up(self, ends: Ends, said: str, source: str) -> Problem:
        via = ends.via
        found = first(NOT_UP, said)
        assert found  # the last row fits anything
        row, match = found
        groups = [group or "" for group in match.groups()]
        own = f"[{via.host}]:{via.port}" if via.port not in ("", "22") else via.host
        words = {"via": via, "login": login(via), "known": (groups or [""])[0] or own, "source": source}
        return row.error(row.advice.format("", *groups, **words, said=last(said, UP)))

    def behind(self, ends: Ends, said: str, target: str) -> Problem | None:
        found = first(BEHIND, said)
        if not found:
            return None
        return found[0].error(found[0].advice.format(via=ends.via, far=ends, target=target, said=last(said, UP)))

    def hint(self, ends: Ends) -> str:
        return f"{login(ends.via)} shows what it waits for"
