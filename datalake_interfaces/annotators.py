"""Columns for rows that exist: the annotator's interface and its two values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from datalake_interfaces.attempts import NOTHING, Usage
from datalake_interfaces.context import HandlerContext
from datalake_interfaces.documents import ErrorDoc, SkipDoc


@dataclass(slots=True)
class DataItem:
    """One row to annotate."""

    data: dict[str, Any]
    """The selected columns: base columns plain, columns of other annotators qualified (``lang.label``)."""
    id: str
    """The row's id, unique in its batch."""
    batch: str
    """The batch that the row is in."""
    attempt: int = field(default=1, repr=False, compare=False)
    """How often this row has been asked in this run, with this call."""
    error: Exception | None = field(default=None, repr=False, compare=False)
    """Why the attempt before this one failed."""
    usage: Usage = field(default=NOTHING, repr=False, compare=False)
    """What this row has cost in this run; ``spend`` adds to it."""

    def spend(self, *, input_tokens: int = 0, output_tokens: int = 0, cost: float = 0.0) -> None:
        """Note what a call for this row has cost. It counts whatever comes of the call, a time-out included.

        Raises:
            ValueError: Less than nothing, or no number: it would make a budget endless.
        """
        if not (input_tokens >= 0 and output_tokens >= 0 and 0 <= cost < inf):
            raise ValueError("what a call has cost is a number, at least 0")
        self.usage += Usage(input_tokens, output_tokens, cost)


@dataclass(slots=True)
class Annotation:
    """The new columns of one row."""

    data: dict[str, Any]
    """Column names (without the annotator's name) and values that JSON can hold."""
    metadata: dict[str, Any] | None = None
    """What you want to keep about how the annotation was made, for instance a model's name or a cost."""


AnnotationResult = Annotation | Mapping[str, Any] | SkipDoc | ErrorDoc
"""What ``annotate`` answers: columns, or "not this row" (never asked again), or "failed" (asked again next run)."""


class Annotator(ABC):
    """Adds columns to the rows that a filter selects. Base rows are never rewritten.

    Guarantees:
        The class is constructed once for each process as ``Class(**parameters)``, with the ``parameters`` of the
        dataset file; then ``open``, any number of ``annotate``, and ``close``.

        ``annotate`` runs **at least once** for each selected row; its result is published **exactly once**. A row
        is done when its annotation is stored: a crash repeats the calls whose results were not stored yet. A row
        for which it raises, times out or answers ``ErrorDoc`` is reported and tried again by the next run. A row for
        which it answers ``SkipDoc`` is not asked again.

        Order: none. An async ``annotate`` runs up to ``maxConcurrency`` times at once on one event loop, so no lock
        is needed between its awaits. A plain one runs in up to as many threads at once and has to be thread-safe.
    """

    def open(self, context: HandlerContext) -> Awaitable[None] | None:
        """Acquire what is needed: a client, a model. May be async; then it runs on the loop that ``annotate`` uses."""
        return None

    @abstractmethod
    def annotate(self, item: DataItem) -> AnnotationResult | Awaitable[AnnotationResult]:
        """Return the new columns of one row; may be ``async def``.

        Raise, or return an ``ErrorDoc``, if it failed; return a ``SkipDoc`` if the row needs no annotation.
        """

    def close(self) -> Awaitable[None] | None:
        """Release what ``open`` acquired; may be async. Not called if the process is killed."""
        return None


BatchAnswers = Sequence[AnnotationResult | Exception]
"""What ``annotate_batch`` answers: for each row, in their order, what ``annotate`` would answer, or an exception."""


class BatchAnnotator(Annotator):
    """Annotates many rows in one call: for models and services that are faster, or cheaper, that way.

    Guarantees:
        Those of ``Annotator``, for each row. A call gets one row at least and ``max_batch_size`` at most; which rows
        come together is by chance. A call is made as soon as its batch is full, when its first row has waited for
        ``max_wait_seconds``, and at once when there is no other row to wait for. Up to ``maxConcurrency`` calls are
        made at once.

        A row whose answer is an exception is a failed row: alone, whatever becomes of the others. It is asked
        again, in another batch, where ``annotate`` would be. When the call itself raises, its rows are asked again
        if that is worth while (a busy service); if not, in halves, until the row that is at fault is alone: so one
        bad row harms no other. (``split_failed = False``: all of them have failed.) A wrong number of answers fails
        all rows of the call.
    """

    max_batch_size: int = 32
    """Rows in a call, at most."""
    max_wait_seconds: float = 0.1
    """How long the first row of a batch waits for others, at most."""
    max_batch_weight: int | None = None
    """What the rows of a call may weigh together, at most, by ``weigh``; a row that is heavier goes alone.
    ``None``: nobody weighs."""
    split_failed: bool = True
    """Whether the rows of a call that raised for good are asked again in halves."""

    @abstractmethod
    def annotate_batch(self, items: Sequence[DataItem]) -> BatchAnswers | Awaitable[BatchAnswers]:
        """Return an answer for each row, in their order; may be ``async def``."""

    def weigh(self, item: DataItem) -> int:
        """What a row weighs: by default the characters of its texts. Count tokens, if there is a limit on tokens."""
        return sum(len(value) for value in item.data.values() if isinstance(value, str))

    def annotate(self, item: DataItem) -> AnnotationResult | Awaitable[AnnotationResult]:
        """Annotate one row, as a batch of its own."""
        answers = self.annotate_batch([item])
        if isinstance(answers, Awaitable):
            return _only(answers)
        return _told(answers)


def spend_together(
    items: Sequence[DataItem], *, input_tokens: int = 0, output_tokens: int = 0, cost: float = 0.0
) -> None:
    """Note what one call for many rows has cost: it is spread over them evenly, and adds up exactly."""
    count = len(items)
    for number, item in enumerate(items):
        item.spend(
            input_tokens=_share(input_tokens, number, count),
            output_tokens=_share(output_tokens, number, count),
            cost=cost / count,
        )


def _share(whole: int, number: int, count: int) -> int:
    return whole * (number + 1) // count - whole * number // count


async def _only(answers: Awaitable[BatchAnswers]) -> AnnotationResult:
    return _told(await answers)


def _told(answers: BatchAnswers) -> AnnotationResult:
    (answer,) = answers
    if isinstance(answer, Exception):
        raise answer
    return answer
