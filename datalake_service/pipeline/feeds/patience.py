"""How long a feed waits for a source that does not answer: longer each time, and not for ever."""

from __future__ import annotations

from datalake_service.errors import StoreUnavailableError
from datalake_service.pipeline.feeds.feed import InputFailedError
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock

LONGEST_SECONDS = 300.0
"""A source that did not answer for so long is given up; the next run goes on from the checkpoint."""
_BACKOFF = Backoff(first=1.0, longest=60.0)


class Patience:
    """Counts failures in a row. One thread uses it."""

    def __init__(self, clock: Clock) -> None:
        """Measure time with ``clock``."""
        self._clock = clock
        self._failures = 0
        self._since = 0.0

    def after(self, error: StoreUnavailableError) -> float:
        """Return how many seconds to wait after a failure.

        Raises:
            InputFailedError: There were only failures for too long.
        """
        now = self._clock.monotonic()
        if not self._failures:
            self._since = now
        self._failures += 1
        if now - self._since >= LONGEST_SECONDS:
            raise InputFailedError(f"{error} (for {LONGEST_SECONDS / 60:.0f} minutes)") from error
        return _BACKOFF.seconds(self._failures)

    def rewarded(self) -> None:
        """The source has answered."""
        self._failures = 0
