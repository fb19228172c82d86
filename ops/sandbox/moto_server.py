"""moto as AWS, with what it leaves out for the data: the master user of an instance.

moto knows instances, but no database. What has changed one is carried out on the
servers of the sandbox, too, as RDS does: instances.py.
"""

from __future__ import annotations

import functools
import io
import re
from collections.abc import Callable, Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

from ops import times
from ops.errors import Problem
from ops.sandbox import clusters, log_files, shell
from ops.sandbox.instances import Instances, Origin

NO_PRICES = '{"__type": "UnknownOperationException", "message": "the sandbox has no price list"}'
"""moto fails at the name of that service."""
LOGS = ("DescribeDBLogFiles", "DownloadDBLogFilePortion")
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Recorder:
    """Passes requests on to moto, notes their names, and follows up those about instances."""

    def __init__(self, app: Wsgi, instances: Instances, calls: Path) -> None:
        self.app = app
        self.instances = instances
        self.calls = calls

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        form: dict[str, str] = {}
        if environ.get("CONTENT_TYPE", "").startswith("application/x-www-form-urlencoded"):
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["wsgi.input"] = io.BytesIO(body)
            form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        if scope(environ)[1] == "pricing":
            return answered(NO_PRICES, start_response, "application/x-amz-json-1.1")
        begun: list[Any] = []
        if form.get("Action") in LOGS:
            return self.logs(form, start_response)
        if form.get("Action") == "DescribeRouteTables":
            lead_out()
        if refused := clusters.refusal(form):
            self.note(call(environ, form), "400")
            return failed(Problem(clusters.SAID.get(refused, "The name is taken already.")), start_response, refused)
        if form.get("Action") == "SwitchoverBlueGreenDeployment":
            try:
                self.instances.switch(form.get("BlueGreenDeploymentIdentifier", ""))
            except Problem as problem:
                self.note(call(environ, form), "400")
                return failed(problem, start_response)
        try:
            answer = self.app(environ, lambda *args: begun.extend(args))
        finally:  # what moto stumbles over was asked for all the same
            status = begun[0].partition(" ")[0] if begun else "500"
            name = call(environ, form)
            if name:
                self.note(name, status)
        if status == "200" and name.startswith("rds ") and not name.startswith(("rds Describe", "rds List")):
            asked = "true" in (form.get("ManageMasterUserPassword"), form.get("RotateMasterUserPassword"))
            name = form.get("DBInstanceIdentifier") or form.get("DBClusterIdentifier", "")
            try:
                clusters.settle(form)
                self.instances.follow(name if asked else "", origin(form), rebooted(form))
            except Problem as problem:
                return failed(problem, start_response)
        start_response(*begun)
        return answer

    def logs(self, form: dict[str, str], start_response: Callable[..., Any]) -> list[bytes]:
        """Answer with the log of an instance's server."""
        name, action = form.get("DBInstanceIdentifier", ""), form["Action"]
        known = self.instances.by_identifier(name)
        missing = "DBInstanceNotFound" if known is None else "DBLogFileNotFoundFault"
        try:
            if known is None or known.server is None:
                raise Problem(f"DBInstance {name} not found.")
            if action == "DescribeDBLogFiles":
                said = log_files.listed(known.server)
            else:
                said = log_files.portion(
                    known.server, form.get("LogFileName", ""), form.get("Marker", ""), form.get("NumberOfLines", "")
                )
        except Problem as problem:
            self.note(f"rds {action}", "404")
            return failed(problem, start_response, missing)
        self.note(f"rds {action}", "200")
        body = f"<{action}Response><{action}Result>{said}</{action}Result></{action}Response>"
        return answered(body, start_response, "text/xml", "200 OK")

    def note(self, name: str, status: str) -> None:
        """Write down what was asked, and how it was answered."""
        with self.calls.open("a", encoding="utf-8") as log:
            log.write(f"{name} {status}\n")


@functools.cache
def lead_out() -> None:
    """Give the default network its route to the internet, which it has in AWS and lacks in moto."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends

    ec2: Any = ec2_backends[DEFAULT_ACCOUNT_ID][shell.REGION]
    vpc = ec2.get_default_vpc()
    gateway = ec2.create_internet_gateway()
    ec2.attach_internet_gateway(gateway.id, vpc.id)
    for table in ec2.describe_route_tables(filters={"vpc-id": [vpc.id], "association.main": ["true"]}):
        ec2.create_route(table.id, "0.0.0.0/0", gateway_id=gateway.id)


def origin(form: dict[str, str]) -> Origin | None:
    """Return from what a request restores an instance, or None for another request."""
    if form.get("Action") == "RestoreDBInstanceFromDBSnapshot":
        return Origin(snapshot=form["DBSnapshotIdentifier"].rpartition(":")[2])
    if form.get("Action") == "RestoreDBInstanceToPointInTime":
        at = times.moment(form.get("RestoreTime", "")) or datetime.now(timezone.utc)
        return Origin(instance=form["SourceDBInstanceIdentifier"], at=at)
    if form.get("Action") == "RestoreDBClusterFromSnapshot":
        return Origin(snapshot=form["SnapshotIdentifier"].rpartition(":")[2])
    if form.get("Action") == "RestoreDBClusterToPointInTime":
        at = times.moment(form.get("RestoreToTime", "")) or datetime.now(timezone.utc)
        return Origin(instance=form["SourceDBClusterIdentifier"], at=at)
    return None


def rebooted(form: dict[str, str]) -> str:
    """Return which instance a request has AWS reboot, by its name after it: a new name does, too ("Renaming a DB instance")."""
    if form.get("Action") == "RebootDBInstance":
        return form["DBInstanceIdentifier"].lower()
    return form.get("NewDBInstanceIdentifier", "").lower()


def failed(problem: Problem, start_response: Callable[..., Any], code: str = "SandboxFailure") -> list[bytes]:
    """Answer that the server of an instance could not be made or changed, as RDS words a refusal."""
    said = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{escape(str(problem))}</Message></Error>"
    return answered(f"<ErrorResponse>{said}<RequestId>sandbox</RequestId></ErrorResponse>", start_response, "text/xml")


def answered(text: str, start_response: Callable[..., Any], kind: str, status: str = "400 Bad Request") -> list[bytes]:
    body = text.encode()
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]


def call(environ: dict[str, Any], form: dict[str, str]) -> str:
    """Return service and action of a request; nothing for one that is not signed."""
    region, service = scope(environ)
    target = environ.get("HTTP_X_AMZ_TARGET", "").rpartition(".")[2]
    action = form.get("Action") or target or f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
    return f"{service} {action}" if region else ""


def scope(environ: dict[str, Any]) -> tuple[str, str]:
    """Return region and service that a request is signed for; nothing if it is not signed."""
    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/([\w-]+)/", environ.get("HTTP_AUTHORIZATION", ""))
    return (found[1], found[2]) if found else ("", "")
