"""Workers that share an annotator, in one process."""

from __future__ import annotations

import asyncio
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.claims import Claim, Claims
from datalake_service.pipeline.annotation.job import AnnotationReport
from datalake_service.storage.base import ObjectStore
from tests.support.annotations import (
    ANNOTATOR,
    DATASET,
    Asked,
    ListRows,
    ids,
    start,
)

WORKERS = layout.worker_leases_prefix(DATASET, ANNOTATOR)


CLAIMS = layout.claims_prefix(DATASET, ANNOTATOR)


def many(batches: int = 12, rows: int = 20) -> ListRows:
    """Some batches with equal ids."""
    return ListRows({f"b{number}": ids(rows) for number in range(batches)})


def together(store: ObjectStore, rows: ListRows, asked: list[Asked], **options: Any) -> list[AnnotationReport]:
    """One worker for each function, at once."""

    async def main() -> list[AnnotationReport]:
        return await asyncio.gather(*(start(store, rows, one, shared=True, **options) for one in asked))

    return asyncio.run(main())


def live_workers(store: ObjectStore) -> list[str]:
    """The keys of their leases."""
    return [meta.key for meta in store.list(WORKERS)]


def claim_of(store: ObjectStore, batch: str) -> Claim:
    """The claim of a batch, which there is."""
    claim = Claims(store, DATASET, ANNOTATOR).read(batch)
    assert claim is not None
    return claim
