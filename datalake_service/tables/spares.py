"""Databases opened before they are needed, and closed when nobody waits any more: each takes 10 ms or more."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from datalake_service.tables.engine import Engine, EngineLimits

_READY = 4
"""Databases that wait for a question. An empty one takes about a megabyte."""


class Spares:
    """Engines for one question each. Thread-safe; ``close`` it."""

    def __init__(self, limits: EngineLimits, *, ready: int = _READY) -> None:
        """Open ``ready`` engines in advance, from the first question on."""
        self._limits = limits
        self._ready = ready
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="engines")
        self._coming: deque[Future[Engine]] = deque()
        self._closed = False

    def take(self) -> Engine:
        """An engine that nobody has used; give it to ``dispose`` in the end."""
        try:
            engine = self._coming.popleft().result()
        except IndexError:
            engine = Engine(self._limits)
        if not self._closed and len(self._coming) < self._ready:
            # One more than is taken, until there are enough.
            for _ in range(2):
                self._coming.append(self._pool.submit(Engine, self._limits))
        return engine

    def dispose(self, engine: Engine) -> None:
        """Close an engine, soon."""
        if self._closed:
            engine.close()
        else:
            self._pool.submit(engine.close)

    def close(self) -> None:
        """Close everything that waits."""
        self._closed = True
        self._pool.shutdown(wait=True)
        while self._coming:
            self._coming.popleft().result().close()
