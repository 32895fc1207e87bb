"""Which rows an annotator is done with: merged annotations and chunks that no merge has seen yet.

Decided for each row, never for a batch: a failed row is not in it, so the next run asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import FINAL_STATUSES
from datalake_service.errors import ObjectNotFoundError
from datalake_service.jsontext import loads
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.finished_ids import finished_ids

_READERS = 8
"""Chunks read at once; each is a few megabytes at most."""


class FinishedRows:
    """The finished rows of one annotator.

    The chunks are read when this is made, a merged object when its batch is asked for. In this order a merge that
    runs meanwhile hides nothing: what it takes out of the chunks is in the merged object by then.
    """

    def __init__(self, store: ObjectStore, dataset: str, annotator: str) -> None:
        """Read every chunk that is not merged yet; memory grows with their ids only.

        Raises:
            StoreError: The store failed.
        """
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._unmerged: dict[str, set[str]] = {}
        prefix = layout.annotator_temp_prefix(dataset, annotator)
        keys = [meta.key for meta in store.list(prefix) if layout.parse_chunk(meta.key.removeprefix(prefix))]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="finished") as pool:
            for found in pool.map(self._read_chunk, keys):
                for batch, row_id in found:
                    self._unmerged.setdefault(batch, set()).add(row_id)

    def of(self, batch: str) -> set[str]:
        """The ids of the finished rows of ``batch``. Can be asked once for each batch: it is forgotten then.

        Raises:
            StoreError: The store failed.
        """
        key = layout.merged_key(layout.annotation_prefix(self._dataset, self._annotator, batch))
        return finished_ids(self._store, key, statuses=FINAL_STATUSES) | self._unmerged.pop(batch, set())

    def _read_chunk(self, key: str) -> list[tuple[str, str]]:
        try:
            with self._store.open(key) as lines:
                return list(_finished(lines))
        except ObjectNotFoundError:  # merged and deleted since the listing
            return []


def _finished(lines: Iterable[bytes]) -> Iterator[tuple[str, str]]:
    for line in lines:
        try:
            row: Any = loads(line)
        except ValueError:
            continue  # the merge keeps it aside; whatever it was, its row is asked again
        if isinstance(row, dict) and row.get("_status") in FINAL_STATUSES:
            batch, row_id = row.get("_batch"), row.get("id")
            if isinstance(batch, str) and isinstance(row_id, str):
                yield batch, row_id
