"""A program on the PATH of a shell: hands its call to a server that forks (tests/fork_server.py), or becomes the start.

It reads nothing but what is compiled into Python, so that it costs a tenth of a start. tests/forked.py writes the last line.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # signal itself takes longer to import than all of this
import _socket
import marshal
import os
import sys

PASSED_ON = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)


def is_usual() -> bool:
    """Whether a fork has what a start would inherit: three streams and nothing else, and no signal that is ignored, as behind an &."""
    known = os.open("/proc/self/fd", os.O_RDONLY)
    fds = {int(name) for name in os.listdir(known)} - {known}  # noqa: PTH208 # as below
    os.close(known)
    ignored = (_signal.getsignal(number) is _signal.SIG_IGN for number in (*PASSED_ON, _signal.SIGQUIT))
    return {fd for fd in fds if is_open(fd)} == {0, 1, 2} and not any(ignored)


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def call(program: str) -> bytes:
    """Return what the server is told; a start reads the same of its process."""
    umask = os.umask(0o077)
    os.umask(umask)
    argv = [os.fsencode(word) for word in (program, *sys.argv[1:])]
    return marshal.dumps([argv, os.fsencode(os.getcwd()), dict(os.environb), umask])  # noqa: PTH109 # pathlib, too, takes longer


def main(where: str, program: str) -> None:
    """Ask the server that listens there, and end as the call does; become the program where the server does not take it."""
    told, server = b"", None
    try:
        if is_usual():
            server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
            server.connect(where)
            streams = b"".join(fd.to_bytes(4, sys.byteorder) for fd in (0, 1, 2))
            server.sendmsg([call(program)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
            told = server.recv(32)
    except OSError:  # it has gone, or the call is too long
        pass
    if server is None or not told:
        os.execv(program, [program, *sys.argv[1:]])
    pid = int(told)

    def pass_on(number: int, _: object) -> None:
        try:  # noqa: SIM105 # contextlib, too
            os.kill(pid, number)
        except ProcessLookupError:  # it has just ended
            pass

    for number in PASSED_ON:
        _signal.signal(number, pass_on)
    status = int(server.recv(32))
    if os.WIFSIGNALED(status):
        if os.WTERMSIG(status) in PASSED_ON:
            _signal.signal(os.WTERMSIG(status), _signal.SIG_DFL)
        os.kill(os.getpid(), os.WTERMSIG(status))
    os._exit(os.waitstatus_to_exitcode(status))
