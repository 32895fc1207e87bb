"""The annotations of a dataset that failed, for people: which row, what kind of failure, what it took.

Of each row the newest that is known of it: in chunks that wait to be merged, and in merged objects. A row that has an
annotation meanwhile has not failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import (
    ATTEMPTS,
    CODE,
    COST,
    FAILED,
    FINAL_STATUSES,
    GENERATION,
    INPUT_TOKENS,
    KIND,
    OUTPUT_TOKENS,
    SECONDS,
    STATUS,
    VERSION,
)
from datalake_service.chunks.annotation_rows import rows_by_batch
from datalake_service.chunks.inventory import Source, take_inventory
from datalake_service.chunks.reader import read_lines
from datalake_service.config.names import check_name
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError, UsageError
from datalake_service.pipeline.upkeep.lifecycle import require_dataset
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.objects.failed_rows import failed_rows, final_generations
from datalake_service.tables.objects.merged import MergedFile

_ATTEMPTS: Final = 5
"""How often a batch is read again because it was merged meanwhile."""
_UNKNOWN: Final = "unknown"
"""The kind of failures of before kinds were noted."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FailedAnnotation:
    """One row that an annotator has failed for."""

    annotator: str
    batch: str
    row: Row
    """Its system columns."""

    @property
    def name(self) -> str:
        """What ``errors view`` calls it."""
        return f"{layout.ANNOTATIONS}/{self.annotator}/{self.batch}/{self.row['id']}"

    @property
    def kind(self) -> str:
        """The name of an exception, or another word."""
        return str(self.row.get(KIND) or _UNKNOWN)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        row = self.row
        return {
            "error": self.name,
            "annotator": self.annotator,
            "batch": self.batch,
            "id": row["id"],
            "kind": self.kind,
            "message": row.get("_error"),
            "attempts": row.get(ATTEMPTS),
            "seconds": row.get(SECONDS),
            "cost": row.get(COST),
            "inputTokens": row.get(INPUT_TOKENS),
            "outputTokens": row.get(OUTPUT_TOKENS),
            "version": row.get(VERSION),
            "code": row.get(CODE),
            "failedAt": row.get("_annotated_at"),
        }


def list_failed(
    store: ObjectStore, dataset: str, *, annotator: str | None = None, batch: str | None = None, kind: str | None = None
) -> Iterator[FailedAnnotation]:
    """Every failed annotation of a dataset, by annotator and batch.

    Raises:
        DatasetNotFoundError: No such dataset.
        UsageError: No such annotator.
        StoreError: The lake cannot be read.
    """
    require_dataset(store, dataset)
    known = list(store.list_folders(layout.annotators_prefix(dataset)))
    if annotator is not None:
        check_name(annotator, what="annotator")
        if annotator not in known:
            there = ", ".join(known) or "none"
            raise UsageError(f"dataset {dataset!r} has no annotator {annotator!r}; there are: {there}")
        known = [annotator]
    for name in known:
        for failed in _of_annotator(store, dataset, name, batch):
            if kind is None or failed.kind == kind:
                yield failed


def find_failed(store: ObjectStore, dataset: str, name: str) -> FailedAnnotation:
    """One failed annotation by its name.

    Raises:
        DatasetNotFoundError: No such dataset.
        UsageError: No row has failed under this name.
        StoreError: The lake cannot be read.
    """
    _, _, rest = name.partition("/")
    annotator, _, rest = rest.partition("/")
    batch = rest.partition("/")[0]
    found = list_failed(store, dataset, annotator=annotator, batch=batch)
    failed = next((one for one in found if one.name == name), None)
    if failed is None:
        raise UsageError(
            f"dataset {dataset!r} has no error {name!r}: the row has not failed, or has an annotation meanwhile; "
            f"see: datalake errors list --datasetName {dataset} --annotator {annotator}"
        )
    return failed


