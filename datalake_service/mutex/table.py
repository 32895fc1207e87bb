"""Who holds which lock: the state of the server. Pure but for its clock, and for one thread."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from datalake_service.mutex.protocol import LONGEST_TTL, grace
from datalake_utils.clock import Clock

_SWEEP: Final = LONGEST_TTL.total_seconds()
"""Seconds between two searches for grants that ran out and that nobody asked about."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The lock is the client's for its time limit from now on."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else has it."""

    owner: str
    """Who, in words; it said so itself."""
    remaining: timedelta
    """How long at most, unless it is renewed."""


@dataclass(frozen=True, slots=True)
class _Grant:
    client: str
    owner: str
    expires: float


class LockTable:
    """The locks that are held.

    A grant belongs to a client's id, not to a connection: a connection that broke says nothing about the requests that
    its client has under way elsewhere. Only its time limit, or the client itself, ends it.
    """

    def __init__(self, *, clock: Clock, quiet: timedelta | None = None) -> None:
        """Start without locks; nothing is granted for ``quiet``.

        Args:
            clock: Judges time limits.
            quiet: How long grants of an earlier server may last; by default the longest that any could.
        """
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        wait = LONGEST_TTL + grace(LONGEST_TTL) if quiet is None else quiet
        self._opens = clock.monotonic() + wait.total_seconds()
        self._sweep_at = clock.monotonic() + _SWEEP

    def __len__(self) -> int:
        """How many grants are known."""
        return len(self._grants)

    def acquire(self, name: str, *, client: str, ttl: timedelta, owner: str) -> Granted | Busy:
        """Grant the lock to ``client`` if it is free or already its own; then the time limit starts anew."""
        now = self._clock.monotonic()
        self._sweep(now)
        if now < self._opens:
            return Busy("whoever held it before the server was started", timedelta(seconds=self._opens - now))
        expires = now + (ttl + grace(ttl)).total_seconds()
        held = self._grants.get(name)
        if held is not None and held.expires > now:
            if held.client != client:
                return Busy(held.owner, timedelta(seconds=held.expires - now))
            expires = max(expires, held.expires)
        self._grants[name] = _Grant(client, owner, expires)
        return Granted()

    def release(self, name: str, *, client: str) -> None:
        """Forget the grant if it is ``client``'s."""
        held = self._grants.get(name)
        if held is not None and held.client == client:
            del self._grants[name]

    def _sweep(self, now: float) -> None:
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            self._grants = {name: grant for name, grant in self._grants.items() if grant.expires > now}
