"""Annotation rows to lines, no longer than every reader takes: one that was paid for must not be refused later."""

from __future__ import annotations

from typing import Final

from datalake_service.catalog.annotations import SECONDS
from datalake_service.chunks.encoder import RowEncoder
from datalake_service.chunks.reader import MAX_LINE_BYTES
from datalake_service.errors import RowError
from datalake_utils.units import format_size

MAX_ANNOTATION_BYTES: Final = MAX_LINE_BYTES - (64 << 10)
"""A merge adds to a line who made it."""


class AnnotationEncoder(RowEncoder):
    """Encodes rows that bring system columns of their own, up to a size."""

    def __init__(self, *, most: int = MAX_ANNOTATION_BYTES) -> None:
        """Refuse rows of more than ``most`` bytes."""
        super().__init__(reserved=(), finite=(SECONDS,))
        self._most = most

    def encode(self, row: object) -> bytes:
        """Return ``row`` as one line; see ``RowEncoder.encode``.

        Raises:
            RowError: It cannot be stored, or is too large.
        """
        line = RowEncoder.encode(self, row)  # ``super()`` would take another tenth of a microsecond
        if len(line) > self._most:
            size, most = format_size(len(line)), format_size(self._most)
            raise RowError(f"the annotation has {size}, at most {most} can be stored: keep large values elsewhere")
        return line
