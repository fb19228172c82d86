"""The `@task` every module uses: our errors become one line and an exit code.

This is the only place that ends the process on an error. A `Problem` becomes
its message and code; what the operating system or the database refuses becomes
one line and 1; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import atexit
import functools
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from invoke.context import Context
from invoke.exceptions import Exit, ParseError
from invoke.tasks import Task
from invoke.tasks import task as invoke_task
from invoke.util import helpline

if TYPE_CHECKING:
    from invoke.collection import Collection
    from invoke.parser import Parser
    from invoke.program import Program

    from config.settings import Settings
    from ops.aws import Aws
    from ops.targets.open_target import OpenTarget

HERE = Path(__file__).resolve().parent.parent
P = ParamSpec("P")
R = TypeVar("R")

TARGET = "local, docker, prod or one of targets: in invoke.yaml (default: the setting target, which is local)"
OF_AWS = "prod, or one of targets: in invoke.yaml (default: prod)"
CONFIRM = "on production: the database's name, which stands for typing it (default: ask)"
VAR = "a psql variable for the file, NAME=VALUE (repeatable; default: none)"
_left_out: set[str] = set()
"""Parameters that are words of their own and may be left out."""
JSON = "print JSON, as docs/json.md describes it (default: no)"


class WithoutH(Task):  # type: ignore[type-arg] # of what it returns, nothing is said here
    """A task none of whose options is -h for short: that is the help."""

    def arg_opts(self, name: str, default: Any, taken_names: set[str]) -> dict[str, Any]:
        return super().arg_opts(name, default, {*taken_names, "h"})


def task(
    *, help: Mapping[str, str] | None = None, iterable: Iterable[str] = (), answer: str = "", may_be_left_out: str = ""
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a task of a function, keeping its signature for type checkers.

    `answer` names the type of what `--json` prints, as `module.Type`, `list[module.Type]`, or `lines[module.Type]`
    for an object on each line: docs/json.md and its tests are made from it, and listing the tasks imports nothing.
    `may_be_left_out` is a parameter, None by default, that is given as a word of its own, without an option before it.
    """

    def decorate(body: Callable[P, R]) -> Callable[P, R]:
        told = guarded(body)
        vars(told)["answer"] = answer
        about = {**(help or {}), **({"json": JSON} if answer else {})}
        if may_be_left_out:
            _left_out.add(may_be_left_out)
        words = [may_be_left_out] if may_be_left_out else without_default(body)
        made = invoke_task(told, klass=WithoutH, help=about, iterable=list(iterable), positional=words)
        return cast(Callable[P, R], made)

    return decorate


def without_default(body: Callable[..., Any]) -> list[str]:
    """Return the parameters that are given as words of their own; invoke would have `inspect` look at each task of a list."""
    code = body.__code__
    names = code.co_varnames[1 : code.co_argcount]
    return list(names[: len(names) - len(body.__defaults__ or ())])


def guarded(body: Callable[P, R]) -> Callable[P, R]:
    """Have what a function raises become invoke's `Exit`, with one line and a code."""

    @functools.wraps(body)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        from ops.console import offer

        quiet()
        offer(name.strip("_").replace("_", "-") for name in body.__code__.co_varnames[1 : body.__code__.co_argcount])
        try:
            try:
                return body(*args, **kwargs)
            finally:
                if sys.stdout is not None:
                    sys.stdout.flush()  # a full disk or a reader that has gone shows here, not at exit
        except KeyboardInterrupt:
            raise Exit("cancelled", code=130) from None
        except BrokenPipeError:
            silence_stdout()
            raise Exit(code=0) from None
        except Exception as error:
            if interrupted(error):
                raise Exit("cancelled", code=130) from None
            exit = translate(error)
            if type(error).__module__ == "builtins" and isinstance(error, OSError):
                silence_stdout()
            if exit is None:
                raise
            raise exit from error
        finally:
            offer(None)

    return wrapper


def quiet() -> None:
    """Leave invoke's debug log (-d, INVOKE_DEBUG) to invoke alone.

    It sets the level of every library: botocore's log holds the session token, and the
    body of each request with the new password in it.
    """
    root = logging.getLogger()
    if root.level < logging.WARNING:
        logging.getLogger("invoke").setLevel(root.level)
        root.setLevel(logging.WARNING)


