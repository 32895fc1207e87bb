"""The object store in a plain folder: nothing to start, the same guarantees as a bucket.

A key is a path below the root. A write goes to a temporary file first; it appears under its key by one
atomic system call (``link`` for create-if-absent, ``rename`` for a replacement) after its bytes are on disk.
Replace-if-ETag compares and renames under ``flock``. See ``docs/design/002-object-store.md``.
"""

# Paths are text here: making a Path costs more than some of the system calls it stands for.

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, Leftover, ObjectMeta, Overwrite, PutMode
from datalake_service.storage.files import (
    FileRange,
    copy_into,
    explain_link,
    in_words,
    stamp_after,
    sync_directory,
    write_all,
)
from datalake_service.storage.folder_listing import folders_with_files, walk
from datalake_service.storage.folder_meta import etag_of, meta_of
from datalake_service.storage.folder_own import OWN_FOLDER, OwnFolder
from datalake_service.storage.group_sync import GroupSync
from datalake_service.storage.keys import check_key, check_prefix
from datalake_utils.clock import Clock, SystemClock

_OWN_PREFIX = f"{OWN_FOLDER}/"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_SHARED_SYNCS = 1_000
"""Folders whose syncs are shared at a time."""
_VANISHED_LIMIT = 100
"""How often a write makes its folder again because deletes keep pruning it."""
_SECOND = 1_000_000_000
_Stat = os.stat_result


