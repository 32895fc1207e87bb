"""What an annotator answered, as the row that is stored for it. Pure: no store, no clock, no user code runs here.

The hot path is one type test and one look-up: a set of column names that was found good is not looked at again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datalake_interfaces.annotators import Annotation, DataItem
from datalake_interfaces.attempts import NOTHING
from datalake_interfaces.documents import ErrorDoc, SkipDoc
from datalake_service.catalog.annotations import (
    ATTEMPTS,
    COST,
    DONE,
    FAILED,
    INPUT_TOKENS,
    KIND,
    OUTPUT_TOKENS,
    SECONDS,
    SKIPPED,
)

TIMEOUT, ANSWER, ERROR_DOC = "timeout", "answer", "ErrorDoc"
"""Kinds of failures that are no exception."""
_SPEAKS_FOR_ITSELF = frozenset({TIMEOUT, ANSWER, ERROR_DOC})

_MAX_MESSAGE = 2_000
"""Characters of an error that are kept; an error may quote a whole document."""
_MAX_KIND = 200
_USAGE = (ATTEMPTS, SECONDS, COST, INPUT_TOKENS, OUTPUT_TOKENS)
_MAX_KNOWN = 1_000
"""Sets of names that are remembered; an annotator may answer with other names for every row."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A row that got no answer that can be used."""

    kind: str
    """For counting and for logs: the name of an exception, or one of the names above."""
    message: str
    """For the person who looks at the row; may quote it."""

    def in_words(self) -> str:
        """Both, as far as they say more than one."""
        if self.kind in _SPEAKS_FOR_ITSELF:
            return self.message
        return f"{self.kind}: {self.message}" if self.message else self.kind


def note_usage(row: dict[str, Any], item: DataItem, seconds: float) -> None:
    """Add to a row what it took: its time, and what is known besides one call of unknown cost."""
    row[SECONDS] = int(seconds * 1e6) / 1e6  # a third of what ``round`` takes
    if item.attempt > 1:
        row[ATTEMPTS] = item.attempt
    usage = item.usage
    if usage is NOTHING:
        return
    if usage.cost:
        row[COST] = float(usage.cost)
    if usage.tokens:
        row[INPUT_TOKENS], row[OUTPUT_TOKENS] = int(usage.input_tokens), int(usage.output_tokens)


def keep_usage(row: dict[str, Any], of: Mapping[str, Any]) -> dict[str, Any]:
    """``row`` with what the row that it replaces took."""
    return row | {name: of[name] for name in _USAGE if name in of}


class ResultRows:
    """Builds annotation rows; ``annotated_at`` is kept up to date by the caller."""

    def __init__(self) -> None:
        """Know no names yet."""
        self.annotated_at = ""
        """ISO 8601 in UTC; exact enough if it is set a few times a second."""
        self._good: set[tuple[object, ...]] = set()

    def row(self, item: DataItem, answer: object) -> dict[str, Any] | Failure:
        """The row to store for ``answer``, or why there is none."""
        if type(answer) is Annotation:
            data, metadata = answer.data, answer.metadata
        elif type(answer) is dict:
            data, metadata = answer, None
        else:
            return self._other(item, answer)
        if type(data) is not dict:
            return self._annotation(item, data, metadata)
        names = tuple(data)
        if names not in self._good:
            failure = self._check(names)
            if failure is not None:
                return failure
        if metadata is None:
            return {
                "id": item.id, "_batch": item.batch, "_status": DONE, "_annotated_at": self.annotated_at, **data,
            }  # fmt: skip
        return self._annotation(item, data, metadata)

    def failed_row(self, row_id: str, batch: str, failure: Failure) -> dict[str, Any]:
        """The row that says that a row failed; the next run asks again."""
        said = {"_error": failure.in_words()[:_MAX_MESSAGE], KIND: failure.kind[:_MAX_KIND]}
        return self._system(row_id, batch, FAILED) | said

    def _system(self, row_id: str, batch: str, status: str) -> dict[str, Any]:
        return {"id": row_id, "_batch": batch, "_status": status, "_annotated_at": self.annotated_at}

    def _annotation(self, item: DataItem, data: object, metadata: object) -> dict[str, Any] | Failure:
        if not isinstance(data, Mapping):
            return Failure(ANSWER, f"the annotation's data must be a dict, not {type(data).__name__}")
        if metadata is not None and not isinstance(metadata, Mapping):
            return Failure(ANSWER, f"the annotation's metadata must be a dict or None, not {type(metadata).__name__}")
        plain = dict(data)
        failure = self._check(tuple(plain))
        if failure is not None:
            return failure
        kept = {} if metadata is None else {"_metadata": dict(metadata)}
        return self._system(item.id, item.batch, DONE) | kept | plain

    def _other(self, item: DataItem, answer: object) -> dict[str, Any] | Failure:
        if isinstance(answer, Failure):
            return answer
        if isinstance(answer, Annotation):
            return self._annotation(item, answer.data, answer.metadata)
        if isinstance(answer, Mapping):
            return self._annotation(item, answer, None)
        if isinstance(answer, SkipDoc):
            kept = dict(answer.document_metadata or {})
            if answer.skip_message is not None:
                kept["skip_message"] = answer.skip_message
            return self._system(item.id, item.batch, SKIPPED) | ({"_metadata": kept} if kept else {})
        if isinstance(answer, ErrorDoc):
            return Failure(ERROR_DOC, answer.error_message or "the annotator answered ErrorDoc without a message")
        return Failure(
            ANSWER,
            f"the annotator answered {type(answer).__name__}: answer an Annotation, a dict, a SkipDoc or an ErrorDoc",
        )

    def _check(self, names: tuple[object, ...]) -> Failure | None:
        for name in names:
            if isinstance(name, str) and (name == "id" or name.startswith("_")):
                return Failure(
                    ANSWER, f"column {str.__str__(name)!r} is reserved: no column may be 'id' or start with '_'"
                )
        if len(self._good) >= _MAX_KNOWN:
            self._good.clear()
        self._good.add(names)
        return None
