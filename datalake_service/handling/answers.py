"""What a handler answered, brought to one of three documents; everything else is refused with a reason. Pure."""

from __future__ import annotations

import inspect

from datalake_interfaces import Document, ErrorDoc, ParseDocumentResult, ParseDocumentResultStatus, SkipDoc
from datalake_service.errors import DatalakeError


class AnswerError(DatalakeError):
    """A handler's answer that cannot be used; the message says what it is and what it has to be."""

    kind = "answer"


def settle(answer: object, *, method: str) -> Document | ErrorDoc | SkipDoc:
    """Return the document that an answer holds; an error or a skip is always an ``ErrorDoc`` or ``SkipDoc``.

    Args:
        answer: What ``method`` returned.
        method: Its name, for the message.

    Raises:
        AnswerError: It is nothing that a handler may answer.
    """
    if isinstance(answer, ParseDocumentResult):
        return _unwrapped(answer, method)
    if isinstance(answer, Document):
        return answer
    if inspect.iscoroutine(answer):
        answer.close()  # it will never be awaited, and Python would warn about it at a confusing place
        raise AnswerError(f"{method} is async; it has to be a plain method: def {method}")
    if isinstance(answer, dict):
        raise AnswerError(f"{method} returned dict; wrap it: Document(row)")
    found = "nothing (None)" if answer is None else type(answer).__name__
    raise AnswerError(f"{method} returned {found}; return a Document, an ErrorDoc or a SkipDoc")


def _unwrapped(result: ParseDocumentResult, method: str) -> Document | ErrorDoc | SkipDoc:
    status = _status(result.status, method)
    document: object = result.document
    if document is None and status is not ParseDocumentResultStatus.SUCCESS:
        return ErrorDoc() if status is ParseDocumentResultStatus.ERROR else SkipDoc()
    if not isinstance(document, Document):
        found = "no document (None)" if document is None else f"{type(document).__name__} as its document"
        raise AnswerError(f"{method} returned a ParseDocumentResult with {found}; it needs a Document")
    if isinstance(document, ErrorDoc | SkipDoc) or status is ParseDocumentResultStatus.SUCCESS:
        return document
    kind = ErrorDoc if status is ParseDocumentResultStatus.ERROR else SkipDoc
    return kind(
        document.document_key_values_map,
        document_id=document.document_id,
        record_type=document.record_type,
        partition_key=document.partition_key,
        document_metadata=document.document_metadata,
    )


def _status(status: object, method: str) -> ParseDocumentResultStatus:
    try:
        return ParseDocumentResultStatus(str(getattr(status, "value", status)).upper())
    except ValueError:
        allowed = ", ".join(ParseDocumentResultStatus)
        msg = f"{method} returned a ParseDocumentResult with status {str(status)[:40]!r}; it is one of {allowed}"
        raise AnswerError(msg) from None
