"""The server of the mutex: connections in, answers of ``conversation.py`` out. Keeps everything in memory."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response  # noqa: TC002 - types of the public signature

from datalake_service.errors import UsageError
from datalake_service.mutex.conversation import Conversation
from datalake_service.mutex.protocol import LONGEST_MESSAGE, LONGEST_TTL, Close, name_in
from datalake_service.mutex.table import LockTable
from datalake_utils.clock import Clock, SystemClock

_IDLE: Final = 2 * LONGEST_TTL.total_seconds()
"""Seconds after which a connection that says nothing is closed; no grant lasts so long."""
_SEND: Final = 10.0
"""Seconds in which a client has to take an answer."""
_CLOSE: Final = 2.0
_GOING_AWAY: Final = 1001
HEALTH: Final = "/healthz"
"""Answered with 200 to a plain request, for whoever watches the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MutexServer:
    """What to listen to, and whom to answer."""

    host: str = "127.0.0.1"
    port: int = 0
    """0: any that is free."""
    token: str | None = field(default=None, repr=False)
    """What clients have to show as ``Authorization: Bearer``; ``None``: everybody is answered."""
    quiet: timedelta | None = None
    """How long nothing is granted after the start; default: as long as a grant of an earlier server may last."""
    clock: Clock = field(default_factory=SystemClock)

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[str, None]:
        """Serve during the block; yields the base URL.

        Raises:
            UsageError: The address cannot be listened to.
        """
        table = LockTable(clock=self.clock, quiet=self.quiet)

        async def handle(connection: ServerConnection) -> None:
            await _talk(connection, table)

        logger = logging.getLogger("websockets.server")
        logger.addFilter(_no_handshakes)
        try:
            server: Server = await serve(
                handle,
                self.host,
                self.port,
                process_request=self._refusal,
                origins=[None],  # a page in somebody's browser has no business here
                compression=None,
                max_size=LONGEST_MESSAGE,
                max_queue=4,
                close_timeout=_CLOSE,
                logger=logger,
            )
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
            raise UsageError(f"cannot listen to {self.host}, port {self.port}: {reason}; choose another") from error
        try:
            yield _url(server)
        finally:
            server.close()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), 2 * _CLOSE)

    def _refusal(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to a request that becomes no connection; ``None``: it does."""
        if request.path == HEALTH:
            return connection.respond(HTTPStatus.OK, "ok\n")
        if self.token is not None:
            shown = " ".join(request.headers.get_all("Authorization"))
            if not hmac.compare_digest(shown.encode(errors="replace"), f"Bearer {self.token}".encode()):
                return connection.respond(HTTPStatus.UNAUTHORIZED, "the token is missing or wrong\n")
        if name_in(request.path) is None:
            return connection.respond(HTTPStatus.NOT_FOUND, "locks are at /ws/NAME\n")
        return None


async def _talk(connection: ServerConnection, table: LockTable) -> None:
    name = name_in(connection.request.path) if connection.request is not None else None
    if name is None:
        return
    conversation = Conversation(table, name)
    try:
        answer: str | None = conversation.greeting()
        while True:
            if answer is not None:
                await asyncio.wait_for(connection.send(answer), _SEND)
            answer = conversation.answer(await asyncio.wait_for(connection.recv(), _IDLE))
    except TimeoutError:
        await connection.close(_GOING_AWAY, "idle")
    except ConnectionClosed as closed:
        # Only the client's own word ends a grant: one that broke off, or that a proxy closed, may be at work.
        if closed.rcvd is not None and closed.rcvd.code == Close.DONE:
            conversation.done()


def _url(server: Server) -> str:
    host, port, *_ = next(iter(server.sockets)).getsockname()
    return f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"


def _no_handshakes(record: logging.LogRecord) -> bool:
    """Whatever knocks at a port with something else than a WebSocket is no event of ours."""
    return not record.getMessage().startswith("opening handshake failed")
