"""lambda.sync-users: every confirmed user has a row, however many there are, and seeded rows find their people."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from config.settings import Settings
from ops.errors import Misconfigured, NoDatabase, Problem, Refused
from ops.lambdas.user_pool import link, sync
from tests.fix_aws import LOGIN, Killed, outcome
from tests.fix_cli import SUITE, Cli
from tests.fix_lambda import HOST, NAME, Stage


@pytest.fixture
def pool_id(stage: Stage) -> str:
    return stage.make_pool()


def sign_up(stage: Stage, pool_id: str, username: str, /, *, confirmed: bool = True, **attributes: str) -> str:
    """Add a user to the pool and return the sub."""
    client = stage.client("cognito-idp")
    given = [{"Name": key, "Value": value} for key, value in attributes.items()]
    user = client.admin_create_user(UserPoolId=pool_id, Username=username, UserAttributes=given)["User"]
    if confirmed:
        client.admin_set_user_password(UserPoolId=pool_id, Username=username, Password="Passw0rd!x", Permanent=True)
    return next(str(item["Value"]) for item in user["Attributes"] if item["Name"] == "sub")


def run(stage: Stage, pool_id: str, *, dry_run: bool = False, linking: bool = False) -> dict[str, int]:
    return dict(sync.sync_users(stage.settings(), stage.aws, pool_id, "", dry_run=dry_run, linking=linking).counts)


def row(stage: Stage, sub: str) -> dict[str, Any]:
    [found] = stage.database.query(f"select * from users where cognito_user_id = '{sub}'")
    return found


def test_inserts_exactly_those_who_have_no_row(stage: Stage, pool_id: str) -> None:
    ada = sign_up(stage, pool_id, "ada", email="ada@example.com", name="Ada", preferred_username="ada")
    sign_up(stage, pool_id, "new", confirmed=False)
    assert run(stage, pool_id) == {"inserted": 1, "skipped": 1}
    bob = sign_up(stage, pool_id, "bob", email="bob@example.com")  # without preferred_username
    assert run(stage, pool_id) == {"inserted": 1, "present": 1, "skipped": 1}
    assert run(stage, pool_id) == {"present": 2, "skipped": 1}
    assert (row(stage, ada)["handle"], row(stage, ada)["display_name"]) == ("ada", "Ada")
    assert (row(stage, bob)["handle"], row(stage, bob)["email"]) == ("bob", "bob@example.com")
    assert stage.database.scalar("select count(*) from users") == 2


def test_a_dry_run_counts_and_writes_nothing(stage: Stage, pool_id: str) -> None:
    sign_up(stage, pool_id, "ada")
    assert run(stage, pool_id, dry_run=True) == {"inserted": 1}
    assert stage.database.scalar("select count(*) from users") == 0


def test_says_whom_it_skips_and_why(stage: Stage, pool_id: str) -> None:
    sign_up(stage, pool_id, "new", confirmed=False)
    sign_up(stage, pool_id, "ada")
    stage.database.do("alter table users add check (handle <> 'ada')")
    report = sync.sync_users(stage.settings(), stage.aws, pool_id, "", dry_run=False, linking=False)
    assert report.lines() == [
        "inserted: 0",
        "linked: 0",
        "present: 0",
        "skipped: 2",
        "  1 not confirmed (FORCE_CHANGE_PASSWORD)",
        "  1 refused by the table: CheckViolation (users_handle_check)",
    ]


def test_a_handle_that_is_taken_is_reported(stage: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        sign_up(stage, pool_id, name, preferred_username="same")
    assert run(stage, pool_id) == {"inserted": 2}
    assert "handle stored otherwise than in the pool" in capsys.readouterr().err
    assert stage.database.scalar("select count(distinct handle) from users") == 2


class Pages:
    """A pool of many users, as Cognito pages it: it makes each page when it is asked for."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.asked = 0

    def get_paginator(self, name: str) -> Pages:
        assert name == "list_users"
        return self

    def paginate(self, *, UserPoolId: str, PaginationConfig: dict[str, int]) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert UserPoolId
        size = PaginationConfig["PageSize"]
        assert size <= 60
        for start in range(0, self.total, size):
            self.asked += 1
            yield {"Users": [user(number) for number in range(start, min(start + size, self.total))]}


