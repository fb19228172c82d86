"""The login to AWS: asked for within one limit, and each way in which it goes wrong in one line.

botocore asks its providers in turn (boto3 guide, "Credentials") and raises what a provider happens to stumble
over. What that means is told by which provider it was, for which profile, and in which line that stands.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import logging
import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ops import console
from ops.aws_errors import NO_LOGIN, VARIABLES, code, explain, flat, transient
from ops.calls import LOGIN
from ops.errors import Misconfigured, Problem
from ops.silence import PATIENCE

if TYPE_CHECKING:
    from botocore.credentials import Credentials

R = TypeVar("R")
SETTING = "aws.login_timeout"


@dataclass(frozen=True)
class Provider:
    """What a provider of botocore's is called here, by what it is configured, and what mends it."""

    what: str
    keys: tuple[str, ...]
    """Its settings in a profile."""
    variables: tuple[str, ...]
    step: str
    """The next step; `{profile}` is the profile's name."""


KEYS = ("aws_access_key_id", "aws_secret_access_key")
PROVIDERS = {
    "env": Provider("the key of the environment", (), ("AWS_ACCESS_KEY_ID",), "set both, or neither and AWS_PROFILE"),
    "assume-role": Provider("the role", ("role_arn",), (), "correct role_arn or source_profile"),
    "assume-role-with-web-identity": Provider(
        "the web identity token",
        ("web_identity_token_file",),
        ("AWS_WEB_IDENTITY_TOKEN_FILE",),
        "correct the file's name, or have the token written anew by who gives it",
    ),
    "sso": Provider("the SSO session", ("sso_session", "sso_start_url"), (), "aws sso login --profile {profile}"),
    "shared-credentials-file": Provider("the key", KEYS, (), "aws configure --profile {profile}"),
    "login": Provider("the login session", ("login_session",), (), "aws login --profile {profile}"),
    "custom-process": Provider(
        "the credential_process",
        ("credential_process",),
        (),
        'run it by hand: it has to print {{"Version": 1, "AccessKeyId": …, "SecretAccessKey": …}} and end with 0',
    ),
    "config-file": Provider("the key", KEYS, (), "aws configure --profile {profile}"),
    "ec2-credentials-file": Provider(
        "the credential file", (), ("AWS_CREDENTIAL_FILE",), "correct or unset AWS_CREDENTIAL_FILE"
    ),
    "boto-config": Provider(
        "the key", (), ("BOTO_CONFIG",), "correct it there (BOTO_CONFIG, /etc/boto.cfg or ~/.boto)"
    ),
    "container-role": Provider(
        "the container's role",
        (),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        "see that the container's agent answers there, or unset that variable and set AWS_PROFILE",
    ),
    "iam-role": Provider(
        "the instance's metadata",
        (),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT",),
        "give the instance a role, or set AWS_PROFILE",
    ),
}
"""By botocore's METHOD."""
NOBODY = Provider("boto3's own settings", ("region",), (), VARIABLES)
"""Before any of them is asked."""


@dataclass
class OpenTarget:
    """Where a login is configured: a profile, and the line of the setting that it comes from."""

    profile: str
    origin: str = ""
    """path:line, or the name of a variable."""

    def __str__(self) -> str:
        return ", ".join(filter(None, (f"profile {self.profile}" if self.profile else "", self.origin)))


def section(line: str) -> str:
    """Return the profile that begins with a line of AWS's files, or nothing: [work], [profile work], [profile "work"]."""
    found = re.match(r"\[\s*(?:profile\s+)?[\"']?(.*?)[\"']?\s*\]", line)
    return found[1] if found else ""


