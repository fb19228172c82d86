"""The database servers of the sandbox: each instance of RDS has one of its own, as on RDS.

moto knows instances, but no databases. After what it has answered, servers are made, changed and removed here until they are as its
instances. They hold nothing that outlives moto's process, which forgets its instances when it ends.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import socket
import string
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from config.paths import own_folder
from ops import own_files
from ops.console import say
from ops.errors import Problem
from ops.rds import connect_policy
from ops.rds.proxy import parts
from ops.sandbox import blue_green, clusters, data_copies, express, proxies, replicas, tokens
from ops.sandbox.certificates import write
from ops.targets.embedded import postmaster, server
from ops.targets.embedded import state as kept

FOLDER = "instances"
LIST = "instances.json"
SHAPE = [{"host": str, "port": own_files.port}]
"""instances.json."""
PREFIX = "%t:%r:%u@%d:[%p]:"
"""Of each line of the log, as RDS has it."""
OWNER = "rdsadmin"
"""The superuser of RDS, by which master users are made; none of them is one."""


@dataclass
class Instance:
    """The server behind one instance."""

    root: Path
    """Its folder, as that of a clone with an embedded server."""
    server: kept.Server | None = None
    master: tuple[str, str] = ("", "")
    """User and password, as the server has them."""
    follows: bool = False
    """Whether it is a replica's, or that of a green instance which follows as one."""
    fed_by: Instance | None = None
    """The one that it follows by logical replication."""
    version: str = ""
    """Of its engine, as moto has it."""
    born: Path | None = None
    """A copy of its data from its birth, from which it can be brought to any moment since; None without backups."""


@dataclass(frozen=True)
class Origin:
    """From what an instance is restored."""

    snapshot: str = ""
    instance: str = ""
    at: datetime | None = None


