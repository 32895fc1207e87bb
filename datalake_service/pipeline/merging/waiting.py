"""Which batches have something to merge, by looking: for writers that do not know what they will write to."""

from __future__ import annotations

from datalake_service.catalog import layout
from datalake_service.storage.base import ObjectStore


def batches_to_merge(store: ObjectStore, dataset: str) -> set[str]:
    """Return the batches with chunks, foreign files or manifests of runs. Costs one listing of the dataset."""
    found = (layout.parse_unmerged(dataset, meta.key) for meta in store.list(layout.dataset_prefix(dataset)))
    return {unmerged.batch for unmerged in found if unmerged is not None and unmerged.batch is not None}
