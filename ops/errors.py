"""What can go wrong in a way that the user can act on.

Each message is one line, worded as the next step. Anything that is not a
`Problem` and reaches the user as a traceback is a bug in the suite.
"""


class Problem(Exception):
    """The operation failed (exit 1).

    `detail` holds further lines where one is not enough, such as the line of
    SQL with a caret under the fault.
    """

    code = 1

    def __init__(self, message: str, *detail: str) -> None:
        super().__init__(message)
        self.detail = detail

    def __str__(self) -> str:
        return "\n".join([str(self.args[0]), *self.detail])


class Misconfigured(Problem):
    """A variable, setting, argument or file is wrong (exit 2)."""

    code = 2


class NotConfigured(Misconfigured):
    """The variables do not name all of production; RDS may know the rest."""


class Refused(Problem):
    """Nothing was done: a dangerous act was not confirmed, or what it is about is somebody else's (exit 2)."""

    code = 2


class InProgress(Problem):
    """Not finished yet; run again to go on waiting (exit 3)."""

    code = 3


class Differs(Problem):
    """Looked, and found what is not as it should be: nothing failed, and nothing was done (exit 4)."""

    code = 4


class Cancelled(Problem):
    """The user said stop at a prompt (exit 130)."""

    code = 130


class NothingAnswers(Problem):
    """No server listens at the target's address."""


class Unreachable(Problem):
    """The server was not reached in time, or its name is not known yet."""


class NoTunnel(Problem):
    """The tunnel to the server does not come up, or has ended; nothing is known of the server."""


class Silent(Problem):
    """What was asked has given no sign of life within the limit."""


class LoginFailed(Problem):
    """The server answers but does not let this user in."""


class WrongLogin(LoginFailed):
    """The server has no such user who may log in, or not with this password."""


class SessionLost(Problem):
    """The session with the server broke while it was at work; `step` is what to do where nothing of it was kept."""

    def __init__(self, message: str, *, step: str) -> None:
        super().__init__(message)
        self.step = step


class Contended(Problem):
    """Another session holds what a transaction needs; all of that was undone, and may be begun again."""


class NoDatabase(Problem):
    """The server answers, the database is not there."""


class NotAllowed(LoginFailed):
    """The server knows this user, but lets it into another database only."""
