"""What a state-machine reader answers for a step: one composite document, and how it goes on. Values only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from datalake_interfaces.documents import Document, ErrorDoc, SkipDoc
from datalake_interfaces.model import ParseDocumentResultStatus


class FileReaderState(StrEnum):
    """Where a file, or a reader, stands. Plain strings compare equal."""

    CREATED = "CREATED"
    """Nothing was taken yet."""
    PROCESSING = "PROCESSING"
    """Records were taken, and there may be more."""
    COMPLETED = "COMPLETED"
    """There are no more records, or no more are wanted."""
    CLOSED = "CLOSED"
    """The task has let go of the file."""


@dataclass(slots=True)
class ParseCompositeDocumentResult:
    """A composite document with its status. Returning the bare document means the same as ``SUCCESS`` around it."""

    document: Document | ErrorDoc | SkipDoc | None = None
    """The document of the step; ``None`` is allowed with ``ERROR`` and ``SKIP`` only."""
    error_documents: Sequence[ErrorDoc] = ()
    """Parts that could not be used: each becomes a rejection, besides the document. Those that a parser answered with
    are kept in any case, and need not be listed."""
    reader_state: FileReaderState = FileReaderState.PROCESSING
    """``COMPLETED``: the reader has seen enough; what is left of the files is not read."""
    status: ParseDocumentResultStatus = ParseDocumentResultStatus.SUCCESS
    """What is to become of the document (or the same word as a string, in any case)."""
