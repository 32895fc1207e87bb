"""What may be asked: the parameters of every route, as models. The API's own description is made from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, TypeVar, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datalake_service.viewer.problems import QueryError

MAX_ROWS = 500
"""Rows of a page."""
MAX_SAMPLE = 10_000


class Query(BaseModel):
    """Parameters of a route."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )


class Selection(Query):
    """Which rows are meant."""

    filter: str | None = Field(None, description="The JSON of a filter.")
    where: str | None = Field(None, description="An SQL expression of DuckDB about one row.", max_length=20_000)
    search: str | None = Field(None, description="COLUMN:text, whatever its case.")
    batch: list[str] = Field(default_factory=list, description="Only these batches.", max_length=1_000)


class RowsQuery(Selection):
    """A page of rows."""

    columns: list[str] = Field(default_factory=list, description="Default: all.", max_length=2_000)
    sort: str | None = Field(None, description="A column. Default: the time of creation.")
    order: Literal["asc", "desc"] = Field("desc", description="Nulls come last in both.")
    cursor: str | None = Field(None, description="`next` or `previous` of another page.", max_length=100_000)
    limit: Annotated[int, Field(ge=1, le=MAX_ROWS)] = 50
    sample: Annotated[int, Field(ge=1, le=MAX_SAMPLE)] | None = Field(None, description="So many rows at random.")
    seed: str = Field("0", description="The same seed gives the same sample.", max_length=200)
    text_limit: Annotated[int, Field(ge=1, le=1_000_000)] = Field(2_000, alias="textLimit")


class CountQuery(Selection):
    """How many rows."""


class RowQuery(Query):
    """One row."""

    batch: str
    id: str


class CellQuery(RowQuery):
    """One value."""

    column: str


class ProfileQuery(Selection):
    """What a column holds."""

    column: str
    buckets: Annotated[int, Field(ge=1, le=200)] = 20
    top: Annotated[int, Field(ge=1, le=200)] = 20


class TrendQuery(Selection):
    """Rows over time."""

    column: str | None = Field(None, description="Without it: all rows.")
    bucket: Literal["minute", "hour", "day", "week", "month"] = "hour"
    top: Annotated[int, Field(ge=1, le=50)] = 5


class CrossQuery(Selection):
    """One column against another."""

    a: str
    b: str
    top: Annotated[int, Field(ge=1, le=50)] = 12


class ActivityQuery(Query):
    """Rows written over time."""

    bucket: Literal["minute", "hour", "day"] = "hour"
    since: str | None = Field(None, alias="from", description="ISO 8601.", max_length=100)
    to: str | None = Field(None, description="ISO 8601.", max_length=100)
    dataset: list[str] = Field(default_factory=list, description="Only these.", max_length=1_000)


class RejectionsQuery(Query):
    """What could not be used."""

    reason: str | None = None
    batch: str | None = None
    cursor: str | None = Field(None, max_length=10_000)
    limit: Annotated[int, Field(ge=1, le=200)] = 20


class FailuresQuery(Query):
    """Annotations that failed."""

    annotator: str | None = None
    kind: str | None = None
    cursor: str | None = Field(None, max_length=10_000)
    limit: Annotated[int, Field(ge=1, le=500)] = 50


class ExportQuery(Selection):
    """What is on the screen, as a file."""

    format: Literal["jsonl", "csv", "parquet"] = "jsonl"
    columns: list[str] = Field(default_factory=list, description="Default: all.", max_length=2_000)
    sort: str | None = Field(None, description="A column. Default: the time of creation.")
    order: Literal["asc", "desc"] = "desc"
    sample: Annotated[int, Field(ge=1, le=MAX_SAMPLE)] | None = Field(None, description="So many rows at random.")
    seed: str = Field("0", description="The same seed gives the same sample.", max_length=200)


class EventsQuery(Query):
    """What is listened to."""

    dataset: str | None = Field(None, description="Listen to it closely.")


Parameters = Mapping[str, Sequence[str]]
_Q = TypeVar("_Q", bound=Query)


def parse(model: type[_Q], given: Parameters) -> _Q:
    """Read parameters.

    Raises:
        QueryError: One is not known, missing, or cannot be used.
    """
    lists = {field.alias or name for name, field in model.model_fields.items() if get_origin(field.annotation) is list}
    values: dict[str, Any] = {}
    for name, found in given.items():
        if name in lists:
            values[name] = list(found)
        elif len(found) > 1:
            raise QueryError(f"parameter {name!r} is given {len(found)} times", name)
        else:
            values[name] = found[0]
    for name, one in values.items():
        _check_text(name, one)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(str(part) for part in fault["loc"]) or None
        raise QueryError(f"parameter {place!r}: {_words(fault)}", place) from None


def _check_text(name: str, value: str | list[str]) -> None:
    for one in value if isinstance(value, list) else [value]:
        try:
            one.encode()
        except UnicodeEncodeError:
            raise QueryError(f"parameter {name!r} is no UTF-8", name) from None


def _words(fault: Mapping[str, object]) -> str:
    if fault["type"] == "extra_forbidden":
        return "is not known"
    return "is missing" if fault["type"] == "missing" else str(fault["msg"])