def interrupted(error: BaseException | None) -> bool:
    """Whether an error came of a Ctrl-C: a library caught in its clean-up raises one of its own on top."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def translate(error: Exception) -> Exit | None:
    """Return the exit that an error stands for, or None for a bug."""
    from ops.console import spoken
    from ops.errors import Problem

    if isinstance(error, Problem):
        return Exit(spoken(str(error)), code=error.code)
    if "botocore" in sys.modules:
        from ops.aws_errors import errors, explain  # first: botocore's timeouts are OSErrors, too

        if isinstance(error, errors()):
            problem = explain(error)
            return Exit(spoken(str(problem)), code=problem.code)
    if isinstance(error, OSError):
        what = f"{error.filename}: " if error.filename else ""
        return Exit(spoken(f"{what}{error.strerror or error}"), code=1)
    if isinstance(error, ModuleNotFoundError):
        return missing_package(error)
    psycopg = sys.modules.get("psycopg")
    if psycopg is not None and isinstance(error, psycopg.Error):
        from ops.targets import outcome

        return Exit(spoken(outcome.joined(*outcome.meaning(error))), code=1)
    return None


def missing_package(error: ModuleNotFoundError) -> Exit | None:
    """Return which requirements file brings a package, or None if it is one of our own modules."""
    from config.paths import DEVELOPMENT

    package = (error.name or "").partition(".")[0]
    if package in ("config", "ops", "bench", "backend", "functions"):
        return None
    dev = package in ("pytest", "mypy", "ruff", "coverage", "hypothesis", "testcontainers", "moto")
    file = DEVELOPMENT if dev else "requirements.txt"
    return Exit(f"the package {package} is not installed here: {sys.executable} -m pip install -r {file}", code=1)


def leave(*_: object) -> None:
    """End at once: no task has begun."""
    os.write(2, b"cancelled\n")
    os._exit(130)


def wired() -> None:
    """Let a Ctrl-C be an exception again, now that the tasks are read."""
    if signal.getsignal(signal.SIGINT) is leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def name_once(collection: Collection) -> None:
    """Have invoke ask for the names of its tasks once, now that all are there: for a TAB it asks each of them for the names of all."""
    usual, names = type(collection).task_names, collection.task_names

    def task_names(self: Collection) -> dict[str, list[str]]:
        return names if self is collection else cast(dict[str, list[str]], usual.fget(self))  # type: ignore[attr-defined]

    type(collection).task_names = property(task_names)  # type: ignore[assignment,method-assign] # plain `inv` takes no subclass of it


def answer_help() -> None:
    """Let `--help` or `-h` behind a task be its help, whatever stands beside, and nothing run.

    invoke takes the word for the value of what still misses one. Here it asks wherever it stands as a word of its
    own; a value that is spelled like it is given by a `=` (--confirm=-h).
    """
    from invoke.program import Program

    usual = Program.parse_tasks

    def parse_tasks(self: Program) -> None:
        words, asked = self.core.unparsed, self.args.help.value
        at = next((place for place, word in enumerate(words) if word in ("--help", "-h")), None)
        if at is None and not asked:
            usual(self)
            return
        named = self._make_parser()
        self.core.unparsed = []  # what else was given need not be right
        usual(self)
        self.args.help.value = asked or last_task(named, words[:at])
        self.parser = named

    Program.parse_tasks = parse_tasks  # type: ignore[method-assign] # plain `inv` takes no subclass of it


def leave_out() -> None:
    """Let the word that a task takes without an option before it be left out where the task says so: invoke wants each."""
    from invoke.parser.parser import ParseMachine

    handle, complete = ParseMachine.handle, ParseMachine.complete_context

    def left_out(self: ParseMachine) -> None:
        for arg in self.context.missing_positional_args if self.context else ():
            if arg.name in _left_out:
                arg.set_value("", cast=False)

    def handle_word(self: ParseMachine, token: str) -> None:
        if token in self.contexts and not self.waiting_for_flag_value:  # the next task
            left_out(self)
        handle(self, token)

    def complete_context(self: ParseMachine) -> None:
        left_out(self)
        complete(self)

    ParseMachine.handle = handle_word  # type: ignore[method-assign] # plain `inv` takes no subclass of it
    ParseMachine.complete_context = complete_context  # type: ignore[method-assign] # as above


def know_the_named() -> None:
    """Have invoke know the options of the tasks that a command line names, and not those of all, which it copies several times."""
    from invoke.collection import Collection
    from invoke.parser import Parser
    from invoke.parser.context import ParserContext
    from invoke.program import Program
    from invoke.tasks import Task

    def make_parser(self: Program) -> Parser:
        name_once(self.collection)
        given = [
            *self.core.unparsed,
            *self.core.remainder.replace('"', " ").replace("'", " ").split(),
            str(self.args.help.value),
        ]
        words = {*given, *(word.partition("=")[2] for word in given)}
        lenient = self.config.tasks.ignore_unknown_help
        contexts = [
            ParserContext(
                name=name, aliases=aliases, args=self.collection[name].get_arguments(ignore_unknown_help=lenient)
            )
            for name, aliases in self.collection.task_names.items()
            if words & {name, *aliases}
        ]
        return Parser(initial=self.initial_context, contexts=contexts)

    Collection.__deepcopy__ = Task.__deepcopy__ = lambda self, _: self  # type: ignore[attr-defined] # copied where nobody changes the one
    Program._make_parser = make_parser  # type: ignore[method-assign] # plain `inv` takes no subclass of it


def read_by_libyaml() -> None:
    """Have invoke read its YAML by libyaml, in a tenth of the time, where PyYAML is installed: invoke's own copy has imported it then."""
    from invoke import util

    own: Any = util.yaml  # type: ignore[attr-defined] # invoke's own
    if own.__with_libyaml__:
        import yaml

        own.safe_load = functools.partial(yaml.load, Loader=yaml.CSafeLoader)


