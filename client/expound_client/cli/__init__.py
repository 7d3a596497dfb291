"""The command line: `expound`.

Exit codes: 0 all is well; 1 an explanation failed; 2 the command or the request is wrong; 3 the
server does not answer; 130 interrupted.
"""

import sys

import click

from expound_client.cli.commands import commands
from expound_client.cli.console import echo
from expound_client.errors import (
    AlreadyExistsError,
    DeadlineExceededError,
    ExpoundError,
    FailedPreconditionError,
    InvalidArgumentError,
    MethodNotImplementedError,
    NotFoundError,
    PermissionDeniedError,
    UnavailableError,
)

FAILED = 1
WRONG = 2
UNAVAILABLE = 3
INTERRUPTED = 130

_EXIT_CODES: tuple[tuple[type[ExpoundError], int], ...] = (
    (InvalidArgumentError, WRONG),
    (NotFoundError, WRONG),
    (AlreadyExistsError, WRONG),
    (FailedPreconditionError, WRONG),
    (MethodNotImplementedError, WRONG),
    (PermissionDeniedError, WRONG),
    (UnavailableError, UNAVAILABLE),
    (DeadlineExceededError, UNAVAILABLE),
)


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Runs the command line; gives its exit code."""
    try:
        code = commands.main(arguments, prog_name="expound", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        echo("Interrupted.", err=True)
        return INTERRUPTED
    except ExpoundError as error:
        echo(f"Error: {error}", err=True)
        return next((code for kind, code in _EXIT_CODES if isinstance(error, kind)), FAILED)
    except OSError as error:
        echo(f"Error: {error}", err=True)
        return WRONG
