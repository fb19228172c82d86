"""The only place that makes a boto3 client, and the words for what AWS refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from config import proxies
from config.settings import Settings
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from boto3.session import Session

NO_REGION = "no AWS region: set AWS_DEFAULT_REGION, like ca-central-1"

# What boto3 reads from the process environment, and takes from .env only by hand
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}


class Aws:
    """Clients of one session, made on first use.

    Credentials, region, profile and endpoint are boto3's own; those saved in
    the env file are handed to it where the environment has none. `tell` is told
    of an endpoint that is not AWS.
    """

    def __init__(
        self, settings: Settings, session: Session | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self.settings = settings
        self._tell = tell
        self._session = session
        self._clients: dict[str, Any] = {}
        self._said: set[str] = set()

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session = make_session(self.settings)
        return self._session

    @property
    def region(self) -> str:
        """The region, or `Misconfigured` where none is set."""
        region = self.session.region_name
        if not region:
            raise Misconfigured(NO_REGION)
        return str(region)

    def client(self, service: str) -> Any:
        """Return the client of a service; an endpoint that is not AWS is said, once."""
        if service not in self._clients:
            from botocore.config import Config

            variable, saved = endpoint(self.settings, service)
            config = Config(
                retries={"mode": "standard"},
                connect_timeout=10,
                read_timeout=60,
                ignore_configured_endpoint_urls=ignored(self.settings) or None,
            )

            def made(**how: Any) -> Any:
                own = config.merge(Config(**how)) if how else config
                return self.session.client(service, region_name=self.region, endpoint_url=saved, config=own)

            try:
                client = made()
            except ValueError as error:  # an endpoint that is no URL
                raise Misconfigured(f"{error}: correct {variable}") from error
            url = client.meta.endpoint_url
            if (by := proxies_for(url, self.settings)) is not None:
                client = made(proxies=by)
            self._clients[service] = client
            if foreign(url):
                _elsewhere.setdefault(variable)
            if self._tell and foreign(url) and url not in self._said:
                self._said.add(url)
                self._tell(f"note: {service} is asked at {pathless(url)}, which is not AWS ({variable})")
        return self._clients[service]


def pathless(text: str) -> str:
    """Return a text with its URLs cut after the host: the path of an endpoint may be the key to it."""
    import re

    return re.sub(r"(https?://[^\s/\"']+)/[^\s\"']*", r"\1", text)


def proxies_for(url: str, settings: Settings) -> dict[str, str] | None:
    """Return the proxies to ask for an endpoint where botocore would choose otherwise, else None.

    It asks them for this machine, too, and does not know ALL_PROXY.
    """
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    if proxies.is_here(urlsplit(url).hostname or ""):
        return {} if getproxies() else None
    if found := proxies.find(url, settings.vars.environ):
        _by_proxy[url] = found
        if found.for_all:
            return dict.fromkeys(("http", "https"), found.url)
    return None


def foreign(url: str) -> bool:
    """Whether an endpoint is something else than AWS."""
    from urllib.parse import urlsplit

    host = urlsplit(url).hostname or ""
    return not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def endpoint(settings: Settings, service: str) -> tuple[str, str | None]:
    """Return what names the endpoint of a service, and the endpoint if that is the env file.

    Those of the environment and of AWS's own config file are boto3's to find. The order is
    botocore's: a variable of the service, which it calls by its service id, before the general one.
    """
    from botocore.utils import CLIENT_NAME_TO_HYPHENIZED_SERVICE_ID_OVERRIDES as IDS

    own = f"AWS_ENDPOINT_URL_{IDS.get(service, service).upper().replace('-', '_')}"
    if not ignored(settings):
        for name in (own, GENERAL_ENDPOINT):
            if value := settings.vars.find(name):
                return name, None if settings.vars.environ.get(name) else value.text
    return "endpoint_url in the AWS config file", None


def ignored(settings: Settings) -> bool:
    """Whether endpoints that are configured anywhere are to be passed over, as boto3 reads it."""
    return settings.vars.get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS").lower() == "true"


GENERAL_ENDPOINT = "AWS_ENDPOINT_URL"
_elsewhere: dict[str, None] = {}
"""What names the endpoints that are not AWS and were asked in this command; errors of botocore do not tell."""

_proxies: list[proxies.Proxy] = []
"""Those that the environment names; errors of botocore tell host and port alone."""
_by_proxy: dict[str, proxies.Proxy] = {}
"""The endpoints that are asked by one in this command."""


def other_service(what: str) -> Misconfigured:
    """Return the error for an endpoint that answers, but not as this service does."""
    names = " or ".join(_elsewhere) or GENERAL_ENDPOINT
    return Misconfigured(
        f"what answers at {names} does not know {what}: unset it, or set it for the one service it is "
        "meant for, like AWS_ENDPOINT_URL_DYNAMODB"
    )


def make_session(settings: Settings) -> Session:
    """Return a session with what the environment and the env file say."""
    import boto3
    from botocore.exceptions import BotoCoreError

    get = settings.vars.get
    _proxies[:] = proxies.named(settings.vars.environ).values()
    # a login comes from one place as a whole: the shell's key with the file's session would be nobody's
    environ = settings.vars.environ
    shells = environ.get("AWS_ACCESS_KEY_ID") or environ.get("AWS_PROFILE")
    values = environ if shells else settings.vars.saved
    own = {argument: values.get(name, "") for name, argument in _CREDENTIALS.items()}
    chosen: dict[str, Any] = {}
    if own["aws_access_key_id"] and own["aws_secret_access_key"]:
        chosen = {argument: value for argument, value in own.items() if value}
    elif profile := get("AWS_PROFILE"):
        chosen["profile_name"] = profile
    if region := get("AWS_REGION") or get("AWS_DEFAULT_REGION"):
        chosen["region_name"] = region
    try:
        return boto3.Session(**chosen)
    except BotoCoreError as error:
        raise Misconfigured(f"AWS login: {error}: correct AWS_PROFILE") from error


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
    """Return what an error of botocore means for the user."""
    from botocore import exceptions as e
    from botocore.parsers import ResponseParserError

    text = " ".join(str(error).split())
    expired = (e.SSOError, e.TokenRetrievalError, getattr(e, "LoginError", e.SSOError))
    match error:
        case e.ClientError():
            return refusal(error)
        case ResponseParserError():
            return other_service("this service of AWS")
        case e.NoCredentialsError() | e.PartialCredentialsError() | e.CredentialRetrievalError():
            return Misconfigured(NO_LOGIN)
        case e.NoRegionError():
            return Misconfigured(NO_REGION)
        case e.ProfileNotFound():
            return Misconfigured(f"AWS login: {text}: correct AWS_PROFILE")
        case e.InvalidRegionError():
            return Misconfigured(f"{text}: correct AWS_DEFAULT_REGION")
        case e.ParamValidationError():
            return Misconfigured(f"AWS: {text}")
        case e.HTTPClientError() | e.ConnectionError():
            if problem := by_proxy(error):
                return problem
            names = " and ".join(_elsewhere) or GENERAL_ENDPOINT
            text += proxies.passed_over({one.variable: one.url for one in _proxies})
            return Problem(f"AWS was not reached: {pathless(text)}: check the network, the region and {names}")
    if isinstance(error, expired):
        return Misconfigured("the AWS login has expired: aws sso login (or aws login)")
    return Problem(f"AWS: {text}")


def by_proxy(error: Any) -> Problem | None:
    """Return what it means that an endpoint was not reached by a proxy; None where none was asked.

    An error in reaching the proxy tells its address, one behind it the endpoint.
    """
    url, address = error.kwargs.get("endpoint_url", ""), error.kwargs.get("proxy_url", "").rpartition("@")[2]
    address = address.rpartition("//")[2].rstrip("/")
    there = {one: by for one, by in _by_proxy.items() if by.address == address or url.startswith(one)}
    known = [*there.values(), *(one for one in _proxies if one.address == address)]
    if not known and not address:
        return None
    by = known[0] if known else proxies.Proxy("the system's settings", f"http://{address}")
    hosts = " and ".join(one.split("/")[2] for one in there) or "AWS"
    return proxies.failed(by, hosts, proxies.reason(error.kwargs.get("error") or error), trust="AWS_CA_BUNDLE")


def refusal(error: Any) -> Problem:
    """Return what a refusal of AWS means, by its code."""
    details = error.response.get("Error", {})
    said, what = code(error), " ".join(str(details.get("Message", "")).split())
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    plain = [(url.split("/")[2], by) for url, by in _by_proxy.items() if url.startswith("http:")]
    if plain and not said.strip("0123456789") and (status in {403, 407} or status >= 500):
        # by plain HTTP a proxy answers in the place of the service
        return proxies.failed(plain[-1][1], plain[-1][0], f"{status} {what}".strip())
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


def transient(error: Any) -> bool:
    """Whether the same call may well succeed in a minute."""
    from botocore import exceptions as e

    if isinstance(error, e.ClientError):
        return code(error) in THROTTLED or error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500
    return isinstance(error, (e.HTTPClientError, e.ConnectionError))


NO_LOGIN = "no AWS login: run aws configure (or aws sso login), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
NO_REGION = "no AWS region: set AWS_DEFAULT_REGION, like ca-central-1"
EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
UNKNOWN_LOGIN = (
    "InvalidClientTokenId",
    "UnrecognizedClientException",
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidAccessKeyId",
    "MissingAuthenticationToken",
    "IncompleteSignature",
)
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
