"""A tunnel by AWS's Session Manager: the session by its API, the channel by its official plugin.

The session is one of the document AWS-StartPortForwardingSessionToRemoteHost
(https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-sessions-start.html). The plugin
(https://github.com/aws/session-manager-plugin) takes the answer of StartSession by the name of a variable, so that its token
stands in no command line, then region, operation, profile, the request as JSON, and the endpoint; from 1.2.497.0 on.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal

from config.settings import Settings
from ops import process
from ops.aws import Aws
from ops.aws_errors import code
from ops.calls import surely
from ops.console import hide, say
from ops.errors import NoTunnel, Problem, Unreachable
from ops.targets.tunnel.ends import Ends, Row, Start, first, last

DOCUMENT = "AWS-StartPortForwardingSessionToRemoteHost"
PLUGIN = "session-manager-plugin"
PLACES = ("/usr/local/sessionmanagerplugin/bin", "/usr/local/bin", "/opt/homebrew/bin")
"""Where its packages put it."""
RESPONSE = "AWS_SSM_START_SESSION_RESPONSE"
OLDEST = (1, 2, 497, 0)
"""The first that takes the name of a variable."""
INSTALL = (
    "https://docs.aws.amazon.com/systems-manager/latest/userguide/session-manager-working-with-install-plugin.html"
)
SIGNS = ("opened for sessionId", "Waiting for connections", "Connection accepted", "Starting session with")

NOT_UP = (
    Row(
        r"no such host|dial tcp|Failed to (?:setup|open|send|get)|handshake|x509|proxy",
        Unreachable,
        "{via}: the channel of Session Manager does not come up ({said}): see that this machine reaches "
        "ssmmessages.{region}.amazonaws.com by port 443 (a proxy, a firewall)",
    ),
    Row(
        r"KMS|encryption",
        NoTunnel,
        "{via}: the session's key cannot be had ({said}): this login needs kms:GenerateDataKey on the key of Session Manager's preferences",
    ),
    Row(r"", NoTunnel, "{via}: the tunnel does not come up ({said}): see {plugin}'s own log, then run this again"),
)
BEHIND = (
    Row(
        r"Connection to destination port failed",
        Unreachable,
        "{far}: the tunnel by {via} is up, and the server behind it is not reached from there: see that it runs, and that its "
        "security group lets the bastion's in (inv rds.bastion)",
    ),
)


def plugin() -> str:
    """Return where the plugin is; raises `NoTunnel` with how to have it."""
    found = shutil.which(PLUGIN, path=os.pathsep.join([process.environ().get("PATH", ""), *PLACES]))
    if not found:
        raise NoTunnel(f"ssm:// needs AWS's own {PLUGIN}, which is not here: install it by {INSTALL}")
    return found


def version(program: str) -> tuple[int, ...]:
    """Return the plugin's version; empty where it does not tell."""
    found = re.search(r"\d+(?:\.\d+)+", process.run([program, "--version"], {}, timeout=10).stdout)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


class Ssm:
    """Session Manager, as `Means` says."""

    politely = int(signal.SIGINT)
    """At this the plugin tells the agent that the session is over; else it would be left to its idle timeout."""

    def __init__(self) -> None:
        self.aws: Aws | None = None
        self.region = ""

    def start(self, settings: Settings, ends: Ends, port: int) -> Start:
        """Begin a session, which costs nothing and changes nothing; raises `Problem`."""
        program = plugin()
        self.aws = self.aws or Aws(settings, tell=say)
        ssm = self.aws.client("ssm")
        self.region = self.aws.region
        request = {
            "Target": ends.via.host,
            "DocumentName": DOCUMENT,
            "Parameters": {"host": [ends.host], "portNumber": [str(ends.port)], "localPortNumber": [str(port)]},
        }
        try:
            answer = surely(lambda: ssm.start_session(**request), lambda: None)  # one that is not used ends by itself
        except ssm.exceptions.ClientError as error:
            raise self.refused(ends, code(error)) or error from None
        hide(answer["TokenValue"])
        told = {name: answer[name] for name in ("SessionId", "TokenValue", "StreamUrl")}
        argv = [program, RESPONSE, self.region, "StartSession", settings.vars.get("AWS_PROFILE"), json.dumps(request)]
        return Start([*argv, ssm.meta.endpoint_url], {**self.login(), RESPONSE: json.dumps(told)})

    def login(self) -> dict[str, str]:
        """Return the login to AWS for the plugin, which may have to resume a session: what .env holds it would not find."""
        assert self.aws
        found = self.aws.session.get_credentials()
        if not found:
            return {}
        frozen = found.get_frozen_credentials()
        values = {
            "AWS_ACCESS_KEY_ID": frozen.access_key,
            "AWS_SECRET_ACCESS_KEY": frozen.secret_key,
            "AWS_SESSION_TOKEN": frozen.token,
        }
        return {name: value for name, value in values.items() if value}

    def refused(self, ends: Ends, word: str) -> Problem | None:
        """Return what a refusal of StartSession means; None where the general words say it."""
        via = ends.via
        if word == "TargetNotConnected":
            return Unreachable(
                f"{via}: the instance is not at Session Manager: inv rds.bastion starts one of ours; of another see that it runs, has its "
                "agent, a role with AmazonSSMManagedInstanceCore and a way out"
            )
        if word in ("InvalidTarget", "InvalidInstanceId", "InvalidDocument", "ValidationException"):
            return NoTunnel(f"{via}: there is no such instance in {self.region}: correct the id, or the region")
        return None

    def is_up(self, said: str, port: int) -> bool:
        return re.search(rf"Port {port} opened for sessionId", said) is not None

    def is_taken(self, said: str, port: int) -> bool:
        return re.search(rf":{port}: bind: address already in use", said) is not None

    def not_up(self, ends: Ends, said: str, source: str) -> Problem:
        del source
        if (there := version(plugin())) and there < OLDEST:
            wanted, has = (".".join(map(str, each)) for each in (OLDEST, there))
            return NoTunnel(f"{ends.via}: {PLUGIN} is {has}, older than {wanted}: install a newer one by {INSTALL}")
        found = first(NOT_UP, said)
        assert found  # the last row fits anything
        words = {"via": ends.via, "said": last(said, *SIGNS), "region": self.region, "plugin": PLUGIN}
        return found[0].error(found[0].advice.format(**words))

    def behind(self, ends: Ends, said: str, target: str) -> Problem | None:
        del target
        found = first(BEHIND, said)
        return found[0].error(found[0].advice.format(via=ends.via, far=ends)) if found else None

    def hint(self, ends: Ends) -> str:
        return f"inv rds.bastion tells whether {ends.via.host} runs; {PLUGIN} has a log of its own"
