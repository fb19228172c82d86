"""TLS for programs that have none: a private socket whose other side is verified TLS to the target.

Who connects to the socket speaks Postgres in the clear, as on any socket of the machine; the relay asks the server for TLS as
libpq does (SSLRequest, https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL), checks its certificate as
the target's sslmode says, and passes on what both say. The folder of the socket is open to nobody else, the login is the
program's own; where a target logs in by tokens of IAM the relay gives one, signed anew for each connection, and the program has none.
Only channel binding is lost: the program has no TLS to bind to, so what the server offers of it is taken out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import ssl
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from config.targets import Target
from ops import postgres, process, silence
from ops.errors import Misconfigured, Problem

if TYPE_CHECKING:
    from ops.db.copies.programs import Programs
    from ops.targets.open_target import OpenTarget

SSL_REQUEST = struct.pack("!ii", 8, 80877103)
PREFIX = "inv-relay-"
SIZE = 1 << 18
"""Bytes that are read at once: many of TLS's records, which Postgres makes of 8 kB."""
CLEARTEXT, SASL = 3, 10
"""AuthenticationCleartextPassword and AuthenticationSASL, https://www.postgresql.org/docs/current/protocol-message-formats.html"""
OWN = ("hostaddr", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslnegotiation", "ssl_min_protocol_version", "channel_binding", "gssencmode")  # fmt: skip
"""Parameters that are about the way between relay and server."""
NEW = 60
"""Seconds before a folder without a listener is taken for one that a killed run has left."""
KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""A gateway on the way forgets a silent connection within minutes."""


@contextlib.contextmanager
def open_way(at: OpenTarget, programs: Programs, *, options: str = "") -> Iterator[dict[str, str]]:
    """Yield the libpq variables by which these programs reach a target: by a relay where that takes TLS and they have none.

    The timeouts of role and database are lifted, and the sessions begin as the place's role; `options` are settings of the session. PGDATABASE may be another one.
    """
    with contextlib.ExitStack() as stack:
        way = at.target
        if not programs.tls or at.target.token:
            way = at.target.on(**dict.fromkeys(OWN[1:], ""))
            if at.conn.pgconn.ssl_in_use:
                way = stack.enter_context(open_relay(at.target, timeout=at.settings.connect_timeout))
        begun = " ".join(filter(None, (postgres.as_role(at.role), options)))
        env = postgres.environment(way, task=at.task, options=begun, untimed=True, of=at.target)
        env.setdefault("PGHOST", at.conn.info.host)  # each libpq has a socket folder of its own
        yield {**env, "LC_ALL": "C"}


@contextlib.contextmanager
def open_relay(target: Target, *, timeout: float = 10) -> Iterator[Target]:
    """Yield the target with a private socket in the place of its address; the relay ends with the block.

    `timeout` is in seconds, for reaching the server and its TLS. A server that is not reached, or whose certificate is not
    good, is told to the program as a server tells its errors. Raises `Misconfigured` for what a relay cannot do.
    """
    if target.params.get("channel_binding") == "require":
        raise Misconfigured(
            f"{target.source}: channel_binding=require needs client programs with TLS: install the package postgresql-client"
        )
    relay = Relay(target, context(target), timeout)
    sweep()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))  # for its owner only
    try:
        relay.listen(folder / f".s.PGSQL.{target.port}")
        near = target.on(**dict.fromkeys(OWN, ""), host=str(folder), port=str(target.port))
        yield replace(near, via=None, way=None, token=None)
    finally:
        relay.close()
        shutil.rmtree(folder, ignore_errors=True)


def sweep() -> None:
    """Remove what killed runs have left: folders of ours, with nothing in them but a socket on which nobody listens."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or time.time() - found.st_mtime < NEW:
                continue
            if not any(is_in_use(path) for path in folder.iterdir()):
                for path in folder.iterdir():
                    path.unlink()
                folder.rmdir()


def is_in_use(path: Path) -> bool:
    """Whether something is more than a socket on which nobody listens."""
    if not stat.S_ISSOCK(path.lstat().st_mode):
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def context(target: Target) -> ssl.SSLContext:
    """Return how TLS to a target is made and checked, by the rules of libpq.

    https://www.postgresql.org/docs/current/libpq-ssl.html; raises `Misconfigured` for files that cannot be read.
    """
    params, home = target.params, Path("~/.postgresql").expanduser()
    mode = params.get("sslmode") or "prefer"
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.hostname_checks_common_name = True  # where there is no other name, as libpq does
    newest = params.get("ssl_min_protocol_version") == "TLSv1.3"
    made.minimum_version = ssl.TLSVersion.TLSv1_3 if newest else ssl.TLSVersion.TLSv1_2
    root = params.get("sslrootcert") or str(home / "root.crt")
    try:
        if root == "system":
            made.set_default_verify_paths()
            mode = "verify-full"
        elif mode.startswith("verify") or (mode == "require" and Path(root).exists()):
            made.load_verify_locations(root)
            mode = mode if mode == "verify-full" else "verify-ca"
        made.check_hostname = mode == "verify-full"
        made.verify_mode = ssl.CERT_REQUIRED if mode.startswith("verify") else ssl.CERT_NONE
        environ = process.environ()
        own = params.get("sslcert") or environ.get("PGSSLCERT") or str(home / "postgresql.crt")
        if Path(own).exists():
            made.load_cert_chain(own, params.get("sslkey") or environ.get("PGSSLKEY") or str(home / "postgresql.key"))
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{target.source}: the certificates of its TLS cannot be read: {error}") from None
    if params.get("sslnegotiation") == "direct":
        made.set_alpn_protocols(["postgresql"])
    return made


class Relay:
    """Takes connections on a socket, each in a thread of its own."""

    def __init__(self, target: Target, context: ssl.SSLContext, timeout: float) -> None:
        self.target, self.context, self.timeout = target, context, timeout
        self.listener = socket.socket(socket.AF_UNIX)
        self.ends: set[socket.socket] = set()
        self.threads: list[threading.Thread] = []
        self.over = False

    def listen(self, path: Path) -> None:
        self.listener.bind(str(path))
        self.listener.listen(64)
        threading.Thread(target=self.accept, daemon=True, name="relay").start()

    def close(self) -> None:
        """End all connections, and wait for their ends."""
        self.over = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept()
        self.listener.close()
        for end in list(self.ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(1)

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self.over:
                plain, _ = self.listener.accept()
                thread = threading.Thread(target=self.serve, args=[plain], daemon=True)
                self.threads.append(thread)
                thread.start()

    def serve(self, plain: socket.socket) -> None:
        """Reach the server for one connection, and pass on until one of both ends it."""
        self.ends.add(plain)
        with plain, contextlib.suppress(OSError):
            if not plain.recv(1, socket.MSG_PEEK):  # who only sees whether somebody listens
                return
            try:
                inside = self.reach()
            except (OSError, ValueError) as error:  # ssl's errors are OSErrors; ValueError: a name that is none
                plain.recv(SIZE)  # else closing would take our answer away
                plain.sendall(refusal(said(error)))
                return
            self.ends.add(inside.socket)
            with inside.socket:
                if not self.over:
                    pass_on(plain, inside, self.token if self.target.token else None)

    def token(self) -> str:
        assert self.target.token
        return self.target.token(self.target)

    def reach(self) -> Inside:
        """Return a connection to the server, TLS made and checked; raises OSError and ssl's own errors."""
        params = self.target.direct().params
        outer = socket.create_connection(
            (params.get("hostaddr") or self.target.host, int(params.get("port") or 5432)), timeout=self.timeout
        )
        try:
            outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            outer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            options = {**KEEPALIVE, "TCP_USER_TIMEOUT": round(silence.limit * 1000)}
            for name, value in options.items():
                if hasattr(socket, name):  # Linux
                    outer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
            if params.get("sslnegotiation") != "direct":
                outer.sendall(SSL_REQUEST)
                if outer.recv(1) != b"S":
                    raise ConnectionError("server does not support SSL, but SSL was required")
            inside = Inside(outer, self.context, self.target.host)
            inside.shake_hands()
            outer.settimeout(None)  # from here on the program waits as long as it likes
            return inside
        except BaseException:
            outer.close()
            raise


def said(error: Exception) -> str:
    """Return what is wrong with the way to the server, in libpq's words, which are known further on."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in (62, 64):  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
            return "server certificate does not match host name"
        return f"SSL error: certificate verify failed: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"SSL error: {error.reason or error}"
    if isinstance(error, socket.gaierror):
        return "could not translate host name"
    if isinstance(error, TimeoutError):
        return "timeout expired"
    return getattr(error, "strerror", None) or str(error)


def refusal(text: str) -> bytes:
    """Return Postgres's message for a session that does not come about."""
    fields = b"".join(key + value.encode() + b"\0" for key, value in ((b"S", "FATAL"), (b"C", "08006"), (b"M", text)))
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


def password(text: str) -> bytes:
    """Return a client's message that gives a password (PasswordMessage)."""
    return b"p" + struct.pack("!i", len(text.encode()) + 5) + text.encode() + b"\0"


class Inside:
    """The inside of a TLS connection: what is sent and received there, each by one thread.

    Its socket is read and written in large pieces, and OpenSSL sees them in memory: by itself it would ask the system twice for each
    record. It stands no two threads at once, so each has it for as long as it works, and waits without it.
    """

    def __init__(self, socket: socket.socket, context: ssl.SSLContext, name: str) -> None:
        self.socket = socket
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls: Any = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name or None)
        self.working, self.sending = threading.Lock(), threading.Lock()
        self.room = memoryview(bytearray(SIZE))

    def shake_hands(self) -> None:
        """Make TLS and check the server; raises ssl's errors, and OSError where the connection ends."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                if not self.hear():
                    raise ConnectionError("server closed the connection unexpectedly") from None
            except ssl.SSLError:
                with contextlib.suppress(OSError):
                    self.flush()  # why not, for the server's log
                raise
            else:
                self.flush()
                return

    def send(self, data: bytes) -> None:
        with self.working:
            self.tls.write(data)
        self.flush()

    def flush(self) -> None:
        """Send what TLS has to say, in its order."""
        with self.sending:
            if data := self.outgoing.read():
                self.socket.sendall(data)

    def hear(self) -> bool:
        """Take what has come by now, or what comes first; False at the end."""
        got = self.socket.recv_into(self.room)
        self.incoming.write(self.room[:got])
        return got > 0

    def receive(self, room: memoryview) -> int:
        """Fill as much of the room as there is by now, and at least a byte; 0 at the end. Raises OSError where that comes too soon."""
        while True:
            with self.working:
                got, ended = self.decrypt(room)
            if got or ended:
                return got
            self.flush()
            if not self.hear():
                return 0

    def decrypt(self, room: memoryview) -> tuple[int, bool]:
        got = 0
        try:
            while got < len(room):
                more = self.tls.read(len(room) - got, room[got:])
                if not more:  # it has said so
                    return got, True
                got += more
        except ssl.SSLWantReadError:
            pass
        return got, False


def pass_on(plain: socket.socket, inside: Inside, token: Callable[[], str] | None = None) -> None:
    """Pass on what both sides say, until one of them ends: then the other has all of it, and is ended, too.

    Each way has a thread, which reads on when the other side has taken what came before: memory stays flat, however slow that is.
    """

    def forth() -> None:
        with contextlib.suppress(OSError):
            while data := plain.recv(SIZE):
                inside.send(data)
        with contextlib.suppress(OSError):
            inside.socket.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=forth, daemon=True)
    thread.start()
    login, room = Login(token, inside.send), memoryview(bytearray(SIZE))
    with contextlib.suppress(OSError):
        try:
            while got := inside.receive(room):
                plain.sendall(login.passed(room[:got]))
        except Problem as problem:  # no token can be signed
            plain.sendall(refusal(str(problem)))
            inside.socket.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        plain.shutdown(socket.SHUT_RDWR)
    thread.join()


class Login:
    """The server's side of a login: channel binding is taken out of what it offers, and a token given where it asks for a password.

    libpq without TLS would take the offer for a sign of somebody in between, and end.
    """

    def __init__(self, token: Callable[[], str] | None = None, send: Callable[[bytes], None] = lambda _: None) -> None:
        self.token, self.send = token, send
        self.heard = b""
        self.over = False

    def passed(self, data: memoryview) -> memoryview:
        """Return what of the server's words is passed on now."""
        if self.over:
            return data
        self.heard += data
        out = b""
        while len(self.heard) >= 5 and not self.over:
            kind, length = self.heard[:1], int.from_bytes(self.heard[1:5], "big") + 1
            if kind not in b"Rv":  # an error, or another protocol: v is NegotiateProtocolVersion
                break
            if len(self.heard) < length:
                return memoryview(out)
            message, self.heard = self.heard[:length], self.heard[length:]
            if self.token and kind == b"R" and int.from_bytes(message[5:9], "big") == CLEARTEXT:
                self.send(password(self.token()))
                continue
            out += without_binding(message)
            self.over = kind == b"R"
        else:
            if not self.over:
                return memoryview(out)
        self.over = True
        out, self.heard = out + self.heard, b""
        return memoryview(out)


def without_binding(message: bytes) -> bytes:
    """Return a server's message without mechanisms of channel binding, which end in -PLUS."""
    if message[:1] != b"R" or int.from_bytes(message[5:9], "big") != SASL:
        return message
    names = [name for name in message[9:].split(b"\0") if name and not name.endswith(b"-PLUS")]
    body = struct.pack("!i", SASL) + b"".join(name + b"\0" for name in names) + b"\0"
    return b"R" + struct.pack("!i", len(body) + 4) + body
