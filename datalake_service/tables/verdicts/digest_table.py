"""Sets of 128-bit digests that remember where each was first seen: a small one and a compact one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from datalake_service.tables.verdicts.digests import as_array, digest_texts

Positions = npt.NDArray[np.int64]

SMALL_ENTRIES = 120_000
"""Up to here a dictionary is used: it is several times as fast, and takes eight times the memory."""
_SMALL_BYTES, _COMPACT_BYTES = 260, 34
_SHORT_TEXT = 64
"""Texts up to this length are no longer than a digest to Python, give or take, and need no hashing."""
_MAX_LOAD = 0.6
MAX_ENTRIES = int(2**32 * _MAX_LOAD)


def table_for(rows: int) -> DigestTable | SmallDigestTable:
    """A table for up to ``rows`` digests."""
    return SmallDigestTable() if rows <= SMALL_ENTRIES else DigestTable(rows)


def bytes_for(rows: int) -> int:
    """Upper bound of the memory that ``table_for`` takes; beyond all memory where there is no such table."""
    if rows <= SMALL_ENTRIES:
        return rows * _SMALL_BYTES
    return rows * _COMPACT_BYTES if rows <= MAX_ENTRIES else 1 << 62


class SmallDigestTable:
    """First positions of digests in a dictionary."""

    def __init__(self) -> None:
        """Hold nothing."""
        self._first: dict[bytes | str, int] = {}

    def __len__(self) -> int:
        """Return how many distinct digests were added."""
        return len(self._first)

    def add(self, digests: Sequence[bytes], positions: Positions) -> Positions:
        """Add digests; see ``DigestTable.add``."""
        return np.fromiter(map(self._first.setdefault, digests, positions.tolist()), np.int64, len(digests))

    def add_texts(self, texts: Sequence[str], positions: Positions) -> Positions:
        """Add texts instead of their digests; a table holds the one or the other."""
        keys: Sequence[str | bytes] = texts
        if max(map(len, texts), default=0) > _SHORT_TEXT:
            keys = [text if len(text) <= _SHORT_TEXT else digest_texts((text,))[0] for text in texts]
        return np.fromiter(map(self._first.setdefault, keys, positions.tolist()), np.int64, len(texts))


class DigestTable:
    """First positions of digests in 27 to 34 bytes each. Not thread-safe.

    Open addressing over a table of 32-bit entry numbers; the digests themselves lie in the order they came. All memory
    is reserved at once, but only touched as it fills. Vectorised: a call has a fixed price, worth some hundred rows.
    """

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

    def add(self, digests: Sequence[bytes], positions: Positions) -> Positions:
        """Add digests seen at ``positions`` (rising, below 2**32); return where each was seen first.

        A digest that is new is answered with its own position; one that occurs twice in ``digests``, with the
        position of the earlier.

        Raises:
            ValueError: More distinct digests than the table was made for.
        """
        keys = as_array(digests)
        result = positions.copy()
        pending = np.arange(len(keys))
        slots = keys[:, 0] & self._mask
        while pending.size:
            at = slots[pending]
            entries = self._entries[at]
            free = entries == 0
            if free.any():
                self._claim(keys, positions, pending[free], at[free])
                entries = self._entries[at]
            # Equal digests probe the same slots in step: who lost a slot to an equal one meets it here.
            entry = entries.astype(np.int64) - 1
            same = (self._digests[entry] == keys[pending]).all(axis=1)
            met = pending[same]
            result[met] = self._positions[entry[same]]
            pending = pending[~same]
            slots[pending] = (slots[pending] + np.uint64(1)) & self._mask
        return result

    def add_texts(self, texts: Sequence[str], positions: Positions) -> Positions:
        """Add the digests of texts."""
        return self.add(digest_texts(texts), positions)

    def _claim(
        self,
        keys: npt.NDArray[np.uint64],
        positions: Positions,
        rows: npt.NDArray[np.int64],
        slots: npt.NDArray[np.uint64],
    ) -> None:
        """Give each of the free ``slots`` to the first of ``rows`` that wants it."""
        # Of several values for one place numpy keeps the last: written backwards, that is the first.
        self._entries[slots[::-1]] = np.arange(len(slots), 0, -1, dtype=np.uint32)
        first = self._entries[slots] == np.arange(1, len(slots) + 1, dtype=np.uint32)
        winners = rows[first]
        end = self._size + len(winners)
        if end > len(self._digests):
            msg = f"more than {len(self._digests)} distinct digests"
            raise ValueError(msg)
        self._digests[self._size : end] = keys[winners]
        self._positions[self._size : end] = positions[winners]
        self._entries[slots[first]] = np.arange(self._size + 1, end + 1, dtype=np.uint32)
        self._size = end
