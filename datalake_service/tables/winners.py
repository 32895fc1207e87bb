"""Of several annotations of one row, the one that counts: the first that is final, else the last failure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datalake_service.catalog.annotations import FINAL_STATUSES
from datalake_service.tables.bits import Bits, Mask
from datalake_service.tables.digests import as_array, digest_texts
from datalake_service.tables.spool import Spool, sorted_groups

_RECORD = np.dtype([("a", np.uint64), ("b", np.uint64), ("position", np.int64), ("rank", np.int64)])
_AFTER_ALL_FINAL = 1 << 62


class Winners:
    """Decides rows whose ids and statuses were all added before. Not thread-safe."""

    def __init__(self, folder: Path, rows: int, *, partition_bytes: int) -> None:
        """Decide about ``rows`` rows; files go to ``folder``, of which about ``partition_bytes`` are read at once."""
        self._spool = Spool(folder / "annotated", _RECORD, rows=rows, partition_bytes=partition_bytes)
        self._winners = Bits(0)

    def add(self, start: int, ids: Sequence[str], statuses: Sequence[str]) -> None:
        """Note the rows at positions from ``start``."""
        positions = np.arange(start, start + len(ids))
        final = np.array([status in FINAL_STATUSES for status in statuses], np.bool_)
        rank = np.where(final, positions, _AFTER_ALL_FINAL - positions)
        self._spool.add(as_array(digest_texts(ids)), position=positions, rank=rank)

    def decide(self) -> None:
        """Decide everything that was added."""
        self._winners = Bits(len(self._spool))
        for records in self._spool.partitions():
            ordered, begins = sorted_groups(records, order="rank")
            self._winners.set(ordered["position"][begins])

    def among(self, start: int, count: int) -> Mask:
        """Which of the rows at positions from ``start`` count."""
        return self._winners.between(start, start + count)