def user(number: int) -> dict[str, Any]:
    sub = f"00000000-0000-4000-8000-{number:012}"
    attributes = {
        "sub": sub,
        "email": f"u{number}@example.com",
        "name": f"User {number}",
        "preferred_username": f"u{number}",
    }
    status = "UNCONFIRMED" if number % 10 == 9 else "CONFIRMED"
    items = [{"Name": key, "Value": value} for key, value in attributes.items()]
    return {"Username": sub, "Attributes": items, "UserStatus": status}


def test_a_hundred_thousand_users_fit_in_bounded_memory(stage: Stage) -> None:
    """All but the last hundred are there already, as after a first run."""
    total = 100_000
    stage.database.do(
        "insert into users (display_name, handle, email, cognito_user_id) select 'User ' || n, 'u' || n, "
        "'u' || n || '@example.com', format('00000000-0000-4000-8000-%s', lpad(n::text, 12, '0')) "
        f"from generate_series(0, {total - 101}) n where n % 10 <> 9"
    )
    pages: Any = Pages(total)
    report = sync.Report()
    peaks = []
    tracemalloc.start()
    try:
        with stage.database.connect() as conn:
            for number, page in enumerate(sync.pages(pages, "pool")):
                sync.sync(conn, page, report)
                if number in (50, 1600):
                    peaks.append(tracemalloc.get_traced_memory()[1])
                    tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    assert pages.asked == 1667
    assert dict(report.counts) == {"present": 89_910, "inserted": 90, "skipped": 10_000}
    assert report.skipped == {"not confirmed (UNCONFIRMED)": 10_000}
    early, late = peaks
    print(f"peak of the first 50 pages {early / 1e6:.1f} MB, of the next 1550 {late / 1e6:.1f} MB")
    assert late < early + 1_000_000
    assert stage.database.scalar("select count(*) from users") == 90_000


def test_the_wire_is_paged_too(stage: Stage, pool_id: str) -> None:
    for number in range(61):
        sign_up(stage, pool_id, f"u{number}")
    stage.cloud.forget()
    assert run(stage, pool_id) == {"inserted": 61}
    asked = [call.action for call in stage.cloud.calls]
    assert asked == ["DescribeUserPool", f"GET /2015-03-31/functions/{NAME}", "ListUsers", "ListUsers"]


# --- linking ------------------------------------------------------------------------------


def seed(stage: Stage, handle: str, email: str | None, id: str | None = "MOCK") -> None:
    with stage.database.connect() as conn:
        conn.execute(
            "insert into users (display_name, handle, email, cognito_user_id) values (%s, %s, %s, %s)",
            [handle, handle, email, id],
        )


def test_seeded_rows_are_given_to_those_they_were_meant_for(stage: Stage, pool_id: str) -> None:
    stage.database.do("alter table users drop constraint users_cognito_user_id_key")  # one mock id for all
    seed(stage, "andrewbrown", "a@example.com")
    seed(stage, "bayko", "bayko@example.com")
    seed(stage, "londo", None)
    by_handle = sign_up(stage, pool_id, "x", preferred_username="AndrewBrown")
    by_email = sign_up(stage, pool_id, "y", email="Bayko@example.com", email_verified="true")
    assert run(stage, pool_id, dry_run=True, linking=True) == {"linked": 2}
    assert stage.database.scalar("select count(*) from users where cognito_user_id = 'MOCK'") == 3
    assert run(stage, pool_id, linking=True) == {"linked": 2}
    assert (row(stage, by_handle)["handle"], row(stage, by_email)["handle"]) == ("andrewbrown", "bayko")
    assert run(stage, pool_id, linking=True) == {"present": 2}
    assert stage.database.scalar("select handle from users where cognito_user_id = 'MOCK'") == "londo"


def test_without_the_option_nothing_is_linked(stage: Stage, pool_id: str) -> None:
    seed(stage, "bayko", None)
    sign_up(stage, pool_id, "x", preferred_username="bayko")
    assert run(stage, pool_id) == {"inserted": 1}
    assert stage.database.scalar("select count(*) from users where cognito_user_id = 'MOCK'") == 1


def test_an_address_that_was_not_verified_links_nothing(stage: Stage, pool_id: str) -> None:
    seed(stage, "bayko", "bayko@example.com")
    sign_up(stage, pool_id, "x", email="bayko@example.com", email_verified="false")
    assert run(stage, pool_id, linking=True) == {"inserted": 1}


def test_a_row_that_is_somebodys_is_never_given_away(stage: Stage, pool_id: str) -> None:
    real = sign_up(stage, pool_id, "x", email="x@example.com")
    seed(stage, "bayko", None, real)
    other = sign_up(stage, pool_id, "y", preferred_username="bayko")
    assert run(stage, pool_id, linking=True) == {"present": 1, "inserted": 1}
    assert row(stage, real)["handle"] == "bayko"
    assert row(stage, other)["handle"].startswith("bayko-")