class FolderStore:
    """Objects as files below ``root``, which is made by the first write.

    Safe for any number of threads and processes of one machine. On a network file system it is as safe
    as that file system's ``link``, ``rename`` and ``flock`` are.
    """

    def __init__(self, root: Path | str, *, durable: bool = True, clock: Clock | None = None) -> None:
        """Use the folder ``root``.

        Args:
            root: Any path; relative ones count from the current directory of now, not of later.
            durable: Whether a write waits for the disk. ``False`` is for folders that may be lost with the
                power, such as those of tests; nothing else changes.
            clock: Gives objects their ``last_modified``.
        """
        self.root = Path(os.path.abspath(Path(root).expanduser()))
        self._root = str(self.root)
        self._durable = durable
        self._clock: Clock = clock or SystemClock()
        self._start()

    def _start(self) -> None:
        """Make what belongs to this process."""
        self._own = OwnFolder(self._root)
        self._known_folders: set[str] = set()
        self._time_lock = threading.Lock()
        self._sync_lock = threading.Lock()
        self._syncs: dict[str, GroupSync] = {}
        self._last_time = 0

    def __getstate__(self) -> dict[str, object]:
        """Send only the settings to another process."""
        return {"root": self.root, "_root": self._root, "_durable": self._durable, "_clock": self._clock}

    def __setstate__(self, state: dict[str, object]) -> None:
        """Start afresh in the other process."""
        self.__dict__.update(state)
        self._start()

    def __repr__(self) -> str:
        """Show the folder."""
        return f"FolderStore({self._root!r})"

    @property
    def uri(self) -> str:
        """The absolute path of the root."""
        return self._root

    # Reading -----------------------------------------------------------------------------------------

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        fd, found = self._open(key, etag)
        with open(fd, "rb", 0) as file:
            try:
                body = file.readall()
            except OSError as error:
                raise in_words(error, "read", self._path(key)) from error
        return body, meta_of(key, found)

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        path = self._path(key)
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise self._not_found(key) from None
        except OSError as error:
            raise in_words(error, "look at", path) from error
        if not stat.S_ISREG(found.st_mode):
            raise self._not_found(key)
        return meta_of(key, found)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream over one version; see ``ObjectStore.open``."""
        fd, found = self._open(key, etag)
        stop = found.st_size if end is None else min(end, found.st_size)
        return FileRange(fd, start=start, end=stop, path=self._path(key)).buffered()

    def _open(self, key: str, etag: str | None) -> tuple[int, _Stat]:
        path = self._path(key)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise self._not_found(key) from None
        except OSError as error:
            raise in_words(error, "read", path) from error
        found = os.fstat(fd)
        if stat.S_ISREG(found.st_mode) and (etag is None or etag == etag_of(found)):
            return fd, found
        os.close(fd)
        if not stat.S_ISREG(found.st_mode):
            raise self._not_found(key)
        raise PreconditionFailedError(f"{path} was replaced since it was looked at")

    def _not_found(self, key: str) -> ObjectNotFoundError:
        lost = "" if os.path.isdir(self._root) else f" (the folder {self._root} does not exist)"
        return ObjectNotFoundError(f"no object {key!r} in {self._root}{lost}")

    # Writing -----------------------------------------------------------------------------------------

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write a whole object; see ``ObjectStore.put``.

        A file made in ``scratch_folder(store)`` is linked instead of copied: it must not be changed after
        it was handed over (removing it is fine).
        """
        path = self._path(key)
        temp = self._own.temporary_name()
        try:
            fresh = self._write_temporary(temp, body)
            final = self._publish(path, temp, fresh, mode)
        except OSError as error:
            raise in_words(error, "write", path) from error
        finally:
            # A rename took the name away already; a link left it.
            with contextlib.suppress(OSError):
                os.unlink(temp)
        self._sync_published(path)
        return meta_of(key, final)

    def _write_temporary(self, temp: str, body: bytes | Path) -> _Stat:
        """Bring the bytes to disk under a hidden name; returns what the file system says of them."""
        linked = isinstance(body, Path) and self._may_link(body)
        fd = self._open_own(temp, link_from=body if linked and isinstance(body, Path) else None)
        try:
            if isinstance(body, bytes):
                write_all(fd, body)
            elif not linked:
                copy_into(fd, body)
            now = self._next_time()
            os.utime(fd, ns=(now, now))
            if self._durable:
                os.fsync(fd)
            return os.fstat(fd)
        finally:
            os.close(fd)

    def _open_own(self, temp: str, *, link_from: Path | None) -> int:
        def make() -> int:
            if link_from is None:
                return os.open(temp, _NEW_FILE, 0o666)
            os.link(link_from, temp)
            return os.open(temp, os.O_WRONLY | os.O_CLOEXEC)

        try:
            return make()
        except FileNotFoundError:  # the first write of this lake, or somebody removed the folder
            os.makedirs(self._own.puts, exist_ok=True)
            return make()

    def _may_link(self, body: Path) -> bool:
        """Whether a file is scratch of ours with one name (a second name would share its time, hence its ETag)."""
        name = os.path.abspath(body)
        if not self._own.is_scratch(name):
            return False
        try:
            found = os.lstat(name)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1

    def _publish(self, path: str, temp: str, fresh: _Stat, mode: PutMode) -> _Stat:
        """Let the temporary file appear under its key, once its folder is there."""
        folder = os.path.dirname(path)
        for attempt in range(_VANISHED_LIMIT):
            try:
                # A delete may prune the folder at any moment until something lies in it.
                self._make_folder(folder, forget=attempt > 0)
                if isinstance(mode, CreateOnly):
                    return self._create(path, temp, fresh)
                with self._own.locked(path):
                    return self._replace(path, temp, fresh, mode)
            except FileNotFoundError:
                if attempt == _VANISHED_LIMIT - 1 or not os.path.exists(temp):
                    raise
        raise AssertionError

    def _create(self, path: str, temp: str, fresh: _Stat) -> _Stat:
        try:
            os.link(temp, path)
        except FileExistsError:
            standing = os.lstat(path)
            if stat.S_ISDIR(standing.st_mode):
                raise IsADirectoryError(errno.EISDIR, "") from None
            if not os.path.samestat(standing, fresh):  # over NFS, a link can be made and its answer lost
                raise AlreadyExistsError(f"{path} exists already") from None
        except OSError as error:
            explain_link(error, path)
            raise
        return fresh

    def _replace(self, path: str, temp: str, fresh: _Stat, mode: IfMatch | Overwrite) -> _Stat:
        """Compare and rename. Overwrites and deletes hold the same lock, creations fail while a file stands here."""
        try:
            standing = os.stat(path)
        except FileNotFoundError:
            standing = None
        if isinstance(mode, IfMatch) and (standing is None or etag_of(standing) != mode.etag):
            what = "does not exist" if standing is None else "was replaced since it was read"
            raise PreconditionFailedError(f"{path} {what}; read it again")
        if standing is not None and fresh.st_mtime_ns <= standing.st_mtime_ns:
            fresh = stamp_after(temp, standing.st_mtime_ns, durable=self._durable)
        os.replace(temp, path)
        return fresh

    def _sync_published(self, path: str) -> None:
        if not self._durable:
            return
        try:
            self._sync_of(os.path.dirname(path))()
        except OSError as error:
            raise OutcomeUnknownError(f"wrote {path}, but it may not survive a power loss: {error.strerror}") from error

    def _sync_of(self, folder: str) -> GroupSync:
        with self._sync_lock:
            shared = self._syncs.get(folder)
            if shared is None:
                if len(self._syncs) >= _SHARED_SYNCS:
                    self._syncs.clear()  # whoever waits for one keeps it; others share a new one
                shared = self._syncs[folder] = GroupSync(functools.partial(sync_directory, folder))
            return shared

    def _next_time(self) -> int:
        """Return now, but never the same nanosecond twice (unless the clock was set back by more than a second)."""
        with self._time_lock:
            now = self._clock.now_ns()
            if 0 <= self._last_time - now < _SECOND:
                now = self._last_time + 1
            self._last_time = now
            return now

    def _make_folder(self, folder: str, *, forget: bool = False) -> None:
        """Make a folder and those above it, and make them durable, unless that is known to be done."""
        if forget:
            self._known_folders.clear()
        if folder in self._known_folders:
            return
        if folder == self._root:
            os.makedirs(folder, exist_ok=True)
            if self._durable:
                with contextlib.suppress(OSError):  # what lies above the lake may not be ours to open
                    sync_directory(os.path.dirname(folder))
        else:
            above = os.path.dirname(folder)
            self._make_folder(above)
            try:
                os.mkdir(folder)
            except FileExistsError:
                # If a delete pruned it since, this is a FileNotFoundError, and the caller starts again.
                if not stat.S_ISDIR(os.stat(folder).st_mode):
                    raise
            if self._durable:
                sync_directory(above)
        self._known_folders.add(folder)

    # Removing ----------------------------------------------------------------------------------------

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        self._delete((key,), etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects; see ``ObjectStore.delete_many``. Waits for the disk once per folder."""
        self._delete(keys, None)

    def _delete(self, keys: Iterable[str], etag: str | None) -> None:
        folders = set()
        for key in keys:
            path = self._path(key)
            try:
                if not os.path.lexists(path):
                    continue
                with self._own.locked(path), contextlib.suppress(FileNotFoundError, IsADirectoryError):
                    if etag is not None and etag_of(os.stat(path)) != etag:
                        raise PreconditionFailedError(f"{path} was replaced since it was looked at")
                    os.unlink(path)
                    folders.add(os.path.dirname(path))
            except OSError as error:
                raise in_words(error, "delete", path) from error
        for folder in folders:
            try:
                if self._durable:
                    sync_directory(folder)
            except OSError as error:
                raise in_words(error, "delete from", folder) from error
            self._prune(folder)

    def _prune(self, folder: str) -> None:
        """Remove empty folders upwards: a folder exists as long as an object lies in it, as in a bucket."""
        while folder != self._root:
            try:
                os.rmdir(folder)
            except OSError:
                return
            self._known_folders.discard(folder)
            folder = os.path.dirname(folder)

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a hidden folder on this file system for large files to ``put``; see ``scratch_folder``."""
        try:
            made = contextlib.ExitStack()
            folder = made.enter_context(self._own.scratch())
        except OSError as error:
            raise in_words(error, "make a scratch folder in", self._root) from error
        with made:
            yield folder

    def find_leftovers(self, prefix: str) -> Iterator[Leftover]:  # noqa: ARG002 - they have no keys
        """What dead processes left in the store's own folder; see ``scratch.find_leftovers``."""
        try:
            return iter(self._own.find_leftovers())
        except OSError as error:
            raise in_words(error, "look into", self._root) from error

    def clean_leftovers(self, *, older_than: timedelta, now: datetime | None = None) -> int:  # noqa: ARG002 - local
        """Remove what dead processes left in the store's own folder; returns how many files and folders."""
        try:
            return self._own.clean_leftovers(self._clock.now() - older_than)
        except OSError as error:
            raise in_words(error, "clean", self._root) from error

    # Listing -----------------------------------------------------------------------------------------

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """List objects in key order; see ``ObjectStore.list``."""
        check_prefix(prefix)
        return (meta_of(key, found) for key, found in walk(self._root, prefix, hidden=OWN_FOLDER))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List the folders below; see ``ObjectStore.list_folders``."""
        check_prefix(prefix)
        return folders_with_files(self._root, prefix, hidden=OWN_FOLDER)

    def _path(self, key: str) -> str:
        check_key(key)
        if key.startswith(_OWN_PREFIX) or key == OWN_FOLDER:
            raise ValueError(f"{key!r} is not a key: {OWN_FOLDER} at the root belongs to the store itself")
        return f"{self._root}/{key}"
