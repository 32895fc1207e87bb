"""Of several annotations of one row, the one that counts, and of the others those that are kept.

What counts is the first final one of the newest generation, else the last failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from datalake_service.catalog.annotations import FINAL_STATUSES
from datalake_service.catalog.makers import VersionKey
from datalake_service.tables.verdicts.bits import Bits, Mask
from datalake_service.tables.verdicts.digests import as_array, digest_texts
from datalake_service.tables.verdicts.spool import Spool, sorted_groups

_RECORD = np.dtype([("a", np.uint64), ("b", np.uint64), ("position", np.int64), ("rank", np.int64)])
_POSITIONS: Final = 42
"""Bits for the position of a row."""
_LAST_POSITION: Final = (1 << _POSITIONS) - 1
_MAX_GENERATION: Final = (1 << 19) - 1
_AFTER_ALL_FINAL: Final = 1 << 62

_Numbers = npt.NDArray[np.int64]


class Winners:
    """Decides rows whose ids, statuses and generations were all added before. Not thread-safe."""

    def __init__(self, folder: Path, rows: int, *, partition_bytes: int, name: str = "annotated") -> None:
        """Decide about ``rows`` rows; files go to ``folder``, of which about ``partition_bytes`` are read at once."""
        self._spool = Spool(folder / name, _RECORD, rows=rows, partition_bytes=partition_bytes)
        self._winners = Bits(0)

    def add(
        self, start: int, ids: Sequence[str], statuses: Sequence[str], generations: Sequence[int | None] | None = None
    ) -> None:
        """Note the rows at positions from ``start``; no ``generations``: all of the same."""
        self.add_ranked(start, ids, best_first(start, statuses, generations))

    def add_ranked(self, start: int, keys: Sequence[str], rank: _Numbers) -> None:
        """Note rows of which the one with the lowest rank counts among those of one key."""
        self._spool.add(
            as_array(digest_texts(keys)), position=np.arange(start, start + len(keys), dtype=np.int64), rank=rank
        )

    def decide(self) -> None:
        """Decide everything that was added."""
        self._winners = Bits(len(self._spool))
        for records in self._spool.partitions():
            ordered, begins = sorted_groups(records, order="rank")
            self._winners.set(ordered["position"][begins])

    def among(self, start: int, count: int) -> Mask:
        """Which of the rows at positions from ``start`` count."""
        return self._winners.between(start, start + count)


class VersionWinners:
    """The same, and which others are kept: final ones of other versions, and a failure newer than what counts."""

    def __init__(self, folder: Path, rows: int, *, partition_bytes: int) -> None:
        """Decide about ``rows`` rows; see ``Winners``."""
        self._current, self._best, self._newest = (
            Winners(folder, rows, partition_bytes=partition_bytes, name=name)
            for name in ("annotated", "best", "newest")
        )

    def add(
        self,
        start: int,
        ids: Sequence[str],
        statuses: Sequence[str],
        generations: Sequence[int | None],
        versions: Sequence[VersionKey],
    ) -> None:
        """Note the rows at positions from ``start``."""
        rank = best_first(start, statuses, generations)
        self._current.add_ranked(start, ids, rank)
        # An id may hold anything, but lengths tell where it ends.
        keys = [f"{len(row_id)} {version} {row_id}" for row_id, version in zip(ids, versions, strict=True)]
        self._best.add_ranked(start, keys, rank)
        self._newest.add_ranked(start, ids, newest_first(start, statuses, generations))

    def decide(self) -> None:
        """Decide everything that was added."""
        for winners in (self._current, self._best, self._newest):
            winners.decide()

    def among(self, start: int, count: int) -> Mask:
        """Which of the rows at positions from ``start`` count."""
        return self._current.among(start, count)

    def kept(self, start: int, statuses: Sequence[str]) -> Mask:
        """Which of the others are kept."""
        count, final = len(statuses), _are_final(statuses)
        of_version = self._best.among(start, count) & final | self._newest.among(start, count) & ~final
        return of_version & ~self.among(start, count)


def best_first(start: int, statuses: Sequence[str], generations: Sequence[int | None] | None) -> _Numbers:
    """Ranks of rows at positions from ``start``: final ones first, newer generations first, failures last to first."""
    final, position, age = _looked_at(start, statuses, generations)
    rank: _Numbers = (age << _POSITIONS) + np.where(final, position, _AFTER_ALL_FINAL + _LAST_POSITION - position)
    return rank


def newest_first(start: int, statuses: Sequence[str], generations: Sequence[int | None] | None) -> _Numbers:
    """The same with newer generations before all; in each, final ones first."""
    final, position, age = _looked_at(start, statuses, generations)
    within = np.where(final, position, (1 << _POSITIONS) + _LAST_POSITION - position)
    rank: _Numbers = (age << (_POSITIONS + 1)) + within
    return rank


def _looked_at(
    start: int, statuses: Sequence[str], generations: Sequence[int | None] | None
) -> tuple[npt.NDArray[np.bool_], _Numbers, _Numbers]:
    final = _are_final(statuses)
    position = np.arange(start, start + len(statuses), dtype=np.int64)
    if generations is None:
        return final, position, np.zeros(len(statuses), np.int64)
    numbers = np.array([generation or 0 for generation in generations], np.int64)
    return final, position, _MAX_GENERATION - np.clip(numbers, 0, _MAX_GENERATION)


def _are_final(statuses: Sequence[str]) -> Mask:
    return np.array([status in FINAL_STATUSES for status in statuses], np.bool_)
