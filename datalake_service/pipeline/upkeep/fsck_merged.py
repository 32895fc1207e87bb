"""Checks of merged objects: rows of a batch, and annotations of one, against what their commit records say."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing
from dataclasses import dataclass, field

from datalake_service.catalog.annotations import STATUSES
from datalake_service.errors import StoreError
from datalake_service.pipeline.upkeep.fsck_files import NO_FINDING
from datalake_service.pipeline.upkeep.fsck_findings import FindingKind, Tell
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.formats.schema import MergedKind, MergedMetadata
from datalake_service.tables.objects.checks import Contents, Ids, ids_without_base, read_all, repeated_ids
from datalake_service.tables.objects.merged import MergedFile


@dataclass(frozen=True, slots=True)
class CheckedMerged:
    """What is known of a merged object after it was read."""

    metadata: MergedMetadata
    times: Collection[str] = field(default_factory=set)
    """Those of the asked times at which rows of it were made."""


def check_merged(
    store: ObjectStore,
    meta: ObjectMeta,
    *,
    kind: MergedKind,
    batch: str,
    times: Collection[str],
    memory_bytes: int,
    tell: Tell,
) -> CheckedMerged | None:
    """Read a merged object to its last byte; ``None``: it cannot be read, which was told.

    Raises:
        ObjectNotFoundError: It is gone.
        PreconditionFailedError: It was replaced meanwhile.
    """
    try:
        with closing(MergedFile(store, meta)) as file:
            contents = read_all(file, batch=batch, times=times)
            repeated = repeated_ids(file, memory_bytes=memory_bytes)
            metadata = file.metadata
    except NO_FINDING:
        raise
    except StoreError as error:
        tell(FindingKind.UNREADABLE, meta.key, str(error))
        return None
    if metadata.kind != kind:
        tell(FindingKind.UNREADABLE, meta.key, f"it holds {metadata.kind}, not {kind}")
        return None
    _judge(meta.key, metadata, contents, repeated, tell)
    return CheckedMerged(metadata, contents.times)


def check_base_rows(
    store: ObjectStore, base: ObjectMeta | None, meta: ObjectMeta, *, memory_bytes: int, tell: Tell
) -> None:
    """Look for annotations of rows that a batch does not have; ``base`` is the batch's merged object.

    Raises:
        ObjectNotFoundError: One is gone.
        PreconditionFailedError: One was replaced meanwhile.
    """
    with closing(MergedFile(store, meta)) as file:
        if base is None:
            found = ids_without_base(None, file, memory_bytes=memory_bytes)
        else:
            with closing(MergedFile(store, base)) as rows:
                found = ids_without_base(rows, file, memory_bytes=memory_bytes)
    if found.count:
        what = "the batch has no merged rows" if base is None else f"among them {_examples(found)}"
        tell(FindingKind.NO_BASE_ROW, meta.key, f"{found.count:,} annotations belong to no row; {what}")


def _judge(key: str, metadata: MergedMetadata, contents: Contents, repeated: Ids, tell: Tell) -> None:
    counts = metadata.counts
    if counts.get("rows") != contents.rows:
        tell(FindingKind.WRONG_COUNT, key, f"has {contents.rows:,} rows; its commit record says {counts.get('rows')}")
    if metadata.kind == "annotations":
        for status in STATUSES:
            said = counts.get(status)
            if said is not None and said != contents.statuses[status]:
                message = f"has {contents.statuses[status]:,} rows {status}; its commit record says {said:,}"
                tell(FindingKind.WRONG_COUNT, key, message)
    if contents.without_id:
        tell(FindingKind.DUPLICATED_IDS, key, f"{contents.without_id:,} rows have no id")
    if repeated.count:
        message = f"{repeated.count:,} rows have the id of an earlier row, among them {_examples(repeated)}"
        tell(FindingKind.DUPLICATED_IDS, key, message)
    if contents.misplaced:
        tell(FindingKind.MISPLACED, key, f"{contents.misplaced:,} rows are of another batch")


def _examples(ids: Ids) -> str:
    return ", ".join(map(repr, ids.examples))
