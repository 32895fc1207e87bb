"""Conditions for a store that ignores them: compare and write while a mutex keeps all others away.

A wrapper with the protocol of a store. Only writes with a condition are touched, and only if the store does not honour
conditions itself. See ``docs/design/011-mutex.md`` for what this guarantees, and what it cannot.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, Final

from datalake_service.errors import (
    AlreadyExistsError,
    LeaseLostError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.mutex.client import Mutex
from datalake_service.mutex.protocol import LONGEST_TTL, check_base_url
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, Overwrite, PutMode
from datalake_service.storage.keys import check_key
from datalake_service.storage.probe import needs_mutex
from datalake_service.storage.staged import Staged, StagingStore
from datalake_utils.clock import Clock, SystemClock

TTL: Final = timedelta(seconds=30)
"""How long the mutex of a key is held unless it is renewed: what a dead holder costs the next one."""
_WAIT: Final = LONGEST_TTL + timedelta(seconds=15)
"""How long a mutex is waited for: longer than a dead holder has it, or than a new server grants nothing."""
_ENOUGH: Final = 0.5
"""The part of the time limit that must be left when a write is published."""


class MutexedStore:
    """A store whose conditional writes are true as long as everybody else uses the same mutex."""

    def __init__(
        self,
        inner: StagingStore,
        base_url: str,
        *,
        token: str | None = None,
        ttl: timedelta = TTL,
        wait: timedelta = _WAIT,
        clock: Clock | None = None,
    ) -> None:
        """Wrap ``inner``; nothing is asked of it or of the mutex yet.

        Args:
            inner: The store that may ignore conditions.
            base_url: The server of the mutex.
            token: What it wants to be shown.
            ttl: How long a key is locked unless that is renewed.
            wait: How long a key is waited for that somebody else has locked.
            clock: Measures time.

        Raises:
            ConfigError: The address cannot be that of a mutex.
        """
        self.inner = inner
        self._base_url = check_base_url(base_url)
        self._token = token
        self._ttl = ttl
        self._wait = wait
        self._clock: Clock = clock or SystemClock()
        self._needed: bool | None = None
        self._reached = False

    def __repr__(self) -> str:
        """Show what is wrapped, never the token."""
        return f"MutexedStore({self.inner!r}, {self._base_url!r})"

    @property
    def uri(self) -> str:
        """The root of the inner store."""
        return self.inner.uri

    def guard(self) -> str | None:
        """Name the server that makes conditions true; ``None``: the store does. Found out once.

        Raises:
            StoreError: The store failed, or the lake is guarded by another server.
        """
        if self._needed is None:
            self._needed = needs_mutex(self.inner, self._base_url)
        return self._base_url if self._needed else None

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        return self.inner.get(key, etag=etag)

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        return self.inner.head(key)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream; see ``ObjectStore.open``."""
        return self.inner.open(key, start=start, end=end, etag=etag)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        self.inner.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects; see ``ObjectStore.delete_many``."""
        self.inner.delete_many(keys)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """List objects; see ``ObjectStore.list``."""
        return self.inner.list(prefix)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List folders; see ``ObjectStore.list_folders``."""
        return self.inner.list_folders(prefix)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write a whole object; see ``ObjectStore.put``. Without a condition, no mutex is needed."""
        if isinstance(mode, Overwrite):
            return self.inner.put(key, body, mode=mode)
        check_key(key)
        if self.guard() is None:
            return self.inner.put(key, body, mode=mode)
        if isinstance(body, bytes):
            with self._locked(key) as mutex:
                self._check(key, mode)
                with self._staged(key, body) as staged:
                    return self._publish(key, staged, mode, mutex)
        self._check(key, mode)  # nothing large is sent in vain, or while others wait
        with self._staged(key, body) as staged, self._locked(key) as mutex:
            self._check(key, mode)  # whoever has lost must not discard what others wait to publish
            return self._publish(key, staged, mode, mutex)

    @contextlib.contextmanager
    def _staged(self, key: str, body: bytes | Path) -> Iterator[Staged]:
        staged = self.inner.stage(key, body)
        try:
            yield staged
        except OutcomeUnknownError:
            raise
        except BaseException:
            with contextlib.suppress(StoreError):
                staged.discard()
            raise

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[Mutex]:
        """Hold the mutex of a key. After an unknown outcome it is left to run out, so that late answers come first."""
        mutex = Mutex(
            self._base_url,
            f"{self.inner.uri}/{key}",
            ttl=self._ttl,
            owner=f"a write of {key}",
            token=self._token,
            clock=self._clock,
        )
        try:
            taken = mutex.acquire(wait=self._wait)
        except StoreUnavailableError as error:
            if self._reached:
                raise
            raise StoreError(str(error)) from error  # a wrong address should be reported in seconds
        self._reached = True
        if not taken:
            who = "" if mutex.holder is None else f": {mutex.holder.in_words()}"
            raise StoreUnavailableError(f"{self.inner.uri}/{key} is being written by somebody else{who}; try again")
        try:
            yield mutex
        except StoreError as error:
            if isinstance(error, OutcomeUnknownError):
                mutex.abandon()
            else:
                mutex.release()
            raise
        except BaseException:
            mutex.abandon()
            raise
        mutex.release()

    def _publish(self, key: str, staged: Staged, mode: CreateOnly | IfMatch, mutex: Mutex) -> ObjectMeta:
        # Whatever an earlier holder staged and may still ask to be published can take no effect after this, or has
        # taken effect and is seen by the comparison.
        self.inner.discard_staged(key, keep=staged)
        before = self._check(key, mode)
        if mutex.remaining < self._ttl.total_seconds() * _ENOUGH:
            raise StoreUnavailableError(f"{self.inner.uri}/{key}: the store was too slow for the mutex; try again")
        unsure: StoreError | None = None
        with _renewed(mutex):
            try:
                staged.publish()
            except (StoreUnavailableError, OutcomeUnknownError) as error:
                if _taken_back(staged, error):
                    raise StoreUnavailableError(str(error)) from error
                unsure = error
            after = self._after(key)
        if mutex.held:
            if after is not None and (unsure is None or before is None or before.etag != after.etag):
                return after  # nobody else could
            if isinstance(unsure, StoreUnavailableError):
                raise unsure  # it had been discarded before it was asked to be published
        raise self._unknown(key, unsure or "the mutex ran out before the store answered")

    def _check(self, key: str, mode: CreateOnly | IfMatch) -> ObjectMeta | None:
        """What stands there, if the condition holds."""
        standing = self._look(key)
        if isinstance(mode, CreateOnly):
            if standing is not None:
                raise AlreadyExistsError(f"{self.inner.uri}/{key} exists already")
        elif standing is None or standing.etag != mode.etag:
            raise PreconditionFailedError(f"{self.inner.uri}/{key} was replaced since it was read; read it again")
        return standing

    def _look(self, key: str) -> ObjectMeta | None:
        try:
            return self.inner.head(key)
        except ObjectNotFoundError:
            return None

    def _after(self, key: str) -> ObjectMeta | None:
        """Look at what was published; some servers answer a publication with an ETag that is not the object's."""
        try:
            return self._look(key)
        except StoreError as error:
            raise self._unknown(key, error) from error

    def _unknown(self, key: str, why: object) -> OutcomeUnknownError:
        return OutcomeUnknownError(f"{self.inner.uri}/{key} may or may not have been written: {why}")


def _taken_back(staged: Staged, error: StoreUnavailableError | OutcomeUnknownError) -> bool:
    """Whether a publication that failed with ``error`` can take no effect any more."""
    try:
        return staged.discard()
    except StoreError:
        raise error from None


@contextlib.contextmanager
def _renewed(mutex: Mutex) -> Iterator[None]:
    """Renew the mutex while the block runs: a store may take its time to join what was staged."""
    end = threading.Event()

    def keep() -> None:
        while not end.wait(mutex.ttl.total_seconds() / 3):
            try:
                mutex.renew()
            except LeaseLostError:
                return
            except StoreError:
                continue  # it is held until its deadline, and asked again

    thread = threading.Thread(target=keep, name="mutex", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
