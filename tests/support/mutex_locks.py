"""Locks of a mutex."""

from __future__ import annotations

import socket
from datetime import timedelta

from datalake_service.mutex.client import Mutex
from datalake_utils.clock import Clock

TTL = timedelta(seconds=10)


def mutex(url: str, name: str, *, ttl: timedelta = TTL, clock: Clock | None = None, owner: str = "somebody") -> Mutex:
    """A client of its own."""
    return Mutex(url, name, ttl=ttl, clock=clock, owner=owner)


def drop(lock: Mutex) -> None:
    """Break the connection without a word."""
    assert lock._wire is not None
    lock._wire._connection.socket.shutdown(socket.SHUT_RDWR)
