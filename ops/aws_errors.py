"""The words for what goes wrong with AWS: what botocore raises, and what AWS refuses."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from config.paths import POLICIES
from ops import aws_proxies
from ops.aws_proxies import pathless
from ops.errors import Misconfigured, Problem

NO_REGION = "no AWS region: set AWS_DEFAULT_REGION, like ca-central-1"

GENERAL_ENDPOINT = "AWS_ENDPOINT_URL"
elsewhere: dict[str, str] = {}
"""What names the endpoints that are not AWS and were asked in this command, each with the region; errors of botocore do not tell."""


OTHER_SERVICE = (
    "what answers at {names} does not know {what}: unset it, or set it for the one service it is "
    "meant for, like AWS_ENDPOINT_URL_DYNAMODB"
)


NO_SUCH_REGION = "what answers at {names} does not know what was asked: there is no region {region}: correct AWS_REGION or AWS_DEFAULT_REGION"


def strange_region() -> str:
    """Return the region in which an endpoint that is not AWS was asked, if there is none of that name."""
    return next((region for region in elsewhere.values() if region and region not in regions()), "")


def other_service(what: str) -> Misconfigured:
    """Return the error for an endpoint that answers, but not as this service does: in a region that there is not, what stands in for AWS does not."""
    if region := strange_region():
        return Misconfigured(NO_SUCH_REGION.format(names=asked_at("or"), region=region))
    return Misconfigured(OTHER_SERVICE.format(names=asked_at("or"), what=what))


def asked_at(word: str) -> str:
    """Return what names the endpoints that were asked, joined by a word."""
    return f" {word} ".join(elsewhere) or GENERAL_ENDPOINT


def code(error: Exception) -> str:
    """Return the error code of a refusal by AWS, or nothing for another error."""
    response = getattr(error, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


@contextlib.contextmanager
def speaking() -> Iterator[None]:
    """Turn what botocore raises into a `Problem` that says what to do next."""
    try:
        yield
    except errors() as error:
        raise explain(error) from error


@contextlib.contextmanager
def unless(*codes: str) -> Iterator[None]:
    """Take a refusal with one of these codes for well: what was to be done is done, as by a request whose answer was lost."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if code(error) not in codes:
            raise


def errors() -> tuple[type[Exception], ...]:
    """Return everything that a call of botocore's raises."""
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return BotoCoreError, ClientError, ResponseParserError


def always(_: Any) -> bool:
    return True


class Row(NamedTuple):
    """What one kind of error means."""

    pattern: str
    """Of the whole name: an exception's of botocore, or the code of a refusal."""
    error: type[Problem]
    advice: str
    """The next step; {it} is a `Failure` or a `Refusal`."""
    where: Callable[[Any], bool] = always
    """For which of them the row holds."""

    def fits(self, name: str, it: Any) -> bool:
        return re.fullmatch(self.pattern, name, re.DOTALL) is not None and self.where(it)


def explain(error: Any) -> Problem:
    """Return what an error of botocore means for the user: the row of its class, or of the nearest one above it."""
    from botocore import exceptions as e
    from botocore.parsers import ResponseParserError

    if isinstance(error, e.ClientError):
        return refusal(error)
    if isinstance(error, ResponseParserError):
        return other_service("this service of AWS")
    if isinstance(error, e.HTTPClientError | e.ConnectionError) and (problem := aws_proxies.failed(error)):
        return problem
    found = row(error)
    return found.error(found.advice.format(it=Failure(error)))


def row(error: Any) -> Row:
    """Return the row of an exception of botocore."""
    it = Failure(error)
    return next(one for kind in type(error).__mro__ for one in ROWS if one.fits(kind.__name__, it))


def flat(error: object) -> str:
    """Return an error's text in one line."""
    return pathless(" ".join(str(error).split())).rstrip(".: ")


