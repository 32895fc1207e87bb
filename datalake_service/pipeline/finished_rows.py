"""Which rows an annotator is done with: merged annotations and chunks that no merge has seen yet.

Decided for each row, never for a batch: a failed row is not in it, so the next run asks again.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import FINAL_STATUSES
from datalake_service.chunks.reader import Lines, read_lines
from datalake_service.errors import ObjectNotFoundError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.finished_ids import FinishedIds, IdPile, finished_ids

_READERS = 16
"""Chunks read at once; each is a few megabytes at most."""
_AT_ONCE = 256
"""Chunks whose ids may wait to be packed."""


class FinishedRows:
    """The finished rows of one annotator.

    The chunks are read when this is made (and by ``look_again``), a merged object when its batch is asked for. In this
    order a merge that runs meanwhile hides nothing: what it takes out of the chunks is in the merged object by then.
    """

    def __init__(self, store: ObjectStore, dataset: str, annotator: str) -> None:
        """Read every chunk that is not merged yet; memory grows with their ids only.

        Raises:
            StoreError: The store failed.
        """
        self._store = store
        self._dataset = dataset
        self._annotator = annotator
        self._unmerged: dict[str, IdPile] = {}
        self._seen: set[str] = set()
        self.look_again()

    def look_again(self) -> None:
        """Read the chunks that came since. What was read before stays true: finished rows stay finished.

        Raises:
            StoreError: The store failed.
        """
        prefix = layout.annotator_temp_prefix(self._dataset, self._annotator)
        listed = (meta.key for meta in self._store.list(prefix))
        chunks = {key for key in listed if layout.parse_chunk(key.removeprefix(prefix))}
        keys = sorted(chunks - self._seen)
        self._seen = chunks  # a name is never used again
        with ThreadPoolExecutor(_READERS, thread_name_prefix="finished") as pool:
            for start in range(0, len(keys), _AT_ONCE):  # readers are faster than what packs the ids
                for found in pool.map(self._read_chunk, keys[start : start + _AT_ONCE]):
                    for batch, ids in found.items():
                        self._unmerged.setdefault(batch, IdPile()).add(ids)

    def of(self, batch: str, *, again: bool = False) -> FinishedIds:
        """The ids of the finished rows of ``batch``.

        Can be asked once for each batch, which is forgotten then, unless it is said that it will be asked ``again``.

        Raises:
            StoreError: The store failed.
        """
        key = layout.merged_key(layout.annotation_prefix(self._dataset, self._annotator, batch))
        merged = finished_ids(self._store, key, statuses=FINAL_STATUSES)
        piles = self._unmerged
        return merged.joined(piles.setdefault(batch, IdPile()) if again else piles.pop(batch, IdPile()))

    def _read_chunk(self, key: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        try:
            with self._store.open(key) as stream:
                for lines in read_lines(stream, numbers_matter=False):
                    for batch, row_id in _finished(lines):
                        found.setdefault(batch, []).append(row_id)
        except ObjectNotFoundError:  # merged and deleted since the listing
            return {}
        return found


def _finished(lines: Lines) -> Iterator[tuple[str, str]]:
    """Lines that are no rows are the merge's: it keeps them aside, and their rows are asked again."""
    for row in lines.rows:
        status, batch, row_id = row.get("_status"), row.get("_batch"), row.get("id")
        if isinstance(status, str) and isinstance(batch, str) and isinstance(row_id, str) and status in FINAL_STATUSES:
            yield batch, row_id