def lines(path: Path, profile: str) -> Iterator[tuple[int, str]]:
    """Yield number and name of each setting of a profile, its head first with an empty one; what cannot be read has none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    inside = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("["):
            inside = section(line) == profile
            if inside:
                yield number, ""
        elif inside and line[:1].strip() and (found := re.match(r"([^=:#;]+?)\s*[=:]", line)):
            yield number, found[1].lower()


class Login:
    """The login of one session, and which provider is being asked for it."""

    def __init__(self, core: Any, environ: Mapping[str, str], limit: float = 0) -> None:
        """`core` is botocore's session, `limit` in seconds."""
        self.core = core
        self.environ = environ
        self.limit = limit
        self.method = ""
        self.profile = str(core.profile or "default")
        self.children: list[subprocess.Popen[bytes]] = []
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.followed = False
        self.logged_in = False
        """Whether AWS was asked for what they lead to; botocore asks again before it ends."""
        self.held: Any = None
        """botocore's Credentials, once they are found."""

    # --- asked for ----------------------------------------------------------------------

    def load(self) -> Credentials | None:
        """Return what botocore's providers find, without asking AWS where a key is kept; None where there is none."""
        if not self.followed:
            self.followed = True
            logging.getLogger("botocore.credentials").setLevel(logging.ERROR)  # it prints a traceback, then raises
            logging.getLogger("botocore.tokens").setLevel(logging.ERROR)
            self.within(self.follow)
        if self.held is None:
            self.held = self.within(self.core.get_credentials)
            if self.held is not None:  # a source was asked last, what is made of it is asked next
                self.method, self.profile = self.held.method or self.method, str(self.core.profile or "default")
        return self.held

    def ensure(self) -> None:
        """Log in; raises `Problem` where there is no login, or not within the limit."""
        if self.load() is None:
            raise Misconfigured(self.without())
        if hasattr(self.held, "refresh_needed") and not self.logged_in:
            self.held.get_frozen_credentials = functools.partial(self.within, self.held.get_frozen_credentials)
        keys = self.held.get_frozen_credentials()
        self.logged_in = True
        for secret in filter(None, (keys.secret_key, keys.token)):
            console.hide(secret)

    def follow(self) -> None:
        """Have botocore's providers tell when they are asked, start programs where they can be ended, and ask here for a code."""
        resolver = self.core.get_component("credential_provider")
        for provider in resolver.providers:
            self.told(provider, self.profile)
        roles = next((p for p in resolver.providers if p.METHOD == "assume-role"), None)
        if roles is None:
            return
        roles._prompter = self.prompted
        if self.found("mfa_serial"):
            from botocore.utils import JSONFileCache

            # that of the AWS CLI: a code is good for one login, and the session that it gave for an hour
            roles.cache = JSONFileCache(str(Path("~/.aws/cli/cache").expanduser()))
        builder = roles._profile_provider_builder
        made = builder.providers

        def providers(profile_name: str, disable_env_vars: bool = False) -> list[Any]:
            return [self.told(one, profile_name) for one in made(profile_name, disable_env_vars)]

        builder.providers = providers

    def told(self, provider: Any, profile: str) -> Any:
        """Return a provider that tells when it is asked."""
        load = provider.load

        def asked() -> Any:
            self.method, self.profile = provider.METHOD, profile
            return load()

        provider.load = asked
        if provider.METHOD == "custom-process":
            provider._popen = self.started
        return provider

    def started(self, *args: Any, **options: Any) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(*args, **options)
        self.children.append(child)
        return child

    def prompted(self, _: str) -> str:
        """Have the code asked for by the thread that waits: a Ctrl-C reaches only that."""
        reply: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.events.put(("ask", reply))
        return reply.get()

    def within(self, act: Callable[[], R]) -> R:
        """Return what `act` does, in a thread of its own, so that it can be left alone at the limit."""
        self.events, context = queue.SimpleQueue(), contextvars.copy_context()
        events = self.events

        def work() -> None:
            try:
                events.put(("done", context.run(act)))
            except BaseException as error:
                events.put(("failed", error))

        threading.Thread(target=work, name=LOGIN, daemon=True).start()
        end, said = time.monotonic() + self.limit, ""
        try:
            while True:
                left = end - time.monotonic()
                try:
                    kind, value = events.get(timeout=max(min(left, PATIENCE), 0.001))
                except queue.Empty:
                    if left <= 0.001:
                        raise Problem(
                            f"the AWS login did not come within {self.limit:g} s ({SETTING}): waited for {self.asked()}"
                            ": see what it waits for, then run this again"
                        ) from None
                    asked = self.asked()
                    if asked != said:  # on a busy machine what comes before the wait may take a second, too
                        console.say(f"waiting for the AWS login: {asked}")
                        said = asked
                    continue
                if kind == "done":
                    return value  # type: ignore[no-any-return]
                if kind == "failed":
                    raise value
                begun = time.monotonic()
                value.put(self.code_of_mfa())
                end += time.monotonic() - begun
        except Problem:
            self.end()
            raise
        except Exception as error:
            if self.logged_in and transient(error):  # it may come back while something is waited for
                raise
            raise self.problem(error) from error
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the programs that were started for the login, with what they have started."""
        import psutil

        for child in self.children:
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.poll() is None:
                    kill_with_children(psutil.Process(child.pid))

    def code_of_mfa(self) -> str:
        place = self.place("mfa_serial")
        serial = self.found("mfa_serial")
        if not console.interactive():
            raise Misconfigured(
                f"{place}: the role wants an MFA code of {serial}, and there is no terminal to ask at: run this at one, or set "
                "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN as aws sts assume-role --token-code prints them"
            )
        return console.ask(f"MFA code of {serial}:")

    # --- where it stands ----------------------------------------------------------------

    def files(self) -> list[Path]:
        """Return the config file and the credentials file."""
        names = (self.core.get_config_variable(name) for name in ("config_file", "credentials_file"))
        return [Path(os.path.expandvars(name)).expanduser() for name in names if name]

    def profiles(self) -> Mapping[str, Any]:
        from botocore.exceptions import BotoCoreError

        try:
            found: Mapping[str, Any] = self.core.full_config.get("profiles", {})
        except BotoCoreError:
            return {}
        return found

    def chain(self) -> list[str]:
        """Return the profile that is asked, after those by which it was come to."""
        names, known = [str(self.core.profile or "default")], self.profiles()
        while (source := known.get(names[-1], {}).get("source_profile")) and source not in names:
            names.append(str(source))
        return names

    def found(self, key: str) -> str:
        """Return a setting of the profiles that are asked in turn."""
        known = self.profiles()
        return next((str(known[name][key]) for name in self.chain() if key in known.get(name, {})), "")

    def place(self, *keys: str, variables: tuple[str, ...] = ()) -> OpenTarget:
        """Return where the first of these settings stands: of the profile that is asked, else of one that leads to it."""
        for name in dict.fromkeys([self.profile, *self.chain()]):
            for path in self.files():
                there = {key: number for number, key in reversed(list(lines(path, name)))}
                for key in keys:
                    if key in there:
                        return OpenTarget(name, f"{short(path)}:{there[key]}")
        if variable := next((name for name in variables if self.environ.get(name)), ""):
            return OpenTarget("", variable)
        for path in self.files():
            for number, _ in lines(path, self.profile):
                return OpenTarget(self.profile, f"{short(path)}:{number}")
        return OpenTarget(self.profile if self.core.profile else "")

    def asked(self) -> str:
        """Return what is being asked, in words."""
        provider = PROVIDERS.get(self.method, NOBODY)
        place = self.place(*provider.keys, variables=provider.variables)
        if self.method == "iam-role" and not place.origin.isupper():
            place = OpenTarget("")
        return f"{provider.what} ({place})" if str(place) else provider.what

    # --- what went wrong ----------------------------------------------------------------

    def without(self) -> str:
        """Return what to say where no provider had a login."""
        if not self.core.profile:
            return NO_LOGIN
        self.profile = str(self.core.profile)
        return (
            f"no AWS login: {self.place()} has none: aws configure --profile {self.profile} "
            f"(or aws sso login --profile {self.profile}), or correct AWS_PROFILE"
        )

    def problem(self, error: Exception) -> Problem:
        """Return what it means that a provider failed: what happened, where it is configured, and the next step."""
        from botocore import exceptions as e

        provider = PROVIDERS.get(self.method, NOBODY)
        keys, step = provider.keys, provider.step.format(profile=self.profile)
        why = scrubbed(flat(error))
        of: type[Problem] = Misconfigured
        match error:
            case e.BotoCoreError() if not self.method:
                return explain(error)
            case e.ConfigParseError() | e.ConfigNotFound() | e.ProfileNotFound():
                return of(f"AWS login: {unread(error, self)}")
            case e.PartialCredentialsError():
                why = f"{error.kwargs['cred_var']} is missing"
                if self.method == "assume-role":
                    step = "name one of them"
            case e.CredentialRetrievalError():
                why = scrubbed(flat(error.kwargs["error_msg"])) or "it failed and said nothing"
                if "credential_source" in why:
                    provider, keys = PROVIDERS["assume-role"], ("credential_source",)
                    why = f"{self.found('credential_source')} gives no login here"
                    step = "run this where there is one, or correct credential_source"
                elif self.method == "custom-process":
                    why = f"it failed: {why}"
            case e.InfiniteLoopConfigError():
                keys, step = ("source_profile",), "let the last of them be a profile with a login of its own"
                why = f"source_profile goes in a circle ({' -> '.join([*error.kwargs['visited_profiles'], error.kwargs['source_profile']])})"
            case e.InvalidConfigError():
                keys, step = ("source_profile", "credential_source", *keys), "correct that profile"
            case e.SSOTokenLoadError() | e.UnauthorizedSSOTokenError() | e.TokenRetrievalError():
                why = "you are not logged in there, or no longer"
            case e.LoginInsufficientPermissions():
                step = "ask for the right signin:CreateOAuth2Token, then " + step
            case e.InvalidRegionError():
                keys, step = ("sso_region", "region"), "correct that region"
            case e.MissingDependencyException():
                of, step = Problem, "pip install 'botocore[crt]'"
            case e.ClientError():
                return self.refused(error, provider)
            case e.HTTPClientError() | e.ConnectionError():
                return Problem(f"the AWS login: {self.asked()}: {explain(error)}")
            case e.ParamValidationError():
                keys = ("role_session_name", "external_id", "mfa_serial", *keys)
                step = "correct that setting (or the MFA code, which has six digits)"
            case OSError():
                why = f"{error.filename}: {error.strerror}" if error.filename else why
            case ValueError() | KeyError() | TypeError() | AttributeError():
                why = "what it gives is no login in the form that AWS wants"
                if str(error).startswith("Unsupported host"):
                    why = scrubbed(flat(error))
            case RuntimeError():
                why = "what it gives has expired"
        place = str(self.place(*keys, variables=provider.variables))
        return of(f"the AWS login: {provider.what}{f' ({place})' if place else ''}: {why}: {step}")

    def refused(self, error: Any, provider: Provider) -> Problem:
        """Return what it means that AWS gives no login for what a provider has."""
        said, what = code(error), scrubbed(flat(error.response.get("Error", {}).get("Message", "")))
        start = f"the AWS login: {self.asked()}: {error.operation_name}: {what} ({said})"
        if "MultiFactorAuthentication" in what:
            return Misconfigured(f"{start}: run this again, with the code that is shown next")
        if error.operation_name == "AssumeRole" and said in ("AccessDenied", "ValidationError"):
            source = self.found("source_profile") or self.found("credential_source")
            return Misconfigured(
                f"{start}: correct role_arn, or have the role trust {source or 'this login'} (sts:AssumeRole)"
            )
        if error.operation_name == "GetRoleCredentials":
            return Misconfigured(f"{start}: correct sso_account_id and sso_role_name, or ask to be let in there")
        if error.operation_name == "AssumeRoleWithWebIdentity":
            return Misconfigured(f"{start}: {provider.step.format(profile=self.profile)}")
        meant = explain(error)
        return type(meant)(f"the AWS login: {self.asked()}: {meant}")


def kill_with_children(process: Any) -> None:
    """Kill a `psutil.Process` with all that it has started: each stands still before its children are looked for, else it could start one more."""
    import psutil

    process.suspend()
    for child in process.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            kill_with_children(child)
    process.kill()


def short(path: Path) -> str:
    """Return a path as one types it, with ~ for one's home."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


