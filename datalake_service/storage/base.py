"""The object store port: the six verbs that the lake is built from, and the values they exchange.

It knows nothing of datasets, batches or rows. Keys are text relative to the root of the lake, with ``/``
between segments and no leading slash. Implementations: ``folder.py``, ``s3.py``; wrappers with the same
protocol: ``retrying.py``, ``observed.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class ObjectMeta:
    """What the store says about one version of one object."""

    key: str
    """Key relative to the root of the lake."""
    size: int
    """Bytes."""
    etag: str
    """Identifies this version; unquoted, opaque, never reused for other content under the same key.

    On S3 the same content may get the same ETag again: a version that must be told from an earlier one with
    equal content (a lock, a commit) carries something unique in its content.
    """
    last_modified: datetime
    """When this version was written, by the store's clock (aware, UTC). S3 gives whole seconds."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something in a store that is no object: left by a write that died, or of one that is under way."""

    name: str
    """Where it is: the key that was to be written, or a path below the lake."""
    what: str
    """In words."""
    touched: datetime
    """When anything was done with it for the last time, or it was begun (aware, UTC)."""


@dataclass(frozen=True, slots=True)
class CreateOnly:
    """Write only if no object has the key; else ``AlreadyExistsError``."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """Replace only the version with this ETag; else ``PreconditionFailedError``."""

    etag: str


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Write whatever stands there. For objects with one owner only."""


PutMode = CreateOnly | IfMatch | Overwrite
"""How a write treats the version that may stand there already."""


class ObjectStore(Protocol):
    """Bytes at rest under keys.

    Thread-safe. Picklable, so that it can be sent to a spawned process. Every method may raise
    ``AccessDeniedError``, ``StoreUnavailableError`` or ``StoreError``; no error of a client library
    leaves an implementation. ``StoreUnavailableError`` always means that the call may be repeated as it was.

    Keys are text with ``/`` between segments; none is empty, ``.`` or ``..``, and the whole is at most 1,024
    bytes of UTF-8 (``ValueError`` otherwise). In a folder, a key cannot also be the prefix of another key.
    """

    @property
    def uri(self) -> str:
        """The root as the user would write it: ``s3://bucket/prefix`` or a path. Holds no secret."""
        ...

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole (small) object and the meta data of exactly the version that was read.

        Raises:
            ObjectNotFoundError: No such key.
            PreconditionFailedError: ``etag`` is given and is not the current version.
        """
        ...

    def head(self, key: str) -> ObjectMeta:
        """Return the meta data of the current version.

        Raises:
            ObjectNotFoundError: No such key.
        """
        ...

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a readable stream over bytes ``start`` (inclusive) to ``end`` (exclusive, default: the end).

        The stream reads one version: the one current when it was opened (``etag`` if given). A broken
        connection is resumed at the byte where it broke, pinned to that version. It is not seekable.
        The caller closes it. ``end`` past the end of the object is allowed.

        Raises:
            ObjectNotFoundError: No such key.
            PreconditionFailedError: ``etag`` is given and not current, or the object was replaced while
                a broken stream was being resumed (raised from ``read``).
        """
        ...

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write an object as a whole; returns its meta data.

        ``body`` is the content, or the local file that holds it (any size; left where it is, and not to be
        changed during the call; a file in ``scratch_folder`` not after it either, because it is linked).
        Atomic: readers see the old version or the new, never a part; after a crash as well. Durable when
        it returns. If the answer to a conditional write is lost, the implementation settles it by reading
        back; what cannot be settled is ``OutcomeUnknownError``, after which nothing must be deleted that the
        write may refer to.

        Raises:
            AlreadyExistsError: ``CreateOnly`` and somebody else's object stands there.
            PreconditionFailedError: ``IfMatch`` and another version (or none) stands there. If answers were
                lost before that became clear, ours may have stood there for a moment and been replaced by
                somebody who read it.
            OutcomeUnknownError: It may or may not have been applied, or may be applied yet.
        """
        ...

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove the object, durably. A key that does not exist is no error.

        With ``etag``, only the version that it names is removed. A store that knows no such condition is looked at
        right before; what is written in that moment is lost there. Without ``etag``, whoever deletes must know that
        nobody writes a new version.

        Raises:
            PreconditionFailedError: ``etag`` is given and another version stands there; it stays.
        """
        ...

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects like ``delete``, at the cost of one request per 1,000 keys (one disk wait per folder).

        In no particular order; when it raises, some are gone and some are not.
        """
        ...

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """All objects whose key starts with ``prefix``, in the order of their UTF-8 bytes, as one listing.

        An object that is written or deleted while the listing is read may be in it or not; all others are,
        once each. Costs one request per 1,000 keys, sent as they are needed.

        ``prefix`` is empty or ends in a slash (``ValueError`` otherwise): batch ``b1`` must never see ``b10``.
        """
        ...

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The names of the next segments below ``prefix`` that hold objects, without slashes, sorted.

        ``prefix`` as for ``list``. Costs one request per 1,000 names, whatever lies below them.
        """
        ...


OpenStore = Callable[[str], ObjectStore]
"""Opens the store at an address, with the keys of whoever made it."""
