"""An object store in memory that behaves like S3, and clients of it whose requests meet with misfortune.

``Bucket`` is the server: conditional writes are serialised, an ETag is a digest of the content (equal content gets an
equal ETag, as on S3), times are whole seconds of its own clock. ``SimClient`` is what one process sees of it.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO, TypeVar

from datalake_service.errors import (
    AlreadyExistsError,
    DatalakeError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectMeta, PutMode
from tests.simulation.scheduler import START, Crash, Process, Scheduler, current

_T = TypeVar("_T")
Observer = Callable[[str, bytes | None], None]
"""Told of every change: the key and its new content, ``None`` if it was deleted."""


class Bucket:
    """Objects in memory. Only one thread at a time."""

    def __init__(self, scheduler: Scheduler, *, lenient: bool = False) -> None:
        self._scheduler = scheduler
        self.objects: dict[str, tuple[bytes, ObjectMeta]] = {}
        self.observer: Observer = lambda _key, _data: None
        self.lenient = lenient
        """Lists any prefix, as S3 does, instead of refusing one without a slash (for a planted bug)."""

    def get(self, key: str, etag: str | None) -> tuple[bytes, ObjectMeta]:
        if key not in self.objects:
            raise ObjectNotFoundError(f"no object {key}")
        data, meta = self.objects[key]
        if etag is not None and meta.etag != etag:
            raise PreconditionFailedError(f"{key} was replaced")
        return data, meta

    def put(self, key: str, data: bytes, mode: PutMode) -> ObjectMeta:
        standing = self.objects.get(key)
        if isinstance(mode, CreateOnly) and standing is not None:
            raise AlreadyExistsError(f"{key} exists")
        if isinstance(mode, IfMatch) and (standing is None or standing[1].etag != mode.etag):
            raise PreconditionFailedError(f"{key} is another version")
        written = START + timedelta(seconds=int(self._scheduler.now))
        meta = ObjectMeta(key, len(data), hashlib.md5(data, usedforsecurity=False).hexdigest(), written)
        self.objects[key] = (data, meta)
        self.observer(key, data)
        return meta

    def delete(self, keys: Iterable[str], etag: str | None = None) -> None:
        for key in keys:
            if etag is not None and key in self.objects and self.objects[key][1].etag != etag:
                raise PreconditionFailedError(f"{key} is another version")
            if self.objects.pop(key, None) is not None:
                self.observer(key, None)

    def list(self, prefix: str) -> list[ObjectMeta]:
        if not self.lenient and prefix and not prefix.endswith("/"):
            raise ValueError(f"the prefix {prefix!r} must end in a slash")
        return [self.objects[key][1] for key in sorted(self.objects) if key.startswith(prefix)]


class Fate(enum.Enum):
    """What becomes of one request."""

    FINE = "it is answered"
    SLOW = "it is answered after a minute or two"
    UNAVAILABLE = "503 or 409: not applied, and the client knows"
    LOST = "applied, but the answer is lost"
    NEVER = "lost on its way"
    LATE = "the client gives up; it is applied minutes later, if its condition holds then"
    CRASH = "the process dies before, while or after it is applied"


@dataclass(frozen=True, slots=True)
class Weather:
    """How likely what is."""

    fates: tuple[Fate, ...]
    weights: tuple[float, ...]
    slow_answers: float = 0.0
    """Share of the answers that take up to 40 s."""


PEACE = Weather((Fate.FINE,), (1.0,))


def storm(share: float) -> Weather:
    """So many requests meet with misfortune of some kind."""
    return Weather(tuple(Fate), (1 - share, *(share * weight for weight in (0.2, 0.2, 0.2, 0.1, 0.2, 0.1))), share / 2)


class SimClient:
    """The store as one process sees it."""

    def __init__(self, bucket: Bucket, scheduler: Scheduler, process: Process, weather: Callable[[], Weather]) -> None:
        self._bucket = bucket
        self._scheduler = scheduler
        self._process = process
        self._weather = weather

    @property
    def uri(self) -> str:
        return "sim:lake"

    def get(self, key: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
        return self._read("get", key, lambda: self._bucket.get(key, etag))

    def head(self, key: str) -> ObjectMeta:
        return self._read("head", key, lambda: self._bucket.get(key, None)[1])

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        return self._read("open", key, lambda: io.BytesIO(self._bucket.get(key, etag)[0][start:end]))

    def put(self, key: str, body: bytes | Path, *, mode: PutMode) -> ObjectMeta:
        data = body if isinstance(body, bytes) else body.read_bytes()
        return self._do("put", key, lambda: self._bucket.put(key, data, mode), writes=True)

    def delete(self, key: str, *, etag: str | None = None) -> None:
        self._do("delete", key, lambda: self._bucket.delete([key], etag), writes=True)

    def delete_many(self, keys: Iterable[str]) -> None:
        doomed = tuple(keys)
        if doomed:
            half = doomed[: len(doomed) // 2]
            self._do(
                f"delete {len(doomed)}",
                doomed[0],
                lambda: self._bucket.delete(doomed),
                writes=True,
                half=lambda: self._bucket.delete(half),
            )

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        """Page by page: what changes between two pages is seen or not, as on S3."""
        last = ""
        while True:
            size = self._scheduler.random.choice((3, 10, 1000)) if current() is not None else 1000
            page = self._read("list", prefix, partial(self._page, prefix, last, size + 1))
            for meta in page[:size]:
                yield meta
                last = meta.key
            if len(page) <= size:
                return

    def _page(self, prefix: str, after: str, size: int) -> Sequence[ObjectMeta]:
        return [meta for meta in self._bucket.list(prefix) if meta.key > after][:size]

    def list_folders(self, prefix: str) -> Iterator[str]:
        def names() -> list[str]:
            rest = [meta.key.removeprefix(prefix) for meta in self._bucket.list(prefix)]
            return sorted({name.partition("/")[0] for name in rest if "/" in name})

        yield from self._read("list_folders", prefix, names)

    def _read(self, verb: str, key: str, effect: Callable[[], _T]) -> _T:
        return self._do(verb, key, effect, writes=False)

    def _do(  # noqa: C901 - one branch for each fate
        self,
        verb: str,
        key: str,
        effect: Callable[[], _T],
        *,
        writes: bool,
        half: Callable[[], object] | None = None,
    ) -> _T:
        task = current()
        if task is None:  # a thread of a library, for which the actor waits
            return effect()
        if self._process.dead:
            raise Crash(f"dead before {verb} {key}")
        random, weather = self._scheduler.random, self._weather()
        fate = random.choices(weather.fates, weather.weights)[0]
        self._scheduler.note(f"{task.name} {verb} {key} {fate.name}")
        if fate is Fate.UNAVAILABLE or (fate is Fate.NEVER and not writes):
            self._scheduler.sleep(random.uniform(0.01, 2))
            raise StoreUnavailableError(f"planned: {verb} {key}")
        if fate in (Fate.NEVER, Fate.LATE) and writes:
            if fate is Fate.LATE:
                self._scheduler.call_later(random.uniform(0, 300), lambda: _ignore(effect))
            self._scheduler.sleep(random.uniform(5, 60))
            raise _no_answer(verb, key)
        try:
            self._scheduler.sleep(random.uniform(30, 150) if fate is Fate.SLOW else random.uniform(0.005, 0.3))
        except Crash:  # it died while the request was under way
            if random.random() < 0.5:
                _ignore(effect)
            raise
        if fate is Fate.CRASH:
            self._process.dead = True
            took_effect = random.choice((lambda: None, half or effect, effect))
            _ignore(took_effect)
            raise Crash(f"{verb} {key}")
        if fate is Fate.LOST and writes:
            _ignore(effect)
            self._scheduler.sleep(random.uniform(5, 60))
            raise _no_answer(verb, key)
        try:
            return effect()
        finally:
            delay = random.random()
            if delay < 0.3:  # the answer takes its time, too
                self._scheduler.sleep(random.uniform(1, 40) if delay < weather.slow_answers else delay)


def _ignore(effect: Callable[[], object]) -> None:
    """Let it take effect if it can; nobody hears the answer."""
    with contextlib.suppress(DatalakeError):
        effect()


def _no_answer(verb: str, key: str) -> OutcomeUnknownError | StoreUnavailableError:
    """A lost answer to a put is for the caller to settle; everything else is safe to repeat."""
    kind = OutcomeUnknownError if verb == "put" else StoreUnavailableError
    return kind(f"planned: {verb} {key}")
