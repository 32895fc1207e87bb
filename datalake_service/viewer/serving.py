"""From a lake to a running server."""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import uvicorn

from datalake_service.errors import DatalakeError, UsageError
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.lake import LiveLake
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.cached import CachedStore
from datalake_service.tables.database.engine import EngineLimits
from datalake_service.tables.queries.reading import is_remote
from datalake_service.viewer.answering import Answers
from datalake_service.viewer.app import make_app
from datalake_service.viewer.events import LOCAL_PACE, REMOTE_PACE, Watcher
from datalake_service.viewer.security import Access, is_loopback
from datalake_utils.ids import random_hex

LIMITS: Final = EngineLimits(memory_bytes=192 << 20, threads=2)
"""What one question may use; three run at a time."""
_TOKEN_DIGITS: Final = 32
_MAX_REQUEST: Final = 256 << 10
"""Bytes of an address and its headers: filters stand in addresses."""
_GRACE_SECONDS: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where and for whom a viewer answers."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    """``None``: one is made if others can reach the viewer."""
    names: Sequence[str] = ()
    """Other names by which it is called."""


def serve(store: ObjectStore, listening: Listening, *, ready: Callable[[str], None]) -> None:
    """Answer until interrupted; ``ready`` is told the address.

    Raises:
        UsageError: The address cannot be listened at.
    """
    token = listening.token
    if token is None and not is_loopback(listening.host):
        token = random_hex(_TOKEN_DIGITS)
    with tempfile.TemporaryDirectory(prefix="datalake-viewer-") as folder, _listen(listening) as sock:
        remote = is_remote(store)
        if remote:
            ranges = Path(folder) / "ranges"
            ranges.mkdir()
            store = CachedStore(store, ranges)
        lake = LiveLake(store, Path(folder), limits=LIMITS, max_age=2.0 if remote else 0.5)
        watcher = Watcher(lake, REMOTE_PACE if remote else LOCAL_PACE)
        access = Access.of(
            listening.host, names=[*listening.names, socket.gethostname(), socket.getfqdn()], token=token
        )
        asking = Asking(lake)
        app = make_app(Answers(lake, asking=asking, needs_token=token is not None), watcher, access)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # addresses hold filters, which are content
            server_header=False,
            http="h11",
            ws="none",
            h11_max_incomplete_event_size=_MAX_REQUEST,
            timeout_graceful_shutdown=_GRACE_SECONDS,
        )
        server = _Server(config, watcher)
        ready(_address(listening.host, sock.getsockname()[1], token))
        if not remote:
            threading.Thread(target=_look_ahead, args=[lake], name="look ahead", daemon=True).start()
        try:
            server.run(sockets=[sock])
        finally:
            asking.close()


def _look_ahead(lake: LiveLake) -> None:
    """Read the footers that the first page will ask for, while somebody opens a browser."""
    with contextlib.suppress(DatalakeError):  # whoever asks is told
        for name in lake.datasets():
            lake.footers(name)


class _Server(uvicorn.Server):
    """Ends open event streams first, so that it need not wait for them."""

    def __init__(self, config: uvicorn.Config, watcher: Watcher) -> None:
        super().__init__(config)
        self._watcher = watcher

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._watcher.close()
        await super().shutdown(sockets)


def _listen(listening: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        return socket.create_server((listening.host, listening.port), family=family)
    except OSError as error:
        where = f"{listening.host}:{listening.port}"
        raise UsageError(f"cannot listen at {where}: {error.strerror or error}; choose another --port") from error


def _address(host: str, port: int, token: str | None) -> str:
    name = socket.gethostname() if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
    shown = f"[{name}]" if ":" in name else name
    return f"http://{shown}:{port}/" + ("" if token is None else f"?token={quote(token, safe='')}")
