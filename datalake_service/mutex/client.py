"""The short lock for threads. ``lock.py`` is the same for ``async with``."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from datalake_service.errors import LeaseLostError, StoreError, StoreUnavailableError
from datalake_service.mutex import protocol
from datalake_service.mutex.protocol import LONGEST_TTL, Close
from datalake_service.mutex.wire import ANSWER, Wire
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, SystemClock
from datalake_utils.ids import random_hex

_ID_DIGITS: Final = 32
_POLL: Final = Backoff(first=0.02, longest=0.5)
"""Between two questions while somebody else has the lock."""
_RECONNECT: Final = Backoff(first=0.2, longest=2.0)
_REACH: Final = timedelta(seconds=5)
"""How long a server that cannot be reached is tried again."""
_MILLISECOND: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class MutexHolder:
    """Who has a lock, as it told the server."""

    owner: str
    """What holds it, in words; empty if it did not say."""
    remaining: timedelta | None
    """For how long at most, unless it is renewed; ``None``: the server does not say."""

    def in_words(self) -> str:
        """Who holds it, for a message."""
        who = self.owner or "somebody"
        return who if self.remaining is None else f"{who}, for {self.remaining.total_seconds():.0f} s at most"


class Mutex:
    """The requests behind a lock. One thread at a time may ``acquire``, ``renew`` or ``release``; any may look.

    Guarantee: while ``held`` is true, no other client of the same server holds the same lock, provided that the two
    machines' monotonic clocks run at the same rate within a thousandth and a server that is started again waits for
    what the one before it granted (ours does).
    """

    def __init__(
        self,
        base_url: str,
        name: str,
        *,
        ttl: timedelta,
        owner: str = "datalake",
        token: str | None = None,
        clock: Clock | None = None,
        draw: Callable[[], str] | None = None,
    ) -> None:
        """Prepare; nothing is sent. ``draw`` returns the random name of an acquisition.

        Raises:
            ConfigError: The address cannot be that of a mutex.
            ValueError: The time limit or the name cannot be one.
        """
        if not timedelta(0) < ttl <= LONGEST_TTL or ttl < _MILLISECOND:
            msg = f"the time limit of a mutex must be between 1 ms and {LONGEST_TTL.total_seconds():.0f} s, not {ttl}"
            raise ValueError(msg)
        self._base_url = protocol.check_base_url(base_url)
        protocol.lock_url(self._base_url, name)
        self._name = name
        self._ttl = ttl // _MILLISECOND * _MILLISECOND
        self._owner = owner
        self._token = token
        self._clock = clock or SystemClock()
        self._draw = draw or (lambda: random_hex(_ID_DIGITS))
        self._client: str | None = None
        self._wire: Wire | None = None
        self._deadline = 0.0  # none
        self.holder: MutexHolder | None = None
        """Who held it when ``acquire`` last failed."""

    @property
    def ttl(self) -> timedelta:
        """How long the lock lasts after it was granted or renewed."""
        return self._ttl

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; zero or less: not held, or not any more."""
        return self._deadline - self._clock.monotonic() if self._deadline else 0.0

    @property
    def held(self) -> bool:
        """Whether this object holds the lock, as far as it can know without asking the server."""
        return self.remaining > 0

    def acquire(self, *, wait: timedelta = timedelta(0), interrupted: threading.Event | None = None) -> bool:
        """Take the lock, if it becomes free within ``wait``; returns whether it was taken.

        An answer that is on its way when the time is over is waited for, a few seconds at most. A server that cannot
        be reached is tried again for five seconds, not for longer than ``wait``.

        Args:
            wait: How long to wait for somebody else to give it back.
            interrupted: Set by another thread to make this one give up soon.

        Raises:
            StoreUnavailableError: The server cannot be reached.
            StoreError: It refuses, or is no mutex.
        """
        if self.held:
            return True
        self._let_go(Close.DONE)
        give_up = self._clock.monotonic() + wait.total_seconds()
        unreachable = min(give_up, self._clock.monotonic() + _REACH.total_seconds())
        # A request whose answer was lost may have been granted: the same client gets the same grant again.
        self._client = self._draw()
        asked = failed = 0
        try:
            while True:
                failure: StoreUnavailableError | None = None
                try:
                    self._deadline = self._ask(ANSWER)
                    if self.remaining > 0:
                        return True
                except StoreUnavailableError as error:
                    self._disconnect(Close.AGAIN)
                    failure, failed = error, failed + 1
                    pause, limit = _RECONNECT.seconds(failed), unreachable
                else:
                    asked, failed = asked + 1, 0
                    pause, limit = _POLL.seconds(asked), give_up
                    unreachable = min(give_up, self._clock.monotonic() + _REACH.total_seconds())
                if self._clock.monotonic() + pause > limit or (interrupted is not None and interrupted.is_set()):
                    if failure is not None:
                        raise failure
                    return False
                self._clock.sleep(pause)
        finally:
            if self.remaining <= 0:
                self._let_go(Close.DONE)

    def renew(self) -> None:
        """Move the deadline to a full time limit from now.

        Raises:
            LeaseLostError: Somebody else has it, or it ran out.
            StoreError: The server could not be asked. The lock is held until its old deadline; ``renew`` may be
                called again.
        """
        if not self.held:
            self._let_go(Close.AGAIN)
            raise LeaseLostError(f"the lock {self._name} ran out before it could be renewed; start again")
        try:
            deadline = self._ask(min(ANSWER, max(self.remaining, 0.0)))
        except StoreError:
            self._disconnect(Close.AGAIN)
            raise
        if not deadline or not self.held:  # granted after the old deadline: somebody may have had it meanwhile
            self._let_go(Close.AGAIN)
            raise LeaseLostError(f"the lock {self._name} could not be renewed in time; start again")
        self._deadline = deadline

    def release(self) -> None:
        """Give the lock back, if it is still ours; else do nothing. If the server does not hear it, it runs out."""
        with contextlib.suppress(StoreError):
            if self._wire is not None or self.held:
                self._connected().ask("release", expect={"released"})
        self._let_go(Close.DONE)

    def abandon(self) -> None:
        """Hold it no longer, without giving it back: others have to wait until it runs out."""
        self._let_go(Close.AGAIN)

    def _connected(self) -> Wire:
        if self._wire is None:
            self._wire = Wire(
                protocol.lock_url(self._base_url, self._name),
                server=self._base_url,
                token=self._token,
                client=self._client or "",
                owner=self._owner,
                clock=self._clock,
            )
        return self._wire

    def _ask(self, seconds: float) -> float:
        """Ask for a time limit from now on; returns when it will be over, 0 if somebody else has the lock."""
        wire = self._connected()
        started = self._clock.monotonic()
        answer = wire.ask("acquire", expect={"granted", "busy"}, seconds=seconds, ttlMs=self._ttl // _MILLISECOND)
        if answer["type"] == "busy":
            remaining = protocol.milliseconds(answer, "expiresInMs")
            self.holder = MutexHolder(protocol.words(answer, "owner"), remaining)
            return 0.0
        self.holder = None
        return started + self._ttl.total_seconds()

    def _disconnect(self, reason: Close) -> None:
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close(reason)

    def _let_go(self, reason: Close) -> None:
        self._deadline, self._client = 0.0, None
        self._disconnect(reason)
