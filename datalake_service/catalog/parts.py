"""Parts of big batches: ranges of rows that workers who share an annotator claim one by one. Pure.

Where parts begin depends on nothing but their number. So workers that know different versions of a batch agree on
them as long as merges add rows behind those that are there: see ``docs/design/012-shared-annotators.md``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

_FIRST: Final = 1_000
"""Rows of the first part. Smaller batches have no other."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a batch, or all of them."""

    batch: str
    number: int = 0
    first: int = 0
    """The first row, counted from 0 in the order of the merged object."""
    end: int | None = None
    """Behind the last one; ``None``: everything behind ``first``."""
    rows: int = field(default=0, compare=False)
    """How many there are, as far as its maker knows."""

    @property
    def name(self) -> str:
        """What its claim is called: as the batch, or ``batch/3``."""
        return self.batch if self.number == 0 else f"{self.batch}/{self.number}"

    def covers(self, rows: int) -> bool:
        """Whether it is all of a batch with so many rows."""
        return self.first == 0 and (self.end is None or self.end >= rows)


def parts_of(batch: str, rows: int, *, share: float = 1.0) -> list[Part]:
    """The parts of a batch with so many rows: the n-th ends behind ``1000 * n ** 1.5`` rows.

    Only a ``share`` of the rows may be wanted; that changes how many there are in each part, not where it begins.

    So few rows make one part, 100,000 make 22, the largest 7 % of them, and a million 100 of at most 1.5 %.
    """
    found: list[Part] = []
    first = 0
    while not found or first < rows:
        end = _end(len(found))
        found.append(Part(batch, len(found), first, end, rows=round((min(end, rows) - first) * share)))
        first = end
    return found


def _end(number: int) -> int:
    """Behind the last row of a part; in whole numbers, because it has to be the same on every machine."""
    return math.isqrt(_FIRST**2 * (number + 1) ** 3)
