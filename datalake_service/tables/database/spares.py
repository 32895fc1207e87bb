"""Databases that are kept from one question to the next: to open one takes 25 ms of processor time.

They read the lake's folder, the viewer's own one and open files without a name, and nothing else. SQL that people wrote
is never put to them; it runs behind the fence.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from datalake_service.tables.database.engine import Engine, EngineLimits

_KEPT: Final = 4
"""Databases that wait for a question. An idle one takes a few megabytes."""
_OPEN_FILES: Final = ("/proc/self/fd/", "/dev/fd/")
_NAMELESS: Final = " (deleted)"


class Spares:
    """Engines for one question at a time each. Thread-safe; ``close`` it."""

    def __init__(self, limits: EngineLimits, folders: Sequence[Path], *, kept: int = _KEPT) -> None:
        """Keep ``kept`` engines, which may read files in ``folders``."""
        self._limits = limits
        self._folders = tuple(sorted({f"{path}/" for folder in folders for path in (folder, folder.resolve())}))
        self._kept = kept
        self._lock = threading.Lock()
        self._idle: list[Engine] = []
        self._closed = False

    def take(self, paths: Iterable[str]) -> Engine:
        """An engine that can read some files; hand it to ``give_back`` or ``dispose`` in the end."""
        listed = list(paths)
        covered = all(map(self._covers, listed))
        with self._lock:
            if covered and self._idle:
                return self._idle.pop()
        engine = Engine(self._limits)
        if covered:
            engine.confine([*self._folders, *_OPEN_FILES])
        else:
            engine.lock(listed)
        return engine

    def _covers(self, path: str) -> bool:
        """Whether a file is in one of the folders, or has no name: a link in a folder may lead anywhere."""
        try:
            real = os.readlink(path)  # noqa: PTH115 - of hundreds of open files
        except OSError:
            real = path
        return real.endswith(_NAMELESS) or real.startswith((*self._folders, _OPEN_FILES[1]))

    def give_back(self, engine: Engine) -> None:
        """Keep an engine for the next question; it is as it was taken: no table, no setting."""
        with self._lock:
            if engine.confined and not self._closed and len(self._idle) < self._kept:
                self._idle.append(engine)
                return
        engine.close()

    def dispose(self, engine: Engine) -> None:
        """Close an engine that failed or was interrupted."""
        engine.close()

    def close(self) -> None:
        """Close everything that waits."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for engine in idle:
            engine.close()
