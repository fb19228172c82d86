"""What a person would type for what a task does: commands of the AWS CLI, by its reference, one for each write, in the order of the writes.

A task's requests must be those of the commands field by field, as they come over the wire. `<Field>` stands for what AWS or chance has made:
an id, a moment, a password. It is taken from the task's own request.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl

import botocore.session
from botocore import xform_name

from tests.fix_aws import Call, Front, error, json_error

PLACE = re.compile(r"<([\w.]+)>")
TOKENS = {"clientToken", "ClientToken", "ClientRequestToken"}
"""By which AWS tells a repetition: each request has its own."""
REFUSED = "OnlyRecorded"
"""With what the commands are answered: nothing of them is carried out."""

NAME = "cruddur-db-instance"
BESIDE, COPY, PREV, REPLICA, PROXY = (
    f"{NAME}-restored",
    f"{NAME}-rehearsal",
    f"{NAME}-prev",
    f"{NAME}-replica",
    f"{NAME}-proxy",
)
FUNCTION = "cruddur-post-confirmation"
TAGS = "Key=Project,Value=cruddur Key=ManagedBy,Value=inv"
IN_AWS, IAM = "ca-central-1:123456789012", "arn:aws:iam::123456789012"
GROUP = "<VpcSecurityGroupIds.VpcSecurityGroupId.1>"
TOPIC = f"arn:aws:sns:{IN_AWS}:{NAME}-alarms"


def tagged(kind: str, *more: str) -> str:
    """Return what EC2 takes tags by."""
    every = ["{Key=Project,Value=cruddur}", "{Key=ManagedBy,Value=inv}", *more]
    return f"--tag-specifications 'ResourceType={kind},Tags=[{','.join(every)}]'"


# --- instances ------------------------------------------------------------------------------

MODIFY = f"rds modify-db-instance --db-instance-identifier {NAME} --apply-immediately"
RENAME = "rds modify-db-instance --apply-immediately --db-instance-identifier {} --new-db-instance-identifier {}"
DOOR = (
    f"ec2 create-security-group --group-name rds-{NAME} --description 'Door of the RDS instance {NAME} (inv rds.allow-my-ip)' "
    f"--vpc-id <VpcId> {tagged('security-group', f'{{Key=inv:instance,Value={NAME}}}')}"
)
RESTORED = (
    f"--db-instance-class db.t4g.micro --engine postgres --port 5432 --storage-type gp3 --vpc-security-group-ids {GROUP} --publicly-accessible "
    "--no-multi-az --backup-retention-period 7 --deletion-protection --auto-minor-version-upgrade --enable-iam-database-authentication "
    "--copy-tags-to-snapshot --engine-lifecycle-support open-source-rds-extended-support-disabled "
    f"--tags {TAGS} Key=inv:beside,Value={NAME} Key=inv:restored-from,Value=<Tags.Tag.4.Value> Key=inv:restored-as,Value={BESIDE}"
)
FOLLOW = (
    f"rds create-db-instance-read-replica --db-instance-identifier {REPLICA} --source-db-instance-identifier {NAME} --db-instance-class db.t4g.micro "
    f"--max-allocated-storage 50 --storage-type gp3 --vpc-security-group-ids {GROUP} --publicly-accessible --deletion-protection "
    "--auto-minor-version-upgrade --enable-iam-database-authentication --database-insights-mode standard --copy-tags-to-snapshot "
    "--enable-performance-insights --performance-insights-retention-period 7 --ca-certificate-identifier rds-ca-default "
    f"--tags {TAGS} Key=inv:replica-of,Value={NAME}"
)
RULE = "--tag-specifications 'ResourceType=security-group-rule,Tags=[{Key=ManagedBy,Value=inv},{Key=inv:owner,Value=me@here},"
LABELS = "Key=inv:created,Value=2026-11-22T12:00:00Z", "Key=inv:expires,Value=2026-11-23T00:00:00Z"

INSTANCES: dict[str, Sequence[str]] = {
    "rds.apply": [
        f"{MODIFY} --backup-retention-period 14",
        f"rds modify-db-instance --db-instance-identifier {NAME} --no-apply-immediately --db-instance-class db.t4g.small",
    ],
    "rds.apply --now": [
        (f"{MODIFY} --backup-retention-period 14 --no-deletion-protection --db-instance-class db.t4g.small --multi-az --no-publicly-accessible "
        "--allocated-storage 30 --no-auto-minor-version-upgrade --no-enable-iam-database-authentication --no-copy-tags-to-snapshot")
    ],
    "rds.restore --snapshot": [
        f"rds restore-db-instance-from-db-snapshot --db-instance-identifier {BESIDE} --db-snapshot-identifier before {RESTORED}",
        f"rds modify-db-instance --db-instance-identifier {BESIDE} --apply-immediately --max-allocated-storage 50",
    ],
    "rds.restore --at": [
        (f"rds restore-db-instance-to-point-in-time --source-db-instance-identifier {NAME} --target-db-instance-identifier {BESIDE} "
        f"--restore-time <RestoreTime> --max-allocated-storage 50 {RESTORED}")
    ],
    "rds.restore --swap": [
        f"rds add-tags-to-resource --resource-name arn:aws:rds:{IN_AWS}:db:{NAME} --tags Key=inv:prev-of,Value={NAME}",
        RENAME.format(NAME, PREV),
        RENAME.format(BESIDE, NAME),
    ],
    "rds.undo": [RENAME.format(NAME, BESIDE), RENAME.format(PREV, NAME)],
    "rds.replica": [FOLLOW],
    "rds.replica of a password that RDS keeps": [
        f"{MODIFY} --no-manage-master-user-password --master-user-password one-of-our-own",
        FOLLOW,
    ],
    "rds.replica --promote": [f"rds promote-read-replica --db-instance-identifier {REPLICA} --backup-retention-period 7"],
    "rds.replica --delete": [
        f"rds modify-db-instance --db-instance-identifier {REPLICA} --no-deletion-protection --apply-immediately",
        f"rds delete-db-instance --db-instance-identifier {REPLICA} --skip-final-snapshot",
    ],
    "rds.snapshots --prune": ["rds delete-db-snapshot --db-snapshot-identifier before"],
    "rds.create": [
        DOOR,
        (f"rds create-db-instance --db-instance-identifier {NAME} --db-name cruddur --db-instance-class db.t4g.micro --engine postgres "
        "--engine-version 18 --master-username postgres --manage-master-user-password --port 5432 --allocated-storage 20 "
        f"--max-allocated-storage 50 --storage-type gp3 --storage-encrypted --vpc-security-group-ids {GROUP} --publicly-accessible --no-multi-az "
        "--backup-retention-period 7 --deletion-protection --auto-minor-version-upgrade --enable-iam-database-authentication "
        "--database-insights-mode standard --enable-performance-insights --performance-insights-retention-period 7 --copy-tags-to-snapshot "
        f"--engine-lifecycle-support open-source-rds-extended-support-disabled --tags {TAGS}"),
    ],
    "rds.create --adopt": [f"rds add-tags-to-resource --resource-name arn:aws:rds:{IN_AWS}:db:{NAME} --tags {TAGS}"],
    "rds.stop": [f"rds stop-db-instance --db-instance-identifier {NAME}"],
    "rds.start": [f"rds start-db-instance --db-instance-identifier {NAME}"],
    "rds.snapshot": [f"rds create-db-snapshot --db-instance-identifier {NAME} --db-snapshot-identifier before-it --tags {TAGS}"],
    "rds.delete": [
        f"{MODIFY} --no-deletion-protection",
        f"rds delete-db-instance --db-instance-identifier {NAME} --final-db-snapshot-identifier <FinalDBSnapshotIdentifier>",
        "ec2 delete-security-group --group-id <GroupId>",
    ],
    "rds.rotate-password": [f"{MODIFY} --master-user-password <MasterUserPassword>"],
    "rds.upgrade": [
        f"rds create-db-snapshot --db-instance-identifier {NAME} --db-snapshot-identifier <DBSnapshotIdentifier> --tags {TAGS}",
        f"{MODIFY} --engine-version 18.4",
    ],
    "rds.upgrade --to another major version": [
        f"rds create-db-snapshot --db-instance-identifier {NAME} --db-snapshot-identifier <DBSnapshotIdentifier> --tags {TAGS}",
        f"{MODIFY} --engine-version 18.4 --allow-major-version-upgrade",
    ],
    "rds.upgrade --rehearse": [
        f"rds restore-db-instance-from-db-snapshot --db-instance-identifier {COPY} --db-snapshot-identifier <DBSnapshotIdentifier> {RESTORED.replace(BESIDE, COPY)}",
        f"rds modify-db-instance --db-instance-identifier {COPY} --apply-immediately --max-allocated-storage 50",
        f"rds modify-db-instance --db-instance-identifier {COPY} --apply-immediately --engine-version 18.4 --allow-major-version-upgrade",
        f"rds modify-db-instance --db-instance-identifier {COPY} --apply-immediately --no-deletion-protection",
        f"rds delete-db-instance --db-instance-identifier {COPY} --skip-final-snapshot",
    ],
    "rds.upgrade --blue-green": [
        (f"rds create-blue-green-deployment --blue-green-deployment-name {NAME}-upgrade --source arn:aws:rds:{IN_AWS}:db:{NAME} "
        f"--target-engine-version 18.4 --tags {TAGS} Key=inv:instance,Value={NAME}"),
        "rds switchover-blue-green-deployment --blue-green-deployment-identifier <BlueGreenDeploymentIdentifier> --switchover-timeout 300",
        "rds delete-blue-green-deployment --blue-green-deployment-identifier <BlueGreenDeploymentIdentifier>",
    ],
    "rds.allow-my-ip": [
        ("ec2 authorize-security-group-ingress --group-id <GroupId> --ip-permissions 'IpProtocol=tcp,FromPort=5432,ToPort=5432,"
        'IpRanges=[{CidrIp=8.8.4.4/32,Description="inv rds.allow-my-ip: me@here"}]\' '
        f"{RULE}{{{LABELS[0]}}},{{{LABELS[1]}}}]'")
    ],
    "rds.allow-my-ip from elsewhere": [
        ("ec2 modify-security-group-rules --group-id <GroupId> --security-group-rules "
        "'SecurityGroupRuleId=<SecurityGroupRule.1.SecurityGroupRuleId>,SecurityGroupRule={IpProtocol=tcp,FromPort=5432,ToPort=5432,"
        'CidrIpv4=8.8.8.8/32,Description="inv rds.allow-my-ip: me@here"}\''),
        f"ec2 create-tags --resources <ResourceId.1> --tags Key=ManagedBy,Value=inv Key=inv:owner,Value=me@here {' '.join(LABELS)}",
    ],
    "rds.prune-rules": ["ec2 revoke-security-group-ingress --group-id <GroupId> --security-group-rule-ids <SecurityGroupRuleId.1>"],
    "rds.revoke-my-ip": ["ec2 revoke-security-group-ingress --group-id <GroupId> --security-group-rule-ids <SecurityGroupRuleId.1>"],
}  # fmt: skip

# --- what is made for an instance -------------------------------------------------------------

SCHEDULER = f"{NAME}-schedule-ca-central-1"
TRUSTED = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "scheduler.amazonaws.com"}, "Action": "sts:AssumeRole", '
    f'"Condition": {{"StringEquals": {{"aws:SourceAccount": "123456789012", "aws:SourceArn": "arn:aws:scheduler:{IN_AWS}:schedule-group/{NAME}"}}}}}}]}}'
)
MAY = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["rds:StopDBInstance", "rds:StartDBInstance"], '
    f'"Resource": "arn:aws:rds:{IN_AWS}:db:{NAME}"}}]}}'
)


def nightly(verb: str, what: str, hour: int) -> str:
    """Return what makes or changes a schedule, as the Scheduler's user guide has it for universal targets."""
    target = {
        "Arn": f"arn:aws:scheduler:::aws-sdk:rds:{what}DBInstance",
        "RoleArn": f"{IAM}:role/{SCHEDULER}",
        "Input": json.dumps({"DbInstanceIdentifier": NAME}),
        "RetryPolicy": {"MaximumEventAgeInSeconds": 900, "MaximumRetryAttempts": 5},
    }
    return (
        f"scheduler {verb}-schedule --name {what} --group-name {NAME} --schedule-expression 'cron(0 {hour} ? * MON,TUE,WED,THU,FRI *)' "
        f"--schedule-expression-timezone UTC --flexible-time-window Mode=OFF --state ENABLED --description '{what} {NAME} (inv rds.schedule)' "
        f"--target '{json.dumps(target)}'"
    )


