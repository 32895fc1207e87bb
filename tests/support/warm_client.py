"""Ask ``warm_server.py`` to become a command: in a test, or as a program in place of ``datalake``.

``python warm_client.py SOCKET [arguments]`` passes on its arguments, its folder, its environment, its three streams
and the signals that it is sent, and ends as the command ends. It needs the standard library only: it starts at once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

COMMAND = "datalake_service"
LONGEST_REQUEST = 1 << 17
"""In bytes: all of an environment is in it."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def ask(
    address: str,
    arguments: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    streams: Sequence[int],
    module: str = COMMAND,
) -> tuple[socket.socket, int]:
    """Start ``python -m MODULE`` with arguments; returns who tells its end, and its process id.

    Args:
        address: The server's socket.
        arguments: Of the command.
        cwd: Its working directory.
        env: Its environment, all of it.
        streams: Its standard input, output and error, as file descriptors; they stay open here.
        module: What runs as the main module.
    """
    request = json.dumps({"module": module, "arguments": list(arguments), "cwd": cwd, "env": dict(env)}).encode()
    if len(request) > LONGEST_REQUEST:
        raise ValueError(f"the environment and the arguments are {len(request)} bytes")
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        server.connect(address)
        socket.send_fds(server, [request], list(streams))
        return server, told(server)
    except BaseException:
        server.close()
        raise


def told(server: socket.socket) -> int:
    """Wait for the next number: first the process id, then the exit status, which is negative after a signal."""
    answer = server.recv(64)
    if not answer:
        raise ConnectionError("the server that becomes commands is gone")
    return int(answer)


def main() -> int:
    """Stand in for a command."""
    pids: list[int] = []
    early: list[int] = []

    def pass_on(number: int, _: FrameType | None) -> None:
        if pids:
            os.kill(pids[0], number)
        else:
            early.append(number)

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, pass_on)
    server, pid = ask(sys.argv[1], sys.argv[2:], cwd=str(Path.cwd()), env=os.environ, streams=(0, 1, 2))
    pids.append(pid)
    for waiting in early:
        os.kill(pid, waiting)
    status = told(server)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    return status


if __name__ == "__main__":
    sys.exit(main())
