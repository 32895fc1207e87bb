"""Versions of stored objects as local files, for an engine that only reads files.

A file of a folder lake is the open file itself, so it stays the version it was when it was opened, whatever
happens to its name. An object of another store is an unnamed temporary file of the same size that holds only the byte
ranges that were fetched, each pinned to the ETag; the rest of it is a hole that takes no space.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from datalake_service.errors import StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.scratch import innermost

TAIL_BYTES = 64 << 10
"""Fetched from the end of a remote object at first: enough for nearly every footer."""
_FOOTER_END = 8
"""A Parquet file ends with the length of its footer (4 bytes) and ``PAR1``."""
_MAGIC = b"PAR1"
_NEAR = 256 << 10
"""Ranges with a smaller gap between them are fetched as one: a request costs more than these bytes."""
_PART = 8 << 20
"""Longer ranges are fetched in parts, several at once."""
_REQUESTS = 8
_DESCRIPTORS = ("/proc/self/fd", "/dev/fd")

ByteRange = tuple[int, int]
"""Start (inclusive) and end (exclusive)."""


class LocalFile:
    """One version of one object, readable under ``path`` until it is closed."""

    def __init__(
        self,
        store: ObjectStore,
        meta: ObjectMeta,
        *,
        tail: bytes | None = None,
        folder: Path | None = None,
        whole: LocalFile | None = None,
        descriptors: Sequence[str] = _DESCRIPTORS,
    ) -> None:
        """Open the version that ``meta`` describes; of a remote object, only the footer is fetched.

        Args:
            store: Where it is.
            meta: Which version.
            tail: What ``tail`` was when this version was opened before; it is not fetched again then.
            folder: For temporary files; ``None``: the system's.
            whole: The same version, open already: ranges of it are copied, as if it were remote.
            descriptors: Folders in which the system shows a process its open files.

        Raises:
            PreconditionFailedError: The object was replaced.
            ObjectNotFoundError: It was deleted.
            StoreError: It cannot be read, or is no Parquet file.
        """
        self.meta = meta
        self._store = store
        self._folder = folder
        self._named: str | None = None
        self._whole = whole
        if whole is not None and hasattr(os, "posix_fadvise"):
            # Else the system reads ahead around each page, which is most of the file when they are scattered.
            os.posix_fadvise(whole._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # noqa: SLF001 - one of its own kind
        self._file: BinaryIO
        self._file, self.is_whole = self._open()
        self.tail: bytes | None = tail
        """The footer, as the last bytes of a remote object."""
        try:
            if not self.is_whole:
                self._put_footer()
            self.path = self._visible(descriptors)
        except BaseException:
            self.close()
            raise

    def footer(self) -> bytes:
        """The last bytes of the file, the whole footer among them."""
        if self.tail is not None:
            return self.tail
        end = self.read((max(0, self.meta.size - TAIL_BYTES), self.meta.size))
        length = _FOOTER_END + int.from_bytes(end[-_FOOTER_END : -len(_MAGIC)], "little")
        return end if length <= len(end) else self.read((max(0, self.meta.size - length), self.meta.size))

    def read(self, part: ByteRange) -> bytes:
        """Some bytes that are there."""
        return os.pread(self._file.fileno(), part[1] - part[0], part[0])

    def put(self, data: bytes, start: int) -> None:
        """Let other bytes stand in the place of some that were not fetched.

        Raises:
            StoreError: There is no space for it.
        """
        self._keep(data, start)

    def fetch(self, ranges: Iterable[ByteRange], *, near: int = _NEAR) -> None:
        """Make sure that these bytes are there; those between two ranges that are ``near`` are fetched along.

        Raises:
            PreconditionFailedError: The object was replaced.
            ObjectNotFoundError: It was deleted.
            StoreError: It cannot be read, or there is no space for it.
        """
        if self.is_whole:
            return
        parts = list(_parts(_joined(ranges, 0 if self._whole is not None else near)))
        if len(parts) < 2 or self._whole is not None:  # noqa: PLR2004 - a thread is worth it from the second request on
            for part in parts:
                self._fetch(part)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(min(_REQUESTS, len(parts)), thread_name_prefix="fetch") as pool:
            for _ in pool.map(self._fetch, parts):
                pass

    def close(self) -> None:
        """Forget the file. May be called again."""
        self._file.close()
        if self._named is not None:
            Path(self._named).unlink(missing_ok=True)
            self._named = None

    def _open(self) -> tuple[BinaryIO, bool]:
        if self._whole is None and isinstance(innermost(self._store), FolderStore):
            stream = self._store.open(self.meta.key, etag=self.meta.etag)
            if _is_file(stream):
                return stream, True
            stream.close()
        return self._temporary(), False

    def _temporary(self) -> BinaryIO:
        file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115 - closed by ``close``
        os.ftruncate(file.fileno(), self.meta.size)
        return file

    def _put_footer(self) -> None:
        size = self.meta.size
        if self.tail is not None:
            self._keep(self.tail, size - len(self.tail))
            return
        tail = self._fetch((max(0, size - TAIL_BYTES), size))
        if size < len(_MAGIC) + _FOOTER_END or tail[-len(_MAGIC) :] != _MAGIC:
            raise StoreError(f"{self.meta.key} is no complete Parquet file: move it away, or restore it")
        footer = min(size, _FOOTER_END + int.from_bytes(tail[-_FOOTER_END : -len(_MAGIC)], "little"))
        if footer > len(tail):
            tail = self._fetch((size - footer, size - len(tail))) + tail
        self.tail = tail[-footer:]

    def _fetch(self, part: ByteRange) -> bytes:
        """Copy one range into the temporary file, and return it."""
        start, end = part
        if self._whole is not None:
            data = self._whole.read(part)
        else:
            with self._store.open(self.meta.key, start=start, end=end, etag=self.meta.etag) as stream:
                data = stream.read()
        if len(data) != end - start:
            raise StoreError(f"{self.meta.key}: the store gave {len(data)} of the {end - start} bytes from {start}")
        self._keep(data, start)
        return data

    def _keep(self, data: bytes, start: int) -> None:
        try:
            os.pwrite(self._file.fileno(), data, start)
        except OSError as error:
            raise StoreError(f"cannot keep a part of {self.meta.key} in a temporary file: {error.strerror}") from error

    def _visible(self, descriptors: Sequence[str]) -> str:
        """A path under which the open file can be opened again."""
        number = self._file.fileno()
        for folder in descriptors:
            path = f"{folder}/{number}"
            if os.path.exists(path):  # noqa: PTH110 - no Path for a string that DuckDB gets
                return path
        self._named = self._copied()
        return self._named

    def _copied(self) -> str:
        """For systems that don't show open files: a copy with a name."""
        if not self.is_whole:
            self.fetch([(0, self.meta.size)])
            self._file.seek(0)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".parquet", delete=False) as copy:
            shutil.copyfileobj(self._file, copy)
        return copy.name


