"""How a record is found in a file, and the envelope that a handler may put around its answer.

Values only; the search itself is the service's work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc


class RecordHintType(StrEnum):
    """What a ``RecordParseHint`` goes by. Plain strings compare equal: ``RecordHintType.PATTERN == "PATTERN"``."""

    OFFSET = "OFFSET"
    """A number of bytes."""
    PATTERN = "PATTERN"
    """A sequence of bytes to search for."""


class ParseDocumentResultStatus(StrEnum):
    """What is to become of a document. Plain strings compare equal."""

    ERROR = "ERROR"
    """Write the record to the rejections."""
    SKIP = "SKIP"
    """Count it and write nothing."""
    SUCCESS = "SUCCESS"
    """Write the document."""


@dataclass(frozen=True, slots=True)
class RecordParseHint:
    """Where a record starts or ends.

    ``PATTERN``: the record starts with (or ends with) these bytes; they are part of the record. A ``str`` is encoded
    with ``encoding``, which has to be the encoding of the file: searching is done on bytes.

    ``OFFSET``: as a start, the record starts ``offset`` bytes after the current position (the end of the record
    before, or the start of the file); as an end, it ends ``offset`` bytes after its own start.

    Raises:
        ValueError: The two fields do not fit the type, or the pattern is empty.
        TypeError: The pattern is neither bytes nor text, or the offset is no integer.
    """

    record_hint_type: RecordHintType
    """``PATTERN`` or ``OFFSET`` (or the same word as a string, in any case)."""
    pattern: bytes | str | None = None
    """The bytes to search for; none with ``OFFSET``."""
    offset: int | None = None
    """Bytes; none with ``PATTERN`` (-1 is understood as none)."""
    encoding: str = "utf-8"
    """How a pattern given as text is written in the file."""

    def __post_init__(self) -> None:
        """Refuse a hint that could not work, at the line that made it."""
        offset = self.offset
        if self.record_hint_type is RecordHintType.OFFSET and type(offset) is int and offset >= 0 and not self.pattern:
            return  # nothing to look at closely; a state machine may make one for every record
        object.__setattr__(self, "record_hint_type", RecordHintType(str(self.record_hint_type).upper()))
        if self.record_hint_type is RecordHintType.PATTERN:
            self._check_pattern()
        else:
            self._check_offset()

    def _check_pattern(self) -> None:
        if not isinstance(self.pattern, bytes | str):
            raise TypeError(f"a PATTERN hint needs a pattern of bytes or str, not {type(self.pattern).__name__}")
        if not self.pattern:
            raise ValueError("a PATTERN hint needs a pattern that is not empty")
        if self.offset not in (None, -1):
            raise ValueError(f"a PATTERN hint takes no offset, but offset={self.offset!r} was given")

    def _check_offset(self) -> None:
        if not isinstance(self.offset, int) or isinstance(self.offset, bool):
            raise TypeError(f"an OFFSET hint needs a number of bytes, not {type(self.offset).__name__}")
        if self.offset < 0:
            raise ValueError(f"an OFFSET hint needs an offset of 0 or more, not {self.offset}")
        if self.pattern:
            raise ValueError("an OFFSET hint takes no pattern")

    @property
    def pattern_bytes(self) -> bytes:
        """The pattern as it stands in the file; empty for an ``OFFSET`` hint."""
        if isinstance(self.pattern, str):
            return self.pattern.encode(self.encoding)
        return self.pattern or b""


@dataclass(slots=True)
class ParseDocumentResult:
    """A document with its status, as the original's handlers return it. Returning the bare document means the same.

    ``ERROR`` and ``SKIP`` hold for whatever document comes with them; an ``ErrorDoc`` or ``SkipDoc`` is what it is
    whatever the status says.
    """

    next_record_type: str | None = None
    """For state-machine parsers: the kind of the next record. Else not used."""
    document: Document | ErrorDoc | SkipDoc | None = None
    """The document; ``None`` is allowed with ``ERROR`` and ``SKIP`` only."""
    status: ParseDocumentResultStatus = ParseDocumentResultStatus.SUCCESS
    """What is to become of it (or the same word as a string, in any case)."""
