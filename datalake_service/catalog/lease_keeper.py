"""Keeps a lease alive while its holder works. The only place that decides when to renew; ``leases.py`` renews.

It runs in a thread of its own, so that neither a long request nor an event loop that user code blocks can make
the lease run out unnoticed.
"""

from __future__ import annotations

import threading

from datalake_service.catalog.leases import Lease, renewal_lead, stopping_lead
from datalake_service.errors import LeaseLostError, StoreError

_MOST_PATIENT = 3600.0
"""Longest wait in seconds; longer ones overflow on some platforms."""
_RETRIES = 20
"""How many times a failing renewal is tried between its first attempt and the deadline."""


class LeaseKeeper:
    """Renews a held lease in the background until ``stop``.

    ``must_stop`` tells the holder when to end: some time before the deadline if the lease could not be renewed,
    at once if somebody else has it.
    """

    def __init__(self, lease: Lease) -> None:
        """Keep ``lease``, which is held; only the keeper renews it until ``stop`` has returned."""
        self._lease = lease
        self._lead = renewal_lead(lease.ttl).total_seconds()
        self._stopping = stopping_lead(lease.ttl).total_seconds()
        self._end = threading.Event()
        self._error: StoreError | LeaseLostError | None = None
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    @property
    def held(self) -> bool:
        """Whether the lease is still held, as far as this process can know."""
        return self._lease.held

    def start(self) -> None:
        """Start to renew."""
        self._thread.start()

    def stop(self) -> None:
        """End renewing; a request that is on its way is waited for."""
        self._end.set()
        self._thread.join()

    def must_stop(self) -> LeaseLostError | None:
        """The reason why work has to end now, if it has to. Cheap: asks nobody."""
        if isinstance(self._error, LeaseLostError):
            return self._error
        left = self._lease.remaining
        if left > self._stopping:
            return None
        why = "" if self._error is None else f" ({self._error})"
        return LeaseLostError(
            f"the lease could not be renewed in time{why}; work was stopped {max(left, 0):.0f} s before it ran out. "
            "Start again, finished rows are safe"
        )

    def _keep(self) -> None:
        while not self._end.wait(self.pause()):
            try:
                self._lease.renew()
            except LeaseLostError as error:
                self._error = error
                return
            except StoreError as error:
                self._error = error
            else:
                self._error = None

    def pause(self) -> float:
        """Seconds until the next attempt to renew."""
        left = self._lease.remaining
        if left > self._lead:
            return min(left - self._lead, _MOST_PATIENT)
        return self._lead / _RETRIES if self._error is not None else 0.0
