"""The databases of one view: the one that planned it is the first to read, as to open one takes 25 ms of CPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from datalake_service.tables.database.engine import Engine, EngineLimits

_MOST: Final = 1
"""So many wait for a reader."""


class Databases:
    """Hands out databases that nobody else has. Any thread may ask; ``close`` it."""

    def __init__(self, limits: EngineLimits) -> None:
        """Open none yet."""
        self._limits = limits
        self._waiting: list[Engine] = []

    @contextmanager
    def planning(self) -> Iterator[Engine]:
        """One to plan with. It is kept for a reader, unless it was locked: a user's SQL has been put to it."""
        with ExitStack() as stack:
            engine = Engine(self._limits)
            stack.callback(engine.close)
            engine.forget_files()
            yield engine
            if not engine.locked and len(self._waiting) < _MOST:
                stack.pop_all()
                self._waiting.append(engine)

    def take(self) -> Engine:
        """One to read with; close it."""
        try:
            return self._waiting.pop()
        except IndexError:
            return Engine(self._limits)

    def close(self) -> None:
        """Close the one that waits."""
        while self._waiting:
            self.take().close()
