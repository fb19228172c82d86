"""The words for what goes wrong with AWS: what botocore raises, and what AWS refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ops import aws_proxies
from ops.aws_proxies import pathless
from ops.errors import Misconfigured, Problem

NO_REGION = "no AWS region: set AWS_DEFAULT_REGION, like ca-central-1"

GENERAL_ENDPOINT = "AWS_ENDPOINT_URL"
elsewhere: dict[str, None] = {}
"""What names the endpoints that are not AWS and were asked in this command; errors of botocore do not tell."""


def other_service(what: str) -> Misconfigured:
    """Return the error for an endpoint that answers, but not as this service does."""
    names = " or ".join(elsewhere) or GENERAL_ENDPOINT
    return Misconfigured(
        f"what answers at {names} does not know {what}: unset it, or set it for the one service it is "
        "meant for, like AWS_ENDPOINT_URL_DYNAMODB"
    )


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
    return next(ROWS[kind.__name__](error) for kind in type(error).__mro__ if kind.__name__ in ROWS)


def flat(error: object) -> str:
    """Return an error's text in one line."""
    return pathless(" ".join(str(error).split())).rstrip(".: ")


def asked(error: Any) -> str:
    """Return which call went wrong, and where it went to, as far as the error tells."""
    return pathless(" at ".join(filter(None, (error.kwargs.get("operation"), error.kwargs.get("endpoint_url")))))


def unreached(error: Any) -> Problem:
    """A service that no connection was made to."""
    names = " and ".join(elsewhere) or GENERAL_ENDPOINT
    from urllib.parse import urlsplit

    host = urlsplit(str(error.kwargs.get("endpoint_url") or "")).hostname or ""
    if (region := unknown_region(host)) and not elsewhere:
        return Misconfigured(
            f"AWS was not reached: {flat(error)}: there is no region {region}: correct AWS_DEFAULT_REGION"
        )
    why = flat(error) + aws_proxies.passed_over()
    return Problem(f"AWS was not reached: {why}: check the network, the region and {names}")


def unknown_region(host: str) -> str:
    """Return the region in the name of an endpoint of AWS, if there is none of that name."""
    import re

    import botocore.session

    found = re.fullmatch(r"[\w.-]+?\.([a-z]+(?:-[a-z]+)+-\w+)\.amazonaws\.com(?:\.cn)?", host)
    if not found:
        return ""
    core = botocore.session.Session()
    known = {name for part in core.get_available_partitions() for name in core.get_available_regions("rds", part)}
    return "" if found[1] in known else found[1]


def silent(error: Any) -> Problem:
    """A service that has taken a request and does not answer."""
    call = str(error.kwargs.get("operation") or "")
    return Problem(f"AWS did not answer in time (aws.timeout): {asked(error) or flat(error)}: {unsure(call)}")


def broken(error: Any) -> Problem:
    """A connection that ended before the answer."""
    call = str(error.kwargs.get("operation") or "")
    return Problem(f"the connection to AWS broke: {asked(error) or flat(error)}: {unsure(call)}")


def unsure(call: str) -> str:
    """Return what to do when a call (service and operation) may have been carried out."""
    operation = call.rpartition(" ")[2]
    if operation == "Invoke":
        return "whether the function has run is not known, inv lambda.logs tells"
    if operation and writes(operation):
        return "it may be done or not: run this again, it looks first"
    names = " and ".join(elsewhere) or "the network"
    return f"check {names}, then run this again"


def untrusted(error: Any) -> Problem:
    """A certificate that is not known here, as of a proxy that opens TLS."""
    what = flat(error)
    return Problem(
        f"AWS was not reached: {what}: if a proxy of your company is between, name its certificates in AWS_CA_BUNDLE"
    )


def says(after: str, of: type[Problem] = Misconfigured, before: str = "AWS: ") -> Callable[[Any], Problem]:
    """Return a row: botocore's own words, and what to do."""
    return lambda error: of(f"{before}{flat(error)}: {after}")


NO_LOGIN = "no AWS login: run aws configure (or aws sso login), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
SSO = "the AWS login has expired: aws sso login (or aws login)"
VARIABLES = "correct it in the AWS_ variable or the line of the AWS config file that sets it"
OURS = "boto3 and botocore do not fit the suite: pip install --upgrade -r requirements.txt"