def answer_nothing() -> None:
    """Let `inv` alone print the tasks of a day and the next step, where invoke prints its own options (`inv --help`).

    No task is the default one, since `inv --list` would name it and every task of a repository stand beside it.
    """
    from invoke.program import Program

    Program.no_tasks_given = begin  # type: ignore[method-assign] # as above


def begin(self: Program) -> None:
    """Print the tasks of a day, then where this clone stands, and end."""
    show_day(self)
    raise Exit


def last_task(parser: Parser, words: list[str]) -> str:
    """Return the last task that a command line names; raises invoke's `ParseError` where it begins with none."""
    try:
        found = parser.parse_argv(words)[-1]
    except ParseError as error:
        if error.context is None or not error.context.name:
            raise
        found = error.context
    return str(found.name)


def flush() -> None:
    """Write what invoke itself has printed, as long as somebody reads it; end with 1 where it cannot be written."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        if unwritten(error):
            os._exit(1)  # an exit code is past changing here


def flush_at_once() -> None:
    """Write what invoke prints of its own (--list, --help, completion) where it can still be said that it was not written.

    Python flushes standard output between a program's end and its atexit functions, and drops without a word what does not
    fit into the buffer (4 KB for a device).
    """
    from invoke.program import Program

    usual = Program.parse_cleanup

    def parse_cleanup(self: Program) -> None:
        try:
            usual(self)
        finally:
            flush()

    Program.parse_cleanup = parse_cleanup  # type: ignore[method-assign] # plain `inv` takes no subclass of it


def unwritten(error: OSError) -> bool:
    """Give up on standard output, and say why unless only the reader has gone; whether that is a fault."""
    from ops.console import say

    silence_stdout()
    if isinstance(error, BrokenPipeError):
        return False
    say(f"standard output: {error.strerror}")
    return True


def silence_stdout() -> None:
    """Stop Python from complaining at exit that nobody reads its output any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


@guarded
def show_day(program: Program) -> None:
    """Print what `inv` alone prints; the settings come as a task gets them, and one that is wrong is said at the end."""
    from datetime import datetime, timezone

    from config.settings import load
    from ops.console import redact, result
    from ops.workspace import day

    ns = program.collection
    names = ns.task_names
    result(day.page(lambda name: helpline(ns[name]) if name in names else None, len(names)))
    program.update_config(merge=False)
    config = program.config
    config.load_collection(ns.configuration(), merge=False)
    config.load_shell_env()
    found = load(configuration(Context(config)))
    result(redact(day.told(day.standing(found, datetime.now(timezone.utc)))))


def configuration(c: Context) -> Mapping[str, Any]:
    """Return invoke's configuration of this command; raises `Misconfigured` for core options that would not do what they say."""
    from ops.errors import Misconfigured

    config = cast(Any, c.config)
    # invoke goes on in silence when the file named by -f is not there
    if config._runtime_path and not config._runtime_found:
        raise Misconfigured(f"-f {config._runtime_path}: no such file")
    if config.run.dry:
        raise Misconfigured("-R/--dry only holds back shell commands, and these tasks are Python: leave it out")
    return cast(Mapping[str, Any], config)


def settings(c: Context, target: str = "prod", *, may_make_env_file: bool = False) -> Settings:
    """Load the settings of this command from invoke's configuration, as `target` has them; empty: the setting's."""
    from config import proxies
    from config.settings import load
    from ops import file_lock, process, silence
    from ops.console import hide

    config = configuration(c)
    process.forget_libpq()
    process.spare_this_machine()
    loaded = load(config, may_make_env_file=may_make_env_file)
    silence.limit, file_lock.limit = loaded.silence_timeout, loaded.lock_timeout
    if loaded.per_branch:
        from ops.targets import git_branch

        git_branch.first_use = make_branch
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):  # passwords are hidden where they are read
        hide(loaded.vars.get(name))
    for password in proxies.passwords(loaded.vars.environ):
        hide(password)
    return focused(loaded, target)


