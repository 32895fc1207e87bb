"""Answers that are drawn: profiles of columns, values over time, one column against another, activity of a lake."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from datalake_service.catalog.columns import ColumnType
from datalake_service.catalog.manifests import format_time
from datalake_service.pipeline.live.asking import Asking
from datalake_service.pipeline.live.charts import over_rows
from datalake_service.pipeline.live.dataset import Snapshot
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.profiles import (
    PREFIXES,
    TIME,
    Bar,
    Profile,
    against,
    over_time,
    profile,
)
from datalake_service.viewer.cells import CellWriter, type_name
from datalake_service.viewer.problems import QueryError
from datalake_service.viewer.queries import ActivityQuery, CrossQuery, ProfileQuery, Selection, TrendQuery
from datalake_service.viewer.selecting import filter_of, reference_of

MAX_BUCKETS: Final = 5_000
"""Buckets of time in one chart."""
_STEPS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(weeks=1),
}


class Charts:
    """Charts of one lake."""

    def __init__(self, asking: Asking) -> None:
        """Ask with ``asking``."""
        self._asking = asking

    def profile(self, snapshot: Snapshot, query: ProfileQuery) -> dict[str, Any]:
        """One column."""
        column = reference_of(snapshot.schema, query.column)
        found, sampled = over_rows(
            self._asking,
            snapshot,
            self._condition(snapshot, query),
            [column],
            lambda rows: profile(rows, column, buckets=query.buckets, top=query.top),
            batches=query.batch or None,
            sampled=True,
        )
        kind = snapshot.type_of(column)
        name = type_name(column.column, kind)
        return {"column": query.column, "type": name, **_profile_entry(found, kind, is_time=name == "time")} | {
            "sampled": None if sampled is None else {"rows": sampled}
        }

    def trend(self, snapshot: Snapshot, query: TrendQuery) -> dict[str, Any]:
        """One column over time, or rows over time."""
        column = None if query.column is None else reference_of(snapshot.schema, query.column)

        columns = [TIME] if column is None else [TIME, column]
        condition = self._condition(snapshot, query)
        (values, found), _ = over_rows(
            self._asking,
            snapshot,
            condition,
            columns,
            lambda rows: over_time(rows, column, bucket=query.bucket, top=query.top),
            batches=query.batch or None,
        )
        times = _times({start for start, _ in found}, query.bucket)
        series = [
            {"value": _shown(value, snapshot, column), "rows": [found.get((time, place), 0) for time in times]}
            for place, value in enumerate(values)
        ]
        other = [] if column is None else [found.get((time, len(values)), 0) for time in times]
        return {"times": [_whole(time) for time in times], "series": series, "other": other}

    def crosstab(self, snapshot: Snapshot, query: CrossQuery) -> dict[str, Any]:
        """Two columns against each other."""
        a, b = reference_of(snapshot.schema, query.a), reference_of(snapshot.schema, query.b)

        (of_a, of_b, found), sampled = over_rows(
            self._asking,
            snapshot,
            self._condition(snapshot, query),
            [a, b],
            lambda rows: against(rows, a, b, top=query.top),
            batches=query.batch or None,
            sampled=True,
        )
        return {
            "a": [_shown(value, snapshot, a) for value in of_a],
            "b": [_shown(value, snapshot, b) for value in of_b],
            "cells": [[found.get((row, column), 0) for column in range(len(of_b))] for row in range(len(of_a))],
            "otherA": sum(count for (row, _), count in found.items() if row == len(of_a)),
            "otherB": sum(count for (_, column), count in found.items() if column == len(of_b)),
            "sampled": None if sampled is None else {"rows": sampled},
        }

    def activity(self, snapshots: Iterable[Snapshot], query: ActivityQuery, now: datetime) -> dict[str, Any]:
        """Rows written over time, by dataset."""
        step = _STEPS[query.bucket]
        end = _time(query.to, "to") if query.to is not None else now
        start = _time(query.since, "from") if query.since is not None else end - 48 * step
        times = _between(start, end, query.bucket)
        first = _whole(times[0]) if times else format_time(start)
        series = []
        for snapshot in snapshots:
            (_, found), _ = over_rows(
                self._asking,
                snapshot,
                Condition(),
                [TIME],
                lambda rows: over_time(rows, None, bucket=query.bucket, top=1),
                since=first[:-1],
            )
            series.append({"dataset": snapshot.dataset, "rows": [found.get((time, 0), 0) for time in times]})
        return {
            "bucket": query.bucket,
            "from": format_time(start),
            "to": format_time(end),
            "times": [_whole(time) for time in times],
            "series": series,
        }

    def _condition(self, snapshot: Snapshot, query: Selection) -> Condition:
        return self._asking.condition(snapshot, filter_of(query, snapshot.schema))


def _profile_entry(found: Profile, kind: ColumnType, *, is_time: bool) -> dict[str, Any]:
    safe = CellWriter().safe

    def bars(some: tuple[Bar, ...] | None, *, times: bool) -> list[dict[str, Any]] | None:
        if some is None:
            return None
        return [
            {"from": _moment(bar.start) if times else bar.start, "to": _moment(bar.end) if times else bar.end}
            | {"rows": bar.rows}
            for bar in some
        ]

    return {
        "rows": found.rows,
        "nulls": found.nulls,
        "distinct": {"count": found.distinct, "approximate": found.approximate},
        "histogram": bars(found.histogram, times=is_time),
        "lengths": bars(found.lengths, times=False),
        "top": None
        if found.top is None
        else [{"value": _decoded(value, kind), "rows": count} for value, count in found.top],
        "min": _decoded(found.low, kind),
        "max": _decoded(found.high, kind),
        "mean": safe(found.mean),
    }


def _shown(value: object, snapshot: Snapshot, column: Reference | None) -> object:
    return value if column is None else _decoded(value, snapshot.type_of(column))


def _decoded(value: object, kind: ColumnType) -> object:
    """A value as people know it: JSON text that is whole is what it says."""
    if kind is ColumnType.JSON and isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return CellWriter().safe(value)
    return CellWriter().safe(value)


def _time(text: str, name: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise QueryError(f"parameter {name!r} is no time, such as 2026-11-20T13:00:00Z", name) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _moment(seconds: float) -> str:
    try:
        return format_time(datetime.fromtimestamp(seconds, UTC))
    except (OverflowError, OSError, ValueError):
        return str(seconds)


def _whole(prefix: str) -> str:
    """The time at which a bucket begins."""
    return prefix + "0000-01-01T00:00:00Z"[len(prefix) :] if len(prefix) < 20 else prefix  # noqa: PLR2004 - its length


def _between(start: datetime, end: datetime, bucket: str) -> list[str]:
    step, length = _STEPS[bucket], PREFIXES[bucket]
    if (end - start) / step > MAX_BUCKETS:
        raise QueryError(f"more than {MAX_BUCKETS} buckets: choose a larger bucket or a shorter time", "bucket")
    moment = datetime.fromisoformat(_whole(format_time(start)[:length]))
    found = []
    while moment < end:
        found.append(format_time(moment)[:length])
        moment += step
    return found


def _times(present: set[str], bucket: str) -> list[str]:
    """All buckets from the first to the last that has rows, if there are few enough; else those that have rows."""
    if not present:
        return []
    if bucket in _STEPS:
        try:
            first, last = (datetime.fromisoformat(_whole(time)) for time in (min(present), max(present)))
            if (last - first) / _STEPS[bucket] <= MAX_BUCKETS:
                return _between(first, last + _STEPS[bucket], bucket)
        except (ValueError, OverflowError):
            pass
    return sorted(present)[-MAX_BUCKETS:]
