"""Every task: what it writes, and by which tests it is cut off and killed at each step.

A task that is not here, a test that is not there, or one that is not about the task fails tests/faults/test_table.py;
docs/reliability.md is made of this.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

What = Literal["SQL", "AWS", "files", "processes"]


@dataclass(frozen=True)
class Ref:
    """A test, and by which words it is known to be about the task."""

    test: str
    """As pytest names it; one with parameters ends at the `[` behind which the task's own begin."""
    words: str
    """What stands in the test, in what it calls or in its parameters."""


@dataclass(frozen=True)
class Row:
    """A task that writes."""

    writes: tuple[What, ...]
    cut: tuple[Ref, ...] = ()
    """The server, AWS or the disk goes away at each step."""
    killed: tuple[Ref, ...] = ()
    """The process itself dies at each step."""
    why_not: str = ""
    """Why one of both is not there."""


def proxied(title: str) -> Ref:
    """Return the cells of an act whose connection breaks off at each of its phases."""
    return Ref(f"tests/test_cut.py::test_a_cut_task_says_what_became_of_the_data[{title}: ", title)


def lost(name: str, room: str = "rds") -> Ref:
    """Return the scene in which the answer to each write of a task's is lost."""
    by = "rds" if room == "rds" else "the_function"
    return Ref(f"tests/test_aws_cut.py::test_a_lost_answer_of_{by}_leaves_one_of_each[{name}]", name)


def dead(name: str) -> Ref:
    """Return the scene in which the process dies at each write to AWS."""
    of = "_of_the_function" if name.startswith("lambda.") else ""
    return Ref(f"tests/faults/test_killed_aws.py::test_killed_at_any_write{of}_the_next_run_ends_it[{name}]", name)


def at_each_message(title: str) -> Ref:
    """Return the cells of a task that is killed at each of its messages to the server."""
    return Ref(f"tests/faults/test_killed.py::test_killed_at_each_message_it_is_the_old_or_the_new[{title}]", title)


def stepped(*names: str) -> tuple[Ref, ...]:
    """Return the cells of tasks that are killed at the steps that they tell themselves."""
    return tuple(Ref(f"tests/faults/test_steps.py::test_dies_at_its_steps[{name}]", name) for name in names)


def ref(file: str, test: str, words: str) -> Ref:
    return Ref(f"tests/test_{file}.py::test_{test}", words)


READS: dict[str, str] = {
    "agent": "answers, in transactions that may not write and are rolled back",
    "app.logs": "reads what the container has logged",
    "app.run": "becomes gunicorn, which reads",
    "bench": "measures in copies of the suite; --write replaces one table of docs/performance.md",
    "db.access": "asks the catalog",
    "db.branches": "asks the catalog",
    "db.compare": "asks two catalogs",
    "db.connect": "becomes psql or pgcli: what is written there, a person writes",
    "db.diagnose": "asks the catalog",
    "db.diagram": "asks the catalog; --file writes one picture beside and renames it",
    "db.migration-lint": "reads files",
    "db.migrations": "asks the history",
    "db.previous": "asks the catalog",
    "db.query": "reads, in a transaction that may not write",
    "db.sessions": "asks the catalog",
    "db.status": "asks the catalog",
    "db.url": "prints",
    "db.wait": "asks whether somebody answers",
    "doctor": "looks",
    "env.show": "prints",
    "lambda.logs": "asks AWS",
    "lambda.sign-ups": "asks AWS",
    "lambda.status": "asks AWS",
    "lint": "looks; --fix is git's to take back",
    "look": "serves what it reads; --save writes one file beside and renames it",
    "rds.connect-policy": "prints",
    "rds.endpoint": "asks AWS",
    "rds.events": "asks AWS",
    "rds.logs": "asks AWS",
    "rds.rules": "asks AWS",
    "rds.status": "asks AWS",
    "sandbox.status": "looks",
    "soak": "works on a server and in clones of its own, which are gone after",
    "test": "runs pytest",
}
"""Tasks that write nothing which could be half done."""

