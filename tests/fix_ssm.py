"""A stand-in for Session Manager: the plugin with its documented arguments, and the answer of StartSession.

The arguments are those that the AWS CLI gives the plugin (awscli/customizations/sessionmanager.py), the lines those that it prints
(github.com/aws/session-manager-plugin, portsession): it is up when it has said so, and ends in order at SIGINT.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ops.targets.tunnel import way
from tests.fix_aws import Answer, Call, Front, json_error

INSTANCE = "i-0123456789abcdef0"
TOKEN = "token-hushhush"
PLUGIN = """#!{python}
import json, os, signal, socket, sys, threading
seen = dict(argv=sys.argv, pid=os.getpid())
if sys.argv[1:] == ["--version"]:
    print("{version}")
    sys.exit()
name, region, operation, profile, request, endpoint = sys.argv[1:]
answer, request = json.loads(os.environ[name]), json.loads(request)
seen.update(answer=answer, variables=sorted(os.environ))
open("{home}/seen", "w").write(json.dumps(seen))
said = "{says}"
if said:
    print("\\nStarting session with SessionId:", answer["SessionId"])
    print(said, flush=True)
    sys.exit(1)
assert (operation, request["DocumentName"]) == ("StartSession", "AWS-StartPortForwardingSessionToRemoteHost")
assert answer["StreamUrl"].startswith("wss://") and answer["TokenValue"]
own, far = request["Parameters"]["localPortNumber"][0], (request["Parameters"]["host"][0], int(request["Parameters"]["portNumber"][0]))
def over(*_):
    print("Terminate signal received, exiting.", flush=True)
    open("{home}/over", "w").close()
    os._exit(0)
signal.signal(signal.SIGINT, over)
try:
    listener = socket.create_server(("127.0.0.1", int(own)))
except OSError:
    print("listen tcp 127.0.0.1:%s: bind: address already in use" % own, flush=True)
    sys.exit(1)
print("\\nStarting session with SessionId:", answer["SessionId"])
print("Port %s opened for sessionId %s.\\nWaiting for connections..." % (own, answer["SessionId"]), flush=True)
def pump(one, other):
    try:
        while data := one.recv(65536):
            other.sendall(data)
    except OSError:
        pass
    for each in (one, other):
        try:
            each.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
while True:
    near, _ = listener.accept()
    try:
        there = socket.create_connection(far, 5)
    except OSError:
        print("\\nConnection to destination port failed, check SSM Agent logs.", flush=True)
        near.close()
        continue
    for pair in ((near, there), (there, near)):
        threading.Thread(target=pump, args=pair, daemon=True).start()
"""


@dataclass
class Manager:
    """Session Manager as this machine sees it."""

    home: Path
    front: Front
    instance: str = INSTANCE
    refusal: str = ""
    """The code with which StartSession is refused."""
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def via(self) -> str:
        return f"ssm://{self.instance}"

    def plugin(self, *, says: str = "", version: str = "1.2.707.0") -> None:
        """Install the stand-in; it ends with what it `says`, where that is given."""
        path = self.home / "session-manager-plugin"
        path.write_text(PLUGIN.format(python=sys.executable, home=self.home, says=says, version=version))
        path.chmod(0o755)

    def answer(self, call: Call) -> Answer | None:
        """Answer in the place of moto, which has no sessions."""
        if call.action != "StartSession":
            return None
        self.requests.append(json.loads(next(iter(call.params))))
        if self.refusal:
            return json_error(self.refusal)
        session = "me-0123456789abcdef0"
        url = f"wss://ssmmessages.ca-central-1.amazonaws.com/v1/data-channel/{session}?role=publish_subscribe"
        return "200 OK", json.dumps({"SessionId": session, "TokenValue": TOKEN, "StreamUrl": url}).encode()

    @property
    def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "seen").read_text())
        return found


@pytest.fixture
def manager(tmp_path: Path, cloud: Front, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    """Session Manager with its plugin on the PATH."""
    home = tmp_path / "plugin"
    home.mkdir()
    made = Manager(home, cloud)
    made.plugin()
    cloud.before = made.answer
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    yield made
    way.shut()