@dataclass(frozen=True)
class Failure:
    """What botocore raises, by what a row says of it."""

    error: Any

    @property
    def said(self) -> str:
        """Its own words."""
        return flat(self.error)

    @property
    def call(self) -> str:
        """Which call went wrong, and where it went to, as far as the error tells."""
        told = self.error.kwargs
        return pathless(" at ".join(filter(None, (told.get("operation"), told.get("endpoint_url"))))) or self.said

    @property
    def unsure(self) -> str:
        """What to do when the call may have been carried out."""
        return unsure(str(self.error.kwargs.get("operation") or ""))

    @property
    def passed_over(self) -> str:
        return aws_proxies.passed_over()

    @property
    def endpoints(self) -> str:
        return asked_at("and")

    @property
    def host(self) -> str:
        from urllib.parse import urlsplit

        return urlsplit(str(self.error.kwargs.get("endpoint_url") or "")).hostname or ""

    @property
    def unresolved(self) -> bool:
        """Whether no resolver has an address of the host."""
        return isinstance(getattr(self.error.kwargs.get("error"), "__context__", None), socket.gaierror)

    @property
    def region(self) -> str:
        """The region in the endpoint's name, if there is none of that name."""
        return unknown_region(self.host)


def in_no_region(it: Failure) -> bool:
    """Whether a region is none; one that botocore does not know yet has hosts with an address."""
    return it.unresolved and bool(it.region) and not elsewhere


REGIONAL = re.compile(r"[\w.-]+\.(?!us-gov\.)([\w-]+)\.(?:amazonaws\.com(?:\.cn)?|api\.aws)")
"""The host of a service in a region; iam.us-gov.amazonaws.com is in none (https://docs.aws.amazon.com/general/latest/gr/iam-service.html)."""


def unknown_region(host: str) -> str:
    """Return the region in the name of an endpoint of AWS, if there is none of that name."""
    found = REGIONAL.fullmatch(host)
    return found[1] if found and found[1] not in regions() else ""


def regions() -> set[str]:
    """Return the regions of AWS, as this botocore knows them."""
    import botocore.session

    core = botocore.session.Session()
    return {name for part in core.get_available_partitions() for name in core.get_available_regions("rds", part)}


def unsure(call: str) -> str:
    """Return what to do when a call (service and operation) may have been carried out."""
    operation = call.rpartition(" ")[2]
    if operation == "Invoke":
        return "whether the function has run is not known, inv lambda.logs tells"
    if operation and writes(operation):
        return "it may be done or not: run this again, it looks first"
    names = " and ".join(elsewhere) or "the network"
    return f"check {names}, then run this again"


NO_LOGIN = "no AWS login: run aws configure (or aws sso login), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
SSO = "the AWS login has expired: aws sso login (or aws login)"
VARIABLES = "correct it in the AWS_ variable or the line of the AWS config file that sets it"
OURS = "boto3 and botocore do not fit the suite: pip install --upgrade -r requirements.txt"

