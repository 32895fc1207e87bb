"""Run commands in processes that are forked from one that has loaded everything: a fifth of what starting them takes.

What a start itself does (options of the interpreter, what is loaded when) is for tests that start one.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import selectors
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import warm_client
from tests.support.repository import ROOT
from tests.support.warm_client import COMMAND, ask, told

_AT_START = ("PYTHON", "LC_", "LANG", "LD_", "TZ")
"""Variables that an interpreter looks at when it starts: a command with others than ours must be started."""
_MOST_INPUT = 1 << 16


def is_possible(env: Mapping[str, str]) -> bool:
    """Whether a command with this environment may be forked."""
    return sys.platform == "linux" and _of_start(env) == _of_start(_environment())


def communicate(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: str = "",
    seconds: float | None = None,
    module: str = COMMAND,
) -> subprocess.CompletedProcess[str]:
    """Run ``datalake``, or another module, with its streams in pipes until it ends, as ``subprocess.run`` does."""
    if not is_possible(env):
        started = [sys.executable, "-m", module, *arguments]
        return subprocess.run(
            started, cwd=cwd, env=env, input=stdin, capture_output=True, text=True, check=False, timeout=seconds
        )
    given = stdin.encode()
    if len(given) > _MOST_INPUT:
        raise ValueError("more input than a pipe holds")
    ours, theirs = zip(*(os.pipe() for _ in range(2)), strict=True)
    read, write = os.pipe()
    try:
        os.write(write, given)
        os.close(write)
        with start(arguments, cwd=cwd, env=env, streams=(read, *theirs), module=module) as running:
            for end in (read, *theirs):
                os.close(end)
            out, err = _read_all(ours, seconds)
            return subprocess.CompletedProcess(arguments, running.wait(seconds), out, err)
    finally:
        for end in ours:
            os.close(end)


class Running:
    """A command that was forked; its public names are those of ``subprocess.Popen``."""

    def __init__(self, server: socket.socket, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._server = server

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; returns the exit status, negative after a signal."""
        if self.returncode is None:
            self._server.settimeout(timeout)
            self.returncode = told(self._server)
            self._server.close()
        return self.returncode

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        with contextlib.suppress(TimeoutError, BlockingIOError):
            self.wait(0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it one, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it without a word."""
        self.send_signal(signal.SIGKILL)

    def close(self) -> None:
        """Kill it unless it has ended."""
        self.kill()
        self.wait(60)


def popen(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], out: Path, err: Path
) -> Running | subprocess.Popen[bytes]:
    """Run ``datalake`` with its output in files, which may be one: to be killed, or waited for."""
    with out.open("ab") as stdout, err.open("ab") as stderr, Path(os.devnull).open("rb") as stdin:
        if not is_possible(env):
            started = [sys.executable, "-m", COMMAND, *arguments]
            return subprocess.Popen(started, cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
        streams = (stdin.fileno(), stdout.fileno(), stderr.fileno())
        return Running(*ask(address(), arguments, cwd=str(cwd), env=env, streams=streams))


@contextmanager
def start(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], streams: Sequence[int], module: str = COMMAND
) -> Iterator[Running]:
    """Fork a command; it is killed at the end unless it has ended before."""
    running = Running(*ask(address(), arguments, cwd=str(cwd), env=env, streams=streams, module=module))
    try:
        yield running
    finally:
        running.close()


@functools.cache
def address() -> str:
    """Where the server of this process listens; it is started for the first who asks, and ends with this process."""
    folder = tempfile.mkdtemp(prefix="warm-")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.support.warm_server", f"{folder}/socket"],
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.PIPE,
    )
    atexit.register(_stop, process, folder)
    until = time.monotonic() + 60
    while not Path(f"{folder}/socket").exists():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError("the server that becomes commands does not start")
        time.sleep(0.01)
    return f"{folder}/socket"


def _stop(process: subprocess.Popen[bytes], folder: str) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(60)
    shutil.rmtree(folder)


def program() -> list[str]:
    """What does what ``datalake`` does, with the same signals and the same end; arguments come after it."""
    if is_possible(_environment()):
        return [sys.executable, "-I", "-S", warm_client.__file__, address()]
    return [sys.executable, "-m", COMMAND]


def write_program(path: Path) -> None:
    """Make it a file that can be run."""
    path.write_text(f'#!/bin/sh\nexec {shlex.join(program())} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def _of_start(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_AT_START)}


def _read_all(ends: Sequence[int], seconds: float | None) -> list[str]:
    until = time.monotonic() + (seconds or 3600)
    found = dict.fromkeys(ends, b"")
    with selectors.DefaultSelector() as waiting:
        for end in ends:
            waiting.register(end, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("the command does not end")
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                found[key.fd] += piece
                if not piece:
                    waiting.unregister(key.fd)
    return [found[end].decode().replace("\r\n", "\n") for end in ends]
