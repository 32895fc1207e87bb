"""The shape of answers about what works and what went wrong, and of filters in all their forms."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from datalake_service.viewer.shapes import Lease


class ReasonRows(TypedDict):
    """Rejections for a reason."""

    reason: str
    rows: int


class RejectionEntry(TypedDict):
    """Something that could not be used."""

    batch: str
    source: str
    offsets: dict[str, str] | None
    reason: str
    kind: str
    message: str
    documentId: str | None
    document: Any
    at: str
    bytes: str
    size: int


class RejectionsAnswer(TypedDict):
    """What could not be used."""

    reasons: list[ReasonRows]
    partial: bool
    items: list[RejectionEntry]
    next: str | None


class KindRows(TypedDict):
    """Failures of a kind."""

    annotator: str
    kind: str
    rows: int


class FailureEntry(TypedDict):
    """An annotation that failed."""

    annotator: str
    batch: str
    id: str
    kind: str
    message: str | None
    attempts: int | None
    cost: float | None
    at: str | None


class FailuresAnswer(TypedDict):
    """Annotations that failed."""

    kinds: list[KindRows]
    items: list[FailureEntry]
    next: str | None
    version: str


class RunEntry(TypedDict):
    """A run whose manifest is there."""

    dataset: str
    run: str
    batch: str | None
    annotator: str | None
    kind: str
    state: str
    rows: int
    started: str
    lastActivity: str
    host: str | None


class TaskEntry(TypedDict):
    """A task."""

    dataset: str
    task: str
    item: str
    batch: str
    state: str
    counts: dict[str, int]
    lastError: str | None
    seconds: float | None


class StopEntry(TypedDict):
    """A request to stop."""

    dataset: str
    task: str | None
    at: str


class OperationsAnswer(TypedDict):
    """What works and what is held."""

    runs: list[RunEntry]
    tasks: list[TaskEntry]
    leases: list[Lease]
    stops: list[StopEntry]


class CommandAnswer(TypedDict):
    """A command."""

    command: str
    notes: list[str]


class PathProblem(TypedDict):
    """What is wrong where in a filter."""

    path: str
    message: str


class FilterAnswer(TypedDict):
    """A filter in all its forms."""

    filter: dict[str, Any] | None
    python: str | None
    problems: list[PathProblem]