def scrubbed(text: str) -> str:
    """Return a text of somebody else's, not long, and without what looks like a key or a token."""
    text = re.sub(r"(?i)((?:secret|token|password|passwd|key)\w*[\"']?\s*[=: ]\s*[\"']?)[^\s\"',}]{6,}", r"\1***", text)
    text = re.sub(r"\b(?=[\w+/=-]*[0-9])(?=[\w+/=-]*[A-Z])[\w+/=-]{20,}", "***", text)
    return text if len(text) <= 200 else f"{text[:200]}…"


def unread(error: Any, login: Login) -> str:
    """Return which of AWS's files cannot be read, or lacks the profile, and what to do."""
    from botocore import exceptions as e

    if isinstance(error, e.ConfigParseError):
        why: Any = error.kwargs.get("error")
        number = getattr(why, "lineno", None) or next(iter(getattr(why, "errors", [(0, "")])), (0, ""))[0]
        where = f"{short(Path(error.kwargs['path']))}{f':{number}' if number else ''}"
        return f"{where} cannot be read: correct that line ([profile NAME], then lines like region = ca-central-1)"
    if isinstance(error, e.ConfigNotFound):
        return f"{short(Path(error.kwargs['path']))} is not there: correct or unset the variable that names it"
    return missing(str(error.kwargs["profile"]), login)


def missing(profile: str, login: Login) -> str:
    """Return what to do where a profile is in none of the files."""
    config, *_ = login.files()
    for number, line in enumerate(config.read_text(errors="replace").splitlines() if config.is_file() else [], start=1):
        if re.fullmatch(rf"\[\s*{re.escape(profile)}\s*\]", line.strip()):
            return f"{short(config)}:{number}: write [profile {profile}] there"
    known = ", ".join(sorted(login.profiles())) or "none"
    files = " and ".join(short(path) for path in login.files())
    return f"there is no profile {profile} in {files} (there are: {known}): correct AWS_PROFILE, or aws configure --profile {profile}"
