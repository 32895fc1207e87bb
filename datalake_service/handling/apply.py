"""Records through a handler: one outcome for each record, whatever the handler does.

Knows nothing of where records come from or where rows go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from datalake_interfaces import (
    Document,
    ErrorDoc,
    HandlerContext,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.answers import AnswerError, settle
from datalake_service.handling.asking import ask
from datalake_service.handling.rows import derived_id, derived_ids, flat_row
from datalake_service.handling.telling import one_line, told


@dataclass(frozen=True, slots=True)
class Skip:
    """The handler left the record out."""

    message: str | None = None
    """Why, if it said so."""


Outcome = dict[str, Any] | Skip | Rejection
"""What became of a record: a row to write, a skip to count, or a rejection to write."""


class FileHandler:
    """A parser at work on one file. Every call of the user's code goes through here and is guarded.

    It counts what became of the records: ``counts()`` always balances.
    """

    def __init__(self, parser: SingleFileParser, *, folder: Path | None = None) -> None:
        """Take a constructed parser; ``folder`` is where its code is, so that errors name its lines."""
        self._parser = parser
        self._folder = folder.resolve() if folder is not None else None
        self._records = self._documents = self._skips = self._rejections = 0
        self.file_type = ""
        """The parser's name for the kind of file; set by ``open``."""

    def open(self, context: HandlerContext) -> None:
        """Call the parser's ``open`` and ask for the kind of file.

        Raises:
            HandlerLoadError: The parser failed, or its answer cannot be used.
        """
        self._ask("open", context)
        file_type = self._ask("get_s3_file_type")
        if not isinstance(file_type, str):
            raise HandlerLoadError(f"{self._name('get_s3_file_type')} returned {type(file_type).__name__}, not str")
        self.file_type = file_type

    def resolve(self, name: str) -> str:
        """Return the object key for a line of the manifest.

        Raises:
            HandlerLoadError: The parser failed, or its answer cannot be used.
        """
        resolved = self._ask("get_resolved_s3_file_name", self.file_type, name)
        if not isinstance(resolved, str) or not resolved:
            found = "nothing" if not resolved else type(resolved).__name__
            raise HandlerLoadError(f"{self._name('get_resolved_s3_file_name')} returned {found}, not an object key")
        return resolved

    def hints(self) -> tuple[RecordParseHint, RecordParseHint]:
        """Return where records start and where they end.

        Raises:
            HandlerLoadError: The parser failed, or its answers cannot be used.
        """
        return self._hint("get_record_start_pattern"), self._hint("get_record_end_pattern")

    def close(self) -> str | None:
        """Call the parser's ``close``; returns what it raised, as a line: the rows are safe, so it fails nothing."""
        try:
            self._parser.close()
        except (Exception, SystemExit) as error:
            return f"{self._name('close')} raised {told(error, self._folder)}"
        return None

    def apply(self, records: Iterable[tuple[int, bytes]], *, source: str, file_name: str) -> Iterator[Outcome]:
        """Yield one outcome for each record, in their order.

        The handler is called when the outcome is asked for, so that stopping stops it at once.

        Args:
            records: Offset in the decompressed file, and bytes.
            source: The stable name of the input: ids are derived from it, and rejections carry it.
            file_name: The resolved name that the handler is given.
        """
        parse, file_type, prefix = self._parser.parse_document, self.file_type, derived_ids(source)
        success = ParseDocumentResultStatus.SUCCESS
        for offset, data in records:
            self._records += 1
            outcome: Outcome
            try:
                answer: object = parse(file_type, file_name, offset, data, 0, len(data))
            except (Exception, SystemExit) as error:
                message = f"{self._name('parse_document')} raised {told(error, self._folder)}"
                outcome = _rejection(source, offset, data, RejectionKind.PARSE, message)
            else:
                document = (
                    answer.document if type(answer) is ParseDocumentResult and answer.status is success else answer
                )
                try:
                    if type(document) is Document:
                        outcome = flat_row(document)
                    else:
                        outcome = self._settled(answer, source, offset, data)
                except Exception as error:  # methods of the user's mappings and texts run here
                    outcome = _rejection(source, offset, data, RejectionKind.TRANSFORM, self._reason(error))
            if type(outcome) is dict:
                self._documents += 1
                if outcome.get("id") is None:
                    outcome["id"] = derived_id(prefix, offset)
            elif type(outcome) is Skip:
                self._skips += 1
            else:
                self._rejections += 1
            yield outcome

    def reject_row(self, row: Mapping[str, Any], message: str, *, source: str, offset: int, data: bytes) -> Rejection:
        """Return the rejection of a row that ``apply`` yielded and that cannot be stored; moves it in the counts."""
        self._documents -= 1
        self._rejections += 1
        return replace(_rejection(source, offset, data, RejectionKind.WRITE, message), document=row)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._documents -= 1
        self._skips += 1

    def counts(self) -> TaskCounts:
        """What became of the records so far.

        Raises:
            AssertionError: A record is unaccounted for, which is a bug here.
        """
        counts = TaskCounts(self._records, self._documents, self._skips, self._rejections)
        if not counts.balanced:
            raise AssertionError(f"records are unaccounted for: {counts}")
        return counts

    def _settled(self, answer: object, source: str, offset: int, data: bytes) -> Outcome:
        document = settle(answer, method="parse_document")
        if isinstance(document, SkipDoc):
            return Skip(optional_text(document.skip_message))
        if not isinstance(document, ErrorDoc):
            return flat_row(document)
        # What the handler left out is filled in here.
        message = optional_text(document.error_message) or "the handler answered with an error document"
        return replace(
            _rejection(source, offset, data, RejectionKind.PARSE, message),
            start_offset=self._own_offset(document.error_start_offset_map) or str(offset),
            end_offset=self._own_offset(document.error_end_offset_map) or str(offset + len(data)),
            record_type=optional_text(document.record_type),
            document_id=optional_text(document.document_id),
            document=understood(document),
        )

    def _reason(self, error: Exception) -> str:
        return str(error) if isinstance(error, AnswerError) else told(error, self._folder)

    def _own_offset(self, offsets: object) -> str | None:
        """The handler's own offset for its file type, if it gave one."""
        if not isinstance(offsets, Mapping):
            return None
        found = offsets.get(self.file_type)
        if found is None and len(offsets) == 1:
            found = next(iter(offsets.values()))
        return str(found) if isinstance(found, str | int) else None

    def _hint(self, method: str) -> RecordParseHint:
        hint = self._ask(method, self.file_type)
        if not isinstance(hint, RecordParseHint):
            raise HandlerLoadError(f"{self._name(method)} returned {type(hint).__name__}; return a RecordParseHint")
        try:
            hint.pattern_bytes  # noqa: B018 - an encoding that does not exist shows here
        except (LookupError, UnicodeError) as error:
            raise HandlerLoadError(f"{self._name(method)}: the pattern cannot be encoded: {error}") from error
        return hint

    def _ask(self, method: str, *arguments: object) -> object:
        return ask(getattr(self._parser, method), *arguments, name=self._name(method), folder=self._folder)

    def _name(self, method: str) -> str:
        return f"{type(self._parser).__name__}.{method}"


def _rejection(source: str, offset: int, data: bytes, kind: RejectionKind, message: str) -> Rejection:
    return Rejection(
        source=source,
        start_offset=str(offset),
        end_offset=str(offset + len(data)),
        kind=kind,
        message=one_line(message),
        data=data,
    )


def understood(document: ErrorDoc) -> dict[str, Any] | None:
    """What an error document says of its record, as it would have been written; ``None``: nothing."""
    try:
        return flat_row(document) or None
    except AnswerError:  # its own message says more than that its payload is no mapping
        return None


def optional_text(value: object) -> str | None:
    """Text of whatever a handler put where text belongs."""
    return None if value is None else str(value)
