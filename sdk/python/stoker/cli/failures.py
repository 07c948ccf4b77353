"""How a failure is told at the command line, and with which code the process ends."""

from stoker.errors import (
    InvalidArgument,
    PackingError,
    StokerError,
    Unauthenticated,
)
from stoker.settings import ADMIN_KEY_VARIABLE, API_KEY_VARIABLE

FUNCTION_FAILED = 1
USAGE = 2
PLATFORM = 3
_COMMANDS = {
    "ALIAS_NOT_FOUND": "`stoker alias list` shows those there are",
    "ALIAS_SPLIT": "`stoker alias set` points it at one",
    "FUNCTION_CONCURRENCY": "nothing ran: try again, or raise the maximum with `stoker concurrency set`",
    "FUNCTION_NOT_FOUND": "`stoker list` shows those there are, `stoker deploy` makes one",
    "LAYER_IN_USE": "`stoker delete NAME --version NUMBER` deletes that version",
    "LAYER_NOT_FOUND": "`stoker layer versions` shows those there are, `stoker layer publish` makes one",
    "NO_EARLIER_VERSION": "name one of those that `stoker versions` shows",
    "ROLLOUT_ENDED": "`stoker rollout NAME --to VERSION` begins another",
    "ROLLOUT_UNDER_WAY": "wait for its end, or end it with `stoker rollout abort` or `stoker rollback`",
    "SIGNING_KEY_EXISTS": "`stoker signing-key list` shows those there are",
    "SIGNING_KEY_NOT_FOUND": "`stoker signing-key list` shows those there are",
    "TENANT_EXISTS": "`stoker admin key create` makes one more key for it",
    "TENANT_NOT_FOUND": "`stoker admin tenant create` makes one",
    "VERSION_IN_USE": "`stoker alias set` points it elsewhere",
    "VERSION_NOT_FOUND": "`stoker versions` shows those there are",
}
"""What to type next, for reasons whose message names a method of the API instead."""
UNEXPECTED = "a fault in this command line"


class UsageError(StokerError):
    """A command that cannot be meant as it was typed."""

    def __init__(self, message: str) -> None:
        """Makes an error."""
        super().__init__("USAGE", message)


def exit_code(error: StokerError) -> int:
    """The code that a process ends with after `error`: 2 for what was typed wrong, 3 for all else."""
    return USAGE if isinstance(error, UsageError | InvalidArgument | PackingError) else PLATFORM


def describe(error: StokerError) -> str:
    """What is wrong, and what to do."""
    if error.reason == "UNREACHABLE":
        address = error.message.removeprefix("cannot reach ").partition(": ")[0]
        return f"cannot reach {address}: is it running? `stoker up` starts it"
    if isinstance(error, Unauthenticated):
        return (
            f"{error.message}\nset {API_KEY_VARIABLE} (or {ADMIN_KEY_VARIABLE} for `stoker admin`); "
            "`stoker up` gives a new one where Stoker runs on this machine"
        )
    if error.reason in _COMMANDS:
        what = error.message.rpartition("; ")[0] or error.message
        return f"{what}; {_COMMANDS[error.reason]}"
    if error.retry_after_s and "try again" not in error.message:
        return f"{error.message}; try again in {error.retry_after_s:g} s"
    return error.message