class Instances:
    """All of them, by moto's objects: an instance that gets another name keeps its server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.known: dict[Any, Instance] = {}
        self.copies: dict[Any, tuple[Path, kept.Server]] = {}
        """The data of snapshots, by moto's objects, and the server that each was taken of."""
        self.turns = threading.RLock()

    def follow(self, fresh: str = "", origin: Origin | None = None, rebooted: str = "") -> None:
        """Make, change and remove servers until they are as moto's instances, and copies of their data as its snapshots.

        `fresh` names an instance whose managed password is to be another one, `origin` from what a new one is restored, `rebooted`
        one that AWS starts anew. Raises `Problem` where one cannot be made; moto then knows nothing of that instance either.
        """
        with self.turns:
            there = databases()
            replicas.settle(there)
            there += [reader for one in there if clusters.is_cluster(one) for reader in clusters.readers(one)]
            with refused(OSError):
                self.follow_snapshots()
            for one in [one for one in self.known if one not in there]:
                self.drop(self.known.pop(one))
            for one in there:
                known = self.known.setdefault(one, Instance(self.place(one.db_instance_identifier)))
                try:
                    with refused(OSError):
                        self.settle(
                            one, known, fresh=fresh in (one.db_instance_identifier, one.db_instance_arn), origin=origin
                        )
                        self.keep_up(one, known, reboots=rebooted in clusters.writers(one))
                except Problem:
                    if known.server is None:
                        if clusters.is_cluster(one):
                            del one.backend.clusters[one.db_cluster_identifier]
                        else:
                            blue_green.forget(one)
                            one.deletion_protection = False
                            one.backend.delete_db_instance(one.db_instance_identifier, skip_final_snapshot=True)
                        self.drop(self.known.pop(one))
                    raise
            self.note()

    def follow_snapshots(self) -> None:
        """Copy the data for new snapshots, before their instances go; remove the copies of those that have gone."""
        there = snapshots()
        for one in [one for one in self.copies if one not in there]:
            data_copies.remove(self.copies.pop(one)[0])
        for one in [one for one in there if one not in self.copies]:
            of = self.named(one.database.address)
            if of and of.server:
                running = server.start_server(of.root)  # it may have died
                self.copies[one] = data_copies.take(running, self.home), running

    def drop(self, known: Instance) -> None:
        """Remove the server of an instance that has gone."""
        wipe(known.root)
        self.release(known)
        if known.born:
            data_copies.remove(known.born)

    def note(self) -> None:
        """Write down which there are and where, for `sandbox.status`."""
        rows = [{"host": one.address, "port": known.server.port} for one, known in self.known.items() if known.server]
        write(self.home / LIST, json.dumps(rows).encode(), 0o644)

    def place(self, identifier: str) -> Path:
        """Return a folder for a new one, which says whose it is and is nobody else's."""
        return self.home / FOLDER / f"{re.sub('[^a-z0-9-]', '', identifier.lower())[:63]}.{secrets.token_hex(4)}"

    def settle(self, one: Any, known: Instance, *, fresh: bool, origin: Origin | None = None) -> None:
        """Have an instance's server there, with its master user, and the database that it was asked for with, or restored data."""
        made, blue = known.server, blue_green.source_of(one)
        source = replicas.source_of(one) or blue
        if made and source is None and (known.follows or known.fed_by):
            made = self.stand_alone(known)
        if made is None and not clusters.is_cluster(one):  # moto gives all of them the same
            letters = string.ascii_uppercase + string.digits
            one.dbi_resource_id = f"db-{''.join(secrets.choice(letters) for _ in range(26))}"
        if made is None and source is not None:
            known.root.mkdir(exist_ok=True)
            if blue is not None:
                setattr(one, clusters.IAM, getattr(blue, clusters.IAM))
            made = self.fed(known, self.known[source]) if blue is not None else None
            if made is None:
                made, known.follows = self.replica(known.root, self.known[source]), True
        elif made is None and origin:
            own_folder(self.home / FOLDER).mkdir(exist_ok=True)
            known.root.mkdir(exist_ok=True)
            made = self.restored(known.root, origin)
            if managed := getattr(
                one, "master_user_secret", None
            ):  # RDS keeps no password of what is restored, until asked
                managed.delete_secret()
                del one.master_user_secret
                one.manage_master_user_password = False
            known.master = (str(one.master_username or ""), str(getattr(one, "_master_user_password", "") or ""))
        elif made is None:
            own_folder(self.home / FOLDER).mkdir(exist_ok=True)
            known.root.mkdir(exist_ok=True)
            login = server.Login(postmaster.free_port(), OWNER, secrets.token_urlsafe(18))
            made = server.start_server(known.root, login, OWNER, socket=True)
        if known.born is None and one.backup_retention_period and not known.follows:
            data_copies.keep_log(made)
            known.born = data_copies.take(made, self.home)
        user, password = str(one.master_username or ""), str(getattr(one, "_master_user_password", "") or "")
        if managed := getattr(one, "master_user_secret", None):
            password = secrets.token_urlsafe(18) if fresh or known.master[0] != user else known.master[1]
        if known.follows:  # they come from its source
            known.master = (user, password)
        by_token = express.is_express(one)  # and by nothing else
        if user and (password or by_token) and known.master != (user, password):
            made = server.start_server(known.root)  # it may have died
            admit(made, user, password, str(one.db_name or "") if known.server is None else "", by_token=by_token)
            if managed:
                keep(one.backend.secretsmanager, managed.secret_arn, user, password)
            known.master = (user, password)
        known.server = made

    def keep_up(self, one: Any, known: Instance, *, reboots: bool) -> None:
        """Start the server of an instance anew that is rebooted, or has got another version: sessions end, as on RDS."""
        assert known.server  # it was settled
        if reboots and blue_green.asks_for_logical(one):
            with blue_green.connect(known.server) as conn:
                conn.execute("alter system set wal_level = logical")
        if reboots or known.version not in ("", one.engine_version):
            server.stop_server(known.root)
            known.server = server.start_server(known.root)
        known.version = one.engine_version

    def stand_alone(self, known: Instance) -> kept.Server:
        """Have the server of an instance follow no other any more."""
        made = server.start_server(known.root)  # it may have died
        if known.follows:
            data_copies.promote(made)
            known.follows = False
        if known.fed_by:
            blue_green.let_go(made)
            self.release(known)
        return made

    def release(self, known: Instance) -> None:
        """Have the server which fed one keep nothing for it any more."""
        blue, known.fed_by = known.fed_by, None
        if blue and blue.server and any(each is blue for each in self.known.values()):
            blue_green.release(server.start_server(blue.root))

    def switch(self, identifier: str) -> None:
        """Have the green instance of a deployment all that the blue one has, which takes no writes any more; moto then exchanges the names.

        Raises `Problem` where it does not catch up; then all is as before.
        """
        with self.turns:
            if (both := blue_green.waiting(identifier)) is None:
                return
            blue, green = (server.start_server(self.known[one].root) for one in both)
            try:
                blue_green.hold(blue)
                blue_green.catch_up(green, blue, physical=self.known[both[1]].follows)
            except Problem:
                blue_green.resume(blue)
                raise

    def fed(self, known: Instance, source: Instance) -> kept.Server | None:
        """Start a server that follows another instance's by logical replication; None where that one writes too little for it."""
        running = server.start_server(source.root)
        if blue_green.level(running) != "logical":
            return None
        blue_green.publish(running)
        copy = data_copies.take(running, self.home)
        try:
            point = data_copies.bring_to_now(copy, running)
            made = data_copies.start(copy, known.root, postmaster.free_port(), running)
        finally:
            data_copies.remove(copy)
        blue_green.subscribe(made, running, point)
        known.fed_by, known.master = source, source.master
        return made

    def restored(self, root: Path, origin: Origin) -> kept.Server:
        """Start a server on the data of a snapshot, or on those of an instance at a moment."""
        if origin.at is None:
            copy, of = next(pair for one, pair in self.copies.items() if one.db_snapshot_identifier == origin.snapshot)
            return data_copies.start(copy, root, postmaster.free_port(), of)
        known = next(one for of, one in self.known.items() if of.db_instance_identifier == origin.instance)
        if known.server is None or known.born is None:
            raise Problem(f"{origin.instance} keeps no backups")
        running = server.start_server(known.root)
        own = self.home / data_copies.FOLDER / secrets.token_hex(8)
        shutil.copytree(known.born, own)
        try:
            data_copies.bring_to(own, running, origin.at)
            return data_copies.start(own, root, postmaster.free_port(), running)
        finally:
            data_copies.remove(own)

    def replica(self, root: Path, source: Instance) -> kept.Server:
        """Start a server that follows another instance's."""
        assert source.server  # of an instance that was there before
        running = server.start_server(source.root)
        copy = data_copies.take(running, self.home)
        try:
            data_copies.follow(copy, running)
            return data_copies.start(copy, root, postmaster.free_port(), running)
        finally:
            data_copies.remove(copy)

    def address(self, name: str) -> tuple[str, int]:
        """Return where the server of an endpoint's name listens; one that has died is started again. Raises `Problem` for no such name."""
        if not name:
            raise Problem(
                "no instance is named: connect to its endpoint's name, by a client that sends it (libpq since 14)"
            )
        if (known := self.named(name)) and known.server and postmaster.running_pid(known.server):
            return "127.0.0.1", known.server.port
        with self.turns:  # it is being made, or removed
            if not (known := self.named(name)) or not known.server:
                raise Problem(f"there is no instance {name}")
            known.server = server.start_server(known.root)
            self.note()  # its port may be another
            return "127.0.0.1", known.server.port

    def named(self, name: str) -> Instance | None:
        return self.found(name)[1]

    # --- tokens, for the front (tls_proxy.Tokens) ---

    def way_in(self, name: str, user: str) -> socket.socket | None:
        """Return a connection by which a user is in whose token is good, made now; None where the server asks for a password itself."""
        import psycopg

        from ops import postgres

        one, known = self.found(name)
        if not (one and known and known.server and one.enable_iam_database_authentication):
            return None
        try:
            with postgres.connect(known.server.target("postgres"), task="sandbox") as conn:
                row = conn.execute(tokens.MEMBER, [user]).fetchone()
        except psycopg.Error:
            return None
        by_token = bool(row and row["by_token"])
        if express.is_express(one) and not by_token:
            raise Problem(f'PAM authentication failed for user "{user}"')  # its gateway takes no password of anybody's
        return connected(known.server) if by_token else None

    def check_token(self, name: str, user: str, token: str) -> None:
        """Raise `Problem` where a token does not let a user in; what is wrong with it stays in the log."""
        one, _ = self.found(name)
        wrong = "there is no such instance"
        if one:
            door = door_of(one, proxies.named_so(name), user)
            wrong = tokens.fault(token, door, time.time())
        if wrong:
            say(f"token of {user} at {name}: {wrong}")
            raise Problem(f'PAM authentication failed for user "{user}"')

    def by_identifier(self, identifier: str) -> Instance | None:
        every = list(self.known.items())
        of_cluster = [
            one for of, one in every if clusters.is_cluster(of) for each in of.members
            if each.is_cluster_writer and each.db_instance_identifier == identifier.lower()
        ]  # fmt: skip
        alone = [one for of, one in every if of.db_instance_identifier == identifier.lower()]
        return next(iter([*alone, *of_cluster]), None)

    def found(self, name: str) -> tuple[Any, Instance | None]:
        """Return the instance of an endpoint's name, or the one behind a proxy of that name."""
        proxy = proxies.named_so(name)
        behind = proxies.behind(proxy) if proxy else None
        for one, known in list(self.known.items()):
            if one is behind or name.lower() in clusters.names(one):
                return one, known
        return None, None


