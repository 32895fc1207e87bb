"""Checks of older versions of annotations, which lie beside those that count."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import closing

from datalake_service.catalog import layout
from datalake_service.errors import StoreError
from datalake_service.pipeline.upkeep.fsck_files import NO_FINDING
from datalake_service.pipeline.upkeep.fsck_findings import FindingKind, Tell
from datalake_service.pipeline.upkeep.fsck_merged import CheckedMerged
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.objects.checks import read_all
from datalake_service.tables.objects.merged import MergedFile


def check_older(
    store: ObjectStore,
    merged: CheckedMerged | None,
    found: Iterable[ObjectMeta],
    *,
    prefix: str,
    batch: str,
    tell: Tell,
    left_over: Callable[[ObjectMeta, str], None],
) -> None:
    """Look at the side objects below ``prefix``: the one that ``merged`` names, and those of attempts that lost.

    Raises:
        ObjectNotFoundError: One is gone.
        PreconditionFailedError: One was replaced meanwhile.
    """
    named = None if merged is None else merged.metadata.older
    wanted = None if named is None else f"{prefix}{named}{layout.OLDER_SUFFIX}"
    there = False
    for meta in found:
        if meta.key == wanted:
            there = True
            _read(store, meta, batch, merged, tell)
        elif merged is not None:
            left_over(meta, "the merged object does not name it; the next merge of several versions removes it")
    if wanted is not None and not there:
        tell(FindingKind.MISSING, wanted, "the merged object names it: older versions of annotations are lost")


def _read(store: ObjectStore, meta: ObjectMeta, batch: str, merged: CheckedMerged | None, tell: Tell) -> None:
    try:
        with closing(MergedFile(store, meta)) as file:
            contents = read_all(file, batch=batch)
    except NO_FINDING:
        raise
    except StoreError as error:
        tell(FindingKind.UNREADABLE, meta.key, str(error))
        return
    said = None if merged is None else sum(one.older for one in merged.metadata.made)
    if said != contents.rows:
        tell(FindingKind.WRONG_COUNT, meta.key, f"has {contents.rows:,} rows; the merged object says {said}")
    if contents.misplaced:
        tell(FindingKind.MISPLACED, meta.key, f"{contents.misplaced:,} rows are of another batch")
