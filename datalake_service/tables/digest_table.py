"""A set of 128-bit digests that remembers where each was first seen; vectorised, a fixed cost per entry.

Open addressing over a table of 32-bit entry numbers; the digests themselves lie in the order they came. Takes
20 bytes per digest and 7 to 13 for the table, all of it reserved at once, but only touched as it fills.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datalake_service.tables.digests import Digests

Positions = npt.NDArray[np.int64]

BYTES_PER_ENTRY = 34
"""Upper bound of what a full table takes, for those who budget memory."""
_MAX_LOAD = 0.6
MAX_ENTRIES = int(2**32 * _MAX_LOAD)


class DigestTable:
    """First positions of digests. Not thread-safe."""

    def __init__(self, capacity: int) -> None:
        """Hold up to ``capacity`` distinct digests."""
        if not 0 <= capacity <= MAX_ENTRIES:
            msg = f"a digest table holds up to {MAX_ENTRIES} digests, not {capacity}"
            raise ValueError(msg)
        slots = 1 << max(4, int(capacity / _MAX_LOAD).bit_length())
        self._mask = np.uint64(slots - 1)
        self._entries = np.zeros(slots, np.uint32)  # 0: free; else the number of the entry, counted from 1
        self._digests = np.empty((capacity, 2), np.uint64)
        self._positions = np.empty(capacity, np.uint32)
        self._size = 0

    def __len__(self) -> int:
        """Return how many distinct digests were added."""
        return self._size

    def add(self, digests: Digests, positions: Positions) -> Positions:
        """Add digests seen at ``positions`` (rising, below 2**32); return where each was seen first.

        A digest that is new is answered with its own position; one that occurs twice in ``digests``, with the
        position of the earlier.

        Raises:
            ValueError: More distinct digests than the table was made for.
        """
        result = positions.copy()
        pending = np.arange(len(digests))
        slots = digests[:, 0] & self._mask
        while pending.size:
            at = slots[pending]
            entries = self._entries[at]
            free = entries == 0
            settled = self._claim(digests, positions, pending, at, free) if free.any() else np.empty(0, np.int64)
            # Equal digests probe the same slots in step: the loser of a slot meets the winner there next time.
            met, entry = pending[~free], entries[~free].astype(np.int64) - 1
            same = (self._digests[entry] == digests[met]).all(axis=1)
            result[met[same]] = self._positions[entry[same]]
            other = met[~same]
            slots[other] = (slots[other] + np.uint64(1)) & self._mask
            lost = np.setdiff1d(pending[free], settled, assume_unique=True)
            pending = np.concatenate((lost, other))
            pending.sort()
        return result

    def _claim(
        self,
        digests: Digests,
        positions: Positions,
        pending: npt.NDArray[np.int64],
        at: npt.NDArray[np.uint64],
        free: npt.NDArray[np.bool_],
    ) -> npt.NDArray[np.int64]:
        """Give each free slot to the first row that wants it; return those rows."""
        wanted, first = np.unique(at[free], return_index=True)
        winners = pending[free][first]
        end = self._size + len(winners)
        if end > len(self._digests):
            msg = f"more than {len(self._digests)} distinct digests"
            raise ValueError(msg)
        self._digests[self._size : end] = digests[winners]
        self._positions[self._size : end] = positions[winners]
        self._entries[wanted] = np.arange(self._size + 1, end + 1, dtype=np.uint32)
        self._size = end
        return winners