def test_a_row_of_a_user_whom_the_pool_has_no_more_wants_the_verified_address(stage: Stage, pool_id: str) -> None:
    """Deleted and signed up again: the old sub is nobody's; but anybody may choose the handle."""
    seed(stage, "bayko", "bayko@example.com", "00000000-0000-4000-8000-000000000001")
    stranger = sign_up(stage, pool_id, "x", preferred_username="bayko", email="bayko@example.com")
    assert run(stage, pool_id, linking=True) == {"inserted": 1}
    assert row(stage, stranger)["handle"].startswith("bayko-")
    stage.client("cognito-idp").admin_delete_user(UserPoolId=pool_id, Username="x")
    sub = sign_up(stage, pool_id, "y", preferred_username="bayko", email="bayko@example.com", email_verified="true")
    stage.database.do(f"delete from users where cognito_user_id = '{stranger}'")
    assert run(stage, pool_id, linking=True) == {"linked": 1}
    assert row(stage, sub)["handle"] == "bayko"


def test_doubt_links_nothing_inserts_nothing_and_is_reported(stage: Stage, pool_id: str) -> None:
    seed(stage, "bayko", None, "MOCK-1")
    seed(stage, "other", "b@example.com", "MOCK-2")
    sign_up(stage, pool_id, "two rows", preferred_username="bayko", email="b@example.com", email_verified="true")
    seed(stage, "londo", None, "MOCK-3")
    for name in ("first", "second"):
        sign_up(stage, pool_id, name, preferred_username="londo")
    report = sync.sync_users(stage.settings(), stage.aws, pool_id, "", dry_run=False, linking=True)
    assert report.skipped == {
        "matching several rows, to be linked by hand": 1,
        "matching a row that other users match, too, to be linked by hand": 2,
    }
    assert stage.database.scalar("select count(*) from users where cognito_user_id like 'MOCK%'") == 3
    assert stage.database.scalar("select count(*) from users") == 3


def test_a_row_that_was_taken_meanwhile_is_left(stage: Stage, pool_id: str) -> None:
    from functions.post_confirmation.people import Person

    seed(stage, "bayko", None)
    links = link.Links(stage.client("cognito-idp"), pool_id, dry_run=False)
    person = Person("b", "bayko", None, "sub")
    with stage.database.connect() as conn:
        [found] = conn.execute(link.MATCHES, {"email": None, "handle": "bayko"}).fetchall()
        conn.execute("update users set cognito_user_id = 'taken'")
        assert links.change(conn, person, found) == ""


@pytest.mark.parametrize("id", ["MOCK", None, "no-uuid-but-long-enough-to-be-one-perhaps"])
def test_an_id_of_any_kind_or_none_may_be_a_made_up_one(stage: Stage, pool_id: str, id: str | None) -> None:
    stage.database.do("alter table users alter cognito_user_id drop not null")
    seed(stage, "bayko", None, id)
    sub = sign_up(stage, pool_id, "y", preferred_username="bayko")
    assert run(stage, pool_id, linking=True) == {"linked": 1}
    assert row(stage, sub)["handle"] == "bayko"


@pytest.mark.parametrize("kind", ["uuid using null", "char(40)", "varchar(80)"])
def test_a_column_of_any_type_is_compared_and_linked(stage: Stage, pool_id: str, kind: str) -> None:
    """A uuid column can hold no mock id that is told from a real one, but null."""
    stage.database.do("alter table users alter cognito_user_id drop not null")
    stage.database.do(f"alter table users alter cognito_user_id type {kind}")
    seed(stage, "bayko", None, None)
    seed(stage, "londo", "londo@example.com", "00000000-0000-4000-8000-000000000001")
    subs = [
        sign_up(stage, pool_id, "x", preferred_username="bayko"),
        sign_up(stage, pool_id, "y", email="londo@example.com", email_verified="true"),
        sign_up(stage, pool_id, "z", preferred_username="vir"),
    ]
    assert run(stage, pool_id, dry_run=True, linking=True) == {"linked": 2, "inserted": 1}
    assert run(stage, pool_id, linking=True) == {"linked": 2, "inserted": 1}
    assert [row(stage, sub)["handle"] for sub in subs] == ["bayko", "londo", "vir"]
    assert (
        run(stage, pool_id) == run(stage, pool_id, dry_run=True) == run(stage, pool_id, linking=True) == {"present": 3}
    )