def alarm(kind: str, means: str, metric: str, bound: str) -> str:
    return (
        f"cloudwatch put-metric-alarm --alarm-name {NAME}-{kind} --alarm-description '{means} (inv rds.alarms)' --actions-enabled "
        f"--alarm-actions {TOPIC} --ok-actions {TOPIC} {metric} --period 300 {bound} --tags {TAGS} Key=inv:instance,Value={NAME}"
    )


OF_RDS = f"--namespace AWS/RDS --dimensions Name=DBInstanceIdentifier,Value={NAME} --statistic Average --metric-name"
BELOW = "--evaluation-periods 3 --comparison-operator LessThanThreshold --treat-missing-data missing --threshold"
FILTER = f"--log-group-name /aws/lambda/{FUNCTION} --filter-name failed-sign-ups"

FOR_INSTANCES: dict[str, Sequence[str]] = {
    "rds.schedule": [
        f"scheduler create-schedule-group --name {NAME} --tags {TAGS} Key=inv:instance,Value={NAME}",
        (f"iam create-role --role-name {SCHEDULER} --assume-role-policy-document '{TRUSTED}' "
        f"--description 'Stops and starts the instance {NAME} (inv rds.schedule)' --tags {TAGS} Key=inv:instance,Value={NAME}"),
        f"iam put-role-policy --role-name {SCHEDULER} --policy-name stop-and-start --policy-document '{MAY}'",
        nightly("create", "stop", 20),
        nightly("create", "start", 8),
    ],
    "rds.schedule at other times": [
        f"iam update-assume-role-policy --role-name {SCHEDULER} --policy-document '{TRUSTED}'",
        nightly("update", "stop", 21),
        f"scheduler delete-schedule --group-name {NAME} --name start",
    ],
    "rds.schedule --delete": [
        f"scheduler delete-schedule-group --name {NAME}",
        f"iam delete-role-policy --role-name {SCHEDULER} --policy-name stop-and-start",
        f"iam delete-role --role-name {SCHEDULER}",
    ],
    "rds.alarms": [
        f"sns create-topic --name {NAME}-alarms --tags {TAGS} Key=inv:instance,Value={NAME}",
        f"sns subscribe --topic-arn {TOPIC} --protocol email --notification-endpoint ada@example.com --return-subscription-arn",
        (f"logs put-metric-filter {FILTER} --filter-pattern '{{ $.outcome = \"failed\" }}' --metric-transformations "
        f"metricName=FailedSignUps,metricNamespace=inv/{FUNCTION},metricValue=1,defaultValue=0"),
        alarm(
            "storage", f"less than a tenth of the storage of {NAME} is free", f"{OF_RDS} FreeStorageSpace", f"{BELOW} 2147483648"
        ),
        alarm(
            "cpu-credits", f"{NAME} has less than half an hour of saved processor time left: RDS bills what it takes beyond",
            f"{OF_RDS} CPUCreditBalance", f"{BELOW} 30",
        ),
        alarm(
            "failed-sign-ups", f"{FUNCTION} has missed a sign-up: inv lambda.sync-users makes its row",
            f"--namespace inv/{FUNCTION} --metric-name FailedSignUps --statistic Sum --dimensions []",
            "--evaluation-periods 1 --threshold 0 --comparison-operator GreaterThanThreshold --treat-missing-data notBreaching",
        ),
    ],
    "rds.alarms --delete": [
        f"cloudwatch delete-alarms --alarm-names {NAME}-cpu-credits {NAME}-failed-sign-ups {NAME}-storage",
        f"logs delete-metric-filter {FILTER}",
        f"sns delete-topic --topic-arn {TOPIC}",
    ],
}  # fmt: skip