def door_of(one: Any, proxy: Any, user: str) -> tokens.Door:
    """Return what a user comes in by: an instance, or the proxy before it, for which tokens and rights are."""
    if proxy is None:
        row = {"DBInstanceArn": one.db_instance_arn, "DbiResourceId": one.dbi_resource_id}
        return tokens.Door(one.address, int(one.port), one.region, connect_policy.resource(row, user), user)
    row = {"DBInstanceArn": proxy.arn, "DbiResourceId": proxy.unique_id}
    return tokens.Door(proxy.endpoint, parts.PORT, proxy.region, connect_policy.resource(row, user), user)


def connected(of: kept.Server) -> socket.socket:
    """Return a connection to the socket in a server's data, whose path may be longer than the system takes."""
    made = socket.socket(socket.AF_UNIX)
    with tempfile.TemporaryDirectory(prefix="inv-rds-") as folder:
        near = Path(folder) / "data"
        near.symlink_to(of.data, target_is_directory=True)
        try:
            made.connect(str(near / f".s.PGSQL.{of.port}"))
        except OSError:
            made.close()
            raise
    made.setblocking(False)
    return made


def databases() -> list[Any]:
    """Return moto's instances of Postgres, in all regions, and its clusters in the place of theirs."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.rds.models import rds_backends

    backends: Iterable[Any] = list(rds_backends[DEFAULT_ACCOUNT_ID].values())
    every = [one for backend in backends for one in list(backend.databases.values()) if "postgres" in str(one.engine)]
    return [*(one for one in every if not clusters.is_member(one)), *clusters.settle()]


def snapshots() -> list[Any]:
    """Return moto's snapshots of instances and clusters of Postgres, in all regions."""
    from moto.core.models import DEFAULT_ACCOUNT_ID
    from moto.rds.models import rds_backends

    backends: Iterable[Any] = list(rds_backends[DEFAULT_ACCOUNT_ID].values())
    every = [one for backend in backends for one in list(backend.database_snapshots.values())]
    every += clusters.snapshots()
    return [one for one in every if "postgres" in str(one.database.engine) and one.snapshot_type == "manual"]


