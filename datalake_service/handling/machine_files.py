"""One file of a state machine: its parser before its records. Every call of the parser goes through here.

Knows nothing of where records come from (``Records``) or of what a reader makes of them (``machines.py``).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

from datalake_interfaces import (
    Document,
    ErrorDoc,
    FileReaderState,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordParseHint,
    SingleFileStateMachineParser,
    SkipDoc,
)
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.errors import DatalakeError, HandlerLoadError, StoreError
from datalake_service.handling.answers import AnswerError, settle
from datalake_service.handling.apply import optional_text
from datalake_service.handling.error_documents import refused
from datalake_service.handling.rows import derived_ids
from datalake_service.handling.telling import one_line, told

_SUCCESS = ParseDocumentResultStatus.SUCCESS


class Records(Protocol):
    """Where the records of a file come from."""

    @property
    def offset(self) -> int:
        """Where the search for the next record begins."""
        ...

    @property
    def damaged(self) -> bool:
        """Whether what ``next`` returned last is damage: nothing follows it."""
        ...

    def next(self, start: RecordParseHint, end: RecordParseHint) -> tuple[int, bytes] | Rejection | None:
        """Return the next record; a rejection for one that is too large, or for damage; ``None`` at the end.

        Raises:
            ValueError: The hints make no sense together.
            StoreError: The input cannot be read.
        """
        ...


class Mark(NamedTuple):
    """Where a file stands between two records. A tuple, because one is made for each step."""

    offset: int
    last_type: str | None = None
    next_type: str | None = None
    """What the parser said comes next, if it said so."""
    failed: bool = False
    """Whether the parser failed at the last record."""
    ended: bool = False
    broken: bool = False
    """Whether it ended in damage."""


class Step:
    """What a reader takes in one call."""

    __slots__ = ("failed", "failure", "taken", "unreadable")

    def __init__(self) -> None:
        """Nothing was taken yet."""
        self.taken: list[tuple[MachineFile, int, bytes]] = []
        """File, offset and bytes of each record."""
        self.failed: list[tuple[ErrorDoc, Rejection]] = []
        """Records that their parser failed at."""
        self.unreadable: list[Rejection] = []
        """What could not be read."""
        self.failure: DatalakeError | None = None
        """What no handler may swallow: the input or a parser cannot go on."""


class MachineFile:
    """A ``SystemFileReader``, and what the machine needs besides. One thread uses it."""

    def __init__(
        self, file_type: str, parser: SingleFileStateMachineParser, *, name: str, source: str, folder: Path | None
    ) -> None:
        """Take an opened parser.

        Args:
            file_type: The logical name for the kind of file.
            parser: Its parser.
            name: The resolved name of the file.
            source: The stable name of the file: ids are derived from it, and rejections carry it.
            folder: Where the user's code is, so that errors name its lines.
        """
        self.file_type = file_type
        self.name = name
        self.source = source
        self.ids = derived_ids(source)
        """The part that all ids of rows share that begin in this file."""
        self.missed = False
        """Whether the reader asked for a record that was not there, and not for damage."""
        self._broken = False
        self._parser = parser
        self._folder = folder
        self._records: Records | None = None
        self.step = Step()
        """The step that takes records now."""
        self._frame: tuple[int, bytes] | Rejection | None = None
        self._ahead: ParseDocumentResult | None = None
        self._ahead_failed: Rejection | None = None
        self._last_type: str | None = None
        self._last_doc: Document | None = None
        self._last_failed = False
        self._next_type: str | None = None
        self._offset = 0
        self._ended = False
        self._closed = False

    # What the reader sees ----------------------------------------------------------------------------------------

    def next_record(self, *, peek: bool = False) -> ParseDocumentResult | None:
        """See ``SystemFileReader``."""
        result = self._ahead
        if result is None:
            if self._frame is None and not self.look_ahead():
                self.missed = self.missed or not (peek or self._broken)
                return None
            result = self._parsed()
            if peek:
                self._ahead = result
        if not peek:
            self._take(result)
        return result

    def get_state(self) -> FileReaderState:
        """See ``SystemFileReader``."""
        if self._closed:
            return FileReaderState.CLOSED
        if self._ended:
            return FileReaderState.COMPLETED
        return FileReaderState.CREATED if self._last_type is None else FileReaderState.PROCESSING

    def get_offset_bytes(self) -> str:
        """See ``SystemFileReader``."""
        return str(self._offset)

    def get_file_type(self) -> str:
        """See ``SystemFileReader``."""
        return self.file_type

    def get_file_name(self) -> str:
        """See ``SystemFileReader``."""
        return self.name

    def get_last_record_type(self) -> str | None:
        """See ``SystemFileReader``."""
        return self._last_type

    # What the machine sees ---------------------------------------------------------------------------------------

    def begin(self, records: Records | None, mark: Mark) -> None:
        """Read from here on; the document of the last record stays. ``None``: the file has ended."""
        self._records = records
        self._frame = self._ahead = self._ahead_failed = None
        self._last_type, self._next_type, self._offset = mark.last_type, mark.next_type, mark.offset
        self._last_failed, self._ended = mark.failed, mark.ended
        self.step = Step()
        self.missed, self._broken = False, mark.broken

    def expect(self, expected: str | None) -> None:
        """A step begins with the kind that the reader wants, if it says so.

        Raises:
            HandlerLoadError: The next record was looked for already, as another kind.
        """
        if expected is None or expected == self._next_type:
            return
        if self._frame is not None:
            peeked = f"but has peeked at the next record as {self._next_type}"
            raise HandlerLoadError(f"the reader expects {expected} of {self.file_type}, {peeked}")
        self._next_type = expected

    def look_ahead(self) -> bool:
        """Whether there is another record. It is found, and not parsed yet.

        Raises:
            HandlerLoadError: The parser does not say what to look for.
            StoreError: The input cannot be read.
        """
        if self._frame is not None:
            return True
        if self._ended or self._records is None:
            return False
        if self.step.failure is not None:
            raise self.step.failure
        try:
            found = self._search(self._records)
        except DatalakeError as error:
            self.step.failure = error
            raise
        self._frame = found
        if found is not None:
            return True
        self._ended = True
        return False

    def end(self) -> None:
        """No more records are wanted."""
        self._ended = True
        self._frame = self._ahead = self._ahead_failed = None

    def close(self) -> None:
        """Let go of the file."""
        self._closed = True
        self._records = None

    def mark(self) -> Mark:
        """Where it stands."""
        return Mark(self._offset, self._last_type, self._next_type, self._last_failed, self._ended, self._broken)

    @property
    def ended(self) -> bool:
        """Whether there are no more records, as far as is known."""
        return self._ended

    # Inside ------------------------------------------------------------------------------------------------------

    def _search(self, records: Records) -> tuple[int, bytes] | Rejection | None:
        try:
            hints = self._hints()
        except HandlerLoadError:
            if not self._last_failed:
                raise
            # The record before could not be understood, and the parser cannot go on behind it: the cycle begins again.
            self._last_type = self._last_doc = self._next_type = None
            hints = self._hints()
        if hints is None:
            return None
        try:
            found = records.next(*hints)
        except StoreError:  # one of them is also a LookupError
            raise
        except (LookupError, ValueError) as error:
            msg = f"{type(self._parser).__name__}: the patterns for {self._next_type} cannot be used: {error}"
            raise HandlerLoadError(msg) from error
        if type(found) is not tuple and isinstance(found, Rejection) and records.damaged:
            self.step.unreadable.append(found)
            self._broken = True
            return None
        return found

    def _hints(self) -> tuple[RecordParseHint, RecordParseHint] | None:
        """The patterns for the next record; ``None``: the parser wants no more."""
        parser, file_type, kind, last = self._parser, self.file_type, self._next_type, self._last_doc
        method = "get_next_expected_record_type"
        try:
            if kind is None:
                kind = parser.get_next_expected_record_type(file_type, self._last_type)
                if kind is None:
                    return None
                self._next_type = kind if type(kind) is str else self._kind(kind)
            method = "get_next_record_start_pattern"
            start: object = parser.get_next_record_start_pattern(file_type, kind, last)
            method = "get_next_record_end_pattern"
            end: object = parser.get_next_record_end_pattern(file_type, kind, last)
        except HandlerLoadError:
            raise
        except (Exception, SystemExit) as error:
            raise HandlerLoadError(f"{self._name(method)} raised {told(error, self._folder)}") from error
        if type(start) is RecordParseHint and type(end) is RecordParseHint:
            return start, end
        name = "get_next_record_start_pattern" if type(start) is not RecordParseHint else "get_next_record_end_pattern"
        found = start if type(start) is not RecordParseHint else end
        raise HandlerLoadError(f"{self._name(name)} returned {type(found).__name__}; return a RecordParseHint")

    def _kind(self, kind: object) -> str | None:
        if kind is None or isinstance(kind, str):
            return kind
        found = type(kind).__name__
        raise HandlerLoadError(f"{self._name('get_next_expected_record_type')} returned {found}; return text or None")

    def _parsed(self) -> ParseDocumentResult:
        """What the parser makes of the record at hand; a failure is noted for when the record is taken."""
        frame = self._frame
        if type(frame) is not tuple:
            assert isinstance(frame, Rejection)  # look_ahead() comes first
            return self._failed(frame)
        offset, data = frame
        try:
            answer: object = self._parser.parse_document(
                self.file_type, self.name, offset, data, 0, len(data), self._last_type, self._last_doc
            )
        except (Exception, SystemExit) as error:
            message = f"{self._name('parse_document')} raised {told(error, self._folder)}"
            return self._failed(self._rejection(offset, data, RejectionKind.PARSE, message))
        if type(answer) is Document:
            return ParseDocumentResult(None, answer, _SUCCESS)
        return self._settled(answer, offset, data)

    def _settled(self, answer: object, offset: int, data: bytes) -> ParseDocumentResult:
        """The same for an answer that says more than its document."""
        if type(answer) is ParseDocumentResult and answer.status is _SUCCESS and type(answer.document) is Document:
            return answer
        next_type = answer.next_record_type if isinstance(answer, ParseDocumentResult) else None
        try:
            document = settle(answer, method="parse_document")
            self._kind(next_type)
        except (AnswerError, HandlerLoadError) as error:
            return self._failed(self._rejection(offset, data, RejectionKind.TRANSFORM, str(error)))
        if isinstance(document, ErrorDoc):
            message = optional_text(document.error_message) or "the parser answered with an error document"
            base = self._rejection(offset, data, RejectionKind.PARSE, message)
            return self._failed(refused(document, base, file_types=(self.file_type,)), document, next_type)
        status = ParseDocumentResultStatus.SKIP if isinstance(document, SkipDoc) else _SUCCESS
        return ParseDocumentResult(next_type, document, status)

    def _failed(
        self, rejection: Rejection, document: ErrorDoc | None = None, next_type: str | None = None
    ) -> ParseDocumentResult:
        self._ahead_failed = rejection
        document = document or ErrorDoc(error_message=rejection.message)
        return ParseDocumentResult(next_type, document, ParseDocumentResultStatus.ERROR)

    def _take(self, result: ParseDocumentResult) -> None:
        frame, step, records = self._frame, self.step, self._records
        if type(frame) is tuple:
            step.taken.append((self, frame[0], frame[1]))
        elif isinstance(frame, Rejection):
            step.taken.append((self, int(frame.start_offset or 0), frame.data or b""))
        rejection = self._ahead_failed
        self._last_failed = rejection is not None
        if rejection is not None:
            assert isinstance(result.document, ErrorDoc)  # _failed made it
            step.failed.append((result.document, rejection))
        self._last_type, self._last_doc, self._next_type = self._next_type, result.document, result.next_record_type
        self._frame = self._ahead = self._ahead_failed = None
        if records is not None:
            self._offset = records.offset

    def _rejection(self, offset: int, data: bytes, kind: RejectionKind, message: str) -> Rejection:
        return Rejection(
            source=self.source,
            start_offset=str(offset),
            end_offset=str(offset + len(data)),
            kind=kind,
            message=one_line(message),
            record_type=self._next_type,
            data=data,
        )

    def _name(self, method: str) -> str:
        return f"{type(self._parser).__name__}.{method}"
