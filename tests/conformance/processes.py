"""Programs that a test starts and stops, and ports that nobody uses."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

_STOP_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]


def is_listening(port: int) -> bool:
    """Whether something accepts connections there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def started(
    command: Sequence[str], *, log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program in a session of its own; in the end it is asked to stop, then killed with all its children."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - one system call, and no lock
        )
    try:
        yield process
    finally:
        _end(process)


def wait_until_listening(process: subprocess.Popen[bytes], port: int, *, log: Path, seconds: float = 60.0) -> None:
    """Return when a program that was started accepts connections.

    Raises:
        RuntimeError: It ended, or it took too long; the last lines of its log say why.
    """
    end = time.monotonic() + seconds
    while not is_listening(port):
        if process.poll() is not None or time.monotonic() > end:
            tail = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
            raise RuntimeError(f"the server did not start: {' | '.join(tail)}")
        time.sleep(0.1)


def _die_with_parent() -> None:
    """Let the kernel kill the program when whoever started it is killed, and so can stop nothing any more."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
