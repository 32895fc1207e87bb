"""Run the real command in a process of its own, in a pipe or on a terminal of the test's.

Processes are forked from one that has loaded everything (``tests/support/warm.py``); ``started`` starts one instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import warm
from tests.support.repository import ROOT

_SECONDS = 120


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer."""
        return json.loads(self.out)


def command(*arguments: str) -> list[str]:
    """``datalake`` with arguments, as a process would start it."""
    return [sys.executable, "-m", "datalake_service", *arguments]


def quick_command(*arguments: str) -> list[str]:
    """The same, ready at once: a process that passes signals on to one that is forked, and ends as it does."""
    return [*warm.program(), *arguments]


def environment(**more: str) -> dict[str, str]:
    """The environment of a command: nothing of the lake but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "S3_", "DATALAKE_"))}
    return {**kept, "PYTHONPATH": str(ROOT), "AWS_EC2_METADATA_DISABLED": "true", "COLUMNS": "200", **more}


def datalake(*arguments: str, cwd: Path, stdin: str = "", **env: str) -> Done:
    """Run a command in a pipe."""
    done = warm.communicate(arguments, cwd=cwd, env=environment(**env), stdin=stdin, seconds=_SECONDS)
    return Done(done.returncode, done.stdout, done.stderr)


def started(*arguments: str, cwd: Path, **env: str) -> Done:
    """Run a command in a pipe, with an interpreter that knows nothing yet."""
    done = subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=_SECONDS,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def datalake_on_terminal(*arguments: str, cwd: Path, answer: str = "", **env: str) -> Done:
    """Run a command on a terminal: standard input, output and error are one; ``answer`` is typed in."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (50, 200))
    with _on(theirs, arguments, cwd, environment(**env)) as process:
        os.close(theirs)
        if answer:
            os.write(ours, answer.encode())
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while select.select([ours], [], [], _SECONDS)[0]:
                piece = os.read(ours, 65_536)
                if not piece:
                    break
                shown += piece
        status = process.wait(_SECONDS)
    os.close(ours)
    return Done(status, shown.decode().replace("\r\n", "\n"), "")


def _on(
    terminal: int, arguments: Sequence[str], cwd: Path, variables: dict[str, str]
) -> AbstractContextManager[warm.Running | subprocess.Popen[bytes]]:
    if warm.is_possible(variables):
        return warm.start(arguments, cwd=cwd, env=variables, streams=(terminal,) * 3)
    return subprocess.Popen(
        command(*arguments), cwd=cwd, env=variables, stdin=terminal, stdout=terminal, stderr=terminal
    )
