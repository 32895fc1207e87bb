"""A long row of bits in an eighth of the memory of truth values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Bits:
    """A fixed number of bits, packed."""

    def __init__(self, count: int) -> None:
        """All ``count`` bits are unset."""
        self._bytes = np.zeros((count + 7) // 8, np.uint8)

    def set(self, positions: npt.NDArray[np.int64]) -> None:
        """Set the bits at ``positions``."""
        np.bitwise_or.at(self._bytes, positions >> 3, (1 << (positions & 7)).astype(np.uint8))

    def at(self, positions: npt.NDArray[np.int64]) -> Mask:
        """The bits at ``positions``."""
        bits: npt.NDArray[np.uint8] = self._bytes[positions >> 3] >> (positions & 7).astype(np.uint8) & 1
        return bits.astype(np.bool_)

    def between(self, start: int, end: int) -> Mask:
        """The bits from ``start`` (inclusive) to ``end`` (exclusive)."""
        low = start >> 3
        window = np.unpackbits(self._bytes[low : (end + 7) >> 3], bitorder="little")
        return window[start - 8 * low : end - 8 * low].astype(np.bool_)