UNRESOLVED = "AWS: {it.said}: correct AWS_DEFAULT_REGION, or unset AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT"
ROWS = (
    # the login: a row of its own for each provider is in ops/credentials.py, where it is known which one was asked
    Row(
        "NoCredentialsError|NoAuthTokenError|PartialCredentialsError|CredentialRetrievalError", Misconfigured, NO_LOGIN
    ),
    Row(
        "MetadataRetrievalError",
        Misconfigured,
        "AWS: {it.said}: run this where AWS gives the machine a role, or set AWS_PROFILE",
    ),
    Row("SSOError|TokenRetrievalError|LoginError", Misconfigured, SSO),
    Row(
        "LoginInsufficientPermissions",
        Misconfigured,
        "AWS: {it.said}: ask for the right signin:CreateOAuth2Token, then aws login",
    ),
    Row(
        "RefreshWithMFAUnsupportedError",
        Misconfigured,
        "the AWS login by MFA has expired: run this again, it goes on where it was",
    ),
    Row("ProfileNotFound", Misconfigured, "AWS login: {it.said}: correct AWS_PROFILE"),
    Row(
        "ConfigNotFound",
        Misconfigured,
        "AWS login: {it.said}: correct AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE",
    ),
    Row("ConfigParseError", Misconfigured, "AWS login: {it.said}: correct that file"),
    Row("InvalidConfigError", Misconfigured, "AWS login: {it.said}: correct the AWS config file"),
    # where it goes to
    Row("NoRegionError", Misconfigured, NO_REGION),
    Row("InvalidRegionError", Misconfigured, "{it.said}: correct AWS_DEFAULT_REGION"),
    Row("UnknownRegionError|ServiceNotInRegionError", Misconfigured, "AWS: {it.said}: correct AWS_DEFAULT_REGION"),
    Row("BaseEndpointResolverError|EndpointProviderError", Misconfigured, UNRESOLVED),
    Row("InvalidIMDSEndpointError", Misconfigured, "AWS: {it.said}: correct AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    Row(
        "InvalidIMDSEndpointModeError", Misconfigured, "AWS: {it.said}: correct AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"
    ),
    Row("InvalidProxiesConfigError", Misconfigured, "AWS: {it.said}: correct HTTPS_PROXY"),
    # boto3's own settings
    Row(
        "InvalidRetryConfigurationError|InvalidDefaultsMode|InvalidSTSRegionalEndpointsConfigError"
        "|InvalidS3UsEast1RegionalEndpointConfigError|InvalidS3AddressingStyleError"
        "|InvalidEndpointDiscoveryConfigurationError|InvalidEndpointConfigurationError|InvalidChecksumConfigError",
        Misconfigured,
        f"AWS: {{it.said}}: {VARIABLES}",
    ),
    # the way there and back
    Row(
        "ConnectionError",
        Misconfigured,
        "AWS: there is no region {it.region} (botocore knows none, and {it.host} has no address): correct AWS_REGION or AWS_DEFAULT_REGION",
        in_no_region,
    ),
    Row(
        "ConnectionError",
        Problem,
        "AWS was not reached: {it.said}{it.passed_over}: check the network, the region and {it.endpoints}",
    ),
    Row(  # as of a proxy that opens TLS
        "SSLError",
        Problem,
        "AWS was not reached: {it.said}: if a proxy of your company is between, name its certificates in AWS_CA_BUNDLE",
    ),
    Row(
        "HTTPClientError",
        Problem,
        "AWS was not reached: {it.said}: check the network, AWS_CA_BUNDLE and HTTPS_PROXY",
    ),
    Row("ReadTimeoutError", Problem, "AWS did not answer in time (aws.timeout): {it.call}: {it.unsure}"),
    Row(
        "ConnectionClosedError|ResponseStreamingError|IncompleteReadError|ChecksumError|FlexibleChecksumError",
        Problem,
        "the connection to AWS broke: {it.call}: {it.unsure}",
    ),
    Row(
        "CapacityNotAvailableError",
        Problem,
        "AWS: {it.said}: run this again in a minute, it goes on where it was",
    ),
    Row("WaiterError", Problem, "AWS: {it.said}: run this again, it looks anew"),
    # what we ask
    Row("ParamValidationError|ValidationError", Misconfigured, "AWS: {it.said}"),
    Row("MissingDependencyException", Problem, "AWS: {it.said}: pip install --upgrade 'botocore[crt]'"),
    Row("BotoCoreError", Problem, f"AWS: {{it.said}}: {OURS}"),
)
"""What each exception of botocore.exceptions means, by its name; one without a row of its own is what the nearest above it is."""