@contextmanager
def without_names(paths: Iterable[str]) -> Iterator[list[str]]:
    """Let open files have no names for a moment; yields the names that they have now.

    DuckDB looks behind ``/proc/self/fd/7``: it allows the file's name, and asks for that, or for the number when
    nothing of that name is left. A file that is replaced in between would be refused: both have to be allowed.
    """
    names = []
    with ExitStack() as stack:
        for path in paths:
            folder, _, number = path.rpartition("/")
            if folder == _DESCRIPTORS[0] and hasattr(os, "memfd_create"):
                names.append(str(Path(path).readlink()))
                stack.enter_context(_without_name(int(number)))
        yield names


@contextmanager
def _without_name(number: int) -> Iterator[None]:
    kept, nameless = os.dup(number), os.memfd_create("nameless")
    try:
        os.dup2(nameless, number, inheritable=False)
        yield
    finally:
        os.dup2(kept, number, inheritable=False)
        os.close(kept)
        os.close(nameless)


def _is_file(stream: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (io.UnsupportedOperation, AttributeError, OSError):
        return False


def _joined(ranges: Iterable[ByteRange], near: int) -> list[ByteRange]:
    """The same bytes in few ranges, in order; small gaps are read along."""
    joined: list[ByteRange] = []
    for start, end in sorted(ranges):
        if joined and start - joined[-1][1] <= near:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return joined


def _parts(ranges: Iterable[ByteRange]) -> Iterable[ByteRange]:
    for start, end in ranges:
        for first in range(start, end, _PART):
            yield first, min(first + _PART, end)
