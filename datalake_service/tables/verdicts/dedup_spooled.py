"""The verdicts of ``dedup.py`` for batches of any size: keys go to local disk first, rows are judged afterwards.

One pass over the rows calls ``add`` for every block, then ``decide``; the pass that writes calls ``judge``. Memory:
three bits per row, and one partition of the keys at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datalake_service.tables.verdicts.bits import Bits
from datalake_service.tables.verdicts.dedup import KeyColumns, Verdict
from datalake_service.tables.verdicts.digests import as_array, digest_keys, digest_texts
from datalake_service.tables.verdicts.spool import Spool, sorted_groups

_RECORD = np.dtype([("a", np.uint64), ("b", np.uint64), ("position", np.int64)])


class SpooledDedup:
    """Decides rows whose keys were all added before. Not thread-safe."""

    def __init__(self, folder: Path, rows: int, *, keyed: bool, partition_bytes: int) -> None:
        """Decide up to ``rows`` rows; files go to ``folder``, of which about ``partition_bytes`` are read at once."""
        self._ids = Spool(folder / "ids", _RECORD, rows=rows, partition_bytes=partition_bytes)
        self._keys = Spool(folder / "keys", _RECORD, rows=rows if keyed else 0, partition_bytes=partition_bytes)
        self._repeated = Bits(0)
        self._duplicate = Bits(0)
        self._followed = Bits(0)
        self._all_null = 0

    def add(self, start: int, ids: Sequence[str], keys: KeyColumns | None) -> None:
        """Note the rows at positions from ``start``."""
        positions = np.arange(start, start + len(ids))
        self._ids.add(as_array(digest_texts(ids)), position=positions)
        if keys is not None:
            digests, empty = digest_keys(keys())
            keyed = slice(None) if empty is None else ~empty
            self._keys.add(as_array(digests)[keyed], position=positions[keyed])

    def decide(self, *, keyed: bool) -> None:
        """Decide everything that was added."""
        rows = len(self._ids)
        self._repeated, self._duplicate, self._followed = Bits(rows), Bits(rows), Bits(rows)
        repeated = 0
        for records in self._ids.partitions():
            ordered, begins = sorted_groups(records, order="position")
            later = ordered["position"][~begins]
            repeated += len(later)
            self._repeated.set(later)
            followed = begins[:-1] & ~begins[1:]
            self._followed.set(ordered["position"][:-1][followed])
        with_key = 0
        for records in self._keys.partitions():
            staying = records[~self._repeated.at(records["position"])]
            with_key += len(staying)
            ordered, begins = sorted_groups(staying, order="position")
            self._duplicate.set(ordered["position"][~begins])
        self._all_null = rows - repeated - with_key if keyed else 0

    def judge(self, start: int, ids: Sequence[str], keys: KeyColumns | None) -> Verdict:  # noqa: ARG002 - as in Dedup
        """Decide the next rows; see ``Dedup``. ``first`` is empty: they are in ``shared``."""
        end = start + len(ids)
        all_null, self._all_null = self._all_null, 0  # counted once
        repeated = self._repeated.between(start, end)
        shared = repeated | self._followed.between(start, end)
        return Verdict(repeated, self._duplicate.between(start, end), shared, np.empty(0, np.int64), all_null)