@dataclass(frozen=True)
class Refusal:
    """What AWS refuses, by what a row says of it."""

    error: Any

    @property
    def code(self) -> str:
        return code(self.error)

    @property
    def operation(self) -> str:
        return str(self.error.operation_name)

    @property
    def what(self) -> str:
        """AWS's own words, in one line."""
        return " ".join(str(self.error.response.get("Error", {}).get("Message", "")).split())

    @property
    def told(self) -> str:
        return self.what or "refused"

    @property
    def status(self) -> int:
        return int(self.error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))

    @property
    def skew(self) -> str:
        return skew(self.error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}), self.what)

    @property
    def endpoints(self) -> str:
        return asked_at("or")

    @property
    def region(self) -> str:
        return strange_region()

    @property
    def policies(self) -> str:
        """Which of our policies permit the call; the folder where several do, or none by that name."""
        found = [path for path in sorted(POLICIES.glob("*.json")) if f':{self.operation}"' in path.read_text("utf-8")]
        return f"config/policies/{found[0].name}" if len(found) == 1 else "config/policies"


def is_skewed(it: Refusal) -> bool:
    return bool(it.skew)


def is_not_there(it: Refusal) -> bool:
    return it.status == 404 and not it.what


def is_theirs(it: Refusal) -> bool:
    return it.status >= 500


def is_strange_region(it: Refusal) -> bool:
    return bool(it.region) and (is_theirs(it) or is_not_there(it))


def is_create(it: Refusal) -> bool:
    return it.operation == "CreateDBInstance"


def refusal(error: Any) -> Problem:
    """Return what a refusal of AWS means, by its code."""
    it = Refusal(error)
    if not it.code.strip("0123456789") and (problem := aws_proxies.answered(it.status, it.what)):
        return problem
    found = refusal_row(error)
    return found.error(found.advice.format(it=it))


def refusal_row(error: Any) -> Row:
    """Return the row of a refusal."""
    it = Refusal(error)
    return next(one for one in REFUSALS if one.fits(it.code, it))


def skew(headers: Any, what: str) -> str:
    """Return how far this machine's clock is off by AWS's, in words, if that is why a signature is refused.

    AWS takes a signature for 5 minutes (Signature Version 4, "Troubleshooting": Signature expired, not yet current).
    """
    import time
    from email.utils import parsedate_to_datetime

    try:
        minutes = round((time.time() - parsedate_to_datetime(headers["date"]).timestamp()) / 60)
    except (KeyError, TypeError, ValueError):
        minutes = 0
    if abs(minutes) >= 5:
        return f"{abs(minutes)} minutes {'ahead' if minutes > 0 else 'behind'}"
    dated = ("Signature expired", "Signature not yet current", "too skewed", "TooSkewed")
    return "off" if any(text in what for text in dated) else ""


READS = ("Describe", "Get", "List", "Filter", "Lookup", "Search", "Head", "Download", "AssumeRole")


def writes(operation: str) -> bool:
    """Whether a call of AWS's changes something there, by its name."""
    return not operation.startswith(READS)


def lost(error: Any = None, status: int = 0, said: str = "") -> bool:
    """Whether what was asked may be done although nobody has said so: by an error, or by an answer's status and code."""
    from botocore import exceptions as e

    if isinstance(error, e.ClientError):
        status, said = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0), code(error)
    return (status >= 500 and said not in THROTTLED) or isinstance(error, e.HTTPClientError)


def transient(error: Any) -> bool:
    """Whether the same call may well succeed in a minute."""
    from botocore import exceptions as e

    if isinstance(error, e.ClientError):
        return code(error) in THROTTLED or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    return isinstance(error, (e.HTTPClientError, e.ConnectionError))


EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
UNKNOWN_LOGIN = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
    "IncompleteSignature",
    "InvalidSignatureException",
)
CLOCK = ("RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture")
DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "OptInRequired")
THROTTLED = (
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestLimitExceeded",
    "TooManyRequestsException",
    "SlowDown",
)