def settings_alone() -> Settings:
    """Load the settings where no task runs, as one would have them: the process beside an application's tests has no `inv`."""
    from invoke.config import Config

    from config.defaults import DEFAULTS
    from config.paths import ROOT

    config = Config(project_location=ROOT)
    config.load_project(merge=False)
    config.load_collection(DEFAULTS, merge=False)
    config.load_shell_env()
    return settings(Context(config), "")


def make_branch(place: OpenTarget) -> None:
    """Make the database of the git branch that is checked out."""
    from ops.db.branches import branches

    branches.make_at_first_use(place)


def focused(settings: Settings, target: str) -> Settings:
    """Return the settings as a target has them; what is advised from now on is for that one."""
    from config.declared import BUILT_IN
    from ops.console import about

    found = settings.on(target)
    about("" if found.focus.name in BUILT_IN else found.focus.name)
    return found


def settings_of_aws(c: Context, target: str, *, may_make_env_file: bool = False) -> Settings:
    """Load the settings of this command, which is about what a target has on AWS; without a name, prod."""
    from config.declared import Kind
    from ops.errors import Misconfigured

    found = settings(c, target or "prod", may_make_env_file=may_make_env_file)
    if Kind.RDS not in found.focus.kinds:
        raise Misconfigured(
            f"-t {target}: nothing of it is on AWS: use prod, or a target of your own (targets: in invoke.yaml)"
        )
    return found


def settings_of_instance(c: Context, target: str, task: str, *, may_make_env_file: bool = False) -> Settings:
    """Load the settings of this command, which is for an instance alone: refused where they are about a cluster."""
    from ops.rds.cluster import refusals

    found = settings_of_aws(c, target, may_make_env_file=may_make_env_file)
    if found.rds_read[0].is_cluster:
        refusals.refuse(found.rds.identifier, task)
    return found


def settings_of_function(c: Context, database: str, function: str) -> Settings:
    """Load the settings of this command, which is about a function and a database: the database's own one, or prod's."""
    from config.declared import Kind

    found = settings(c)
    if database in found.targets and Kind.RDS in found.targets[database].kinds:
        found = focused(found, database)
    if function:
        found = replace(
            found, config={**found.config, "lambda": {**found.config.get("lambda", {}), "function": function}}
        )
    return found


def aws(settings: Settings) -> Aws:
    """Return AWS as a task meets it: what is not AWS is said."""
    from ops.aws import Aws
    from ops.console import say

    return Aws(settings, tell=say)


def keep_no_core() -> None:
    """Have this process and what it starts leave no image of their memory when they crash: passwords and rows stand in it.

    Who has to look into a crash of a server's raises the limit for it again (prlimit --core).
    """
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))


def explain_the_rest() -> None:
    """Make one line, or none, of what ends outside any task: a Ctrl-C, a reader that has gone, a full disk, a configuration file.

    invoke reads and merges those itself, and a typing error would end in a traceback. Only an
    error that comes from there, past none of our code, is taken for one.
    """
    usual = sys.excepthook
    keep_no_core()
    atexit.register(flush)
    flush_at_once()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # invoke would end with 1, and without a word
        signal.signal(signal.SIGINT, leave)

    def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        import traceback

        from ops.console import say

        files = [Path(frame.filename) for frame in traceback.extract_tb(trace)]
        if isinstance(error, OSError) and files[-1].match("invoke/*.py"):  # its own list or help
            raise SystemExit(int(unwritten(error)))
        reading = any(file.match("invoke/config.py") or file.match("invoke/env.py") for file in files)
        if not reading or any(file.is_relative_to(HERE / part) for file in files for part in ("config", "ops")):
            usual(kind, error, trace)
            return
        what = " ".join(str(error).split())
        if isinstance(error, AttributeError):
            what = "it has to be sections, each with its settings below it"
        say(f"invoke cannot read its configuration (invoke.yaml, ~/.invoke.yaml or -f): {what}")
        raise SystemExit(2)

    sys.excepthook = explain


def variables(pairs: Iterable[str] | None) -> dict[str, str]:
    """Read repeated NAME=VALUE options."""
    import re

    from ops.errors import Misconfigured

    values: dict[str, str] = {}
    for pair in pairs or ():
        name, found, value = pair.partition("=")
        if not found or not re.fullmatch(r"\w+", name):
            raise Misconfigured(f"--var {name}: write it as NAME=VALUE, the name in letters, digits and _")
        values[name] = value
    return values
