"""The ``datalake`` command. Whatever happens inside ends here: in one line for the user, and an exit status.

0: all of it worked. 1: a task, a batch or a limit failed. 2: the command or a file is wrong. 130: interrupted.
143: asked to terminate before all of it was done.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NoReturn

import click

from datalake_service import events
from datalake_service.cli.annotate import annotate_command
from datalake_service.cli.budgets import budgets_group
from datalake_service.cli.clean_up import clean_up_command
from datalake_service.cli.datasets import datasets_group
from datalake_service.cli.dev_aws import dev_aws_command
from datalake_service.cli.errors import errors_group
from datalake_service.cli.export import export_command
from datalake_service.cli.fsck import fsck_command
from datalake_service.cli.locks import locks_group
from datalake_service.cli.mutex import mutex_group
from datalake_service.cli.output import say
from datalake_service.cli.schema import schema_command
from datalake_service.cli.session import InterruptedCommandError, NobodyReadsError
from datalake_service.cli.tasks import tasks_group
from datalake_service.cli.viewer import viewer_command
from datalake_service.cli.worker import worker_command
from datalake_service.config.version import VERSION
from datalake_service.errors import DatalakeError
from datalake_utils.clock import SystemClock
from datalake_utils.printable import printable

if TYPE_CHECKING:
    from datalake_service.runtime.signals import Termination

FAILED: Final = 1
"""Exit status when something failed."""
BROKEN_PIPE: Final = 141
"""Exit status when the reader of the answer went away, as a shell reports it."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, prog_name="datalake", message="%(prog)s %(version)s")
def datalake() -> None:
    """Create and annotate text-heavy datasets on object storage.

    Answers are for people on a terminal, and JSON in a pipe or with --prettyPrint.
    """


for _command in (
    datasets_group,
    annotate_command,
    worker_command,
    tasks_group,
    errors_group,
    budgets_group,
    locks_group,
    mutex_group,
    clean_up_command,
    fsck_command,
    export_command,
    schema_command,
    dev_aws_command,
    viewer_command,
):
    datalake.add_command(_command)


def main() -> NoReturn:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns its exit status."""
    clock = SystemClock()
    started = clock.monotonic()
    status = _run(arguments)
    event = events.COMMAND_FAILED if status else events.COMMAND_COMPLETED
    events.emit(event, status=status, seconds=round(clock.monotonic() - started, 3))
    return status


def _run(arguments: Sequence[str]) -> int:
    from datalake_service.runtime.signals import Termination

    termination = Termination()
    status = _ended(arguments, termination)
    # What went wrong after the request did so because of it: a query that was broken off, a report with gaps.
    return termination.exit_status if status and termination.requested else status


def _ended(arguments: Sequence[str], termination: Termination) -> int:
    """Run a command that may be asked to end at any moment; say how it ended."""
    debug = "--debug" in arguments  # also for what goes wrong before options are read
    try:
        try:
            termination.handle()
            status = datalake.main(args=list(arguments), prog_name="datalake", standalone_mode=False)
            sys.stdout.flush()
        finally:
            termination.settled = True  # no call before it: only there a signal would be handled
    except (NobodyReadsError, BrokenPipeError):
        _forget_output()
        return BROKEN_PIPE
    except (InterruptedCommandError, KeyboardInterrupt, click.Abort):
        terminal = sys.stderr.isatty()
        say(("\n" if terminal else "") + "interrupted; what was finished is kept")  # after the ^C that it shows
        return termination.exit_status
    except click.ClickException as error:
        return _told(error)
    except DatalakeError as error:
        _trace(error, debug=debug)
        for line in str(error).splitlines():
            say(printable(line))
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the top of the process
        _trace(error, debug=debug)
        say(printable(f"internal error: {type(error).__name__}: {error}; --debug shows where"))
        return FAILED
    return status if isinstance(status, int) else 0


def _told(error: click.ClickException) -> int:
    """A mistake in the command, in one line that says where help is; a group without a command is asking for it."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        say(error.format_message())
        return error.exit_code
    path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx is not None else "datalake"
    say(printable(f"{path}: {error.format_message()} (see: {path} --help)"))
    return error.exit_code


def _trace(error: Exception, *, debug: bool) -> None:
    if debug:
        traceback.print_exception(error)


def _forget_output() -> None:
    """Nobody reads any more: what is still buffered must not raise when the interpreter ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nothing, stream.fileno())
