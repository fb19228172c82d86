"""The only place that makes a boto3 client."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from config.settings import Settings
from ops import aws_errors, aws_proxies, calls, process
from ops.aws_errors import GENERAL_ENDPOINT, NO_REGION, VARIABLES
from ops.aws_proxies import pathless
from ops.credentials import Login, unread
from ops.errors import Misconfigured

if TYPE_CHECKING:
    from boto3.session import Session

REGION = ("AWS_REGION", "AWS_DEFAULT_REGION")
"""The variables of the region, in botocore's order."""

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

    def __init__(self, settings: Settings, tell: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self._tell = tell
        self._session: Session | None = None
        self._login: Login | None = None
        self._watch: calls.Watch | None = None
        self._clients: dict[str, Any] = {}
        self._said: set[str] = set()

    @property
    def session(self) -> Session:
        if self._session is None:
            self._session, self._login, self._watch = make_session(self.settings)
        return self._session

    @property
    def login(self) -> Login:
        """The login of the session, which is asked for before the first client is made."""
        assert self.session
        assert self._login
        return self._login

    @property
    def watch(self) -> calls.Watch:
        """What follows the session's calls."""
        assert self.session
        assert self._watch
        return self._watch

    @property
    def region(self) -> str:
        """The region, or `Misconfigured` where none is set or it is not written like one."""
        from botocore.exceptions import InvalidRegionError
        from botocore.utils import validate_region_name

        region = self.session.region_name
        if not region:
            raise Misconfigured(NO_REGION)
        try:
            validate_region_name(region)
        except InvalidRegionError:
            set_by = next(
                (f"{name} ({found.origin})" for name in REGION if (found := self.settings.vars.find(name))), ""
            )
            raise Misconfigured(
                f"the AWS region {region!r} is not written like one, as ca-central-1: correct {set_by or self.login.place('region')}"
            ) from None
        return str(region)

    def database_token(self, host: str, port: int, user: str, region: str) -> str:
        """Return what stands in for a password of a user of RDS for 15 minutes, signed here without a call.

        The region is the instance's, whichever the session has. Raises what is wrong with the login to AWS.
        """
        token: str = self.client("rds", region=region).generate_db_auth_token(host, port, user, region)
        return token

    def client(self, service: str, *, silent: float = 0, region: str = "") -> Any:
        """Return the client of a service; an endpoint that is not AWS is said, once.

        `silent`: seconds for which it may rightly say nothing, where that is longer than the setting; `region`: another one than
        the session's.
        """
        name = f"{service} {silent:g}" if silent > self.settings.aws.timeout else service
        place = f"{name} {region}".rstrip()
        if place not in self._clients:
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError

            variable, saved = endpoint(self.settings, service)
            region = region or self.region
            self.login.ensure()

            def made(**how: Any) -> Any:
                own = Config(**how, **({"read_timeout": silent} if name != service else {}))
                return self.session.client(service, region_name=region, endpoint_url=saved, config=own)

            try:
                client = made()
            except BotoCoreError:  # some are a ValueError, too
                raise
            except ValueError as error:
                if not str(error).startswith("Invalid endpoint"):
                    raise Misconfigured(f"boto3's settings: {error}: {blamed(self.settings, str(error))}") from error
                raise Misconfigured(f"{error}: correct {variable}") from error
            url = client.meta.endpoint_url
            if (by := aws_proxies.chosen(url, self.settings.vars.environ)) is not None:
                client = made(proxies=by)
            self._clients[place] = client
            self.watch.follow(client)
            if foreign(url):
                aws_errors.elsewhere.setdefault(variable, region)
            if self._tell and foreign(url) and url not in self._said:
                self._said.add(url)
                self._tell(f"note: {service} is asked at {pathless(url)}, which is not AWS ({variable})")
        return self._clients[place]


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


def blamed(settings: Settings, text: str) -> str:
    """Return what to correct where boto3 cannot read a setting: the variable that holds the value it names."""
    names = [
        name
        for name, value in settings.vars.environ.items()
        if name.startswith("AWS_") and value and repr(value) in text
    ]
    return f"correct {' or '.join(names)}" if names else VARIABLES


def make_session(settings: Settings) -> tuple[Session, Login, calls.Watch]:
    """Return a session with what the environment and the env file say, its login, and what follows its calls.

    All of its clients have our limits, those by which botocore logs in too.
    """
    import boto3
    import botocore.session
    from botocore.exceptions import BotoCoreError

    process.forget_empty("AWS_")
    core = botocore.session.Session()
    core.set_default_client_config(calls.config(settings.aws, ignore_endpoints=ignored(settings)))
    watch = calls.Watch(core.get_component("event_emitter"), settings.aws.timeout)
    chosen = choose(settings)
    try:
        made = boto3.Session(botocore_session=core, **chosen)
    except BotoCoreError as error:
        bare = botocore.session.Session()
        bare.set_config_variable("profile", chosen.get("profile_name"))
        raise Misconfigured(f"AWS login: {unread(error, Login(bare, settings.vars.environ))}") from error
    return made, Login(core, settings.vars.environ, settings.aws.login_timeout), watch


def choose(settings: Settings) -> dict[str, Any]:
    """Return which login and region are handed to boto3, which finds those of its own files itself."""
    get = settings.vars.get
    aws_proxies.note(settings.vars.environ)
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
    elif own["aws_access_key_id"] or own["aws_secret_access_key"]:
        lacking = next(name for name, argument in _CREDENTIALS.items() if not own[argument])
        origin = "the environment" if shells else settings.vars.env_file.name
        raise Misconfigured(
            f"AWS login: {lacking} is missing in {origin}, where its other half is: set both there, or neither and AWS_PROFILE"
        )
    if region := next(filter(None, map(get, REGION)), ""):
        chosen["region_name"] = region
    return chosen
