"""Claims: which of the workers that share an annotator has which batch. See ``docs/design/012-shared-annotators.md``.

What is called a batch here may be a part of one, ``batch/3`` (``parts.py``); or a task, for workers that share the
tasks of a dataset (``docs/design/022-workers.md``).

A claim has no time limit of its own; it holds as long as its worker lives, which ``fencing.Workers`` knows. Here are
the object and its conditional writes; what is claimed when is decided elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import check_format
from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    OutcomeUnknownError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, PutMode

CLAIM_FORMAT = 1
"""Version of the object; readers refuse a higher one."""
_DOUBTFUL = (AlreadyExistsError, PreconditionFailedError, OutcomeUnknownError, StoreUnavailableError)
"""After these a write may be in place all the same: read it back and compare."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a worker saw of a batch that it went through to the end."""

    selection: str
    """Names the rows that were selected: filters, fraction, versions. Of a task: how it ended."""
    finished: int
    """Rows of the batch with an annotation, selected or not. Of a task: its documents."""
    remaining: int
    """Selected rows that were asked and have none. Of a task: its rejections."""


@dataclass(frozen=True, slots=True)
class ClaimRecord:
    """What the object says."""

    worker: str
    number: int
    """Counts the writes of the worker, so that each of them can be recognised when it is read back."""
    released: bool = False
    """Given back: anybody may claim the batch."""
    seen: Seen | None = None
    """If it was given back because everything was answered."""

    def to_json(self) -> bytes:
        """Write the record."""
        seen = self.seen
        document = {
            "format": CLAIM_FORMAT,
            "worker": self.worker,
            "number": self.number,
            "released": self.released,
            "seen": None
            if seen is None
            else {"selection": seen.selection, "finished": seen.finished, "remaining": seen.remaining},
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> ClaimRecord:
        """Read a record; ``key`` names it in errors.

        Raises:
            StoreError: Not a record, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            seen = document["seen"]
            return cls(
                worker=str(document["worker"]),
                number=int(document["number"]),
                released=bool(document["released"]),
                seen=None if seen is None else Seen(seen["selection"], seen["finished"], seen["remaining"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            msg = f"{key} is not a claim ({type(error).__name__}: {error}); if nobody works here, remove it by hand"
            raise StoreError(msg) from error

    def is_write(self, other: ClaimRecord) -> bool:
        """Whether both are the same write."""
        return (self.worker, self.number) == (other.worker, other.number)


@dataclass(frozen=True, slots=True)
class Claim:
    """One version of the claim of a batch."""

    batch: str
    record: ClaimRecord
    etag: str


class ClaimsBelow:
    """The claims below one prefix, as one of the workers sees and writes them. One thread at a time may ``take``."""

    def __init__(self, store: ObjectStore, prefix: str, *, worker: str = "") -> None:
        """Prepare; nothing is asked of the store. Without a ``worker`` they can only be read."""
        self._store = store
        self._prefix = prefix
        self._worker = worker
        self._writes = 0

    def versions(self) -> Mapping[str, str]:
        """The ETag of every claim, by batch. One listing.

        Raises:
            StoreError: The store failed.
        """
        listed = self._store.list(self._prefix)
        named = ((layout.parse_claim(meta.key.removeprefix(self._prefix)), meta.etag) for meta in listed)
        return {batch: etag for batch, etag in named if batch is not None}

    def read(self, batch: str) -> Claim | None:
        """The claim of a batch as it stands; ``None``: nobody ever had the batch.

        Raises:
            StoreError: The store failed, or it cannot be read.
        """
        key = layout.claim_below(self._prefix, batch)
        try:
            data, meta = self._store.get(key)
        except ObjectNotFoundError:
            return None
        return Claim(batch, ClaimRecord.from_json(data, key=key), meta.etag)

    def take(self, batch: str, *, over: Claim | None) -> Claim | None:
        """Claim a batch, if its claim is still ``over``; ``None``: it is not.

        Raises:
            StoreError: The store failed, or its answer stayed unknown.
        """
        self._writes += 1
        record = ClaimRecord(self._worker, 2 * self._writes)
        return self._write(batch, record, CreateOnly() if over is None else IfMatch(over.etag))

    def give_back(self, claim: Claim, seen: Seen | None) -> None:
        """Give a batch back, if the claim is still ``claim``; else do nothing.

        Raises:
            StoreError: The store failed, or its answer stayed unknown. May be called again.
        """
        record = ClaimRecord(self._worker, claim.record.number + 1, released=True, seen=seen)
        self._write(claim.batch, record, IfMatch(claim.etag))

    def _write(self, batch: str, record: ClaimRecord, mode: PutMode) -> Claim | None:
        """Write; ``None``: another version stands there. A doubtful answer is settled by reading back."""
        key = layout.claim_below(self._prefix, batch)
        try:
            return Claim(batch, record, self._store.put(key, record.to_json(), mode=mode).etag)
        except _DOUBTFUL as error:
            standing = self.read(batch)
            if standing is not None and standing.record.is_write(record):
                return standing
            if isinstance(error, (AlreadyExistsError, PreconditionFailedError)):
                return None
            raise


class Claims(ClaimsBelow):
    """The claims of one annotator."""

    def __init__(self, store: ObjectStore, dataset: str, annotator: str, *, worker: str = "") -> None:
        """Prepare; nothing is asked of the store. Without a ``worker`` they can only be read."""
        super().__init__(store, layout.claims_prefix(dataset, annotator), worker=worker)
