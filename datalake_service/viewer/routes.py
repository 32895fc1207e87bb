"""Every address of the API: who answers, what may be asked, what is answered. Routes and description come from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from datalake_service.viewer import queries, shapes, shapes_operations
from datalake_service.viewer.answering import Answers

OfLake = Callable[[Answers, queries.Parameters], Any]
OfDataset = Callable[[Answers, str, queries.Parameters], Any]


@dataclass(frozen=True, slots=True)
class ApiRoute:
    """One address that answers JSON."""

    path: str
    summary: str
    answer: OfLake | OfDataset
    query: type[queries.Query] | None
    shape: Any
    """A ``TypedDict``."""

    @property
    def of_dataset(self) -> bool:
        """Whether it is about one dataset."""
        return "{dataset}" in self.path


def _dataset(path: str, summary: str, answer: OfDataset, query: type[queries.Query], shape: object) -> ApiRoute:
    return ApiRoute(f"{_D}/{path}", summary, answer, query, shape)


_D: Final = "/api/datasets/{dataset}"

ROUTES: Final = (
    ApiRoute("/api/lake", "The whole lake", lambda answers, _: answers.lake(), None, shapes.LakeAnswer),
    ApiRoute(
        "/api/activity",
        "Rows written over time, by dataset",
        Answers.activity,
        queries.ActivityQuery,
        shapes.ActivityAnswer,
    ),
    ApiRoute(
        "/api/operations",
        "What works and what is held",
        lambda answers, _: answers.operations(),
        None,
        shapes_operations.OperationsAnswer,
    ),
    ApiRoute(_D, "One dataset", lambda answers, dataset, _: answers.dataset(dataset), None, shapes.DatasetAnswer),
    _dataset("rows", "A page of rows", Answers.rows, queries.RowsQuery, shapes.RowsAnswer),
    _dataset("count", "How many rows", Answers.count, queries.CountQuery, shapes.CountAnswer),
    _dataset("row", "Everything about one row", Answers.row, queries.RowQuery, shapes.RowAnswer),
    _dataset("profile", "What a column holds", Answers.profile, queries.ProfileQuery, shapes.ProfileAnswer),
    _dataset("trend", "Rows over time", Answers.trend, queries.TrendQuery, shapes.TrendAnswer),
    _dataset("crosstab", "One column against another", Answers.crosstab, queries.CrossQuery, shapes.CrossAnswer),
    _dataset(
        "rejections",
        "What could not be used",
        Answers.rejections,
        queries.RejectionsQuery,
        shapes_operations.RejectionsAnswer,
    ),
    _dataset(
        "failures",
        "Annotations that failed",
        Answers.failures,
        queries.FailuresQuery,
        shapes_operations.FailuresAnswer,
    ),
    _dataset(
        "export/command",
        "The command that makes the same file",
        Answers.command,
        queries.ExportQuery,
        shapes_operations.CommandAnswer,
    ),
)
