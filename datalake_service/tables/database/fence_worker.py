"""The process in which SQL that people wrote runs: a database and nothing else. Its parent ends it when it likes.

It has no credentials, no environment but where Python's modules are, and a limit on its memory; it gets open files, not
names. Run by ``fence.py`` as ``python -m``; talks JSON over the socket that it is given.
"""

from __future__ import annotations

import array
import json
import os
import resource
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import duckdb

HEADER: Final = 8
"""Bytes of the length before every message."""
FDS_AT_ONCE: Final = 200
"""Open files in one message; the system allows 253."""


def send(sock: socket.socket, message: object) -> None:
    """Send one message."""
    data = json.dumps(message, default=str).encode()
    sock.sendall(len(data).to_bytes(HEADER, "big") + data)


def receive(sock: socket.socket) -> Any:  # noqa: ANN401 - any JSON value
    """Receive one message; ``None``: the other side is gone."""
    header = _exactly(sock, HEADER)
    if header is None:
        return None
    data = _exactly(sock, int.from_bytes(header, "big"))
    return None if data is None else json.loads(data)


def _exactly(sock: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            part = sock.recv(min(size - len(data), 1 << 20))
        except OSError:
            return None
        if not part:
            return None
        data += part
    return bytes(data)


def send_files(sock: socket.socket, files: list[int]) -> None:
    """Send open files."""
    for start in range(0, len(files), FDS_AT_ONCE):
        some = files[start : start + FDS_AT_ONCE]
        sock.sendmsg([b"f"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", some))])


def receive_files(sock: socket.socket, count: int) -> list[int]:
    """Receive open files."""
    found: list[int] = []
    while len(found) < count:
        some = array.array("i")
        _, ancillary, _, _ = sock.recvmsg(1, socket.CMSG_LEN(FDS_AT_ONCE * some.itemsize))
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                some.frombytes(data[: len(data) - len(data) % some.itemsize])
        if not some:
            raise OSError("no files came")
        found += some
    return found


def main() -> None:
    """Answer questions until the parent hangs up."""
    sock = socket.socket(fileno=int(sys.argv[1]))
    while (question := receive(sock)) is not None:
        files = receive_files(sock, question["files"])
        try:
            _answer(sock, question, files)
        finally:
            for number in files:
                os.close(number)


def _answer(sock: socket.socket, question: dict[str, Any], files: list[int]) -> None:
    """One question: a database over some files, and queries until the parent is done with it."""
    from datalake_service.tables.database.engine import Engine, EngineLimits

    resource.setrlimit(resource.RLIMIT_DATA, (question["data"], resource.RLIM_INFINITY))
    limits = EngineLimits(
        memory_bytes=question["memory"], threads=question["threads"], spill_folder=Path(question["spill"])
    )
    engine = Engine(limits)
    try:
        paths = [f"{question['folder']}/{number}" for number in files]
        engine.lock([*paths, *question["paths"]])
        send(sock, {"paths": paths})
        while (query := receive(sock)) is not None and query != "done":
            send(sock, _ask(engine.connection, query))
    finally:
        engine.close()


def _ask(connection: duckdb.DuckDBPyConnection, query: dict[str, Any]) -> dict[str, Any]:
    try:
        values = query["values"]
        result = connection.execute(query["sql"]) if values is None else connection.execute(query["sql"], values)
        return {"rows": [list(row) for row in result.fetchall()]}
    except MemoryError:
        return {"error": "Out of Memory Error: the expression needs more than it may use"}
    except Exception as error:  # noqa: BLE001 - the top of the process: whatever it is, the parent is told
        return {"error": str(error)}


if __name__ == "__main__":
    main()
