"""Which rows of a merge stay: the first of each id, then the first of each dedup key. Decided block by block.

A *position* counts the usable rows of a merge from 0, in merge order. ``MemoryDedup`` decides as rows pass by and
needs memory for every row; ``SpooledDedup`` (``dedup_spooled.py``) has seen all keys before and needs hardly any.
Both give the same verdicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datalake_service.tables.verdicts.bits import Mask
from datalake_service.tables.verdicts.digest_table import DigestTable, SmallDigestTable, bytes_for, table_for
from datalake_service.tables.verdicts.digests import digest_keys

Positions = npt.NDArray[np.int64]

KeyColumns = Callable[[], Sequence[Sequence[Any]]]
"""Answers the values of the dedup columns of a block; called only if they are needed."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the rows of one block."""

    repeated: Mask
    """Rows whose id an earlier row has: they go, equal or not."""
    duplicate: Mask
    """Rows whose dedup key an earlier row that stays has: they go aside."""
    shared: Mask
    """Rows whose content decides about a repetition: repeated ones, and, if it is known already, their first."""
    first: Positions
    """The position of the first row with their id, for repeated rows whose first was not in ``shared``."""
    all_null: int
    """Rows that stay because all of their dedup columns are null."""

    @property
    def keep(self) -> Mask | None:
        """The rows that stay; ``None``: all of them."""
        gone = self.repeated | self.duplicate
        return ~gone if gone.any() else None


class Dedup(Protocol):
    """Decides blocks in merge order."""

    def judge(self, start: int, ids: Sequence[str], keys: KeyColumns | None) -> Verdict:
        """Decide the rows at positions from ``start``; ``keys`` is ``None`` if nothing is deduplicated."""
        ...


class MemoryDedup:
    """Keeps the digests of everything seen so far."""

    def __init__(self, rows: int, *, keyed: bool) -> None:
        """Decide up to ``rows`` rows; ``keyed``: by dedup keys too."""
        self._ids: DigestTable | SmallDigestTable = table_for(rows)
        self._keys: DigestTable | SmallDigestTable = table_for(rows if keyed else 0)

    @staticmethod
    def fits(rows: int, *, keyed: bool, budget_bytes: int) -> bool:
        """Whether so many rows can be decided in so much memory."""
        return bytes_for(rows) * (2 if keyed else 1) <= budget_bytes

    def judge(self, start: int, ids: Sequence[str], keys: KeyColumns | None) -> Verdict:
        """Decide the next rows; see ``Dedup``."""
        count = len(ids)
        positions = np.arange(start, start + count)
        first = self._ids.add_texts(ids, positions)
        repeated = first != positions
        duplicate, all_null = np.zeros(count, np.bool_), 0
        if keys is not None:
            digests, empty = digest_keys(keys())
            # A row that goes for its id has no say about keys, nor has one without a key.
            asked = np.flatnonzero(~repeated if empty is None else ~(repeated | empty))
            if len(asked) < count:
                all_null = count - int(repeated.sum()) - len(asked)
                digests = [digests[index] for index in asked.tolist()]
            duplicate[asked] = self._keys.add(digests, positions[asked]) != positions[asked]
        return Verdict(repeated, duplicate, repeated, first[repeated], all_null)
