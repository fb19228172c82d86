"""Which targets there are: three built in, and those that `targets:` of invoke.yaml names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, NoReturn

from config.defaults import DEFAULTS

OWN_SECTIONS = ("rds", "lambda", "door")
"""What a target may set for itself; the top level is the default."""
KEYS = ("url", "read_url", "via", "protected", *OWN_SECTIONS)


Word = Literal["embedded", "compose", "rds", "server"]


class Kind(Enum):
    """Who keeps the server behind a target: it is found, started and stopped accordingly."""

    EMBEDDED = "the embedded server"
    COMPOSE = "the service of docker-compose.yml"
    RDS = "an instance of RDS"
    SERVER = "a server of its own"

    @property
    def word(self) -> Word:
        """The word for it in JSON."""
        match self:
            case Kind.EMBEDDED:
                return "embedded"
            case Kind.COMPOSE:
                return "compose"
            case Kind.RDS:
                return "rds"
            case Kind.SERVER:
                return "server"
            case never:
                return assert_never(never)


def assert_never(value: NoReturn) -> NoReturn:
    """Have the type check fail where a kind is forgotten (typing's own is of Python 3.11)."""
    raise AssertionError(value)


class Names(NamedTuple):
    """The variables of a target; one that it has not is empty, and so never set."""

    url: str
    endpoint: str = ""
    port: str = ""
    user: str = ""
    password: str = ""
    next_password: str = ""
    """Holds the next one, while rds.rotate-password puts it in place of `password`."""
    hostaddr: str = ""
    sslmode: str = ""
    sslrootcert: str = ""
    via: str = ""
    """The bastion through which it is reached."""
    read_url: str = ""
    """The URL of its replica."""
    group: str = ""
    """The security group that rds.allow-my-ip opens."""
    rule: str = ""
    pools: tuple[str, ...] = ()
    """The user pool of its function, by any of these."""

    @property
    def login(self) -> tuple[str, str]:
        return self.user, self.password


PROD = Names(
    url="PROD_CONNECTION_URL",
    endpoint="PROD_DB_ENDPOINT",
    port="POSTGRES_PORT",
    user="POSTGRES_MASTER_USERNAME",
    password="POSTGRES_MASTER_PASSWORD",  # noqa: S106 - its name
    next_password="POSTGRES_MASTER_PASSWORD_NEXT",  # noqa: S106 - its name
    hostaddr="PROD_DB_HOSTADDR",
    sslmode="PROD_DB_SSLMODE",
    sslrootcert="PROD_DB_SSLROOTCERT",
    via="PROD_DB_VIA",
    read_url="PROD_READ_CONNECTION_URL",
    group="DB_SG_ID",
    rule="DB_SG_RULE_ID",
    pools=("AWS_COGNITO_USER_POOL_ID", "AWS_USER_POOLS_ID"),
)


def names_of(name: str, url: str = "", read_url: str = "") -> Names:
    """Return the variables of a target of the user's own: all of them begin with its name."""
    prefix = name.upper().replace("-", "_")
    return Names(
        url=url or f"{prefix}_CONNECTION_URL",
        endpoint=f"{prefix}_DB_ENDPOINT",
        port=f"{prefix}_DB_PORT",
        user=f"{prefix}_MASTER_USERNAME",
        password=f"{prefix}_MASTER_PASSWORD",
        next_password=f"{prefix}_MASTER_PASSWORD_NEXT",
        hostaddr=f"{prefix}_DB_HOSTADDR",
        sslmode=f"{prefix}_DB_SSLMODE",
        sslrootcert=f"{prefix}_DB_SSLROOTCERT",
        via=f"{prefix}_DB_VIA",
        read_url=read_url or f"{prefix}_READ_CONNECTION_URL",
        group=f"{prefix}_DB_SG_ID",
        rule=f"{prefix}_DB_SG_RULE_ID",
        pools=(f"{prefix}_COGNITO_USER_POOL_ID",),
    )


class Declared(NamedTuple):
    """A target as it is named, before any of its variables is read."""

    name: str
    names: Names
    kinds: tuple[Kind, ...]
    """What it can be: its variables decide where there are several."""
    protected: bool = False
    """Production by declaration; what is not may be production all the same."""
    sections: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    """Its own settings, over those of the top level."""
    via: str = ""
    """The way to it, where its variable names none."""


BUILT_IN = {
    each.name: each
    for each in (
        Declared("local", Names("CONNECTION_URL", pools=PROD.pools), (Kind.EMBEDDED, Kind.SERVER)),
        Declared(
            "docker",
            Names("CONNECTION_LOCAL_DOCKER_URL", read_url="DOCKER_READ_CONNECTION_URL", pools=PROD.pools),
            (Kind.COMPOSE,),
        ),
        Declared("prod", PROD, (Kind.RDS,), protected=True),
    )
}


def declared(config: Mapping[str, Any]) -> tuple[dict[str, Declared], list[str]]:
    """Return all targets by name, and what of `targets:` cannot be meant."""
    found, faults = dict(BUILT_IN), []
    for name, about in config.items():
        where = f"targets.{name} in invoke.yaml"
        if name in BUILT_IN:
            faults.append(f"{where}: {name} is built in: its settings are those of the top level, give another name")
        elif not re.fullmatch(r"[a-z](-?[a-z0-9])*", str(name)) or len(name) > 20:
            faults.append(f"{where}: name it in at most 20 lower-case letters, digits and hyphens, a letter first")
        elif not isinstance(about, Mapping):
            faults.append(f'{where}: write it as a section, like {{url: "{names_of(name).url}"}}')
        else:
            faults += [f"{where}: {what}" for what in wrong(about)]
            sections = {part: about[part] for part in OWN_SECTIONS if isinstance(about.get(part), Mapping)}
            kinds = (Kind.RDS, Kind.SERVER)
            names = names_of(name, str(about.get("url") or ""), str(about.get("read_url") or ""))
            via = str(about.get("via") or "")
            found[name] = Declared(name, names, kinds, about.get("protected") == "yes", sections, via)
    return found, [*faults, *shared(found.values())]


def wrong(about: Mapping[str, Any]) -> Iterable[str]:
    """Yield what of a target's section cannot be meant."""
    for key, value in about.items():
        if key not in KEYS:
            yield f"there is no setting {key}, use one of {', '.join(KEYS)}"
        elif key in ("url", "read_url") and not re.fullmatch(r"[A-Za-z_]\w*", str(value)):
            yield f"{key}: give the name of the variable that holds the URL, and never the URL itself"
        elif key == "via" and (why := wrong_way(str(value))):
            yield f"via: {why}"
        elif key == "protected" and value not in ("yes", "no"):
            yield f'protected: {value!r} is none of "yes", "no"'
        elif key in OWN_SECTIONS and not isinstance(value, Mapping):
            yield f"{key}: write it as a section with {', '.join(DEFAULTS[key])}"
        elif key in OWN_SECTIONS:
            yield from (f"{key}.{one}: no such setting" for one in value if one not in DEFAULTS[key])


def wrong_way(text: str) -> str:
    """Return what of a way to a target cannot be meant, or nothing."""
    from config import via

    return via.wrong(text)


def shared(targets: Iterable[Declared]) -> Iterable[str]:
    """Yield which targets would read each other's variables."""
    taken: dict[str, str] = {}
    for target in targets:
        if target.names.url in taken:
            yield f"targets.{target.name} in invoke.yaml: url: {target.names.url} is the variable of {taken[target.names.url]}"
        taken.setdefault(target.names.url, target.name)


def overlaid(config: Mapping[str, Any], target: Declared) -> Mapping[str, Any]:
    """Return the configuration as one target has it.

    What would be shared with production, were it left out, is named after the target: its instance and its function.
    """
    if target.name in BUILT_IN:
        return config
    top = {part: {**DEFAULTS[part], **config.get(part, {})} for part in OWN_SECTIONS}
    own = {"rds": {"identifier": f"{top['rds']['identifier']}-{target.name}"}}
    own["lambda"] = {"function": f"{top['lambda']['function']}-{target.name}"}
    return {**config, **{part: {**top[part], **own.get(part, {}), **target.sections.get(part, {})} for part in top}}
