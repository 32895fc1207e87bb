"""Charts of live rows: which rows they are about, and when a sample is enough."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from typing import Final, TypeVar

from datalake_service.pipeline.live.asking import Asking, types_of
from datalake_service.pipeline.live.dataset import RowFile, Snapshot
from datalake_service.tables.database.sql import Reference
from datalake_service.tables.filters.conditions import Condition
from datalake_service.tables.live.profiles import TEXTS, RowSet

SAMPLE_BYTES: Final = 512 << 20
"""Bytes of batches whose texts are looked at; of a larger dataset, a part is, and the answer says so."""

_T = TypeVar("_T")


def over_rows(
    asking: Asking,
    snapshot: Snapshot,
    condition: Condition,
    columns: Sequence[Reference],
    question: Callable[[RowSet], _T],
    *,
    batches: Collection[str] | None = None,
    since: str | None = None,
    sampled: bool = False,
) -> tuple[_T, int | None]:
    """Put a question to the rows that a condition selects.

    Args:
        asking: Puts questions.
        snapshot: The dataset.
        condition: Which rows.
        columns: What the question is about.
        question: Asks.
        batches: Only these; ``None``: all.
        since: Batches whose last row is older than this are left out.
        sampled: Whether some batches are enough where texts would have to be read.

    Returns:
        The answer, and of how many rows it is if it is of a sample.
    """
    rows = [row for row in snapshot.rows if batches is None or row.batch in batches]
    if since is not None:
        rows = [row for row in rows if _newest(row) >= since]
    all_rows = sum(row.file.footer.rows for row in rows)
    if sampled and any(snapshot.type_of(column) in TEXTS for column in columns):
        rows = _sample(rows)
    references = [*columns, *condition.columns.values()]
    with asking.sources(snapshot, rows, references, fenced=condition.raw) as (opened, parts):
        selected = [part.sources for part in parts]
        with closing(RowSet(opened.connection, selected, condition, types_of(snapshot, references))) as asked:
            answer = question(asked)
    looked_at = sum(row.file.footer.rows for row in rows)
    return answer, None if looked_at == all_rows else looked_at


def _newest(row: RowFile) -> str:
    """When the last row of a file was created, at most."""
    column = row.file.footer.columns.get("_created_at")
    groups = () if column is None else row.file.bounds.get(column.position, ())
    highs = [group.high for group in groups]
    return max((high for high in highs if high is not None), default="~") if None not in highs else "~"


def _sample(rows: Sequence[RowFile]) -> list[RowFile]:
    """Files spread evenly over all of them, up to a size."""
    total = sum(row.file.size for row in rows)
    if total <= SAMPLE_BYTES:
        return list(rows)
    step = max(1.0, total / SAMPLE_BYTES)
    chosen, place = [], 0.0
    while int(place) < len(rows):
        chosen.append(rows[int(place)])
        place += step
    return chosen
