"""Repeat what a store could not do for the moment. A wrapper with the protocol of a store.

Only what is proven safe is repeated: ``StoreUnavailableError`` says that nothing was applied (or that doing it
twice is the same as once). A write of unknown outcome is settled by reading back and comparing, and repeated
only under its condition, so that it can take effect once.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, SystemClock

_T = TypeVar("_T")
_BACKOFF = Backoff(first=0.3, longest=20.0)
_COMPARE_BYTES = 1024 * 1024


class RetryingStore:
    """A store that waits and asks again, with exponential back-off and jitter.

    Until the store has answered once, it gives up sooner: a wrong address should be reported in seconds,
    an outage in the middle of hours of work should be sat out.
    """

    def __init__(
        self,
        inner: ObjectStore,
        *,
        attempts: int = 8,
        first_attempts: int = 3,
        backoff: Backoff = _BACKOFF,
        clock: Clock | None = None,
    ) -> None:
        """Wrap ``inner``.

        Args:
            inner: The store that is asked.
            attempts: How often in all, at least 1. The default waits for 20 to 40 seconds.
            first_attempts: The same until ``inner`` has answered for the first time; about half a second.
            backoff: How long to wait before each.
            clock: Sleeps.
        """
        self.inner = inner
        self._attempts = attempts
        self._first_attempts = min(first_attempts, attempts)
        self._backoff = backoff
        self._clock: Clock = clock or SystemClock()
        self._answered = False

    def __repr__(self) -> str:
        """Show what is wrapped."""
        return f"RetryingStore({self.inner!r})"

    @property
    def uri(self) -> str:
        """The root of the inner store."""
        return self.inner.uri

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        return self._call(lambda: self.inner.get(key, etag=etag))

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        return self._call(lambda: self.inner.head(key))

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream; see ``ObjectStore.open``. Once open, the stream resumes by itself."""
        return self._call(lambda: self.inner.open(key, start=start, end=end, etag=etag))

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        self._call(lambda: self.inner.delete(key, etag=etag))

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects; see ``ObjectStore.delete_many``."""
        doomed = tuple(keys)
        self._call(lambda: self.inner.delete_many(doomed))

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """List objects; see ``ObjectStore.list``. A listing that breaks goes on behind the last key that was seen."""
        return self._resumed(self.inner.list(prefix), lambda: self.inner.list(prefix), lambda meta: meta.key)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List folders; see ``ObjectStore.list_folders``."""
        return self._resumed(
            self.inner.list_folders(prefix), lambda: self.inner.list_folders(prefix), lambda name: name
        )

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write a whole object; see ``ObjectStore.put``.

        A conditional write whose outcome the inner store could not find out counts as ours if what stands
        there now is, byte for byte, what was to be written: locks and commits carry the id of their attempt.
        """
        doubtful = False

        def attempt() -> ObjectMeta:
            nonlocal doubtful
            try:
                return self.inner.put(key, body, mode=mode)
            except OutcomeUnknownError as error:
                doubtful = True
                standing = self._standing(key, body)
                if standing is not None:
                    return standing
                # Not there (yet): the same condition lets it take effect once, now or from the first request.
                raise StoreUnavailableError(str(error)) from error
            except (AlreadyExistsError, PreconditionFailedError):
                standing = self._standing(key, body) if doubtful else None
                if standing is None:
                    raise
                return standing

        try:
            return self._call(attempt)
        except (AlreadyExistsError, PreconditionFailedError):
            raise
        except StoreError as error:
            # Whatever the last answer was about, an earlier request may have taken effect.
            if doubtful and not isinstance(mode, Overwrite):
                raise OutcomeUnknownError(str(error)) from error
            raise

    def _standing(self, key: str, body: bytes | Path) -> ObjectMeta | None:
        """Return the object under ``key`` if it has exactly this content."""
        try:
            meta = self.inner.head(key)
            if meta.size != (len(body) if isinstance(body, bytes) else body.stat().st_size):
                return None
            if isinstance(body, bytes):
                return meta if self.inner.get(key, etag=meta.etag)[0] == body else None
            with self.inner.open(key, etag=meta.etag) as theirs, body.open("rb") as ours:
                while block := ours.read(_COMPARE_BYTES):
                    if theirs.read(len(block)) != block:
                        return None
            return meta
        except (ObjectNotFoundError, PreconditionFailedError, OSError):
            return None

    def _call(self, operation: Callable[[], _T]) -> _T:
        for failures in itertools.count(1):
            try:
                result = operation()
            except StoreUnavailableError:
                if failures >= (self._attempts if self._answered else self._first_attempts):
                    raise
                self._clock.sleep(self._backoff.seconds(failures))
            except StoreError:
                self._answered = True
                raise
            else:
                self._answered = True
                return result
        raise AssertionError

    def _resumed(
        self, first: Iterator[_T], start: Callable[[], Iterator[_T]], order: Callable[[_T], str]
    ) -> Iterator[_T]:
        source = first
        last: str | None = None
        while True:
            try:
                for item in source:
                    if last is None or order(item) > last:
                        last = order(item)
                        yield item
            except StoreUnavailableError:
                source = self._call(functools.partial(_restart, start, order, last))
            else:
                self._answered = True
                return


def _restart(start: Callable[[], Iterator[_T]], order: Callable[[_T], str], last: str | None) -> Iterator[_T]:
    """Move on to the first item behind ``last`` now, so that a failure on the way counts as an attempt."""
    source = start()
    for item in source:
        if last is None or order(item) > last:
            return itertools.chain((item,), source)
    return iter(())
