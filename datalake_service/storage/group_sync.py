"""One ``fsync`` of a folder for all writers that wait for it at the same time.

A directory's ``fsync`` makes everything durable that happened in it before, by whomever: whoever comes while one runs
needs the next one only, and shares it. Threads of one process only.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from collections.abc import Callable

_REMEMBERED = 100
"""Failures to remember, for those who have not been woken yet."""


class GroupSync:
    """Shares the syncs of one folder between threads."""

    def __init__(self, sync: Callable[[], None]) -> None:
        """Share ``sync``."""
        self._sync = sync
        self._changed = threading.Condition()
        self._started = 0
        self._ended = 0
        self._failures: deque[tuple[int, OSError]] = deque(maxlen=_REMEMBERED)

    def __call__(self) -> None:
        """Return when a sync that began after this call was made has ended.

        Raises:
            OSError: That sync failed.
        """
        with self._changed:
            wanted = self._started + 1
            # The running one, if any, began before this call: it may have missed what the caller did.
            self._changed.wait_for(lambda: self._ended >= wanted or self._ended == self._started)
            if self._ended >= wanted:
                self._raise_failure(wanted)
                return
            self._started += 1
            mine = self._started
        failure: OSError | None = OSError(errno.EINTR, "interrupted")
        try:
            self._sync()
            failure = None
        except OSError as error:
            failure = error
            raise
        finally:
            with self._changed:
                self._ended = mine
                if failure is not None:
                    self._failures.append((mine, failure))
                self._changed.notify_all()

    def _raise_failure(self, wanted: int) -> None:
        """Raise if a sync failed that should have made the caller's changes durable (later ones don't count)."""
        for number, failure in self._failures:
            if number >= wanted:
                raise OSError(failure.errno, failure.strerror)
