"""The folder store's own folder: temporary names, lock files, scratch space, and what dead processes left there.

Nothing in it is an object. It lies at the root of the lake, so that it is on the same file system.
"""

# Paths are text here, as in folder.py.

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import shutil
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from datalake_service.storage.base import Leftover
from datalake_service.storage.files import explain_lock
from datalake_utils.ids import random_hex

OWN_FOLDER = ".tmp"
"""Its name. Not part of any listing, and no key may start with it."""
_LOCKS = 64
"""Keys share this many lock files, which are never removed (removing one that somebody waits for breaks it)."""
_NEVER = datetime.max.replace(tzinfo=UTC)
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


class OwnFolder:
    """The own folder of one lake."""

    def __init__(self, root: str) -> None:
        """Look after ``root/.tmp``."""
        own = os.path.join(root, OWN_FOLDER)
        self.puts = os.path.join(own, "put")
        """Where writes gather their bytes."""
        self._locks = os.path.join(own, "locks")
        self._scratch = os.path.join(own, "scratch")
        self._session = random_hex(16)
        self._numbers = itertools.count()

    def temporary_name(self) -> str:
        """Return a name that no thread or process uses or used."""
        return f"{self.puts}/{self._session}-{os.getpid()}-{next(self._numbers)}"

    @contextlib.contextmanager
    def locked(self, path: str) -> Iterator[None]:
        """Hold the lock that stands for a path (and for a few others) against threads and processes.

        The kernel frees it when the process dies. ``flock`` belongs to the open file, so that two threads,
        which open it separately, exclude each other like two processes.
        """
        name = f"{self._locks}/{zlib.crc32(os.fsencode(path)) % _LOCKS:02x}"
        try:
            fd = os.open(name, _LOCK_FILE, 0o666)
        except FileNotFoundError:
            os.makedirs(self._locks, exist_ok=True)
            fd = os.open(name, _LOCK_FILE, 0o666)
        try:
            _lock(fd, name)
            yield
        finally:
            os.close(fd)

    def is_scratch(self, path: str) -> bool:
        """Whether an absolute path lies in the scratch space."""
        return path.startswith(self._scratch + os.sep)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Make a folder for large temporary files, locked while it is in use, removed in the end."""
        folder = Path(self._scratch, f"{self._session}-{os.getpid()}-{next(self._numbers)}")
        folder.mkdir(parents=True)
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _try_lock(lock)
            yield folder
        finally:
            os.close(lock)
            shutil.rmtree(folder, ignore_errors=True)

    def find_leftovers(self) -> list[Leftover]:
        """Temporary files, and scratch folders that nobody holds."""
        files = [(path, "a temporary file") for path in _children(self.puts)]
        folders = [(path, "a scratch folder") for path in _children(self._scratch) if _is_abandoned(path)]
        found = [(path, what, _last_touched(path)) for path, what in [*files, *folders]]
        return [
            Leftover(f"{OWN_FOLDER}/{path.parent.name}/{path.name}", what, touched)
            for path, what, touched in found
            if touched < _NEVER
        ]

    def clean_leftovers(self, before: datetime) -> int:
        """Remove what nobody has touched since ``before`` and nobody holds; returns how many files and folders."""
        removed = 0
        for path in _children(self.puts):
            if _last_touched(path) < before:
                path.unlink(missing_ok=True)
                removed += 1
        for folder in _children(self._scratch):
            if _last_touched(folder) < before and _is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)
                removed += 1
        return removed


def _lock(fd: int, name: str) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
    except OSError as error:
        explain_lock(error, name)
        raise


def _children(folder: str) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _last_touched(path: Path) -> datetime:
    """Return the latest time of a file, or of a folder and all in it. What is vanishing just now counts as new."""
    latest = 0.0
    for place in (path, *(path.rglob("*") if path.is_dir() else ())):
        try:
            latest = max(latest, place.lstat().st_mtime)
        except FileNotFoundError:
            return _NEVER
    return datetime.fromtimestamp(latest, UTC)


def _is_abandoned(folder: Path) -> bool:
    try:
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return _try_lock(lock)
    finally:
        os.close(lock)


def _try_lock(fd: int) -> bool:
    """Take the lock of an open folder unless somebody has it. Where there are no locks, its age must do."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
