"""Run manifests: what a run promises and what each of its chunks holds. See ``docs/design/001-lake-format.md``.

A run is claimed by creating its manifest; after that its one owner overwrites it. Knows nothing of how rows
are encoded or read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from datalake_service.catalog import layout
from datalake_service.catalog.makers import RunMaker
from datalake_service.errors import AlreadyExistsError, StoreError
from datalake_service.storage.base import CreateOnly, ObjectStore, Overwrite

FORMAT_VERSION = 1
"""Version of everything below the root; readers refuse a higher one."""

RunKind = Literal["rows", "task", "annotation"]
"""Who writes the run: an iterator, a handler task, or an annotator."""

_CLAIM_ATTEMPTS = 20
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ChunkEntry:
    """What one chunk holds."""

    rows: int
    """Lines in the chunk."""
    size: int
    """Bytes."""
    census: Mapping[str, str]
    """Column to the kinds of values in all of its rows."""
    sealed_at: datetime
    """When the chunk was finished, by the writer's clock (aware, UTC)."""


@dataclass(slots=True)
class RunManifest:
    """The manifest of one run; owned and changed by one writer only."""

    run: str
    """Six hexadecimal digits."""
    kind: RunKind
    created_at: datetime
    deduplicate_on: tuple[str, ...] | None
    """Columns whose equality makes a duplicate; ``None``: this run has no say."""
    chunk_size: int
    """Rows after which the writer seals a chunk."""
    chunks: list[ChunkEntry] = field(default_factory=list)
    """Entry ``i`` describes chunk number ``i``."""
    completed_at: datetime | None = None
    maker: RunMaker | None = None
    """Who makes the rows of an annotator's run; ``None``: rows, or from before it was noted."""

    @property
    def completed(self) -> bool:
        """Whether the run ended in order: no chunk will be added."""
        return self.completed_at is not None

    @property
    def rows(self) -> int:
        """Rows in all chunks so far."""
        return sum(chunk.rows for chunk in self.chunks)

    def to_json(self) -> bytes:
        """Write the manifest; chunks with the same census share it."""
        censuses: list[dict[str, str]] = []
        known: dict[tuple[tuple[str, str], ...], int] = {}
        chunks = []
        for chunk in self.chunks:
            signature = tuple(chunk.census.items())
            number = known.get(signature)
            if number is None:
                number = known[signature] = len(censuses)
                censuses.append(dict(chunk.census))
            chunks.append([chunk.rows, chunk.size, number, _microseconds(chunk.sealed_at)])
        document: dict[str, object] = {
            "format": FORMAT_VERSION,
            "run": self.run,
            "kind": self.kind,
            "createdAt": format_time(self.created_at),
            "completedAt": None if self.completed_at is None else format_time(self.completed_at),
            "deduplicateOn": None if self.deduplicate_on is None else list(self.deduplicate_on),
            "chunkSize": self.chunk_size,
            "censuses": censuses,
            "chunks": chunks,
        }
        if self.maker is not None:
            document["maker"] = self.maker.to_dict()
        return json.dumps(document).encode("ascii")

    @classmethod
    def from_json(cls, data: bytes, *, key: str) -> RunManifest:
        """Read a manifest; ``key`` names it in errors.

        Raises:
            StoreError: Not a manifest, or of a newer format.
        """
        try:
            document = json.loads(data)
            check_format(document["format"], key=key)
            censuses = document["censuses"]
            columns = document["deduplicateOn"]
            maker = document.get("maker")
            return cls(
                run=document["run"],
                kind=document["kind"],
                created_at=parse_time(document["createdAt"]),
                deduplicate_on=None if columns is None else tuple(columns),
                chunk_size=document["chunkSize"],
                chunks=[
                    ChunkEntry(rows, size, censuses[number], _EPOCH + timedelta(microseconds=sealed))
                    for rows, size, number, sealed in document["chunks"]
                ],
                completed_at=None if document["completedAt"] is None else parse_time(document["completedAt"]),
                maker=None if maker is None else RunMaker.from_dict(maker),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            msg = f"{key} is not a run manifest ({type(error).__name__}: {error}); move it away to go on without it"
            raise StoreError(msg) from error


def check_format(version: object, *, key: str) -> None:
    """Refuse what a newer version of this software wrote.

    Raises:
        StoreError: ``version`` is newer, or no version at all.
    """
    if not isinstance(version, int) or version > FORMAT_VERSION:
        msg = f"{key} has format {version!r}; this version of datalake reads up to {FORMAT_VERSION}: please upgrade it"
        raise StoreError(msg)


def claim_run(
    store: ObjectStore,
    prefix: str,
    *,
    kind: RunKind,
    deduplicate_on: Sequence[str] | None,
    chunk_size: int,
    now: datetime,
    draw: Callable[[], str],
    maker: RunMaker | None = None,
) -> RunManifest:
    """Create the manifest of a new run below ``prefix``; ``draw`` returns six random hexadecimal digits.

    Exactly one writer owns a run: the manifest is created only if absent, a loser draws again. A crash after
    it leaves a manifest without chunks, which a merge may remove once it is old.

    Raises:
        StoreError: Twenty names in a row were taken: the source of randomness is broken.
    """
    for _ in range(_CLAIM_ATTEMPTS):
        manifest = RunManifest(
            run=draw(),
            kind=kind,
            created_at=now,
            deduplicate_on=None if deduplicate_on is None else tuple(deduplicate_on),
            chunk_size=chunk_size,
            maker=maker,
        )
        try:
            store.put(layout.run_manifest_key(prefix, manifest.run), manifest.to_json(), mode=CreateOnly())
        except AlreadyExistsError:
            continue
        return manifest
    msg = f"no free run name below {prefix}: {_CLAIM_ATTEMPTS} random names in a row were taken"
    raise StoreError(msg)


def save_manifest(store: ObjectStore, prefix: str, manifest: RunManifest) -> None:
    """Write the manifest again; only its owner may."""
    store.put(layout.run_manifest_key(prefix, manifest.run), manifest.to_json(), mode=Overwrite())


def format_time(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds and ``Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_time(text: str) -> datetime:
    """Read what ``format_time`` wrote."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
