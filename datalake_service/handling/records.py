"""Records of queues, streams and tables through a handler: one outcome for each, whatever the handler does.

What ``apply.py`` is for the records of files. Knows nothing of where records come from or where rows go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from datalake_interfaces import (
    Document,
    ErrorDoc,
    HandlerContext,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    SkipDoc,
)
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.handling.answers import AnswerError, settle
from datalake_service.handling.apply import Outcome, Skip, optional_text, understood
from datalake_service.handling.asking import ask
from datalake_service.handling.rows import flat_row
from datalake_service.handling.telling import one_line, told


class Handler(Protocol):
    """What the handlers of all these sources have."""

    def open(self, context: HandlerContext) -> None:
        """Acquire what is needed."""

    def close(self) -> None:
        """Release it."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record on its way through a handler."""

    row_id: str
    """The id of its row, unless the handler gives one. Derived from the record only."""
    offset: str
    """Its place in the source, for people: a message id, a sequence number, a key."""
    arguments: tuple[object, ...]
    """What the handler's method is called with."""
    data: Callable[[], bytes]
    """Its bytes, for a rejection."""
    seconds: float | None = None
    """When it came into being, since 1970; ``None``: not known."""


class RecordHandler:
    """A handler at work on the records of one task. Every call of the user's code goes through here and is guarded.

    It counts what became of the records: ``counts()`` always balances.
    """

    def __init__(self, handler: Handler, method: str, *, source: str, folder: Path | None = None) -> None:
        """Take a constructed handler, the method that takes a record, and the stable name of what is read.

        ``folder`` is where its code is, so that errors name its lines.
        """
        self._handler = handler
        self._method = method
        self._parse: Callable[..., object] = getattr(handler, method)
        self._source = source
        self._folder = folder.resolve() if folder is not None else None
        self._documents = self._skips = self._rejections = 0
        self._opened = False

    def open(self, context: HandlerContext) -> None:
        """Call the handler's ``open``.

        Raises:
            HandlerLoadError: It failed.
        """
        self._opened = True
        ask(self._handler.open, context, name=self._name("open"), folder=self._folder)

    def close(self) -> str | None:
        """Call the handler's ``close``, once; returns what it raised: the rows are safe, so it fails nothing."""
        if not self._opened:
            return None
        self._opened = False
        try:
            self._handler.close()
        except (Exception, SystemExit) as error:
            return f"{self._name('close')} raised {told(error, self._folder)}"
        return None

    def outcome(self, record: Record) -> Outcome:
        """Call the handler with a record and return what becomes of it."""
        outcome: Outcome
        try:
            answer = self._parse(*record.arguments)
        except (Exception, SystemExit) as error:
            message = f"{self._name(self._method)} raised {told(error, self._folder)}"
            outcome = self._rejection(record, RejectionKind.PARSE, message)
        else:
            try:
                outcome = self._settled(answer, record)
            except Exception as error:  # methods of the user's mappings and texts run here
                reason = str(error) if isinstance(error, AnswerError) else told(error, self._folder)
                outcome = self._rejection(record, RejectionKind.TRANSFORM, reason)
        if type(outcome) is dict:
            self._documents += 1
            if outcome.get("id") is None:
                outcome["id"] = record.row_id
        elif type(outcome) is Skip:
            self._skips += 1
        else:
            self._rejections += 1
        return outcome

    def unreadable(self, record: Record, message: str) -> Rejection:
        """Return the rejection of a record that is not fit to be handed to the handler."""
        self._rejections += 1
        return self._rejection(record, RejectionKind.READ, message)

    def reject_row(self, row: Mapping[str, Any], message: str, record: Record) -> Rejection:
        """Return the rejection of a row that cannot be stored; moves it in the counts."""
        self._documents -= 1
        self._rejections += 1
        return replace(self._rejection(record, RejectionKind.WRITE, message), document=row)

    def leave_out(self) -> None:
        """Count an earlier row as a skip."""
        self._documents -= 1
        self._skips += 1

    def take_back(self) -> None:
        """The rejection that was made last does not count: the next attempt meets its record again."""
        self._rejections -= 1

    def counts(self) -> TaskCounts:
        """What became of the records so far."""
        records = self._documents + self._skips + self._rejections
        return TaskCounts(records, self._documents, self._skips, self._rejections)

    def _settled(self, answer: object, record: Record) -> Outcome:
        success = ParseDocumentResultStatus.SUCCESS
        document = answer.document if type(answer) is ParseDocumentResult and answer.status is success else answer
        if type(document) is Document:
            return flat_row(document)
        document = settle(answer, method=self._method)
        if isinstance(document, SkipDoc):
            return Skip(optional_text(document.skip_message))
        if not isinstance(document, ErrorDoc):
            return flat_row(document)
        message = optional_text(document.error_message) or "the handler answered with an error document"
        return replace(
            self._rejection(record, RejectionKind.PARSE, message),
            record_type=optional_text(document.record_type),
            document_id=optional_text(document.document_id),
            document=understood(document),
        )

    def _rejection(self, record: Record, kind: RejectionKind, message: str) -> Rejection:
        return Rejection(
            source=self._source,
            start_offset=record.offset,
            end_offset=record.offset,
            kind=kind,
            message=one_line(message),
            data=record.data(),
        )

    def _name(self, method: str) -> str:
        return f"{type(self._handler).__name__}.{method}"
