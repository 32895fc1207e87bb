"""Errors as answers: a status, and one line that says what to change. Never a stack trace, a path of ours or a key."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from datalake_service.errors import (
    DatalakeError,
    DatasetNotFoundError,
    DatasetNotMergedError,
    FilterError,
    StoreError,
    UsageError,
)
from datalake_service.tables.database.engine import OutOfMemoryError
from datalake_service.viewer.cells import dump, text
from datalake_service.viewer.headers import HEADERS

_log = logging.getLogger(__name__)

_MAX_MESSAGE: Final = 1_000
_PLACE: Final = re.compile(r"(filter(?:\.\w+|\[\d+\])*): ")
"""Where in a filter a mistake is."""


class NotFoundError(UsageError):
    """Something that was asked for is not there."""

    kind = "not_found"


class BusyError(UsageError):
    """Others are doing what was asked for."""

    kind = "busy"


class QueryError(UsageError):
    """A parameter cannot be used."""

    kind = "query"

    def __init__(self, message: str, field: str | None = None) -> None:
        """Say what is wrong with which parameter."""
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        """The message."""
        return self.message


_STATUS: Final[tuple[tuple[type[DatalakeError], int], ...]] = (
    (DatasetNotFoundError, 404),
    (NotFoundError, 404),
    (BusyError, 503),
    (DatasetNotMergedError, 409),
    (OutOfMemoryError, 422),
    (StoreError, 503),
)


def status_of(error: DatalakeError) -> int:
    """The status that says what kind of error it is."""
    if getattr(error, "kind", "") == "too_long":
        return 422
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return status
    return 400 if isinstance(error, UsageError) else 500


def problem(status: int, message: str, kind: str, field: str | None = None) -> Response:
    """The answer that tells of an error."""
    line = " ".join(text(message).split())[:_MAX_MESSAGE]
    body = {"error": {"message": line, "field": None if field is None else text(field), "kind": kind}}
    # Internal errors are answered outside of whatever adds these to other answers.
    return Response(dump(body), status, headers={**HEADERS, "cache-control": "no-store"}, media_type="application/json")


async def _ours(_request: Request, error: Exception) -> Response:
    assert isinstance(error, DatalakeError)  # registered for nothing else
    status = status_of(error)
    if status >= 500:  # noqa: PLR2004 - the server's own fault, or the store's
        _log.warning("%s: %s", type(error).__name__, error)
    field = error.field if isinstance(error, QueryError) else None
    if isinstance(error, FilterError) and (place := _PLACE.match(str(error))) is not None:
        field = place[1]
    return problem(status, str(error), type(error).__name__, field)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # registered for nothing else
    return problem(error.status_code, error.detail, "HttpError")


async def _internal(request: Request, error: Exception) -> Response:
    # Its text may hold anything, so it goes nowhere but to the log of the one who runs the viewer.
    _log.error("internal error while answering %s: %s", request.url.path, type(error).__name__, exc_info=error)
    return problem(500, "internal error; the viewer's log says more", "InternalError")


Handler = Callable[[Request, Exception], Awaitable[Response]]


def handlers() -> Mapping[Any, Handler]:
    """Who answers which errors."""
    return {DatalakeError: _ours, HTTPException: _http, Exception: _internal}