WRITES: dict[str, Row] = {
    "adopt": Row(
        ("files",),
        (ref("adopt", "cut_off_at_any_file_the_next_run_goes_on", "DIES"),),
        (ref("adopt", "killed", "adopt"),),
    ),
    "app.down": Row(("processes",), (), (), "docker compose does it, and doing it again is well"),
    "app.up": Row(("processes",), (), (), "docker compose does it, and doing it again is well"),
    "db.branch": Row(
        ("SQL",),
        (ref("branches", "cut_off_what_became_of_it_is_told_and_the_next_run_does_the_rest", "branches.branch"),),
        stepped("db.branch", "db.branch --delete", "db.branch --prune"),
    ),
    "db.create": Row(("SQL",), (proxied("create"),), (at_each_message("db.create"),)),
    "db.down": Row(
        ("processes", "files"),
        (ref("own", "what_a_killed_runs_program_still_writes_goes_too", "own_files.remove"),),
        (ref("server", "what_a_killed_initdb_leaves", "db."), *stepped("db.down", "db.down --wipe")),
    ),
    "db.drift": Row(
        ("processes", "files"),
        (),
        stepped("db.drift"),
        "it only asks the target; beside it there is a server of its own",
    ),
    "db.drop": Row(
        ("SQL",),
        (proxied("drop"), ref("killed", "cut_at_each_statement", "swap.drop")),
        (ref("killed", "drop_undo_and_seed_killed_at_random_moments", "db.drop"),),
    ),
    "db.dump": Row(
        ("files",),
        (
            ref("dump", "a_server_that_goes_away_at_any_byte_leaves_what_was_there", "dump"),
            ref("dump", "a_disk_that_fills_up", "dump"),
        ),
        (
            ref("dump", "a_run_that_is_ended_leaves_the_file_as_it_was_and_the_next_one_clears_up", "db.dump"),
            ref("dump", "killed_anywhere_it_is_the_old_one_or_the_new_one", "beside"),
        ),
    ),
    "db.grant-access": Row(
        ("SQL", "files"),
        (ref("access", "a_grant_that_is_cut_is_none_or_whole", "grant.grant"),),
        (
            Ref(
                "tests/faults/test_killed.py::test_killed_at_each_message_a_login_is_as_it_was_or_as_it_is_to_be[grant]",
                "grant",
            ),
        ),
    ),
    "db.kill-sessions": Row(
        ("SQL",),
        (),
        stepped("db.kill-sessions"),
        "each session ends in one step of the server's; the next run ends the others",
    ),
    "db.mark": Row(("SQL",), (at_each_message("db.mark"),), (at_each_message("db.mark"),)),
    "db.migrate": Row(
        ("SQL",),
        (ref("migrate", "killed_at_every_statement_the_next_run_knows", "there.migrate"),),
        (ref("migrate", "killed_at_every_statement_the_next_run_knows", "there.migrate"),),
    ),
    "db.migration-import": Row(
        ("files", "SQL"),
        (at_each_message("db.migration-import"),),
        (at_each_message("db.migration-import"),),
    ),
    "db.migration-new": Row(
        ("files",),
        (),
        (ref("durable", "killed_at_any_step_a_new_migration_is_whole_or_not_there", "new.make"),),
        "it asks nobody, and writes one new file",
    ),
    "db.pull": Row(
        ("SQL", "files"),
        (ref("pull_source", "killed_while_rows_come_the_target_is_as_it_was_and_the_next_run_converges", "pull"),),
        (ref("pull_source", "killed_while_rows_come_the_target_is_as_it_was_and_the_next_run_converges", "SIGKILL"),),
    ),
    "db.purge": Row(("SQL",), (proxied("purge"),), (at_each_message("db.purge"),)),
    "db.rehearse": Row(
        ("processes", "files"),
        (),
        stepped("db.rehearse"),
        "it only asks the target; what it tries, it tries on a database of its own",
    ),
    "db.restore": Row(
        ("SQL",),
        (proxied("restore"), ref("restore", "a_dump_that_is_cut_off_anywhere_is_found_before_the_swap", "restore")),
        (ref("restore_task", "killed_at_any_phase_the_old_or_the_new_is_there", "db.restore"),),
    ),
    "db.revoke-access": Row(
        ("SQL",),
        (ref("access", "a_revocation_that_is_cut_is_carried_on", "revoke"),),
        (
            Ref(
                "tests/faults/test_killed.py::test_killed_at_each_message_a_login_is_as_it_was_or_as_it_is_to_be[revoke]",
                "revoke",
            ),
        ),
    ),
    "db.roles": Row(
        ("SQL", "files"),
        (ref("roles", "cut_at_each_statement_it_is_all_or_nothing_and_the_next_run_converges", "place.roles"),),
        (Ref("tests/faults/test_killed.py::test_killed_at_each_message_roles_are_none_or_all", "place.roles"),),
    ),
    "db.rollback": Row(
        ("SQL",),
        (ref("migrate", "killed_at_every_statement_the_next_run_knows", "there.rollback"),),
        (ref("migrate", "killed_at_every_statement_the_next_run_knows", "there.rollback"),),
    ),
    "db.schema-load": Row(
        ("SQL",), (proxied("schema-load"), proxied("schema-load by psql")), (at_each_message("db.schema-load"),)
    ),
    "db.seed": Row(
        ("SQL",),
        (proxied("seed"), proxied("seed by psql")),
        (ref("killed", "drop_undo_and_seed_killed_at_random_moments", "db.seed"),),
    ),
    "db.setup": Row(
        ("SQL",),
        (proxied("setup"), proxied("setup by psql"), ref("killed", "cut_at_each_statement", "build.setup")),
        (
            ref("killed", "setup_killed_at_random_moments", "db.setup"),
            ref("killed", "setup_interrupted_at_random_moments", "db.setup"),
        ),
    ),
    "db.tunnel": Row(
        ("processes",),
        (ref("tunnel_shared", "broken_off_before_it_is_let_go_it_ends", "shared"),),
        (*stepped("db.tunnel"), ref("tunnel", "killed_at_any_moment_no_process_stays", "os.killpg")),
    ),
    "db.undo": Row(
        ("SQL",),
        (proxied("undo"), proxied("undo a drop"), ref("killed", "cut_at_each_statement", "swap.undo")),
        (ref("killed", "drop_undo_and_seed_killed_at_random_moments", "db.undo"),),
    ),
    "db.up": Row(
        ("processes", "files"),
        (ref("server", "cut_at_any_step_of_a_new_login_nobody_is_locked_out", "db."),),
        (*stepped("db.up"), ref("server", "a_killed_server_heals", "kill")),
    ),
    "env.set": Row(
        ("files",),
        (),
        (ref("dotenv", "a_killed_write_leaves_the_old_file_or_the_new_one", "dotenv"),),
        "nothing but one rename",
    ),
    "lambda.attach": Row(
        ("AWS", "files"),
        (lost("lambda.attach", "lambda"), ref("lambda_cut", "attach_and_detach_cut_at_any_write", "stage.attach")),
        (
            dead("lambda.attach"),
            dead("lambda.attach without snapshots any more"),
            ref("lambda_pool", "a_run_that_was_cut_off_before_its_proof_is_proved_by_the_next", "attach"),
        ),
    ),
    "lambda.delete": Row(
        ("AWS",),
        (
            lost("lambda.delete", "lambda"),
            ref("lambda_cut", "delete_cut_at_any_write_and_run_again_leaves_nothing", "delete_all"),
        ),
        (dead("lambda.delete"),),
    ),
    "lambda.deploy": Row(
        ("AWS", "SQL", "files"),
        (
            lost("lambda.deploy", "lambda"),
            ref("lambda_cut", "deploy_cut_at_any_write_and_run_again_leaves_one_of_each", "stage.deploy"),
        ),
        (
            dead("lambda.deploy"),
            dead("lambda.deploy of what differs"),
            dead("lambda.deploy --adopt"),
            dead("lambda.deploy with snapshots"),
            ref("lambda_cut", "deploy_killed_at_any_statement_to_the_database", "stage.deploy"),
            ref("lambda_tokens", "from_one_way_to_the_other_killed_at_any_statement", "deploy"),
        ),
    ),
    "lambda.detach": Row(
        ("AWS",),
        (lost("lambda.detach", "lambda"), ref("lambda_cut", "attach_and_detach_cut_at_any_write", "stage.detach")),
        (dead("lambda.detach"),),
    ),
    "lambda.invoke": Row(
        ("AWS",), (), (), "an event is sent once; where its answer is lost, nobody knows, and that is said"
    ),
    "lambda.layer": Row(
        ("files",),
        (ref("lambda_layer", "a_network_that_hangs_is_given_up", "layer"),),
        (
            *stepped("lambda.layer"),
            ref("durable", "killed_at_any_step_a_file_of_ours_is_the_old_or_the_new", "archive.write"),
        ),
    ),
    "lambda.sync-users": Row(
        ("SQL",),
        (ref("lambda_sync", "cut_off_at_any_user_the_next_run_inserts_the_rest", "sync"),),
        (ref("lambda_sync", "cut_off_at_any_user_the_next_run_inserts_the_rest", "Killed"),),
    ),
    "rds.alarms": Row(
        ("AWS",),
        (
            lost("rds.alarms"),
            lost("rds.alarms --delete"),
            ref("rds_alarms", "cut_at_any_write_the_next_run_ends_it", "alarms"),
        ),
        (
            dead("rds.alarms"),
            dead("rds.alarms --delete"),
        ),
    ),
    "rds.allow-my-ip": Row(
        ("AWS",),
        (
            lost("rds.allow-my-ip"),
            ref("rds_door", "cut_off_at_any_write_the_next_run_ends_with_one_rule", "own_rule.allow"),
        ),
        (
            dead("rds.allow-my-ip"),
            dead("rds.allow-my-ip from elsewhere"),
        ),
    ),
    "rds.apply": Row(
        ("AWS",),
        (
            lost("rds.apply"),
            lost("rds.apply of a cluster"),
            ref("rds_apply", "cut_at_any_call_it_is_one_line_and_the_next_run_ends_it", "apply"),
        ),
        (ref("rds_apply", "killed_at_any_write_the_next_run_ends_it", "apply"), dead("rds.apply of a cluster")),
    ),
    "rds.bastion": Row(
        ("AWS",),
        (ref("rds_bastion", "cut_at_each_write_the_next_run_converges", "make"),),
        (
            Ref(
                "tests/faults/test_killed_aws.py::test_killed_at_any_write_of_the_bastion_the_next_run_ends_it",
                "bastion",
            ),
        ),
    ),
    "rds.ca": Row(
        ("files",),
        (ref("rds_ca", "what_is_no_bundle_changes_nothing", "ca"),),
        (*stepped("rds.ca"), ref("durable", "killed_at_any_step_a_file_of_ours_is_the_old_or_the_new", "ca.fetch")),
    ),
    "rds.create": Row(
        ("AWS", "files"),
        (
            lost("rds.create"),
            lost("rds.create --adopt of a cluster"),
            ref("rds_create", "create_cut_at_any_write_and_run_again_leaves_one_of_each", "create"),
            ref("rds_express", "cut_at_a_write_the_next_run_makes_the_rest_of_it", "create"),
        ),
        (
            ref("rds_create", "create_and_delete_killed_after_the_kth_write", "create"),
            dead("rds.create --adopt of a cluster"),
            ref("rds_express", "killed_at_a_write_the_next_run_makes_the_rest_with_or_without_the_option", "create"),
        ),
    ),
    "rds.delete": Row(
        ("AWS", "files"),
        (lost("rds.delete"), ref("rds_create", "delete_cut_at_any_write_and_run_again_leaves_nothing", "delete")),
        (
            ref("rds_create", "create_and_delete_killed_after_the_kth_write", "delete"),
            ref("rds_express", "killed_while_it_is_deleted_the_next_run_deletes_the_rest", "delete"),
        ),
    ),
    "rds.proxy": Row(
        ("AWS",),
        (
            ref("rds_proxy", "cut_at_each_write_the_next_run_goes_on", "make"),
            ref("rds_proxy", "lost_answers_leave_one_of_each", "make"),
        ),
        (ref("rds_proxy", "killed_after_each_write_the_next_run_goes_on", "make"),),
    ),
    "rds.prune-rules": Row(("AWS",), (lost("rds.prune-rules"),), (dead("rds.prune-rules"),)),
    "rds.replica": Row(
        ("AWS", "files"),
        (
            lost("rds.replica"),
            lost("rds.replica of a password that RDS keeps"),
            lost("rds.replica --promote"),
            lost("rds.replica --delete"),
            ref("rds_replica", "cut_at_any_call_it_is_one_line_and_the_next_run_ends_it", "make"),
        ),
        (
            dead("rds.replica"),
            dead("rds.replica of a password that RDS keeps"),
            dead("rds.replica --promote"),
            dead("rds.replica --delete"),
        ),
    ),
    "rds.restore": Row(
        ("AWS",),
        (
            lost("rds.restore --snapshot"),
            lost("rds.restore --at"),
            lost("rds.restore --snapshot of a cluster"),
            lost("rds.restore --at of a cluster"),
            lost("rds.restore --swap"),
            ref("rds_restore", "a_restore_cut_at_any_call_is_one_line_and_the_next_run_ends_it", "restor"),
            ref("rds_cluster_swap", "a_swap_cut_at_any_call_is_one_line_and_the_next_run_ends_it", "restore"),
        ),
        (
            dead("rds.restore --snapshot of a cluster"),
            dead("rds.restore --at of a cluster"),
            ref("rds_restore", "a_swap_killed_at_any_write_goes_on_or_back", "swap"),
            ref("rds_cluster_swap", "a_swap_killed_at_any_write_goes_on_or_back", "swap"),
        ),
    ),
    "rds.revoke-my-ip": Row(("AWS",), (lost("rds.revoke-my-ip"),), (dead("rds.revoke-my-ip"),)),
    "rds.export": Row(
        ("files",),
        (ref("rds_export", "cut_off_there_is_the_old_file_or_the_new", "alone"),),
        (),
        "killed it leaves what being cut off leaves: it is one file, which is renamed when it is on the disk",
    ),
    "rds.rotate-password": Row(
        ("AWS", "files"),
        (
            lost("rds.rotate-password"),
            lost("rds.rotate-password of a cluster"),
            ref("rds_rotate", "cut_at_any_write_no_password_is_lost_and_the_next_run_ends_it", "rotate"),
        ),
        (dead("rds.rotate-password"), dead("rds.rotate-password of a cluster")),
    ),
    "rds.schedule": Row(
        ("AWS",),
        (
            lost("rds.schedule"),
            lost("rds.schedule --delete"),
            ref("rds_schedule", "cut_at_any_write_the_next_run_ends_it", "schedule"),
        ),
        (
            dead("rds.schedule"),
            dead("rds.schedule at other times"),
            dead("rds.schedule --delete"),
        ),
    ),
    "rds.snapshot": Row(
        ("AWS",),
        (lost("rds.snapshot"), lost("rds.snapshot of a cluster")),
        (dead("rds.snapshot"), dead("rds.snapshot of a cluster")),
    ),
    "rds.snapshots": Row(
        ("AWS",),
        (lost("rds.snapshots --prune"), lost("rds.snapshots --prune of a cluster")),
        (dead("rds.snapshots --prune"), dead("rds.snapshots --prune of a cluster")),
    ),
    "rds.start": Row(
        ("AWS",),
        (lost("rds.start"), lost("rds.start of a cluster")),
        (dead("rds.start"), dead("rds.start of a cluster")),
    ),
    "rds.stop": Row(
        ("AWS",),
        (lost("rds.stop"), lost("rds.stop of a cluster")),
        (dead("rds.stop"), dead("rds.stop of a cluster")),
    ),
    "rds.undo": Row(
        ("AWS",),
        (lost("rds.undo"),),
        (
            ref("rds_restore", "an_undo_killed_at_any_write_goes_on_or_back", "undo"),
            ref("rds_cluster_swap", "an_undo_killed_at_any_write_goes_on_or_back", "undo"),
        ),
    ),
    "rds.upgrade": Row(
        ("AWS",),
        (
            lost("rds.upgrade"),
            ref("rds_upgrade", "cut_at_any_write_the_next_run_goes_on", "act"),
            ref("rds_blue_green", "cut_or_killed_at_any_write_the_next_run_goes_on", "lead"),
        ),
        (dead("rds.upgrade"), ref("rds_blue_green", "cut_or_killed_at_any_write_the_next_run_goes_on", "lead")),
    ),
    "sandbox.down": Row(
        ("processes", "files"),
        (),
        (
            *stepped("sandbox.down"),
            ref("sandbox", "down_twice_is_well_and_takes_the_shell_out", "sandbox.down"),
            ref("sandbox_instances", "a_process_that_was_killed_leaves_no_servers_behind", "kill"),
        ),
        "all that it asks is its own process, which is what is killed",
    ),
    "sandbox.up": Row(
        ("processes", "files"),
        (),
        (
            *stepped("sandbox.up"),
            ref("sandbox", "a_process_that_was_killed_comes_back_on_the_ports_the_shells_know", "sandbox.up"),
            ref("sandbox_instances", "one_that_is_killed_while_it_makes_a_server_is_made_anew", "kill"),
        ),
        "all that it asks is its own process, which is what is killed",
    ),
}


