"""lambda.status tries the function's login from here: by reading alone, and for seconds only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from config.settings import Settings
from config.sign_up import COLUMNS, TABLE
from config.targets import Target, reached
from ops import postgres
from ops.console import hide
from ops.db.rights import SEQUENCES
from ops.errors import NoDatabase, NotAllowed, Problem, WrongLogin
from ops.lambdas.plan import Name
from ops.rds import prod
from ops.targets import iam
from ops.targets.tunnel import way

SECONDS = 2
"""How long a closed door, and a server that is busy, are waited for."""
READ = ("cognito_user_id", "handle")
"""The columns by which the function looks whom it has stored."""
FOUND = f"""
with users as (select c.oid from pg_class c join pg_namespace n on n.oid = relnamespace
                where nspname || '.' || relname = '{TABLE}'),
     columns as (select users.oid, attname::text as name from users join pg_attribute on attrelid = users.oid
                  where attnum > 0 and not attisdropped)
select exists (select from users) as there,
       array(select name from unnest(array{list(COLUMNS)}) name where name not in (select name from columns)) as missing,
       array(select 'USAGE on schema public' from pg_namespace
              where nspname = 'public' and not has_schema_privilege(oid, 'usage')
             union all
             select may || ' (' || string_agg(name, ', ' order by name) || ') on {TABLE}' from columns, (values ('SELECT'), ('INSERT')) m (may)
              where name = any(case may when 'SELECT' then array{list(READ)} else array{list(COLUMNS)} end)
                and not has_column_privilege(oid, name, may) group by may
             union all
             select 'USAGE on ' || name from ({SEQUENCES}) s where not has_sequence_privilege(oid, 'usage, update')
       ) as lacking
"""


Trial = Literal["lets_in", "refused"]


@dataclass(frozen=True)
class Drift:
    """What is not as deploy and attach made it."""

    part: Name | Literal["runtime", "architecture", "login", "database", "instance", "network", "pool", "snapshot"]
    """What it is about."""
    message: str
    """What is wrong, and the command that puts it right, in words."""

    def __str__(self) -> str:
        return self.message


class Outcome(NamedTuple):
    """What came of the login."""

    word: Trial | None
    """None: it was not tried."""
    note: str | None = None
    """Why not, in words."""
    drift: Sequence[Drift] = ()
    """What the function cannot do."""


def check_login(settings: Settings, login: Target, redeploy: str) -> Outcome:
    """Try the login, and what the function needs of the database."""
    import psycopg

    user = login.params.get("user", "")
    hide(login.password)
    try:
        login = reached(settings, replace(login, name=settings.focus.name)).on(
            connect_timeout=str(SECONDS), tcp_user_timeout=str(SECONDS * 1000)
        )
        login = way.led(settings, login)
        prod.require_certificates(settings, login)
        if not login.password:
            login = iam.by_token(settings, login)
        with postgres.connect(login, task="lambda.status") as conn:
            conn.read_only = True
            with conn.transaction():
                conn.execute(f"set local statement_timeout = '{SECONDS}s'")
                found = postgres.row(conn, FOUND)
    except WrongLogin as error:
        if login.token and "token is refused" in str(error):  # for want of a right that the function's role may have
            return Outcome(None, str(error))
        what = f"the database refuses the password or the role of the function, {user}: {redeploy}"
        return Outcome("refused", drift=[Drift("login", what)])
    except NotAllowed:
        what = f"{user} may not connect to the database {login.dbname}: {redeploy}"
        return Outcome("refused", drift=[Drift("login", what)])
    except NoDatabase as error:
        return Outcome("lets_in", drift=[Drift("database", str(error))])
    except (Problem, psycopg.Error) as error:
        return Outcome(None, " ".join(str(error).split()))
    setup = f"inv db.setup -t {settings.focus.name}"
    drift = []
    if not found["there"]:
        drift.append(Drift("database", f"{login.dbname} has no table {TABLE}: {setup}"))
    elif found["missing"]:
        missing = ", ".join(found["missing"])
        what = f"{TABLE} has no column {missing}: add it to sql/schema.sql, then {setup}"
        drift.append(Drift("database", what))
    drift += [Drift("database_rights", f"{user} lacks {right}: {redeploy}") for right in found["lacking"]]
    return Outcome("lets_in", drift=drift)
