"""What a merge may use, and what it answers. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from datalake_service.chunks.reader import MAX_LINE_BYTES
from datalake_service.errors import UsageError

DEFAULT_MEMORY_BYTES = 512 << 20
MIN_MEMORY_BYTES = 256 << 20
_BASE_BYTES = 128 << 20
"""An interpreter with Arrow in it, before the first row."""


@dataclass(frozen=True, slots=True)
class MergeLimits:
    """What one merge may use of the machine."""

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """For the whole process, at least 256 MiB. A single row larger than a sixteenth of it may exceed it."""
    max_line_bytes: int = MAX_LINE_BYTES
    """A longer line of a chunk or foreign file is a rejection."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            UsageError: Too little memory.
        """
        if self.memory_bytes < MIN_MEMORY_BYTES:
            least = MIN_MEMORY_BYTES >> 20
            msg = f"a merge needs a memory limit of at least {least} MiB, not {self.memory_bytes} bytes"
            raise UsageError(msg)

    @property
    def _free(self) -> int:
        return self.memory_bytes - _BASE_BYTES

    @property
    def key_bytes(self) -> int:
        """For the digests of rows, before they go to local disk."""
        return self._free // 3

    @property
    def partition_bytes(self) -> int:
        """For the part of the digests that is sorted at once (which takes four times its size)."""
        return self._free // 48

    @property
    def window_bytes(self) -> int:
        """For files that are fetched ahead."""
        return self._free // 16

    @property
    def group_bytes(self) -> int:
        """For one row group; up to three are in memory."""
        return min(16 << 20, self._free // 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """What one merge did. Counts are of this merge, unless they say otherwise."""

    key: str
    """The merged object."""
    committed: bool
    """Whether it was written; ``False``: there was nothing to merge."""
    rows: int = 0
    """Rows in the merged object now."""
    new_rows: int = 0
    """Rows that are in it now and were not before."""
    duplicates: int = 0
    """Rows taken out as duplicates."""
    restored: int = 0
    """Duplicates of earlier merges that came back, because later runs name fewer columns."""
    repeated: int = 0
    """Rows that were there already, with the same id and content (annotations: superseded by another one)."""
    forgotten: int = 0
    """Annotations that newer versions had replaced, and that are kept no more."""
    rejected: int = 0
    """Lines that could not be used, conflicts included."""
    conflicts: int = 0
    """Rows with the id of an earlier row and other content."""
    chunks: int = 0
    """Chunks and foreign files merged."""
    size: int = 0
    """Bytes of them."""
    seconds: float = 0.0
    warnings: tuple[str, ...] = field(default=())
    """What somebody should look at, one line each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotatorMergeResult:
    """What one merge of an annotator did."""

    batches: Mapping[str, MergeResult]
    """By name: those that had something to merge."""
    rejected: int = 0
    """Lines of chunks that are no annotation rows; they belong to no batch."""
    warnings: tuple[str, ...] = field(default=())
    """What somebody should look at, one line each."""
