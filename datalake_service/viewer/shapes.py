"""The shape of every answer. The API's own description is made from these, and tests hold answers to it."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict


class Problem(TypedDict):
    """What went wrong."""

    message: str
    field: str | None
    kind: str


class ProblemAnswer(TypedDict):
    """An answer that tells of an error."""

    error: Problem


class Coverage(TypedDict):
    """Rows by how they stand with an annotator."""

    done: int
    skipped: int
    failed: int
    pending: int


class AnnotatorEntry(Coverage):
    """An annotator."""

    name: str
    share: float
    cost: float | None
    unmergedRows: int
    lastActivity: str | None


class KeyProblem(TypedDict):
    """An object that cannot be read."""

    key: str
    message: str


class DatasetEntry(TypedDict):
    """A dataset in numbers."""

    name: str
    rows: int
    unmergedRows: int
    batches: int
    bytes: int
    columns: int
    unmergedChunks: int
    rejections: int
    lastActivity: str | None
    runs: int
    annotators: list[AnnotatorEntry]
    problems: list[KeyProblem]


class Lease(TypedDict):
    """Something that is held."""

    key: str
    what: str
    dataset: str
    annotator: str | None
    batch: str | None
    host: str | None
    pid: int | None
    until: str | None
    state: str
    error: str | None


class LakeAnswer(TypedDict):
    """The whole lake."""

    uri: str
    version: str
    now: str
    token: bool
    datasets: list[DatasetEntry]
    leases: list[Lease]


class ActivitySeries(TypedDict):
    """Rows of a dataset over time."""

    dataset: str
    rows: list[int]


ActivityAnswer = TypedDict(
    "ActivityAnswer",
    {"bucket": str, "from": str, "to": str, "times": list[str], "series": list[ActivitySeries]},
)


class ColumnEntry(TypedDict):
    """A column."""

    name: str
    type: Literal["bool", "int", "float", "text", "json", "time"]
    annotator: str | None
    system: bool


class BatchEntry(TypedDict):
    """A batch."""

    name: str
    rows: int
    unmergedRows: int
    bytes: int
    createdFrom: str | None
    createdTo: str | None
    coverage: dict[str, Coverage]


class DatasetAnswer(TypedDict):
    """One dataset; ``columns`` and ``batches`` are lists here."""

    name: str
    rows: int
    unmergedRows: int
    bytes: int
    unmergedChunks: int
    leftOutChunks: int
    rejections: int
    lastActivity: str | None
    runs: int
    annotators: list[AnnotatorEntry]
    problems: list[KeyProblem]
    columns: list[ColumnEntry]
    batches: list[BatchEntry]
    version: str


class RowEntry(TypedDict):
    """A row of a page."""

    id: str
    batch: str
    merged: bool
    cells: list[Any]


class RowsAnswer(TypedDict):
    """A page of rows."""

    columns: list[str]
    rows: list[RowEntry]
    truncated: list[list[int]]
    big: list[list[int]]
    next: str | None
    previous: str | None
    version: str
    tookMs: float


class CountAnswer(TypedDict):
    """How many rows."""

    rows: int
    exact: bool
    tookMs: float


class RowName(TypedDict):
    """What names a row."""

    batch: str
    id: str


class Neighbours(TypedDict):
    """The rows beside a row, newest first."""

    previous: RowName | None
    next: RowName | None


class Tokens(TypedDict):
    """What a model read and wrote."""

    input: int
    output: int


class AnnotationEntry(TypedDict):
    """What an annotator said about a row."""

    annotator: str
    status: str | None
    version: str | None
    code: str | None
    cost: float | None
    seconds: float | None
    attempts: int | None
    tokens: Tokens | None
    at: str | None
    error: str | None
    kind: str | None
    metadata: Any
    fields: dict[str, Any]


class RowAnswer(TypedDict):
    """Everything about one row."""

    id: str
    batch: str
    merged: bool
    fields: dict[str, Any]
    types: dict[str, str]
    annotations: list[AnnotationEntry]
    truncated: list[tuple[str, int]]
    big: list[str]
    source: dict[str, Any] | None
    neighbours: Neighbours
    version: str


Bar = TypedDict("Bar", {"from": Any, "to": Any, "rows": int})


class ValueRows(TypedDict):
    """Rows that have a value."""

    value: Any
    rows: int


class Distinct(TypedDict):
    """How many different values."""

    count: int
    approximate: bool


class Sampled(TypedDict):
    """Of how many rows an answer is."""

    rows: int


class ProfileAnswer(TypedDict):
    """What a column holds."""

    column: str
    type: str
    rows: int
    nulls: int
    distinct: Distinct
    histogram: list[Bar] | None
    lengths: list[Bar] | None
    top: list[ValueRows] | None
    min: Any
    max: Any
    mean: Any
    sampled: Sampled | None


class TrendSeries(TypedDict):
    """Rows with a value over time."""

    value: Any
    rows: list[int]


class TrendAnswer(TypedDict):
    """A column over time."""

    times: list[str]
    series: list[TrendSeries]
    other: list[int]


class CrossAnswer(TypedDict):
    """One column against another."""

    a: list[Any]
    b: list[Any]
    cells: list[list[int]]
    otherA: int
    otherB: int
    sampled: Sampled | None