def admit(made: kept.Server, user: str, password: str, database: str, *, by_token: bool = False) -> None:
    """Let a master user in with this password, or by tokens of IAM alone, and make the database that an instance comes with."""
    import psycopg
    from psycopg import sql

    from ops import postgres

    if user == made.user:
        raise Problem(f"MasterUsername {user} cannot be used as it is a reserved word used by the engine")
    with postgres.connect(made.target("postgres"), task="sandbox") as conn, refused(psycopg.Error):
        conn.execute(f"alter system set log_line_prefix = '{PREFIX}'")
        conn.execute("select pg_reload_conf()")
        there = conn.execute("select from pg_roles where rolname = %s", [user]).fetchone() is not None
        role, verb = sql.Identifier(user), sql.SQL("alter role" if there else "create role")
        secret = sql.Literal(password) if password else sql.NULL
        conn.execute(sql.SQL("{} {} login createdb createrole password {}").format(verb, role, secret))
        # as rds_superuser has them: to hand them on, too
        conn.execute(sql.SQL("grant pg_monitor, pg_signal_backend to {} with admin option").format(role))
        if conn.execute("select from pg_roles where rolname = 'rds_iam'").fetchone() is None:
            conn.execute("create role rds_iam nologin")
        if conn.info.server_version >= 160000:  # before, whoever has CREATEROLE may give it away
            giving = "grant rds_iam to {} with admin true, inherit false, set false"
            conn.execute(sql.SQL(giving).format(role))
        if by_token:
            conn.execute(sql.SQL("grant rds_iam to {} with admin option").format(role))
            if conn.info.server_version >= 160000:
                conn.execute(sql.SQL("grant rds_iam to {} with inherit true").format(role))
        if database and conn.execute("select from pg_database where datname = %s", [database]).fetchone() is None:
            conn.execute(sql.SQL("create database {} owner {}").format(sql.Identifier(database), role))


