"""Every address of the API: who answers, what may be asked, what is answered. Routes and description come from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from datalake_service.viewer import queries, shapes, shapes_operations
from datalake_service.viewer.answering import Answers

OfLake = Callable[[Answers, queries.Parameters], Any]
OfDataset = Callable[[Answers, str, queries.Parameters], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
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


_D: Final = "/api/datasets/{dataset}"

ROUTES: Final = (
    ApiRoute(
        path="/api/lake",
        summary="The whole lake",
        answer=lambda answers, _: answers.lake(),
        query=None,
        shape=shapes.LakeAnswer,
    ),
    ApiRoute(
        path="/api/activity",
        summary="Rows written over time, by dataset",
        answer=Answers.activity,
        query=queries.ActivityQuery,
        shape=shapes.ActivityAnswer,
    ),
    ApiRoute(
        path="/api/operations",
        summary="What works and what is held",
        answer=lambda answers, _: answers.operations(),
        query=None,
        shape=shapes_operations.OperationsAnswer,
    ),
    ApiRoute(
        path=_D,
        summary="One dataset",
        answer=lambda answers, dataset, _: answers.dataset(dataset),
        query=None,
        shape=shapes.DatasetAnswer,
    ),
    ApiRoute(
        path=f"{_D}/rows",
        summary="A page of rows",
        answer=Answers.rows,
        query=queries.RowsQuery,
        shape=shapes.RowsAnswer,
    ),
    ApiRoute(
        path=f"{_D}/count",
        summary="How many rows",
        answer=Answers.count,
        query=queries.CountQuery,
        shape=shapes.CountAnswer,
    ),
    ApiRoute(
        path=f"{_D}/row",
        summary="Everything about one row",
        answer=Answers.row,
        query=queries.RowQuery,
        shape=shapes.RowAnswer,
    ),
    ApiRoute(
        path=f"{_D}/profile",
        summary="What a column holds",
        answer=Answers.profile,
        query=queries.ProfileQuery,
        shape=shapes.ProfileAnswer,
    ),
    ApiRoute(
        path=f"{_D}/trend",
        summary="Rows over time",
        answer=Answers.trend,
        query=queries.TrendQuery,
        shape=shapes.TrendAnswer,
    ),
    ApiRoute(
        path=f"{_D}/crosstab",
        summary="One column against another",
        answer=Answers.crosstab,
        query=queries.CrossQuery,
        shape=shapes.CrossAnswer,
    ),
    ApiRoute(
        path=f"{_D}/rejections",
        summary="What could not be used",
        answer=Answers.rejections,
        query=queries.RejectionsQuery,
        shape=shapes_operations.RejectionsAnswer,
    ),
    ApiRoute(
        path=f"{_D}/failures",
        summary="Annotations that failed",
        answer=Answers.failures,
        query=queries.FailuresQuery,
        shape=shapes_operations.FailuresAnswer,
    ),
    ApiRoute(
        path=f"{_D}/export/command",
        summary="The command that makes the same file",
        answer=Answers.command,
        query=queries.ExportQuery,
        shape=shapes_operations.CommandAnswer,
    ),
)