ADVICE = {
    "InstanceQuotaExceeded": "delete an instance you no longer need, or ask AWS for a higher quota (Service Quotas)",
    "StorageQuotaExceeded": "delete instances or snapshots, or ask AWS for a higher quota (Service Quotas)",
    "SnapshotQuotaExceeded": "delete old snapshots, or ask AWS for a higher quota (Service Quotas)",
    "DBProxyQuotaExceededFault": "delete a proxy you no longer need, or ask AWS for a higher quota (Service Quotas)",
    "InvalidDBProxyStateFault": "wait until the proxy is available, then run this again",
    "InsufficientAvailableIPsInSubnetFault": "its subnets have too few free addresses: make room there, or set another rds.subnet_group",
    "InsufficientDBInstanceCapacity": "AWS has no room for this class there: set another rds.zone or rds.instance_class",
    "StorageTypeNotSupported": "set another rds.storage_type, or rds.instance_class",
    "ProvisionedIopsNotAvailableInAZFault": "set another rds.zone, or rds.storage_type gp3",
    "DBSubnetGroupNotFoundFault": "correct rds.subnet_group, or unset it to take the default VPC",
    "DBSubnetGroupDoesNotCoverEnoughAZs": "the VPC needs subnets in two zones: aws ec2 create-default-subnet, or set rds.subnet_group",
    "InvalidSubnet": "correct rds.subnet_group",
    "InvalidVPCNetworkStateFault": "a public instance needs an internet gateway in its VPC and DNS names switched on: mend the VPC, set rds.subnet_group, or set rds.public to no",
    "VpcEncryptionControlViolationException": "the VPC demands encryption that this class does not give: set another rds.instance_class",
    "KMSKeyNotAccessibleFault": "the encryption key cannot be used: see that it is enabled and that you may use it",
    "InvalidDBInstanceState": "wait until it is available (inv rds.status), then run this again",
    "DBSnapshotAlreadyExists": "run this again: the next name has another time in it",
    "InvalidRestoreFault": "choose another snapshot or moment: inv rds.snapshots lists what there is",
    "PointInTimeRestoreNotEnabled": "it keeps no backups: inv rds.restore --snapshot NAME, or set rds.backup_days for the next time",
    "DBInstanceAutomatedBackupNotFound": "it keeps no backups: inv rds.restore --snapshot NAME",
    "DBSnapshotNotFound": "inv rds.snapshots lists those there are",
    "InvalidDBSnapshotState": "wait until it is available (inv rds.snapshots), then run this again",
    "DBParameterGroupNotFound": "its parameter group is gone: make it again, or give the instance another one",
    "DBUpgradeDependencyFailure": "an extension or a replica stands in the way of the version: inv rds.events tells which",
    "DBInstanceAutomatedBackupQuotaExceeded": "delete backups kept of instances that are gone (aws rds describe-db-instance-automated-backups), or ask AWS for a higher quota (Service Quotas)",
    "BlueGreenDeploymentAlreadyExistsFault": "inv rds.upgrade goes on with the copy that AWS makes already",
    "BlueGreenDeploymentNotFoundFault": "run inv rds.upgrade again, it looks anew what is there",
    "InvalidBlueGreenDeploymentStateFault": "wait until AWS is done with the copy, then run inv rds.upgrade again: it goes on where it was",
    "SourceDatabaseNotSupportedFault": "AWS makes no copy of it to switch over to: inv rds.upgrade without --blue-green does it in place",
    "TagPolicy": "a tag policy of your organization refuses the tags ManagedBy and Project: ask who keeps it for an exception",
    "OptionGroupNotFoundFault": "its option group is gone: give the instance another one",
    "DBSecurityGroupNotFound": "a security group of the instance is gone: give it another one",
    "CertificateNotFound": "the instance's certificate authority is withdrawn: give it a newer one (aws rds describe-certificates)",
    "InvalidDBSubnetGroupFault": "its subnet group does not fit its VPC: mend that, or set another rds.subnet_group",
    "NetworkTypeNotSupported": "its subnets do not have that kind of address: set another rds.subnet_group",
    "DBInstanceNotReady": "wait until it is available (inv rds.status), then run this again",
    "DBInstanceNotFound": "inv rds.create makes it; rds.identifier and AWS_DEFAULT_REGION say which one is meant",
}
FAMILIES: dict[str, tuple[type[Problem], str]] = {
    r"\w*(?:Quota|Limit)Exceeded\w*": (
        Problem,
        "delete what you no longer need of these, or ask AWS for a higher quota (Service Quotas)",
    ),
    r"\w*(?:NotFound|NoSuchEntity|DoesNotExist)\w*": (Problem, "run this again, it looks anew what is there"),
    r"\w*(?:AlreadyExists|ResourceExists)\w*": (Problem, "run this again, it looks whose that one is"),
    r"Invalid\w*State\w*|KMSInvalidState\w*": (Problem, "wait until AWS is done with it, then run this again"),
    r"DeleteConflict": (Problem, "take off what others have attached to it, then run this again"),
    r"\w*(?:Concurrent|Conflict|OperationAborted|StaleTag|Unmodifiable|PreconditionNotMet)\w*": (
        Problem,
        "something else changes it just now: run this again in a minute, it goes on where it was",
    ),
    r"\w*Not(?:Supported|Allowed)\w*": (
        Problem,
        "AWS does not offer that there: change the setting that asks for it (rds: in invoke.yaml)",
    ),
    r"(?:Encryption|Decryption)Failure|Disabled\w*": (
        Problem,
        "the encryption key cannot be used: see that it is enabled and that you may use it",
    ),
    r"(?:Invalid|Malformed|Validation)\w*": (Misconfigured, "correct what it names, then run this again"),
}
"""Advice on codes without one of their own, by how AWS names them."""
REQUEST = dict.fromkeys(
    ("InvalidParameterCombination", "InvalidParameterValue"), "inv rds.create --dry-run shows the request"
)
"""Advice on what CreateDBInstance alone is refused for."""

