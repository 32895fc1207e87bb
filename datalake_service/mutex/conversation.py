"""What the server answers to the messages of one connection. No connection is needed to know it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from datalake_service.mutex import protocol
from datalake_service.mutex.protocol import LONGEST_TTL, encode
from datalake_service.mutex.table import Busy, LockTable

_LONGEST_ID: Final = 200
_MILLISECOND: Final = timedelta(milliseconds=1)


class Conversation:
    """One connection: about one lock, with one client."""

    def __init__(self, table: LockTable, name: str) -> None:
        """Talk about the lock ``name``."""
        self._table = table
        self._name = name
        self._client: str | None = None
        self._owner = ""

    @staticmethod
    def greeting() -> str:
        """The first message."""
        return encode("hello_ok")

    def answer(self, data: str | bytes) -> str | None:
        """The answer to a message; ``None``: it needs none. Whatever comes, this does not fail."""
        try:
            message = protocol.decode(data)
        except ValueError as error:
            return encode("error", error=f"not a message: {type(error).__name__}")
        kind = message["type"]
        if kind == "hello":
            return self._hello(message)
        if kind not in {"acquire", "release"}:
            return encode("error", error="unknown type; known: hello, acquire, release")
        if self._client is None:
            return encode("error", error="say hello with a clientId first")
        if kind == "acquire":
            return self._acquire(message, self._client)
        self._table.release(self._name, client=self._client)
        return encode("released")

    def done(self) -> None:
        """The client went away and said that it holds nothing any more."""
        if self._client is not None:
            self._table.release(self._name, client=self._client)

    def _hello(self, message: dict[str, object]) -> str | None:
        client = message.get("clientId")
        if not isinstance(client, str) or not 0 < len(client) <= _LONGEST_ID:
            return encode("error", error=f"clientId must be a text of 1 to {_LONGEST_ID} characters")
        if self._client not in {None, client}:
            return encode("error", error="a connection has one client")
        self._client = client
        self._owner = protocol.words(message, "owner")
        return None

    def _acquire(self, message: dict[str, object], client: str) -> str:
        ttl = protocol.milliseconds(message, "ttlMs")
        if not ttl or ttl > LONGEST_TTL:
            return encode("error", error=f"ttlMs must be 1 to {LONGEST_TTL // _MILLISECOND}")
        found = self._table.acquire(self._name, client=client, ttl=ttl, owner=self._owner)
        if isinstance(found, Busy):
            return encode("busy", owner=found.owner, expiresInMs=-(-found.remaining // _MILLISECOND))
        return encode("granted", ttlMs=ttl // _MILLISECOND)
