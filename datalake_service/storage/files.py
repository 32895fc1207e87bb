"""System calls of the folder store: whole files on disk, durable directories, byte ranges, errors in words.

It knows paths, not keys.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from datalake_service.errors import AccessDeniedError, StoreError, StoreUnavailableError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

BUFFER = 256 * 1024
"""Bytes per read of a stream, and per step of a copy that the kernel cannot do by itself."""
_SECOND = 1_000_000_000
_ADVICE = {
    errno.ENOENT: "something in its path was removed meanwhile; try again (and clean up only what is old)",
    errno.EFBIG: "the file is larger than the file system, or a limit of this process (ulimit -f), allows",
    errno.ENOSPC: "no space left on the file system; free some space and run again",
    errno.EDQUOT: "the disk quota is used up; free some space and run again",
    errno.ENAMETOOLONG: "the name is longer than the file system allows; choose shorter dataset and batch names",
    errno.ENOTDIR: "a parent of it is a file, not a folder; remove or rename that file",
    errno.EISDIR: "a folder stands there; remove or rename it",
    errno.ENOTEMPTY: "a folder stands there; remove or rename it",
    errno.EEXIST: "a file stands where a folder is needed; remove or rename that file",
    errno.EXDEV: "it lies on another file system than the root of the lake; make the lake one file system",
    errno.EMLINK: "the file system allows no more links to it",
    errno.EOPNOTSUPP: "the file system has no hard links or no locks; put the lake on a local file system",
    errno.ENOSYS: "the file system has no hard links or no locks; put the lake on a local file system",
    errno.ENOLCK: "the file system has no locks; put the lake on a local file system",
    errno.EIO: "the disk failed; look at the system log",
}
_DENIED = {
    errno.EACCES: "permission denied; check the owner and the mode of the folders above it",
    errno.EPERM: "not permitted; check the owner and attributes, and that the file system has hard links",
    errno.EROFS: "the file system is read-only; mount it writable or choose another folder",
}
_TRANSIENT = {
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) or lower the concurrency",
    errno.ENFILE: "too many open files on this machine; close some or raise the system's limit",
    errno.ESTALE: "the network file system lost track of it",
    errno.ETIMEDOUT: "the network file system did not answer",
}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}
"""What file systems without hard links answer to ``link``; the file is our own, so that no permission is lacking."""
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF}
_NOT_IN_KERNEL = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF}


def explain_link(error: OSError, path: str) -> None:
    """Return if ``link`` failed for a reason that has nothing to do with the file system.

    Raises:
        StoreError: The file system has no hard links.
    """
    if error.errno in _NO_LINKS:
        raise StoreError(
            f"cannot create {path}: its file system has no hard links, which a lake in a folder needs so that two "
            "writers cannot both create it; put the lake on one that has (such as ext4, XFS, Btrfs, APFS or NFS)"
        ) from error


def explain_lock(error: OSError, path: str) -> None:
    """Return if ``flock`` failed for a reason that has nothing to do with the file system.

    Raises:
        StoreError: The file system has no locks.
    """
    if error.errno in _NO_LOCKS:
        raise StoreError(
            f"cannot lock {path}: its file system has no locks (flock), which a lake in a folder needs so that no "
            "writer overwrites another; put the lake on one that has (a local one), or mount it with locks"
        ) from error


def in_words(error: OSError, doing: str, path: str | Path) -> StoreError:
    """Say what failed, where, and what to change. Raise it ``from`` the original."""
    number = error.errno or 0
    if number in _DENIED:
        return AccessDeniedError(f"cannot {doing} {path}: {_DENIED[number]}")
    if number in _TRANSIENT:
        return StoreUnavailableError(f"cannot {doing} {path}: {_TRANSIENT[number]}")
    advice = _ADVICE.get(number) or (error.strerror or type(error).__name__).lower()
    return StoreError(f"cannot {doing} {path}: {advice}")


def write_all(fd: int, body: bytes) -> None:
    """Write every byte; one call to the kernel writes at most 2 GiB."""
    written = os.write(fd, body)
    if written < len(body):
        rest = memoryview(body)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def copy_into(fd: int, source: Path) -> None:
    """Append the content of ``source`` to ``fd``, inside the kernel where the file systems can do that.

    Raises:
        StoreError: ``source`` cannot be read. Errors of writing stay ``OSError``.
    """
    try:
        reader = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise in_words(error, "read", source) from error
    try:
        try:
            while os.copy_file_range(reader, fd, 1 << 30):
                pass
        except (AttributeError, OSError) as error:
            if isinstance(error, OSError) and error.errno not in _NOT_IN_KERNEL:
                raise
            # Not on this system, or not between these file systems. Both descriptors stand where it stopped.
            with io.FileIO(reader, closefd=False) as inp, io.FileIO(fd, "wb", closefd=False) as out:
                shutil.copyfileobj(inp, out, BUFFER)
    finally:
        os.close(reader)


def stamp_after(temp: str, before: int, *, durable: bool) -> os.stat_result:
    """Date a file later than the version it replaces: ETags must differ even if the clock was set back.

    Growing steps, because some file systems keep whole seconds only.
    """
    fd = os.open(temp, os.O_WRONLY | os.O_CLOEXEC)
    try:
        for step in (1, 1_000, 1_000_000, _SECOND, 2 * _SECOND):
            os.utime(fd, ns=(before + step, before + step))
            if os.fstat(fd).st_mtime_ns > before:
                break
        if durable:
            os.fsync(fd)
        return os.fstat(fd)
    finally:
        os.close(fd)


def sync_directory(path: str) -> None:
    """Make the entries of a directory survive a power loss. A directory that is gone needs nothing."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class FileRange(io.RawIOBase):
    """Bytes ``start`` to ``end`` of an open file, once, from front to back.

    It holds the open file, so it keeps reading the same version whatever happens to the name.
    """

    def __init__(self, fd: int, *, start: int, end: int, path: str) -> None:
        """Own ``fd`` (closed by ``close``); ``path`` is for messages."""
        super().__init__()
        self._file = io.FileIO(fd, "rb")
        if start:
            self._file.seek(start)
        self._remaining = max(0, end - start)
        self._path = path

    def readable(self) -> bool:
        """Say yes."""
        return True

    def fileno(self) -> int:
        """The open file's number: whoever opens ``/dev/fd/N`` reads the same version."""
        return self._file.fileno()

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill ``buffer`` as far as the range goes."""
        view = memoryview(buffer).cast("B")[: self._remaining]
        try:
            count = self._file.readinto(view)
        except OSError as error:
            raise in_words(error, "read", self._path) from error
        self._remaining -= count
        return count

    def readall(self) -> bytes:
        """Read the rest in one piece (the inherited way takes 8 KiB steps)."""
        rest = bytearray(self._remaining)
        filled = 0
        while filled < len(rest) and (count := self.readinto(memoryview(rest)[filled:])):
            filled += count
        return bytes(memoryview(rest)[:filled])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()

    def buffered(self) -> io.BufferedReader:
        """Wrap it so that lines and small reads are cheap."""
        return io.BufferedReader(self, BUFFER)
