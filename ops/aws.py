"""The only place that makes a boto3 client, and the words for what AWS refuses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops.console import hide, say
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from boto3.session import Session

# What boto3 reads from the process environment, and takes from .env only by hand
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "aws_access_key_id",
    "AWS_SECRET_ACCESS_KEY": "aws_secret_access_key",
    "AWS_SESSION_TOKEN": "aws_session_token",
}


class Aws:
    """Clients of one session, made on first use.

    Credentials, region, profile and endpoint are boto3's own; those saved in
    the env file are handed to it where the environment has none.
    """

    def __init__(self, settings: Settings, session: Session | None = None) -> None:
        self.settings = settings
        self._session = session
        self._clients: dict[str, Any] = {}

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
            raise Misconfigured("no AWS region: set AWS_DEFAULT_REGION, like ca-central-1")
        return str(region)

    def client(self, service: str) -> Any:
        """Return the client of a service; an endpoint that is not AWS is said once."""
        if service not in self._clients:
            from botocore.config import Config

            self._clients[service] = client = self.session.client(
                service,
                region_name=self.region,
                endpoint_url=endpoint(self.settings, service),
                config=Config(retries={"mode": "standard"}, connect_timeout=10, read_timeout=60),
            )
            url = client.meta.endpoint_url
            if not foreign(url):
                return client
            said = f"{service} goes to {url}, which is not AWS (AWS_ENDPOINT_URL)"
            say(said)
        return self._clients[service]


def foreign(url: str) -> bool:
    """Whether an endpoint is something else than AWS."""
    from urllib.parse import urlsplit

    host = urlsplit(url).hostname or ""
    return not host.endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))


def endpoint(settings: Settings, service: str) -> str | None:
    """Return the endpoint that the env file names; the environment's is boto3's to find."""
    for name in (f"AWS_ENDPOINT_URL_{service.upper().replace('-', '_')}", "AWS_ENDPOINT_URL"):
        if settings.vars.environ.get(name):
            return None
        if saved := settings.vars.get(name):
            return saved
    return None


def make_session(settings: Settings) -> Session:
    """Return a session with what the environment and the env file say."""
    import boto3
    from botocore.exceptions import BotoCoreError

    get = settings.vars.get
    own = {argument: get(name) for name, argument in _CREDENTIALS.items()}
    chosen: dict[str, Any] = {}
    if own["aws_access_key_id"] and own["aws_secret_access_key"]:
        chosen = {argument: value for argument, value in own.items() if value}
        hide(own["aws_secret_access_key"])
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
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        raise explain(error) from error


def explain(error: Any) -> Problem:
    """Return what an error of botocore means for the user."""
    from botocore import exceptions as e

    text = " ".join(str(error).split())
    match error:
        case e.NoCredentialsError() | e.PartialCredentialsError():
            return Misconfigured("no AWS login: run aws configure (or aws sso login), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        case e.NoRegionError():
            return Misconfigured("no AWS region: set AWS_DEFAULT_REGION, like ca-central-1")
        case e.UnauthorizedSSOTokenError() | e.SSOTokenLoadError() | e.TokenRetrievalError():
            return Misconfigured("the AWS login has expired: aws sso login")
        case e.ResponseParserError():
            return Misconfigured("the endpoint does not speak this service of AWS: unset AWS_ENDPOINT_URL (or set it for the one service, like AWS_ENDPOINT_URL_DYNAMODB)")
        case e.EndpointConnectionError() | e.ConnectTimeoutError() | e.ReadTimeoutError() | e.ConnectionClosedError() | e.ProxyConnectionError() | e.SSLError():
            return Problem(f"AWS was not reached: {text}: check the network, the region and AWS_ENDPOINT_URL")
        case e.ClientError():
            return refusal(error)
    return Problem(f"AWS: {text}")


def refusal(error: Any) -> Problem:
    """Return what a refusal of AWS means, by its code."""
    details = error.response.get("Error", {})
    said, what = code(error), " ".join(str(details.get("Message", "")).split())
    if said in ("ExpiredToken", "ExpiredTokenException", "RequestExpired"):
        return Misconfigured("the AWS login has expired: log in again, then run this again: it goes on where it was")
    if said in ("InvalidClientTokenId", "UnrecognizedClientException", "AuthFailure", "SignatureDoesNotMatch", "InvalidAccessKeyId", "MissingAuthenticationToken"):
        return Misconfigured(f"AWS does not know this login ({said}): correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    if said in ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation"):
        return Problem(f"AWS does not permit {error.operation_name}: ask for the rights in config/policies ({what})")
    if said in ("Throttling", "ThrottlingException", "RequestLimitExceeded"):
        return Problem(f"AWS is asked too often just now ({error.operation_name}): run this again in a minute, it goes on where it was")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if said in ("UnknownOperationException", "InvalidAction", "404", "501") or (status == 404 and not what):
        return Misconfigured(f"the endpoint does not know {error.operation_name}: unset AWS_ENDPOINT_URL, which is for another service")
    return Problem(f"{error.operation_name}: {what or 'refused'} ({said})")