@dataclass(slots=True)
class _Unmerged:
    """What the chunks say of the rows of one batch, the last word on each."""

    failed: dict[str, Row] = field(default_factory=dict)
    final: dict[str, int] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        """Take a row into account; they come in merge order."""
        name, age = row["id"], row.get(GENERATION) or 0
        if row[STATUS] in FINAL_STATUSES:
            self.final[name] = max(age, self.final.get(name, 0))
        elif row[STATUS] == FAILED and age >= ((self.failed.get(name) or {}).get(GENERATION) or 0):
            self.failed[name] = row

    def hides(self, row: Row) -> bool:
        """Whether something newer is known than a failure that is merged."""
        return row["id"] in self.failed or self.final.get(row["id"], -1) >= (row.get(GENERATION) or 0)


def _of_annotator(store: ObjectStore, dataset: str, annotator: str, batch: str | None) -> Iterator[FailedAnnotation]:
    # Chunks first: what is merged meanwhile is in the merged objects by then.
    unmerged = _read_chunks(store, dataset, annotator)
    folders = filter(layout.is_batch_folder, store.list_folders(layout.annotator_prefix(dataset, annotator)))
    for name in sorted({*folders, *unmerged} if batch is None else {batch}):
        for row in _of_batch(store, dataset, annotator, name, unmerged.get(name) or _Unmerged()):
            yield FailedAnnotation(annotator, name, row)


def _of_batch(store: ObjectStore, dataset: str, annotator: str, batch: str, unmerged: _Unmerged) -> list[Row]:
    key = layout.merged_key(layout.annotation_prefix(dataset, annotator, batch))
    for _ in range(_ATTEMPTS):
        try:
            meta = store.head(key)
        except ObjectNotFoundError:
            return [row for row in unmerged.failed.values() if not _is_final(row, unmerged.final)]
        try:
            with closing(MergedFile(store, meta)) as file:
                return _merged_and_not(store, dataset, annotator, batch, file, unmerged)
        except (ObjectNotFoundError, PreconditionFailedError):
            continue
    raise StoreError(f"{key} was replaced {_ATTEMPTS} times while it was being read; try again later")


def _merged_and_not(
    store: ObjectStore, dataset: str, annotator: str, batch: str, file: MergedFile, unmerged: _Unmerged
) -> list[Row]:
    record = file.metadata
    rows: list[Row] = list(failed_rows(file)) if record.counts.get(FAILED, 1) else []
    if record.older is not None:
        meta = store.head(layout.older_key(dataset, annotator, batch, record.older))
        with closing(MergedFile(store, meta)) as older:
            rows += failed_rows(older)
    rows = [row for row in rows if not unmerged.hides(row)]
    final = final_generations(file, unmerged.failed)
    for name, age in unmerged.final.items():
        final[name] = max(age, final.get(name, 0))
    return rows + [row for row in unmerged.failed.values() if not _is_final(row, final)]


def _is_final(row: Row, final: Mapping[str, int]) -> bool:
    return final.get(row["id"], -1) >= (row.get(GENERATION) or 0)


def _read_chunks(store: ObjectStore, dataset: str, annotator: str) -> dict[str, _Unmerged]:
    found: dict[str, _Unmerged] = {}
    for source in take_inventory(store, layout.annotator_temp_prefix(dataset, annotator)).sources:
        try:
            with store.open(source.meta.key) as stream:
                for lines in read_lines(stream, numbers_matter=False):
                    for batch, indexes in rows_by_batch(lines).items():
                        said = found.setdefault(batch, _Unmerged())
                        for index in indexes:
                            said.add(_whole(lines.rows[index], source))
        except ObjectNotFoundError:  # merged and deleted since the listing
            continue
    return found


def _whole(row: Row, source: Source) -> Row:
    """A row with what the manifest of its run says; of one that did not fail, no more than that."""
    if source.maker is None:
        return row
    version, code, generation = source.maker.key
    if row[STATUS] != FAILED:
        return {"id": row["id"], STATUS: row[STATUS], GENERATION: row.get(GENERATION, generation)}
    return {VERSION: version, CODE: code, GENERATION: generation, ATTEMPTS: 1, **row}
