"""What every command has: where it calls, and how its failures end the process.

Exit codes: 0; 1 for a function that failed; 2 for a command that is wrong as it was typed; 3 for a failure of the
platform; 130 after Ctrl-C; 141 where the reader of a pipe has left.
"""

import os
import sys
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from stoker.cli.failures import UNEXPECTED, describe, exit_code
from stoker.errors import StokerError

if TYPE_CHECKING:
    from stoker.client import Client

DEBUG_VARIABLE = "STOKER_DEBUG"
INTERRUPTED = 130
BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Target:
    """What the options before the command say; None where they say nothing."""

    endpoint: str | None
    api_key: str | None
    admin_key: str | None


@contextmanager
def connected(context: typer.Context) -> "Generator[Client]":
    """A client as the options, the environment or the configuration file say."""
    from stoker.client import Client

    target: Target = context.obj
    with Client(target.endpoint, api_key=target.api_key, admin_key=target.admin_key) as client:
        yield client


class Commands(TyperGroup):
    """All commands. Whatever goes wrong in one ends the process with a line and a code, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the command that the arguments name."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except StokerError as error:
            raise typer.Exit(_end(describe(error), exit_code(error))) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            # Nobody reads on. Python must not try to write the rest when it ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(BROKEN_PIPE) from error
        except (typer.Exit, typer.Abort, typer.TyperException):
            raise
        except Exception as error:
            if os.environ.get(DEBUG_VARIABLE):
                traceback.print_exception(error)
            hint = f"set {DEBUG_VARIABLE}=1 to see where"
            raise typer.Exit(_end(f"{UNEXPECTED}: {type(error).__name__}: {error} ({hint})", 3)) from error
        return result


def _end(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
