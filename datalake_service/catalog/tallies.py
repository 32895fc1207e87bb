"""Tallies: what each of the workers that share an annotator did, and what all of them did together.

A worker writes its own, again and again while it works, and once more before it gives its lease back. The last one to
end adds them up: ``docs/design/012-shared-annotators.md``, section "The whole".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import check_format, format_time
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite

TALLY_FORMAT: Final = 1
"""Version of both objects; readers refuse a higher one."""
_DOUBTFUL: Final = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError)
"""After these a write may be in place all the same: read it back and compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one worker did, or several."""

    annotated: int = 0
    skipped: int = 0
    failed: int = 0
    calls: int = 0
    repeated: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in Tally.__slots__})

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "annotated": self.annotated,
            "skipped": self.skipped,
            "failed": self.failed,
            "calls": self.calls,
            "repeated": self.repeated,
            "inputTokens": self.input_tokens,
            "outputTokens": self.output_tokens,
            "cost": self.cost,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Tally:
        """Read it.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        return cls(
            annotated=int(document["annotated"]),
            skipped=int(document["skipped"]),
            failed=int(document["failed"]),
            calls=int(document["calls"]),
            repeated=int(document["repeated"]),
            input_tokens=int(document["inputTokens"]),
            output_tokens=int(document["outputTokens"]),
            cost=float(document["cost"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTally:
    """The object of one worker."""

    worker: str
    where: str
    """Machine and process, for people."""
    tally: Tally = field(default_factory=Tally)
    ended: bool = False
    """Whether the worker came to an end, well or not, rather than being killed."""
    error: str | None = None
    """Why it ended early."""

    def to_json(self) -> bytes:
        """Write the object."""
        document = {
            "format": TALLY_FORMAT,
            "worker": self.worker,
            "where": self.where,
            **self.tally.to_dict(),
            "ended": self.ended,
            "error": self.error,
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> WorkerTally:
        """Read the object; ``key`` names it in errors.

        Raises:
            StoreError: It is none, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                worker=str(document["worker"]),
                where=str(document["where"]),
                tally=Tally.from_dict(document),
                ended=bool(document["ended"]),
                error=document["error"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{key} is not a tally ({type(error).__name__}: {error}); remove it by hand") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What all workers did together, since the last time that the last one of them ended."""

    number: int
    """How often that happened."""
    by: str
    """The worker that added it up."""
    at: str
    workers: Sequence[str] = ()
    """Whose tallies are in it."""
    lost: int = 0
    """Those of them that were killed: what they did in their last half minute may be missing."""
    tally: Tally = field(default_factory=Tally)
    errors: Sequence[str] = ()
    """Why workers ended early, each reason once."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON form of a report."""
        return {
            "workers": len(self.workers),
            "lost": self.lost,
            **self.tally.to_dict(),
            "errors": list(self.errors),
        }

    def in_words(self) -> str:
        """For people: ``1,000 annotated, 0 skipped, 3 failed by 4 workers, 1 of them lost; cost 1.23``."""
        tally, many = self.tally, len(self.workers)
        told = f"{tally.annotated:,} annotated, {tally.skipped:,} skipped, {tally.failed:,} failed "
        told += f"by {many:,} workers" if many > 1 else "by one worker"
        if self.lost:
            told += f", {self.lost:,} of them lost"
        tokens = tally.input_tokens + tally.output_tokens
        spent = [f"{tokens:,} tokens"] if tokens else []
        if tally.cost:
            spent.append(f"cost {tally.cost:.{2 if tally.cost >= 1 else 4}f}")
        return "; ".join([told, *([", ".join(spent)] if spent else []), *self.errors])

    def to_json(self) -> bytes:
        """Write the object."""
        document = {
            "format": TALLY_FORMAT,
            "number": self.number,
            "by": self.by,
            "at": self.at,
            **self.to_dict(),
            "workers": list(self.workers),
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> Whole:
        """Read the object; ``key`` names it in errors.

        Raises:
            StoreError: It is none, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            return cls(
                number=int(document["number"]),
                by=str(document["by"]),
                at=str(document["at"]),
                workers=tuple(document["workers"]),
                lost=int(document["lost"]),
                tally=Tally.from_dict(document),
                errors=tuple(document["errors"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise StoreError(f"{key} is no report ({type(error).__name__}: {error}); remove it by hand") from error


class Tallies:
    """The tallies of one annotator."""

    def __init__(self, store: ObjectStore, dataset: str, annotator: str) -> None:
        """Prepare; nothing is asked of the store."""
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._whole_key = layout.whole_key(dataset, annotator)

    def write(self, mine: WorkerTally) -> None:
        """Write a worker's own; nobody else writes it.

        Raises:
            StoreError: The store failed.
        """
        key = layout.tally_key(self._dataset, self._annotator, mine.worker)
        self._store.put(key, mine.to_json(), mode=Overwrite())

    def whole(self) -> Whole | None:
        """What was added up last; ``None``: nothing yet.

        Raises:
            StoreError: The store failed, or it cannot be read.
        """
        found = self._read_whole()
        return None if found is None else found[0]

    def add_up(self, *, by: str, now: datetime, anybody: Callable[[], bool]) -> Whole | None:
        """Add up and remove the tallies of workers that have ended, if nobody lives.

        ``None``: somebody lives, another worker did it, or there are none. Unless nobody did anything, it is durable
        when this returns. Should this process die on the way, the tallies that are left count once all the same.

        Args:
            by: The worker that does it.
            now: When.
            anybody: Asked whether another worker lives, once it is known which tallies there are: one that begins
                later is not among them, and all the others have written their last.

        Raises:
            StoreError: The store failed.
        """
        keys = self._keys()
        if anybody():
            return None
        before = self._read_whole()
        counted = () if before is None else before[0].workers
        found = list(self._read_all(keys))
        new = [one for one in found if one.worker not in counted]
        if not new:
            self._remove(found)
            return None
        whole = Whole(
            number=1 if before is None else before[0].number + 1,
            by=by,
            at=format_time(now),
            workers=tuple(sorted(one.worker for one in new)),
            lost=sum(not one.ended for one in new),
            tally=sum((one.tally for one in new), Tally()),
            errors=tuple(dict.fromkeys(one.error for one in new if one.error is not None)),
        )
        did_something = whole.tally != Tally() or whole.lost
        if did_something and not self._commit(whole, None if before is None else before[1]):
            return None
        self._remove(found)
        return whole

    def _remove(self, found: Iterable[WorkerTally]) -> None:
        for one in found:
            self._store.delete(layout.tally_key(self._dataset, self._annotator, one.worker))

    def _commit(self, whole: Whole, etag: str | None) -> bool:
        """Write it, unless another one was faster. A doubtful answer is settled by reading back."""
        mode = CreateOnly() if etag is None else IfMatch(etag)
        try:
            self._store.put(self._whole_key, whole.to_json(), mode=mode)
        except _DOUBTFUL as error:
            standing = self._read_whole()
            if standing is not None and (standing[0].number, standing[0].by) == (whole.number, whole.by):
                return True
            if isinstance(error, (AlreadyExistsError, PreconditionFailedError)):
                return False
            raise
        return True

    def _read_whole(self) -> tuple[Whole, str] | None:
        try:
            data, meta = self._store.get(self._whole_key)
        except ObjectNotFoundError:
            return None
        return Whole.from_json(data, key=self._whole_key), meta.etag

    def _keys(self) -> list[str]:
        prefix = layout.tallies_prefix(self._dataset, self._annotator)
        keys = (meta.key for meta in self._store.list(prefix))
        return [key for key in keys if layout.parse_tally(key.removeprefix(prefix)) is not None]

    def _read_all(self, keys: Iterable[str]) -> Iterator[WorkerTally]:
        for key in keys:
            try:
                yield WorkerTally.from_json(self._store.get(key)[0], key=key)
            except ObjectNotFoundError:
                continue
