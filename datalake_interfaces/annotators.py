"""Columns for rows that exist: the annotator's interface and its two values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
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
        """Note what a call for this row has cost. It counts whatever comes of the call, a time-out included."""
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
