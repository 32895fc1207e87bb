"""What client and server of the mutex say to each other. Text only: nothing here opens a connection.

A connection is about one lock, which the path names: ``{base}/ws/{name}``, the name percent-encoded as a whole. The
server begins with ``hello_ok``; the client says ``hello``, then asks: ``acquire`` is answered with ``granted``,
``busy`` or ``error``, ``release`` with ``released``. Each is one JSON object with a ``type``; fields that nobody knows
are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import timedelta
from enum import IntEnum
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from datalake_service.errors import ConfigError

LONGEST_TTL: Final = timedelta(seconds=60)
"""How long a grant lasts at most; it can be renewed."""
LONGEST_MESSAGE: Final = 4096
"""Bytes of a message; a longer one ends the connection."""
LONGEST_NAME: Final = 1536
"""Bytes of a lock's name in UTF-8; percent-encoded it still fits into a request line."""

_WS: Final = "/ws/"
_SHOWN: Final = 200


class Close(IntEnum):
    """Why a client closes its connection."""

    DONE = 1000
    """It holds nothing any more: the server forgets its grant."""
    AGAIN = 4000
    """Its grant counts on: it may come back, or a request that the grant covers may still be under way."""


def grace(ttl: timedelta) -> timedelta:
    """How much longer than its ``ttl`` a grant is honoured by the server: no two clocks run alike."""
    return timedelta(milliseconds=100) + ttl / 1000


def check_base_url(url: str, *, name: str = "the address of the mutex") -> str:
    """Return the base URL of a server without a slash at its end; ``name`` says in errors where it comes from.

    Raises:
        ConfigError: It cannot be one.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"ws", "wss"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        raise ConfigError(f"{name}: not a URL; write ws://host:port or wss://host") from None
    if "@" in parts.netloc:
        raise ConfigError(f"{name}: put no user name or password into the URL; the token has a variable of its own")
    if not usable or parts.query or parts.fragment:
        raise ConfigError(f"{name}: {url!r}: write ws://host:port or wss://host")
    return url.rstrip("/")


def lock_url(base_url: str, name: str) -> str:
    """The address of one lock. Different names have different addresses.

    Raises:
        ValueError: No lock can have this name.
    """
    if name in {"", ".", ".."} or len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"a lock's name has 1 to {LONGEST_NAME} bytes and is not '.' or '..'")
    return f"{base_url}{_WS}{quote(name, safe='')}"


def name_in(path: str) -> str | None:
    """The name of the lock that the path of a request means; ``None``: it means none.

    A reverse proxy may have put something before ``/ws/``, or have decoded the name.
    """
    _, found, rest = path.partition("?")[0].partition(_WS)
    try:
        name = unquote(rest, errors="strict")
    except UnicodeDecodeError:
        return None
    return name if found and name and len(name.encode(errors="replace")) <= LONGEST_NAME else None


def encode(kind: str, **fields: object) -> str:
    """Write a message."""
    return json.dumps({"type": kind, **fields})


def decode(data: str | bytes) -> dict[str, object]:
    """Read a message.

    Raises:
        ValueError: It is none.
    """
    try:
        message = json.loads(data)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise ValueError("a message is a JSON object with a type")  # noqa: TRY004 - its sender's mistake, not a caller's
    return message


def milliseconds(message: Mapping[str, object], field: str) -> timedelta | None:
    """A duration in a message, not negative; ``None``: there is none that could be one."""
    value = message.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return timedelta(milliseconds=value) if 0 <= value <= LONGEST_TTL * 1000 / timedelta(milliseconds=1) else None


def words(message: Mapping[str, object], field: str) -> str:
    """A text of the other side, made harmless for one line of ours; empty if there is none."""
    value = message.get(field)
    if not isinstance(value, str):
        return ""
    return "".join(character if character.isprintable() else " " for character in value[:_SHOWN]).strip()
