"""Rows whose id occurs more than once: which of the later ones say something else than the first?

Only digests are kept: of the id and of the content. They go to local disk when there are many.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datalake_service.tables.verdicts.digests import as_array, digest_contents, digest_texts
from datalake_service.tables.verdicts.spool import Spool, sorted_groups

_RECORD = np.dtype([("a", np.uint64), ("b", np.uint64), ("c", np.uint64), ("d", np.uint64), ("position", np.int64)])


class Collisions:
    """Collects rows that share their id with others, the first of each id among them, in any order."""

    def __init__(self, folder: Path, *, rows: int, partition_bytes: int) -> None:
        """Expect up to ``rows`` rows; files go to ``folder``."""
        self._spool = Spool(folder / "collisions", _RECORD, rows=rows, partition_bytes=partition_bytes)

    def __len__(self) -> int:
        """Return how many rows were noted."""
        return len(self._spool)

    def note(self, ids: Sequence[str], contents: Iterable[Mapping[str, Any]], positions: npt.NDArray[np.int64]) -> None:
        """Add rows: their ids, their content without system columns, their positions in the merge."""
        content = as_array(digest_contents(contents))
        self._spool.add(as_array(digest_texts(ids)), c=content[:, 0], d=content[:, 1], position=positions)

    def conflicts(self) -> npt.NDArray[np.int64]:
        """The positions of rows whose content differs from that of the first row with their id, in order."""
        found = [np.empty(0, np.int64)]
        for records in self._spool.partitions():
            ordered, begins = sorted_groups(records, order="position")
            first = np.flatnonzero(begins)[np.cumsum(begins) - 1]
            differs = (ordered["c"] != ordered["c"][first]) | (ordered["d"] != ordered["d"][first])
            found.append(ordered["position"][differs])
        return np.sort(np.concatenate(found))