# --- clusters ---------------------------------------------------------------------------------

UNITS = "--serverless-v2-scaling-configuration MinCapacity={},MaxCapacity={}"
CHANGE = "rds modify-db-cluster --apply-immediately --db-cluster-identifier"
OF_CLUSTER = (
    f"--port 5432 --vpc-security-group-ids {GROUP} --backup-retention-period 7 --deletion-protection --enable-iam-database-authentication "
    "--copy-tags-to-snapshot --engine-lifecycle-support open-source-rds-extended-support-disabled --enable-performance-insights "
    f"--performance-insights-retention-period 7 {UNITS.format(0.5, 4)}"
)
RENAME_CLUSTER = "rds modify-db-cluster --apply-immediately --db-cluster-identifier {} --new-db-cluster-identifier {}"


def member(cluster: str, number: int) -> str:
    return (
        f"rds create-db-instance --db-instance-identifier {cluster}-{number} --db-cluster-identifier {cluster} --db-instance-class db.serverless "
        f"--engine aurora-postgresql --publicly-accessible --auto-minor-version-upgrade --tags {TAGS}"
    )


FROM_SNAPSHOT = "restore-db-cluster-from-snapshot --engine aurora-postgresql --engine-version 17 --snapshot-identifier"


def restored(source: str, name: str) -> list[str]:
    """Return what makes a cluster of an earlier state beside ours, with the instance that a restore does not make."""
    return [
        (
            f"rds {source} --db-cluster-identifier {name} {OF_CLUSTER} --tags {TAGS} Key=inv:beside,Value={NAME} "
            f"Key=inv:restored-from,Value=<Tags.Tag.4.Value> Key=inv:restored-as,Value={name}"
        ),
        member(name, 1),
        f"{CHANGE} {name} --manage-master-user-password",
    ]


