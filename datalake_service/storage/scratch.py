"""Room for large temporary files near a store, and what dead processes left behind there."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, runtime_checkable

from datalake_service.errors import AccessDeniedError
from datalake_service.storage.base import Leftover, ObjectStore
from datalake_service.storage.folder import FolderStore


@runtime_checkable
class StoreWrapper(Protocol):
    """A store that passes everything on to another one."""

    inner: ObjectStore


@runtime_checkable
class LeavesThings(Protocol):
    """A store in which a dead process can leave things that are not objects."""

    def find_leftovers(self, prefix: str) -> Iterator[Leftover]:
        """All of them whose key begins with ``prefix``, and those that have no key."""
        ...

    def clean_leftovers(self, *, older_than: timedelta, now: datetime | None = None) -> int:
        """Remove what has not been touched for that long; returns how much there was."""
        ...


def innermost(store: ObjectStore) -> ObjectStore:
    """Return the store below all wrappers."""
    while isinstance(store, StoreWrapper):
        store = store.inner
    return store


@contextlib.contextmanager
def scratch_folder(store: ObjectStore, *, fallback: Path | None = None) -> Iterator[Path]:
    """Give a local folder for large temporary files, and remove it in the end.

    For a lake in a folder it lies on the lake's own file system, hidden from listings, so that ``put`` of a
    file in it links the file instead of copying it: such a file must not be changed once it was handed over
    (removing it is fine). Otherwise, and where nothing may be written, it lies in ``fallback``.

    Args:
        store: The lake, wrapped or not.
        fallback: Where to make the folder for other stores; the system's place for temporary files by default.
    """
    inner = innermost(store)
    with contextlib.ExitStack() as stack:
        folder: Path | None = None
        if isinstance(inner, FolderStore) and inner.root.is_dir():
            with contextlib.suppress(AccessDeniedError):
                folder = stack.enter_context(inner.scratch())
        if folder is None:
            made = tempfile.TemporaryDirectory(prefix="datalake-", dir=fallback, ignore_cleanup_errors=True)
            folder = Path(stack.enter_context(made))
        yield folder


def find_leftovers(store: ObjectStore, *, prefix: str = "") -> Iterator[Leftover]:
    """Temporary files, scratch folders that nobody uses, and unfinished uploads.

    Args:
        store: The lake, wrapped or not.
        prefix: Only what is about keys that begin so; what is not about a key is always there.
    """
    inner = innermost(store)
    return inner.find_leftovers(prefix) if isinstance(inner, LeavesThings) else iter(())


def clean_leftovers(store: ObjectStore, *, older_than: timedelta, now: datetime | None = None) -> int:
    """Remove temporary files, scratch folders and unfinished uploads of processes that died.

    Args:
        store: The lake, wrapped or not.
        older_than: What was touched more recently is left alone. Choose it longer than any upload takes.
        now: What time it is by the store's clock; this machine's otherwise. Files of a folder have this machine's time.

    Returns:
        How many things were removed.
    """
    inner = innermost(store)
    return inner.clean_leftovers(older_than=older_than, now=now) if isinstance(inner, LeavesThings) else 0
