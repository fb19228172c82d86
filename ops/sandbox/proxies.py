"""What RDS Proxy does, and moto leaves out.

moto makes a proxy at once, wants a secret where tokens need none, takes every target twice, gives the endpoint a form that AWS does not
have, and calls any target reached at its second look. By the RDS User Guide ("Amazon RDS Proxy") a target is available once the proxy
has a session in it: there are rules that let it in, and its role may log in by token or read a secret with a login. It stays with one
that is renamed, and goes over to the new one at a switchover ("Using RDS Proxy with Blue/Green Deployments").
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator
from typing import Any

from ops.cloud.policies import listed

PLACE = "proxy-aaaaaaaaaaaa"
"""Behind the name of each proxy, as AWS has it for those of one account and region."""


@functools.cache
def mend() -> None:
    """Have moto do it from now on."""
    from moto.rds import exceptions, models, responses

    asked: Any = responses.RDSResponse
    known: Any = models.RDSBackend
    target: Any = models.DBProxyTarget
    create, register, targets, delete, switch = (
        asked.create_db_proxy,
        known.register_db_proxy_targets,
        known.describe_db_proxy_targets,
        known.delete_db_proxy,
        known.switchover_blue_green_deployment,
    )

    def require(self: Any, name: str) -> None:
        if name not in self.db_proxies:
            raise exceptions.DBProxyNotFoundFault(name)

    def make(self: Any) -> Any:
        self.params.setdefault("Auth", [])
        answer = create(self)
        made = self.backend.db_proxies[self.params["DBProxyName"]]
        made.default_auth_scheme = self.params.get("DefaultAuthScheme", "NONE")
        made.endpoint = f"{made.db_proxy_name}.{PLACE}.{made.region}.rds.amazonaws.com"
        return answer

    def lead(
        self: Any,
        db_proxy_name: str,
        target_group_name: str,
        db_cluster_identifiers: list[str],
        db_instance_identifiers: list[str],
    ) -> Any:
        require(self, db_proxy_name)
        there = {one.rds_resource_id for one in targets(self, db_proxy_name)}
        for name in db_instance_identifiers:
            if name not in self.databases:
                raise exceptions.DBInstanceNotFoundError(name)
            if name in there:
                code = "DBProxyTargetAlreadyRegisteredFault"
                raise exceptions.RDSClientError(code, f"{name} is registered already")
        made = register(self, db_proxy_name, target_group_name, db_cluster_identifiers, db_instance_identifiers)
        for one in made:
            one.proxy, one.instance = self.db_proxies[db_proxy_name], self.databases.get(one.rds_resource_id)
        return made

    def look(self: Any, proxy_name: str) -> Any:
        require(self, proxy_name)
        return targets(self, proxy_name)

    def drop(self: Any, proxy_name: str) -> Any:
        require(self, proxy_name)
        gone = delete(self, proxy_name)
        gone.status = "deleting"
        return gone

    def switched(self: Any, *args: Any, **more: Any) -> Any:
        done = switch(self, *args, **more)
        for proxy in self.db_proxies.values():
            for one in proxy.proxy_target_groups["default"].targets:
                one.instance = self.databases.get(one.rds_resource_id)  # the one that has the name now
        return done

    def health(self: Any) -> dict[str, str]:
        if self.registering:
            return {"State": "REGISTERING"}
        wrong = fault(self)
        return {"State": "UNAVAILABLE", "Reason": wrong} if wrong else {"State": "AVAILABLE"}

    asked.create_db_proxy = make
    known.register_db_proxy_targets = lead
    known.describe_db_proxy_targets = look
    known.delete_db_proxy = drop
    known.switchover_blue_green_deployment = switched
    target.target_health = property(health)


def fault(target: Any) -> str:
    """Return why a target is not reached, in RDS's word; nothing where it is."""
    proxy, instance = target.proxy, target.instance
    if instance is None or instance.backend.databases.get(instance.db_instance_identifier) is not instance:
        return "UNREACHABLE"
    target.rds_resource_id = instance.db_instance_identifier  # it stays with the one that is renamed
    if not lets_in(proxy, instance):
        return "UNREACHABLE"
    return "" if logs_in(proxy, instance) else "AUTH_FAILURE"


def lets_in(proxy: Any, instance: Any) -> bool:
    """Whether a rule of the instance's groups lets the proxy's in."""
    from moto.ec2.models import ec2_backends

    groups = ec2_backends[proxy.account_id][proxy.region]
    doors = [groups.get_security_group_from_id(one) for one in instance.vpc_security_group_ids]
    return any(
        (rule.source_group or {}).get("GroupId") in proxy.vpc_security_group_ids
        for door in doors
        if door
        for rule in door.ingress_rules
    )


def logs_in(proxy: Any, instance: Any) -> bool:
    """Whether the proxy's role may log in by token, or read a secret that has a login."""
    from ops.sandbox import tokens

    if proxy.default_auth_scheme == "IAM_AUTH":
        wanted = f":{instance.dbi_resource_id}/"
        return any(
            statement["Effect"] == "Allow" and tokens.ACTION in listed(statement["Action"]) and wanted in str(resource)
            for statement in rights(proxy)
            for resource in listed(statement["Resource"])
        )
    arns = {one["SecretArn"] for one in proxy.auth}
    may = {
        r
        for s in rights(proxy)
        if "secretsmanager:GetSecretValue" in listed(s["Action"])
        for r in listed(s["Resource"])
    }
    return bool(arns) and arns <= may and all(has_login(proxy, arn) for arn in arns)


def has_login(proxy: Any, arn: str) -> bool:
    from moto.secretsmanager.models import secretsmanager_backends

    try:
        held = secretsmanager_backends[proxy.account_id][proxy.region].get_secret_value(arn, "", "")
        return {"username", "password"} <= set(json.loads(held["SecretString"]))
    except Exception:  # whatever moto has against it, there is no login
        return False


def rights(proxy: Any) -> Iterator[dict[str, Any]]:
    """Yield the statements of the policies that a proxy's role has of its own."""
    from moto.iam.models import iam_backends

    name = proxy.role_arn.rpartition("/")[2]
    for backend in iam_backends[proxy.account_id].values():
        for role in [role for role in backend.roles.values() if role.name == name]:
            for policy in role.policies.values():
                yield from listed(json.loads(policy)["Statement"])


def every() -> list[Any]:
    """Return moto's proxies, in all regions."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.rds.models import rds_backends

    backends: Iterable[Any] = list(rds_backends[DEFAULT_ACCOUNT_ID].values())
    return [one for backend in backends for one in list(backend.db_proxies.values())]


def named_so(host: str) -> Any:
    """Return the proxy of an endpoint's name, or None."""
    return next((one for one in every() if one.endpoint.lower() == host.lower()), None)


def behind(proxy: Any) -> Any:
    """Return moto's object of the instance that a proxy has a session in, or None."""
    found = proxy.proxy_target_groups["default"].targets
    return next((one.instance for one in found if not fault(one)), None)
