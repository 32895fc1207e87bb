"""Report what is asked of a store: verb, key, requests, bytes, seconds. A wrapper with the protocol of a store."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from datalake_service.storage.base import ObjectMeta, ObjectStore, PutMode
from datalake_utils.clock import Clock, SystemClock

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_T = TypeVar("_T")
_PAGE = 1_000
"""Keys that one request lists or deletes."""
_BUFFER = 256 * 1024


@dataclass(frozen=True, slots=True)
class Observation:
    """One call of a store, when it is over."""

    verb: str
    """Name of the method; ``read`` for a stream that is closed."""
    key: str
    """Key or prefix; the first of many."""
    requests: int
    """What it costs on a store that is asked over a network, without repetitions."""
    bytes_read: int
    """Content that came back."""
    bytes_written: int
    """Content that was sent."""
    seconds: float
    """How long it took; for a listing or a stream, until it was over."""
    error: str
    """The ``kind`` of the error it ended with; empty if it worked."""


Observer = Callable[[Observation], None]
"""Called after each call, in the thread that made it. Must not raise."""


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over calls."""

    calls: int = 0
    """Calls."""
    requests: int = 0
    """Requests."""
    bytes_read: int = 0
    """Content that came back."""
    bytes_written: int = 0
    """Content that was sent."""
    errors: int = 0
    """Calls that ended with an error."""


class RequestCounts:
    """An observer that adds up by verb. Thread-safe."""

    def __init__(self) -> None:
        """Start from nothing."""
        self._lock = threading.Lock()
        self._tallies: dict[str, Tally] = {}

    def __call__(self, seen: Observation) -> None:
        """Count one call."""
        with self._lock:
            old = self._tallies.get(seen.verb, Tally())
            self._tallies[seen.verb] = Tally(
                old.calls + (seen.verb != "read"),
                old.requests + seen.requests,
                old.bytes_read + seen.bytes_read,
                old.bytes_written + seen.bytes_written,
                old.errors + bool(seen.error),
            )

    def __getitem__(self, verb: str) -> Tally:
        """Return the sums for one verb."""
        with self._lock:
            return self._tallies.get(verb, Tally())

    @property
    def total(self) -> Tally:
        """The sums over all verbs."""
        with self._lock:
            tallies = list(self._tallies.values())
        return Tally(
            sum(tally.calls for tally in tallies),
            sum(tally.requests for tally in tallies),
            sum(tally.bytes_read for tally in tallies),
            sum(tally.bytes_written for tally in tallies),
            sum(tally.errors for tally in tallies),
        )

    def clear(self) -> None:
        """Start again from nothing."""
        with self._lock:
            self._tallies.clear()


class ObservedStore:
    """A store that tells ``observer`` of every call."""

    def __init__(self, inner: ObjectStore, observer: Observer, *, clock: Clock | None = None) -> None:
        """Wrap ``inner``."""
        self.inner = inner
        self._observer = observer
        self._clock: Clock = clock or SystemClock()

    def __repr__(self) -> str:
        """Show what is wrapped."""
        return f"ObservedStore({self.inner!r})"

    @property
    def uri(self) -> str:
        """The root of the inner store."""
        return self.inner.uri

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        """Read a whole object; see ``ObjectStore.get``."""
        with self._watch("get", key) as call:
            body, meta = self.inner.get(key, etag=etag)
            call.bytes_read = len(body)
            return body, meta

    def head(self, key: str) -> ObjectMeta:
        """Look at an object; see ``ObjectStore.head``."""
        with self._watch("head", key):
            return self.inner.head(key)

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        """Open a stream; see ``ObjectStore.open``. What was read is reported when it is closed."""
        with self._watch("open", key):
            stream = self.inner.open(key, start=start, end=end, etag=etag)
        return io.BufferedReader(_ObservedStream(stream, self._watch("read", key, requests=0)), _BUFFER)

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        """Write a whole object; see ``ObjectStore.put``."""
        with self._watch("put", key) as call:
            meta = self.inner.put(key, body, mode=mode)
            call.bytes_written = meta.size
            return meta

    def delete(self, key: str, *, etag: str | None = None) -> None:
        """Remove an object; see ``ObjectStore.delete``."""
        with self._watch("delete", key):
            self.inner.delete(key, etag=etag)

    def delete_many(self, keys: Iterable[str]) -> None:
        """Remove objects; see ``ObjectStore.delete_many``."""
        doomed = tuple(keys)
        with self._watch("delete_many", doomed[0] if doomed else "", requests=-(-len(doomed) // _PAGE)):
            self.inner.delete_many(doomed)

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """List objects; see ``ObjectStore.list``."""
        return self._paged("list", prefix, self.inner.list(prefix))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """List folders; see ``ObjectStore.list_folders``."""
        return self._paged("list_folders", prefix, self.inner.list_folders(prefix))

    def _paged(self, verb: str, prefix: str, items: Iterator[_T]) -> Iterator[_T]:
        with self._watch(verb, prefix) as call:
            for number, item in enumerate(items):
                call.requests = 1 + number // _PAGE
                yield item

    def _watch(self, verb: str, key: str, *, requests: int = 1) -> _Call:
        return _Call(verb, key, requests, self._observer, self._clock)


class _Call:
    """One call under way; reported when the block ends."""

    def __init__(self, verb: str, key: str, requests: int, observer: Observer, clock: Clock) -> None:
        self._verb = verb
        self._key = key
        self.requests = requests
        self.bytes_read = 0
        self.bytes_written = 0
        self._observer = observer
        self._clock = clock
        self._start = clock.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        seconds = self._clock.monotonic() - self._start
        failure = (
            "" if error is None or isinstance(error, GeneratorExit) else getattr(error, "kind", type(error).__name__)
        )
        seen = Observation(self._verb, self._key, self.requests, self.bytes_read, self.bytes_written, seconds, failure)
        self._observer(seen)


class _ObservedStream(io.RawIOBase):
    """A stream that counts what is read from it."""

    def __init__(self, inner: BinaryIO, call: _Call) -> None:
        super().__init__()
        self._inner = inner
        self._call = call

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        block = self._inner.read(memoryview(buffer).nbytes)
        memoryview(buffer).cast("B")[: len(block)] = block
        self._call.bytes_read += len(block)
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
            self._call.__exit__(None, None, None)
        super().close()
