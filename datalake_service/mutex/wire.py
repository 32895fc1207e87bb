"""A client's connection to one lock. Every call has a time limit; every failure is an error of ours, in one line."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from websockets.exceptions import ConnectionClosed, InvalidStatus, InvalidURI, WebSocketException
from websockets.sync.client import ClientConnection, connect

from datalake_service.errors import AccessDeniedError, StoreError, StoreUnavailableError
from datalake_service.mutex import protocol
from datalake_service.mutex.protocol import LONGEST_MESSAGE, Close, encode
from datalake_utils.clock import Clock

_OPEN: Final = 5.0
"""Seconds to connect in."""
_CLOSE: Final = 1.0
_REFUSED: Final = frozenset({401, 403})
_OVERLOADED: Final = 500
ANSWER: Final = 5.0
"""Seconds in which the server has to answer."""


class Wire:
    """One connection about one lock, on which the client has introduced itself."""

    def __init__(self, url: str, *, server: str, token: str | None, client: str, owner: str, clock: Clock) -> None:
        """Connect to a lock's ``url``; messages name the ``server``.

        Raises:
            StoreUnavailableError: The server cannot be reached, or not now.
            AccessDeniedError: It wants another token.
            StoreError: It is no server of ours.
        """
        self._server = server
        self._clock = clock
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            self._connection: ClientConnection = connect(
                url,
                additional_headers=headers,
                compression=None,
                open_timeout=_OPEN,
                ping_interval=None,  # the server asks
                close_timeout=_CLOSE,
                max_size=LONGEST_MESSAGE,
            ).__enter__()
        except (OSError, UnicodeError, WebSocketException) as error:
            raise self._cannot_connect(error) from error
        try:
            self._connection.send(encode("hello", clientId=client, owner=owner))
            self._expect({"hello_ok"}, seconds=ANSWER)
        except ConnectionClosed as error:
            raise self._broken(error) from error
        except BaseException:
            self.close(Close.DONE)
            raise

    def ask(self, kind: str, *, expect: set[str], seconds: float = ANSWER, **fields: object) -> dict[str, object]:
        """Send a message and return the answer to it.

        After an error the connection is of no use any more: a late answer would be taken for that to another question.

        Raises:
            StoreUnavailableError: No answer came in time, or the connection broke; it may or may not have been heard.
            StoreError: The server refused, or answered what cannot be understood.
        """
        try:
            self._connection.send(encode(kind, **fields))
            return self._expect(expect, seconds=seconds)
        except (ConnectionClosed, OSError) as error:
            raise self._broken(error) from error

    def close(self, reason: Close) -> None:
        """Close, whatever state it is in."""
        try:
            self._connection.close(reason)
        except (OSError, WebSocketException):
            return

    def _expect(self, kinds: set[str], *, seconds: float) -> dict[str, object]:
        limit = self._clock.monotonic() + seconds
        try:
            data = self._connection.recv(timeout=max(0.0, limit - self._clock.monotonic()))
        except TimeoutError:
            raise StoreUnavailableError(f"the mutex {self._server} did not answer within {seconds:.0f} s") from None
        try:
            message = protocol.decode(data)
        except ValueError:
            message = {"type": ""}
        if message["type"] in kinds:
            return message
        if message["type"] == "error":
            raise StoreError(f"the mutex {self._server} refused: {protocol.words(message, 'error')}")
        raise StoreError(f"{self._server} does not answer like a mutex; is it the address of one?")

    def _cannot_connect(self, error: Exception) -> StoreError:
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            if status in _REFUSED:
                return AccessDeniedError(f"the mutex {self._server} wants another token; set WSS_MUTEX_TOKEN")
            if status < _OVERLOADED:
                return StoreError(
                    f"{self._server} answers {status}; it is not the address of a mutex: correct WSS_MUTEX_BASE_URL"
                )
        if isinstance(error, ssl.SSLCertVerificationError):
            return StoreError(f"the TLS certificate of {self._server} is not trusted; install its authority")
        if isinstance(error, InvalidURI):
            return StoreError(f"{self._server} is no address of a mutex: correct WSS_MUTEX_BASE_URL")
        return StoreUnavailableError(
            f"cannot reach the mutex {self._server} ({_in_words(error)}); check WSS_MUTEX_BASE_URL, and that"
            " 'datalake mutex serve' runs there"
        )

    def _broken(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(f"the connection to the mutex {self._server} broke ({type(error).__name__})")


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return "unknown host"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, InvalidStatus):
        return f"status {error.response.status_code}"
    return type(error).__name__