@contextlib.contextmanager
def refused(error: type[Exception]) -> Iterator[None]:
    """Tell what the server, or the disk, refuses as a problem of the request."""
    try:
        yield
    except error as said:
        raise Problem(" ".join(str(said).split())) from None


def keep(manager: Any, secret: str, user: str, password: str) -> None:
    """Put a login into a managed secret: moto's own is the same in all of them, and it makes no new one."""
    held = json.dumps({"username": user, "password": password})
    manager.put_secret_value(secret, held, "", str(uuid.uuid4()), ["AWSCURRENT"])


def wipe(root: Path) -> list[Path]:
    """Stop a server and remove it with its folder; return what else lies there, and stays."""
    left = wipe_server(root)
    if root.is_dir():
        left += [root / name for name in own_files.remove(root, ()) if name != ".local"]
        if not any(root.iterdir()):
            root.rmdir()
    return left


def wipe_server(root: Path) -> list[Path]:
    """Stop a server and remove it from a folder; return what else lies beside its data, and stays."""
    left = server.remove_data(root) if kept.folder(root).exists() else []
    local = root / ".local"
    if local.is_dir():
        ours = (".gitignore", "postgres")
        left += [local / name for name in own_files.remove(local, () if left else ours) if name not in ours]
        if not any(local.iterdir()):
            local.rmdir()
    return left


def wipe_all(home: Path) -> list[Path]:
    """Remove the servers of all instances, also those of a process that was killed; return what else lies there, and stays."""
    folder = own_folder(home / FOLDER)
    data_copies.remove_all(home)
    left = wipe_server(home)  # of when there was one for all
    for root in sorted(folder.iterdir()) if folder.is_dir() else ():
        left += wipe(root) if root.is_dir() and not root.is_symlink() else [root]
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return left