UNKNOWN = OTHER_SERVICE.format(names="{it.endpoints}", what="{it.operation}")
FAILED = "AWS failed at {it.operation} ({it.code}): run this again, it goes on where it was"
TOLD = "{it.operation}: {it.told} ({it.code})"
REFUSALS = (
    Row(
        "|".join((*UNKNOWN_LOGIN, *CLOCK)),
        Problem,
        "AWS does not take the login, since the clock of this machine is {it.skew}: set it (timedatectl set-ntp true)",
        is_skewed,
    ),
    Row(
        "|".join(EXPIRED),
        Misconfigured,
        "the AWS login has expired: log in again, then run this again: it goes on where it was",
    ),
    Row(
        "|".join(UNKNOWN_LOGIN),
        Misconfigured,
        "AWS does not know this login ({it.code}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    ),
    Row(
        "|".join(DENIED),
        Problem,
        "AWS does not permit {it.operation}: ask for the rights in {it.policies} ({it.what})",
    ),
    Row(
        "|".join(THROTTLED),
        Problem,
        "AWS is asked too often just now ({it.operation}): run this again in a minute, it goes on where it was",
    ),
    Row(".*", Misconfigured, NO_SUCH_REGION.format(names="{it.endpoints}", region="{it.region}"), is_strange_region),
    Row("UnknownOperationException|InvalidAction|UnsupportedOperation|404|405|501", Misconfigured, UNKNOWN),
    Row(".*", Misconfigured, UNKNOWN, is_not_there),
    Row(r"\w*Internal\w*|ServiceUnavailable\w*|ServiceFailure|DependencyTimeout\w*", Problem, FAILED),
    Row(".*", Problem, FAILED, is_theirs),
    *(Row(pattern, Problem, f"{TOLD}: {advice}") for pattern, advice in ADVICE.items()),
    *(Row(pattern, Misconfigured, f"{TOLD}: {advice}", is_create) for pattern, advice in REQUEST.items()),
    *(Row(pattern, kind, f"{TOLD}: {advice}") for pattern, (kind, advice) in FAMILIES.items()),
    Row(".*", Problem, f"{TOLD}: mend that, then run this again"),
)
"""What each code of a refusal means: the first that fits holds."""