@pytest.mark.parametrize("names", [("Bayko", "BAYKO"), ("bayko", "Bayko"), ("BAYKO", "bayko")])
def test_users_who_differ_by_capitals_only_are_a_doubt(stage: Stage, pool_id: str, names: tuple[str, str]) -> None:
    seed(stage, "bayko", None)
    seed(stage, "londo", "londo@example.com", "MOCK-2")
    for name in names:
        sign_up(stage, pool_id, f"by handle {name}", preferred_username=name)
    for address in ("Londo@example.com", "LONDO@example.com"):
        sign_up(stage, pool_id, address, email=address, email_verified="true")
    assert run(stage, pool_id, linking=True) == {"skipped": 4}
    assert stage.database.scalar("select count(*) from users where cognito_user_id like 'MOCK%'") == 2


def test_a_seeded_row_of_somebody_who_has_another_one_is_reported(
    stage: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ada = sign_up(stage, pool_id, "ada", preferred_username="ada", email="Ada@example.com", email_verified="true")
    sign_up(stage, pool_id, "bob", preferred_username="bob", email="ada@example.com", email_verified="false")
    assert run(stage, pool_id) == {"inserted": 2}
    seed(stage, "lovelace", "ada@Example.com")
    for dry_run in (True, False):
        assert run(stage, pool_id, linking=True, dry_run=dry_run) == {"present": 2}
        said = [line for line in capsys.readouterr().err.splitlines() if "seeded" in line]
        assert said == [f"{ada}: has a row of their own; the seeded row lovelace was left"]
    assert run(stage, pool_id) == {"present": 2}
    assert "seeded" not in capsys.readouterr().err


# --- what stands in the way ---------------------------------------------------------------


def test_no_pool_no_table_and_no_database_are_said(stage: Stage, pool_id: str) -> None:
    with pytest.raises(Misconfigured, match=r"no user pool ca-central-1_None"):
        run(stage, "ca-central-1_None")
    sign_up(stage, pool_id, "ada")
    stage.database.do("alter table users rename to people")
    with pytest.raises(
        Problem, match=r'public\.users of .* \(relation "public.users" does not exist\): .*inv db\.setup -t prod'
    ):
        run(stage, pool_id)
    stage.database.do(f'drop database "{stage.database.name}" with (force)', "postgres")
    with pytest.raises(NoDatabase, match=r"inv db\.setup -t prod"):
        run(stage, pool_id)


def test_a_column_that_is_not_there_ends_it_before_the_first_user(stage: Stage, pool_id: str) -> None:
    for name in ("ada", "bob"):
        sign_up(stage, pool_id, name)
    stage.database.do("alter table users drop column display_name")
    for dry_run in (True, False):
        stage.cloud.forget()
        with pytest.raises(
            Problem, match=r'is not as the function needs it .column "display_name" does not exist.: mend'
        ):
            run(stage, pool_id, dry_run=dry_run)
        assert "ListUsers" not in [call.action for call in stage.cloud.calls]


def test_a_column_that_goes_on_the_way_ends_it_too(stage: Stage, pool_id: str) -> None:
    """As one that a trigger of the table's own names."""
    for name in ("ada", "bob"):
        sign_up(stage, pool_id, name)
    stage.database.do(
        "create function f() returns trigger language plpgsql as 'begin perform gone from users; return new; end';"
        "create trigger t before insert on users for each row execute function f()"
    )
    with pytest.raises(Problem, match=r'is not as the function needs it .column "gone" does not exist.'):
        run(stage, pool_id)


# --- the pool and the database of one application -----------------------------------------


@pytest.fixture
def attached(stage: Stage, pool_id: str) -> Stage:
    """The function deployed, and the pool's trigger."""
    stage.deploy()
    stage.attach(pool_id)
    sign_up(stage, pool_id, "ada")
    return stage


def test_what_is_deployed_together_needs_no_name(
    attached: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(attached, pool_id) == {"inserted": 1}
    assert "note: " not in capsys.readouterr().err
    with pytest.raises(Refused, match="--confirm other is not the name of this database"):
        sync.sync_users(attached.settings(), attached.aws, pool_id, "", dry_run=False, linking=False, confirm="other")


def test_before_a_deployment_it_is_said_that_nothing_tells(
    stage: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sign_up(stage, pool_id, "ada")
    assert run(stage, pool_id) == {"inserted": 1}
    assert f"note: there is no function {NAME} yet, which would tell whether" in capsys.readouterr().err


def refused(stage: Stage, pool_id: str, settings: Settings, dbname: str) -> None:
    """See that nothing is inserted without the database's name, that a dry run goes, and the name is enough."""

    def go(*, dry_run: bool = False, confirm: str = "") -> dict[str, int]:
        report = sync.sync_users(settings, stage.aws, pool_id, "", dry_run=dry_run, linking=False, confirm=confirm)
        return dict(report.counts)

    with pytest.raises(Refused, match=rf"sync-users on production .*add --confirm {dbname}"):
        go()
    assert go(dry_run=True) == {"inserted": 1}
    assert go(confirm=dbname) == {"inserted": 1}


def test_another_applications_pool_wants_the_name(
    attached: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = attached.make_pool()
    sign_up(attached, other, "mallory")
    refused(attached, other, attached.settings(), attached.database.name)
    assert f"note: the pool {other} calls nothing and not {NAME} (inv lambda.attach)" in capsys.readouterr().err
    assert run(attached, pool_id) == {"inserted": 1}


def test_another_applications_database_wants_the_name(
    attached: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = f"{attached.database.name}__x"
    attached.database.do(f'create database "{name}"', "postgres")
    attached.database.do((SUITE / "sql" / "schema.sql").read_text(encoding="utf-8"), name)
    url = attached.settings().vars.get("PROD_CONNECTION_URL").replace(f"/{attached.database.name}", f"/{name}")
    refused(attached, pool_id, attached.settings(PROD_CONNECTION_URL=url), name)
    port = attached.database.server.port
    assert f"note: {NAME} writes to {HOST}:{port}/{attached.database.name} and not to {HOST}:{port}/{name}" in (
        capsys.readouterr().err
    )
    assert attached.database.scalar("select count(*) from users") == 0


def test_a_function_without_a_url_tells_no_database(
    attached: Stage, pool_id: str, capsys: pytest.CaptureFixture[str]
) -> None:
    attached.client("lambda").update_function_configuration(FunctionName=NAME, Environment={"Variables": {}})
    refused(attached, pool_id, attached.settings(), attached.database.name)
    assert f"note: {NAME} has no CONNECTION_URL that tells its database (inv lambda.deploy)" in capsys.readouterr().err


def test_a_local_database_is_told_of_it_and_filled(
    attached: Stage, pool_id: str, inv: Cli, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who names it knows that it is none that the function writes to; production under its name is guarded as such."""
    inv.ok("db.setup")
    variables = {name: attached.settings().vars.get(name) for name in (*LOGIN, "AWS_ENDPOINT_URL")}
    done = inv("lambda.sync-users", "--pool", pool_id, "--target", "local", env=variables)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "inserted: 1")
    assert f"note: {NAME} writes to {HOST}:" in done.stderr
    pasted = {**variables, "CONNECTION_URL": attached.database.url}
    done = inv("lambda.sync-users", "--pool", pool_id, "--target", "local", env=pasted)
    assert done.returncode == 2
    assert f"--confirm {attached.database.name}" in done.stderr


def test_cut_off_at_any_user_the_next_run_inserts_the_rest(
    stage: Stage, pool_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process dies before a statement of it, or once the server has it: nobody is there twice, or half."""
    for name in ("ada", "bob", "cleo"):
        sign_up(stage, pool_id, name, email=f"{name}@example.com", preferred_username=name)
    monkeypatch.setattr(sync, "PAGE", 2)
    execute, done, number = psycopg.Connection.execute, 0, 0

    def counted(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal done
        done += 1
        if done == number and number % 2:
            self.close()
            raise Killed
        result = execute(self, query, *args, **kwargs)
        if done == number:
            self.close()
            raise Killed
        return result

    while True:
        number, done = number + 1, 0
        stage.database.do("truncate users cascade")
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "execute", counted)
            died = outcome(lambda: run(stage, pool_id))
        found = stage.database.query("select handle, email from users")
        assert all(row["email"] == f"{row['handle']}@example.com" for row in found)
        run(stage, pool_id)
        handles = [row["handle"] for row in stage.database.query("select handle from users order by 1")]
        assert handles == ["ada", "bob", "cleo"], f"after statement {number}"
        if not died:
            break
    assert number > 8


def test_users_whom_the_table_refuses_end_in_1() -> None:
    report = sync.Report()
    report.skip("not confirmed (UNCONFIRMED)")
    assert report.refused == 0
    report.skip(f"{sync.REFUSED}: CheckViolation (users_handle_check)")
    assert report.refused == 1