@dataclass(frozen=True)
class Surrounding:
    """What may be wrong around a task, whatever it does."""

    what: str
    holds: str
    """What is seen then, of each task."""
    sample: tuple[str, ...]
    """Those that are looked at in every run of the tests; the others by --nightly."""
    left_out: dict[str, str]
    """Those that are not, and why."""


NO_END = {
    "agent": "serves until its input ends, and that is at once here",
    "app.run": "becomes another program",
    "bench": "runs other programs for minutes",
    "lint": "runs other programs",
    "soak": "has faults of its own",
    "test": "runs other programs",
}

SURROUNDINGS: dict[str, Surrounding] = {
    "delay": Surrounding(
        "each message to the server, and each call of AWS's, takes its time",
        "it ends as it does otherwise",
        ("db.migrate", "db.query", "db.setup", "rds.status"),
        NO_END,
    ),
    "disk full": Surrounding(
        "there is no room left where it writes: `.local`, the folder for temporary files, migrations",
        "it ends as it does otherwise, or says so in one line; what was there is there as it was, and nothing else; with room again it ends as otherwise",
        ("db.dump", "db.migration-new", "db.query", "db.roles", "rds.allow-my-ip"),
        NO_END,
    ),
    "no inodes": Surrounding(
        "there is room, and no new file may be made",
        "as with a full disk",
        ("db.dump", "db.migration-new"),
        NO_END,
    ),
    "clock": Surrounding(
        "the clock jumps by days, forth and back, each time it is read",
        "it ends as it does otherwise: what is waited for is counted by another clock",
        ("db.setup", "rds.allow-my-ip", "rds.stop"),
        {**NO_END, "sandbox.up": "has its certificates made by a program that takes no other clock than the machine's"},
    ),
    "DNS": Surrounding(
        "the names of the server and of AWS are asked for, and no resolver answers",
        "it ends as it does otherwise, or within its limit, in one line that says for which name",
        ("db.status", "rds.endpoint"),
        NO_END,
    ),
    "noise": Surrounding(
        "the server says a megabyte before each end of an answer, with what would steer a terminal",
        "it ends as it does otherwise, and shows some of it, as text",
        ("db.dump", "db.setup"),
        {**NO_END, "db.connect": "becomes psql, which shows what it is told"},
    ),
    "lies of the server": Surrounding(
        "the server has nothing where a value was; a text where a number is due, or one below zero; from the second answer on texts that would steer a terminal",
        "it ends as it does otherwise, or says in one line that no PostgreSQL answers so; without answers it has changed nothing",
        ("db.setup", "db.status"),
        NO_END,
    ),
    "lies of AWS": Surrounding(
        "what answers in the place of AWS has a web page for each request",
        "it ends as it does otherwise, or says in one line that no service of AWS answers so; nothing is asked twice",
        ("lambda.status", "rds.snapshots", "rds.status"),
        NO_END,
    ),
    "a link": Surrounding(
        "`.local` is a link to a folder of somebody else's",
        "it ends as it does otherwise, or says so in one line; there is nothing else in that folder after it, and nothing changed",
        ("db.setup", "env.set", "rds.allow-my-ip"),
        NO_END,
    ),
    "another's clone": Surrounding(
        "root works in a clone that is another user's",
        "it ends as it does otherwise, and what was that user's still is",
        ("db.drift", "db.grant-access", "env.set"),
        {**NO_END, "sandbox.up": "starts a process of root's there, which keeps its files to itself"},
    ),
}
"""What may be wrong around each task; tests/faults/test_surroundings.py makes it so."""
