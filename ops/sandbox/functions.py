"""What Lambda does with versions and aliases, and moto leaves out.

moto drops SnapStart, publishes a version twice where nothing has changed, gives a number again that was deleted, and keeps one policy for
a function, its versions and its aliases. By the Lambda Developer Guide a version is published where something has changed ("Manage Lambda
function versions"), each alias has a policy of its own ("Using Lambda aliases in event sources and permissions policies"), and a version
to which an alias leads is not deleted (API Reference, DeleteFunction). A snapshot is there at once here.
"""

from __future__ import annotations

import copy
import functools
from typing import Any
from urllib.parse import unquote


@functools.cache
def mend() -> None:
    """Have moto do it from now on."""
    mend_versions()
    mend_policies()
    mend_partitions()


def mend_versions() -> None:
    """Take snapshots, and publish, number and keep versions as Lambda does."""
    from moto.awslambda import exceptions, models, policy

    function: Any = models.LambdaFunction
    storage: Any = models.LambdaStorage
    backend: Any = models.LambdaBackend
    create, configured, described = backend.create_function, function.update_configuration, function.get_configuration
    delete, named = storage.del_function, storage.put_alias

    class Conflict(exceptions.LambdaClientError):
        code = 409

        def __init__(self, message: str) -> None:
            super().__init__("ResourceConflictException", message)

    def make(self: Any, spec: dict[str, Any]) -> Any:
        made = create(self, spec)
        made.snap_start = spec.get("SnapStart", {}).get("ApplyOn", "None")
        return made

    def change(self: Any, config: dict[str, Any]) -> Any:
        self.snap_start = config.get("SnapStart", {}).get("ApplyOn", getattr(self, "snap_start", "None"))
        return configured(self, config)

    def describe(self: Any, on_create: bool = False) -> dict[str, Any]:
        found: dict[str, Any] = described(self, on_create)
        apply_on = getattr(self, "snap_start", "None")
        on = apply_on == "PublishedVersions" and str(self.version).isdigit()
        return {**found, "SnapStart": {"ApplyOn": apply_on, "OptimizationStatus": "On" if on else "Off"}}

    def publish(self: Any, name_or_arn: str, description: str = "") -> Any:
        latest = self.get_function_by_name_or_arn_forbid_qualifier(name_or_arn)
        known = self._functions[latest.function_name]
        if known["versions"] and not latest.code_or_config_updated:
            return known["versions"][-1]
        latest.code_or_config_updated = False
        known["number"] = known.get("number", 0) + 1
        made = copy.copy(latest)
        made.set_version(known["number"])
        made.policy = policy.Policy(made)
        made.description = description or made.description
        known["versions"].append(made)
        self._arns[made.function_arn] = made
        return made

    def remove(self: Any, name_or_arn: str, qualifier: str | None = None) -> None:
        if qualifier and any(one.function_version == qualifier for one in self.list_aliases(name_or_arn)):
            raise Conflict(f"version {qualifier} is the target of an alias")
        delete(self, name_or_arn, qualifier)

    def name(self: Any, name: str, *args: Any, **fields: Any) -> Any:
        try:
            return named(self, name, *args, **fields)
        except exceptions.ConflictException as error:
            raise Conflict(error.message) from error

    backend.create_function, function.update_configuration, function.get_configuration = make, change, describe
    storage.publish_version, storage.del_function, storage.put_alias = publish, remove, name


def mend_partitions() -> None:
    """Have AWS's own policies be read for its usual partition alone, and not for China's and the governments' too at the first call."""
    from moto.iam import models

    vars(models)["PARTITION_NAMES"] = ["aws"]


def mend_policies() -> None:
    """Give each alias a policy of its own."""
    from moto.awslambda import models, policy, responses

    backend: Any = models.LambdaBackend
    asked: Any = responses.LambdaResponse
    find = backend.get_function

    def statements(self: Any, name: str, qualifier: str | None) -> Any:
        """Return the policy of an alias, or that of a function or a version."""
        found = find(self, name, qualifier)
        alias = next((one for one in self._lambdas.list_aliases(name) if one.name == qualifier), None)
        if alias is None:
            return found.policy
        if not hasattr(alias, "policy"):
            alias.policy = policy.Policy(find(self, name, None))
        return alias.policy

    def permit(self: Any, function_name: str, qualifier: str | None, raw: str) -> Any:
        return statements(self, function_name, qualifier).add_statement(raw, qualifier)[0]

    def told(self: Any, function_name: str, qualifier: str | None = None) -> Any:
        return statements(self, function_name, qualifier).wire_format()

    def forbid(self: Any) -> Any:
        name, sid = unquote(self.path.split("/")[-3]), self.path.split("/")[-1].split("?")[0]
        of = statements(self.backend, name, self.querystring.get("Qualifier", [None])[0])
        of.del_statement(sid, self.querystring.get("RevisionId", ""))
        return 204, {"status": 204}, "{}"

    backend.add_permission, backend.get_policy, asked.remove_permission = permit, told, forbid
