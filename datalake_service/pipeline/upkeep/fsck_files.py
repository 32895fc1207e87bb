"""Checks of the files in one folder that are not merged: chunks, foreign files, run manifests, side objects."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import ChunkEntry, RunManifest, format_time
from datalake_service.chunks.annotation_rows import rows_by_batch
from datalake_service.chunks.reader import Lines, read_lines
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError, StoreUnavailableError
from datalake_service.pipeline.upkeep.fsck_findings import FindingKind, Tell
from datalake_service.storage.base import ObjectMeta, ObjectStore

LOOK_AGAIN = (ObjectNotFoundError, PreconditionFailedError)
"""What it looks like when somebody merges what is being checked."""
NO_FINDING = (*LOOK_AGAIN, StoreUnavailableError)
"""Errors that say nothing about the object."""


@dataclass(frozen=True, slots=True)
class Patience:
    """What is too young to be called left over."""

    now: datetime
    older_than: timedelta

    def is_over(self, meta: ObjectMeta) -> bool:
        """Whether nobody can be expected to come back to an object."""
        return self.now - meta.last_modified >= self.older_than


@dataclass(slots=True)
class Waiting:
    """What waits in a folder."""

    files: Mapping[str, ObjectMeta]
    """Chunks and foreign files by name."""
    manifests: dict[str, RunManifest] = field(default_factory=dict)
    """By run; those that can be read."""

    def gone(self) -> list[tuple[str, ChunkEntry]]:
        """Chunks that a manifest names and that are not there: merged, or lost."""
        return [
            (name, entry)
            for run, manifest in sorted(self.manifests.items())
            for number, entry in enumerate(manifest.chunks)
            if (name := layout.chunk_key("", run, number)) not in self.files and entry.rows
        ]

    def sealed(self) -> set[str]:
        """When those chunks were sealed: rows of them say so."""
        return {format_time(entry.sealed_at) for _, entry in self.gone()}


def check_waiting(
    store: ObjectStore, prefix: str, found: Collection[ObjectMeta], *, annotations: bool, patience: Patience, tell: Tell
) -> Waiting:
    """Read every manifest, chunk and foreign file of a folder; ``found`` is its listing.

    Raises:
        ObjectNotFoundError: One was merged meanwhile.
        PreconditionFailedError: One was replaced meanwhile.
    """
    names = {meta.key.removeprefix(prefix): meta for meta in found}
    waiting = Waiting({name: meta for name, meta in names.items() if name.endswith(".jsonl")})
    for name, meta in names.items():
        run = layout.parse_run_manifest(name)
        if run is not None:
            _check_manifest(store, waiting, meta, run, patience, tell)
    for name, meta in waiting.files.items():
        chunk = layout.parse_chunk(name)
        manifest = waiting.manifests.get(chunk.run) if chunk is not None else None
        if chunk is not None and manifest is None and layout.run_manifest_key("", chunk.run) not in names:
            tell(FindingKind.UNREFERENCED, meta.key, "its run has no manifest; the next merge takes it all the same")
        known = manifest is not None and chunk is not None and chunk.number < len(manifest.chunks)
        entry = manifest.chunks[chunk.number] if known and manifest is not None and chunk is not None else None
        _check_lines(store, meta, entry, annotations=annotations, ours=chunk is not None, tell=tell)
    return waiting


def check_json_lines(store: ObjectStore, meta: ObjectMeta, tell: Tell, look: Callable[[Lines], object]) -> int:
    """Read an object of JSON lines to its end; answers its rows. ``look`` is shown all of them.

    Raises:
        ObjectNotFoundError: It is gone.
        PreconditionFailedError: It was replaced.
    """
    rows, bad, first = 0, 0, ""
    try:
        with store.open(meta.key, etag=meta.etag) as stream:
            for lines in read_lines(stream):
                look(lines)
                rows += len(lines.rows)
                bad += len(lines.bad)
                first = first or next((f"line {line.number + 1}: {line.message}" for line in lines.bad), "")
    except NO_FINDING:
        raise
    except StoreError as error:
        tell(FindingKind.UNREADABLE, meta.key, str(error))
        return rows
    if bad:
        tell(FindingKind.UNREADABLE, meta.key, f"{bad:,} lines are no rows, the first: {first}")
    return rows


def _check_manifest(
    store: ObjectStore, waiting: Waiting, meta: ObjectMeta, run: str, patience: Patience, tell: Tell
) -> None:
    try:
        manifest = RunManifest.from_json(store.get(meta.key, etag=meta.etag)[0], key=meta.key)
    except NO_FINDING:
        raise
    except StoreError as error:
        tell(FindingKind.UNREADABLE, meta.key, str(error))
        return
    if manifest.run != run:
        tell(FindingKind.UNREADABLE, meta.key, f"it is the manifest of the run {manifest.run}")
        return
    waiting.manifests[run] = manifest
    chunks = [found for name, found in waiting.files.items() if name.startswith(f"{run}_chunk_")]
    if not manifest.completed and all(map(patience.is_over, [meta, *chunks])):
        tell(FindingKind.UNREFERENCED, meta.key, "its run never ended, and wrote nothing for long: its writer is dead")


def _check_lines(
    store: ObjectStore, meta: ObjectMeta, entry: ChunkEntry | None, *, annotations: bool, ours: bool, tell: Tell
) -> None:
    if entry is not None and entry.size != meta.size:
        tell(FindingKind.WRONG_COUNT, meta.key, f"has {meta.size:,} bytes; its manifest says {entry.size:,}")
    # Lines of a foreign file that are no rows are a merge's business: it rejects them.
    rows = check_json_lines(store, meta, tell if ours else _ignore, rows_by_batch if annotations else look_at_nothing)
    if entry is not None and entry.rows != rows:
        tell(FindingKind.WRONG_COUNT, meta.key, f"has {rows:,} rows; its manifest says {entry.rows:,}")


def look_at_nothing(lines: Lines) -> None:
    """Look at no row."""


def _ignore(kind: FindingKind, key: str, message: str) -> None:
    """Tell nobody."""