CLUSTERS: dict[str, Sequence[str]] = {
    "a cluster": [
        DOOR,
        (f"rds create-db-cluster --db-cluster-identifier {NAME} --database-name cruddur --engine aurora-postgresql --engine-version 17 "
        f"--master-username postgres --manage-master-user-password --storage-encrypted --database-insights-mode standard {OF_CLUSTER} --tags {TAGS}"),
        member(NAME, 1),
    ],
    "a cluster by express configuration": [
        (f"rds create-db-cluster --db-cluster-identifier {NAME} --engine aurora-postgresql --with-express-configuration --master-username postgres "
        f"--deletion-protection --copy-tags-to-snapshot {UNITS.format(0.5, 4)} --tags {TAGS}"),
        f"rds add-tags-to-resource --resource-name arn:aws:rds:{IN_AWS}:db:{NAME}-instance-1 --tags {TAGS}",
    ],
    "a cluster that is adopted": [f"rds add-tags-to-resource --resource-name arn:aws:rds:{IN_AWS}:cluster:{NAME} --tags {TAGS}"],
    "a cluster's life": [
        f"rds stop-db-cluster --db-cluster-identifier {NAME}",
        f"rds start-db-cluster --db-cluster-identifier {NAME}",
        f"rds create-db-cluster-snapshot --db-cluster-identifier {NAME} --db-cluster-snapshot-identifier mine --tags {TAGS}",
        f"{CHANGE} {NAME} --rotate-master-user-password",
        f"{CHANGE} {NAME} --backup-retention-period 14 --no-enable-iam-database-authentication {UNITS.format(1, 8)}",
    ],
    "a cluster's earlier states": [
        *restored(f"{FROM_SNAPSHOT} mine", BESIDE),
        *restored(
            f"restore-db-cluster-to-point-in-time --source-db-cluster-identifier {NAME} --restore-to-time <RestoreToTime>", "at-birth"
        ),
        "rds delete-db-cluster-snapshot --db-cluster-snapshot-identifier mine",
    ],
    "a cluster is restored and swapped": [
        *restored(f"{FROM_SNAPSHOT} before", BESIDE),
        f"rds add-tags-to-resource --resource-name arn:aws:rds:{IN_AWS}:cluster:{NAME} --tags Key=inv:prev-of,Value={NAME}",
        RENAME_CLUSTER.format(NAME, PREV),
        RENAME_CLUSTER.format(BESIDE, NAME),
        RENAME.format(f"{NAME}-1", f"{PREV}-1"),
        RENAME.format(f"{BESIDE}-1", f"{NAME}-1"),
    ],
    "a swap of clusters is undone": [
        RENAME_CLUSTER.format(NAME, BESIDE),
        RENAME_CLUSTER.format(PREV, NAME),
        RENAME.format(f"{NAME}-1", f"{BESIDE}-1"),
        RENAME.format(f"{PREV}-1", f"{NAME}-1"),
    ],
    "a cluster is deleted": [
        f"{CHANGE} {NAME} --no-deletion-protection",
        f"rds delete-db-instance --db-instance-identifier {NAME}-1 --skip-final-snapshot",
        f"rds delete-db-cluster --db-cluster-identifier {NAME} --final-db-snapshot-identifier <FinalDBSnapshotIdentifier>",
        "ec2 delete-security-group --group-id <GroupId>",
    ],
}  # fmt: skip

