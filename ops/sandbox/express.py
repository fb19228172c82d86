"""Aurora's express configuration, of which moto takes the field and makes nothing.

By "Create with express configuration" (Aurora User Guide): one call makes the cluster, and an instance that AWS names; it has a gateway to
the internet and no network, logs in by IAM alone, and takes few settings at birth. DescribeDBClusters' reference has such an answer.
"""

from __future__ import annotations

import functools
import secrets
from typing import Any

ASKED = "WithExpressConfiguration"
REFUSAL = "InvalidParameterCombination"
AT_BIRTH = {
    *("Action", "Version", "DBClusterIdentifier", "Engine", ASKED, "MasterUsername", "DatabaseName", "DeletionProtection"),
    *("CopyTagsToSnapshot", "Tags", "ServerlessV2ScalingConfiguration", "EnableCloudwatchLogsExports", "PreferredMaintenanceWindow"),
}  # fmt: skip
"""The fields that the page says to be changed "during" the creation, and those that it shows."""
NEVER = {
    *("VpcSecurityGroupIds", "Port", "MasterUserPassword", "ManageMasterUserPassword", "RotateMasterUserPassword", "KmsKeyId"),
    *("EngineLifecycleSupport", "Domain"),
}  # fmt: skip
"""Those that it says to be without use, or not to be changed."""
VERSION = "17.7"
"""AWS's default, which nobody chooses, as people saw it in 2026."""
IAM_OFF = ("EnableIAMDatabaseAuthentication", "false")


def refusal(form: dict[str, str], express: bool) -> str:
    """Return the code with which AWS refuses a request about such a cluster; nothing for another one. `express`: it is one already."""
    fields = {field.partition(".")[0] for field in form}
    if form.get("Action") == "CreateDBCluster" and form.get(ASKED) == "true":
        return REFUSAL if fields - AT_BIRTH or form.get("Engine") != "aurora-postgresql" else ""
    if form.get("Action") == "ModifyDBCluster" and express:
        return REFUSAL if fields & NEVER or IAM_OFF in form.items() else ""
    return ""


def is_express(one: Any) -> bool:
    return bool(getattr(one, "internet_access_gateway_enabled", False))


@functools.cache
def mend(port: int) -> None:
    """Have moto make such clusters from now on, which are reached at a port: AWS's is 5432, the sandbox's front has its own."""
    from moto.rds import models

    known: Any = models.RDSBackend
    make_cluster = known.create_db_cluster

    def make(self: Any, asked: dict[str, Any]) -> Any:
        if not asked.pop("with_express_configuration", False):
            return make_cluster(self, asked)
        own = {
            "master_username": "postgres",
            "engine_version": VERSION,
            "serverless_v2_scaling_configuration": {"MinCapacity": 0.0, "MaxCapacity": 16.0},
        }
        made = make_cluster(self, {**own, **asked, "master_user_password": secrets.token_hex(), "port": port})
        made._master_user_password = ""  # noqa: SLF001 - moto wants one, and has no other name for it
        made.iam_auth, made.storage_encryption_type = True, "sse-rds"
        made.vpc_networking_enabled, made.internet_access_gateway_enabled = False, True
        made.db_subnet_group_name = None
        name = made.db_cluster_identifier
        self.create_db_instance(
            {
                "db_instance_identifier": f"{name}-instance-1",
                "db_cluster_identifier": name,
                "db_instance_class": "db.serverless",
                "engine": made.engine,
            }
        )
        return made

    known.create_db_cluster = make