Row = Callable[[Any], Problem]
ROWS: dict[str, Row] = {
    # the login: a row of its own for each provider is in ops/credentials.py, where it is known which one was asked
    "NoCredentialsError": lambda _: Misconfigured(NO_LOGIN),
    "NoAuthTokenError": lambda _: Misconfigured(NO_LOGIN),
    "PartialCredentialsError": lambda _: Misconfigured(NO_LOGIN),
    "CredentialRetrievalError": lambda _: Misconfigured(NO_LOGIN),
    "MetadataRetrievalError": says("run this where AWS gives the machine a role, or set AWS_PROFILE"),
    "SSOError": lambda _: Misconfigured(SSO),
    "TokenRetrievalError": lambda _: Misconfigured(SSO),
    "LoginError": lambda _: Misconfigured(SSO),
    "LoginInsufficientPermissions": says("ask for the right signin:CreateOAuth2Token, then aws login"),
    "RefreshWithMFAUnsupportedError": lambda _: Misconfigured(
        "the AWS login by MFA has expired: run this again, it goes on where it was"
    ),
    "ProfileNotFound": says("correct AWS_PROFILE", before="AWS login: "),
    "ConfigNotFound": says("correct AWS_CONFIG_FILE or AWS_SHARED_CREDENTIALS_FILE", before="AWS login: "),
    "ConfigParseError": says("correct that file", before="AWS login: "),
    "InvalidConfigError": says("correct the AWS config file", before="AWS login: "),
    # where it goes to
    "NoRegionError": lambda _: Misconfigured(NO_REGION),
    "InvalidRegionError": says("correct AWS_DEFAULT_REGION", before=""),
    "UnknownRegionError": says("correct AWS_DEFAULT_REGION"),
    "ServiceNotInRegionError": says("correct AWS_DEFAULT_REGION"),
    "BaseEndpointResolverError": says(
        "correct AWS_DEFAULT_REGION, or unset AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT"
    ),
    "EndpointProviderError": says(
        "correct AWS_DEFAULT_REGION, or unset AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT"
    ),
    "InvalidIMDSEndpointError": says("correct AWS_EC2_METADATA_SERVICE_ENDPOINT"),
    "InvalidIMDSEndpointModeError": says("correct AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
    "InvalidProxiesConfigError": says("correct HTTPS_PROXY"),
    # boto3's own settings
    "InvalidRetryConfigurationError": says(VARIABLES),
    "InvalidDefaultsMode": says(VARIABLES),
    "InvalidSTSRegionalEndpointsConfigError": says(VARIABLES),
    "InvalidS3UsEast1RegionalEndpointConfigError": says(VARIABLES),
    "InvalidS3AddressingStyleError": says(VARIABLES),
    "InvalidEndpointDiscoveryConfigurationError": says(VARIABLES),
    "InvalidEndpointConfigurationError": says(VARIABLES),
    "InvalidChecksumConfigError": says(VARIABLES),
    # the way there and back
    "ConnectionError": unreached,
    "SSLError": untrusted,
    "HTTPClientError": lambda error: Problem(
        f"AWS was not reached: {flat(error)}: check the network, AWS_CA_BUNDLE and HTTPS_PROXY"
    ),
    "ReadTimeoutError": silent,
    "ConnectionClosedError": broken,
    "ResponseStreamingError": broken,
    "IncompleteReadError": broken,
    "ChecksumError": broken,
    "FlexibleChecksumError": broken,
    "CapacityNotAvailableError": says("run this again in a minute, it goes on where it was", Problem),
    "WaiterError": says("run this again, it looks anew", Problem),
    # what we ask
    "ParamValidationError": lambda error: Misconfigured(f"AWS: {flat(error)}"),
    "ValidationError": lambda error: Misconfigured(f"AWS: {flat(error)}"),
    "MissingDependencyException": says("pip install --upgrade 'botocore[crt]'", Problem),
    "BotoCoreError": says(OURS, Problem),
}
"""What each exception of botocore.exceptions means, by its name; one without a row of its own is what the nearest above it is."""


def refusal(error: Any) -> Problem:
    """Return what a refusal of AWS means, by its code."""
    details = error.response.get("Error", {})
    said, what = code(error), " ".join(str(details.get("Message", "")).split())
    told = error.response.get("ResponseMetadata", {})
    status = told.get("HTTPStatusCode", 0)
    if not said.strip("0123456789") and (problem := aws_proxies.answered(status, what)):
        return problem
    if said in (*UNKNOWN_LOGIN, *CLOCK) and (off := skew(told.get("HTTPHeaders", {}), what)):
        return Problem(
            f"AWS does not take the login, since the clock of this machine is {off}: set it (timedatectl set-ntp true)"
        )
    if said in EXPIRED:
        return Misconfigured("the AWS login has expired: log in again, then run this again: it goes on where it was")
    if said in UNKNOWN_LOGIN:
        return Misconfigured(
            f"AWS does not know this login ({said}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        )
    if said in DENIED:
        return Problem(f"AWS does not permit {error.operation_name}: ask for the rights in config/policies ({what})")
    if said in THROTTLED:
        return Problem(
            f"AWS is asked too often just now ({error.operation_name}): run this again in a minute, it goes on where it was"
        )
    if said in ("UnknownOperationException", "InvalidAction", "UnsupportedOperation", "404", "405", "501") or (
        status == 404 and not what
    ):
        return other_service(error.operation_name)
    if status >= 500 or said in ("InternalFailure", "InternalError", "ServiceUnavailable"):
        return Problem(f"AWS failed at {error.operation_name} ({said}): run this again, it goes on where it was")
    advice = ADVICE.get(said, "") or (error.operation_name == "CreateDBInstance" and REQUEST.get(said)) or ""
    text = f"{error.operation_name}: {what or 'refused'} ({said})" + (f": {advice}" if advice else "")
    return Misconfigured(text) if said.startswith("InvalidParameter") else Problem(text)


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


READS = ("Describe", "Get", "List", "Filter", "Lookup", "Search", "Head", "AssumeRole")


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
    "DBInstanceNotFound": "inv rds.create makes it; rds.identifier and AWS_DEFAULT_REGION say which one is meant",
}
REQUEST = dict.fromkeys(
    ("InvalidParameterCombination", "InvalidParameterValue"), "inv rds.create --dry-run shows the request"
)
"""Advice on what CreateDBInstance alone is refused for."""