# --- a proxy ----------------------------------------------------------------------------------

PROXY_ROLE, PROXY_SECRET = f"inv-proxy-{NAME}-ca-central-1", f"inv-proxy-{NAME}"
OF_PROXY = f"Key=inv:proxy,Value={NAME}"
BY_RDS = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "rds.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
LET_IN = (
    "ec2 authorize-security-group-ingress --group-id <GroupId> --ip-permissions 'IpProtocol=tcp,FromPort={0},ToPort={0},"
    'UserIdGroupPairs=[{{GroupId=<IpPermissions.1.Groups.1.GroupId>,Description="inv rds.proxy: {1}"}}]\' {2}'
)
RULE_OF_PROXY = tagged("security-group-rule", f"{{{OF_PROXY}}}")


def right(action: str, *resources: str) -> str:
    """Return a policy with one right."""
    statement = {"Effect": "Allow", "Action": action, "Resource": list(resources)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def variable(url: str) -> str:
    given = json.dumps({"Variables": {"CONNECTION_URL": url}})
    return f"lambda update-function-configuration --function-name {FUNCTION} --environment '{given}'"


URL = "<Environment.Variables.CONNECTION_URL>"
GROUPS = [
    (
        f"ec2 create-security-group --group-name proxy-{NAME} --description 'Proxy of the RDS instance {NAME} (inv rds.proxy)' --vpc-id <VpcId> "
        f"{tagged('security-group', f'{{{OF_PROXY}}}')}"
    ),
    LET_IN.format("<IpPermissions.1.FromPort>", NAME, RULE_OF_PROXY),
    LET_IN.format(5432, NAME, RULE_OF_PROXY),
]
MAKE_ROLE = (
    f"iam create-role --role-name {PROXY_ROLE} --assume-role-policy-document '{BY_RDS}' "
    f"--description 'Proxy of the RDS instance {NAME} (inv rds.proxy)' --tags {TAGS} {OF_PROXY}"
)
GIVE = f"iam put-role-policy --role-name {PROXY_ROLE} --policy-name database-login --policy-document"
MAKE_PROXY = (
    f"rds create-db-proxy --db-proxy-name {PROXY} --engine-family POSTGRESQL --role-arn {IAM}:role/{PROXY_ROLE} --require-tls --vpc-subnet-ids "
    f"<VpcSubnetIds.member.1> <VpcSubnetIds.member.2> <VpcSubnetIds.member.3> --vpc-security-group-ids <VpcSecurityGroupIds.member.1> --tags {TAGS} {OF_PROXY}"
)
REGISTER = f"rds register-db-proxy-targets --db-proxy-name {PROXY} --db-instance-identifiers {NAME}"

PROXIES: dict[str, Sequence[str]] = {
    "rds.proxy by a password": [
        *GROUPS,
        (f"secretsmanager create-secret --name {PROXY_SECRET} --description 'Login of lambda_signup for the proxy of {NAME} (inv rds.proxy)' "
        f"--secret-string '{{\"username\": \"lambda_signup\", \"password\": \"<SecretString.password>\"}}' --tags {TAGS} {OF_PROXY}"),
        MAKE_ROLE,
        f"{GIVE} '{right('secretsmanager:GetSecretValue', '<PolicyDocument.Statement.1.Resource.1>')}'",
        (f"{MAKE_PROXY} --auth AuthScheme=SECRETS,SecretArn=<Auth.member.1.SecretArn>,IAMAuth=DISABLED,"
        "ClientPasswordAuthType=POSTGRES_SCRAM_SHA_256"),
        REGISTER,
        variable(URL),
    ],
    "rds.proxy by a token": [
        *GROUPS,
        MAKE_ROLE,
        f"{GIVE} '{right('rds-db:connect', '<PolicyDocument.Statement.1.Resource.1>')}'",
        f"{MAKE_PROXY} --default-auth-scheme IAM_AUTH",
        REGISTER,
        (f"iam put-role-policy --role-name {FUNCTION} --policy-name database-login --policy-document "
        '\'{"Version": "2012-10-17", "Statement": [{"Sid": "LogInToTheDatabase", "Effect": "Allow", "Action": ["rds-db:connect"], '
        '"Resource": ["<PolicyDocument.Statement.1.Resource.1>", "<PolicyDocument.Statement.1.Resource.2>"]}]}\''),
        variable(URL),
    ],
    "rds.proxy of another password": [
        (f"secretsmanager put-secret-value --secret-id {PROXY_SECRET} "
        '--secret-string \'{"username": "lambda_signup", "password": "<SecretString.password>"}\''),
        variable(URL),
    ],
    "rds.proxy --delete": [
        variable(URL),
        f"rds delete-db-proxy --db-proxy-name {PROXY}",
        f"secretsmanager delete-secret --secret-id {PROXY_SECRET} --force-delete-without-recovery",
        f"iam delete-role-policy --role-name {PROXY_ROLE} --policy-name database-login",
        f"iam delete-role --role-name {PROXY_ROLE}",
        "ec2 revoke-security-group-ingress --group-id <GroupId> --security-group-rule-ids <SecurityGroupRuleId.1>",
        "ec2 delete-security-group --group-id <GroupId>",
    ],
}  # fmt: skip

TYPED = {**INSTANCES, **FOR_INSTANCES, **CLUSTERS, **PROXIES}


# --- compared ---------------------------------------------------------------------------------


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the fields of a request by their paths, those of JSON in a text too."""
    if isinstance(value, str) and value[:1] in "{[":
        with contextlib.suppress(ValueError):
            value = json.loads(value)
    inside = value.items() if isinstance(value, dict) else enumerate(value, 1) if isinstance(value, list) else None
    if not inside:
        yield name, value
    for key, one in inside or ():
        if key not in TOKENS:
            yield from flat(one, f"{name}.{key}" if name else str(key))


def fields(call: Call) -> dict[str, Any]:
    """Return all that a call asks for."""
    asked = call.params if "Version" in call.params else json.loads(call.body or b"{}")
    return {**dict(flat({**asked, **dict(parse_qsl(call.query))})), "": call.action}


@functools.cache
def program() -> Any:
    """Return the AWS CLI, started once for all tests of this process."""
    from awscli.clidriver import create_clidriver

    return create_clidriver()


def refuse(call: Call) -> Any:
    return error(REFUSED) if "Version" in call.params else json_error(REFUSED)


def ask(cloud: Front, command: str, ours: dict[str, Any]) -> dict[str, Any]:
    """Return what the AWS CLI asks for by a command, which is not carried out."""
    words = [PLACE.sub(lambda found: str(ours[found[1]]), word) for word in shlex.split(command)]
    before, cloud.before = cloud.before, refuse
    after, seen, said = cloud.after, len(cloud.calls), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            program().main([*words, "--endpoint-url", cloud.url])
    finally:
        cloud.before, cloud.after = before, after
        asked = cloud.calls[seen:]
        del cloud.calls[seen:]
    assert REFUSED in said.getvalue(), f"aws {command}: {said.getvalue()}"
    [call] = asked
    return fields(call)


def check(cloud: Front, name: str) -> None:
    """Compare all writes since `cloud.forget()` with what is to be typed for the task of that name."""
    if find_spec("awscli") is None:  # a test in test_aws_cut.py says so
        return
    ours = [fields(call) for call in cloud.calls if call.writes]
    for number, one in enumerate(ours):
        assert number < len(TYPED[name]), f"{name}: nothing is typed for {one}"
        command = TYPED[name][number]
        theirs = ask(cloud, command, one)
        differs = {key: (one.get(key), theirs.get(key)) for key in one | theirs if one.get(key) != theirs.get(key)}
        assert not differs, f"{name}: ours, and that of aws {command}: {differs}"
    assert len(ours) == len(TYPED[name]), f"{name}: {TYPED[name][len(ours) :]} is not asked for"


def operations() -> set[str]:
    """Return AWS's names for all that is typed."""
    session = botocore.session.get_session()
    found = set()
    for service, command in {tuple(line.split()[:2]) for lines in TYPED.values() for line in lines}:
        found |= {
            name for name in session.get_service_model(service).operation_names if xform_name(name, "-") == command
        }
    return found
