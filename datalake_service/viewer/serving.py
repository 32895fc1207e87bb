"""From a lake to a running server."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import uvicorn

from datalake_service.errors import UsageError
from datalake_service.pipeline.live_lake import LiveLake
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.engine import EngineLimits
from datalake_service.viewer.answering import Answers
from datalake_service.viewer.app import make_app

LIMITS = EngineLimits(memory_bytes=192 << 20, threads=2)


def serve(
    store: ObjectStore, *, host: str, port: int, token: str | None, open_browser: bool, say: Callable[[str], None]
) -> None:
    """Serve until interrupted."""
    with tempfile.TemporaryDirectory(prefix="datalake-viewer-") as folder, _listen(host, port) as sock:
        lake = LiveLake(store, Path(folder), limits=LIMITS)
        app = make_app(Answers(lake))
        say(f"http://{host}:{sock.getsockname()[1]}/")
        config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
        uvicorn.Server(config).run(sockets=[sock])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise UsageError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
