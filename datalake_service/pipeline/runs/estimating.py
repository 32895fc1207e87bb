"""What annotating the rest will take: a sample is asked for real, stored, and never paid for again.

The rows of the sample are those with the smallest hashes of those that are left, so they are the ones that a small
``fraction`` selects: asking them is a run like any other. What each of them took stands in their annotations.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final

from datalake_service.annotating.estimate import Pace, Prediction, SampledRow, predict
from datalake_service.catalog.annotations import FAILED
from datalake_service.config.annotator import AnnotatorConfig
from datalake_service.config.dataset import DatasetConfig
from datalake_service.pipeline.annotation.finished_rows import FinishedRows
from datalake_service.pipeline.annotation.job import AnnotationOptions
from datalake_service.pipeline.runs.annotators import Rows, view_request
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore

_BITS: Final = 64
"""Of a hash that ``fraction`` looks at."""
_SLACK: Final = 1 << (_BITS - 52)
"""What a ``float`` cannot tell apart, of a hash."""
_TOOK: Final = ("_status", "_seconds", "_attempts", "_cost", "_input_tokens", "_output_tokens")

RowName = tuple[str, str]
"""Batch and id."""
_Hashed = tuple[int, RowName]
"""A row with what is smaller the larger its hash is."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Rows to ask first."""

    names: frozenset[RowName]
    rows: Rows
    """What selects them, of the rows that are left."""
    left: int
    """All rows that are left, the sample included."""


def choose_sample(
    store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, rows: Rows, *, count: int
) -> Sample:
    """Look at the ids of all rows that are left, and choose ``count`` of them at random: always the same ones.

    Fewer, if ids occur in several batches; then at least those with one id.

    Raises:
        UsageError: The dataset or a column of a filter is not there.
        StoreError: The lake cannot be read.
    """
    left = 0
    smallest: list[_Hashed] = []  # one more than are wanted, the largest hash first
    alike: list[_Hashed] = []  # those with the smallest hash of all
    for name in _rows_left(store, config, annotator, rows):
        left += 1
        one = -int.from_bytes(hashlib.sha256(name[1].encode()).digest()[: _BITS // 8]), name
        alike = [one] if not alike or one[0] > alike[0][0] else [*alike, one] if one[0] == alike[0][0] else alike
        if len(smallest) <= count:
            heapq.heappush(smallest, one)
        elif one > smallest[0]:
            heapq.heapreplace(smallest, one)
    if left <= count:
        return Sample(frozenset(name for _, name in smallest), rows, left)
    # Rows of several batches may share an id, and are selected together: rather fewer than that many too many.
    chosen = [one for one in smallest if one[0] > smallest[0][0]] or alike
    largest = -min(hashed for hashed, _ in chosen)
    fraction = min(1.0, (largest + _SLACK) / (1 << _BITS))
    return Sample(frozenset(name for _, name in chosen), replace(rows, fraction=fraction, sample=True), left)


def _rows_left(store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, rows: Rows) -> Iterator[RowName]:
    request = replace(view_request(config, annotator, rows), base_columns=(), annotator_columns={})
    with closing(DatasetView(store, request)) as view:
        finished = FinishedRows(store, config.dataset_name, annotator.annotator_name)
        for batch in view.batches:
            for block in view.read(batch, leave_out=finished.of(batch)):
                yield from ((batch, item.id) for item in block)


def predict_rest(
    store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, sample: Sample, options: AnnotationOptions
) -> Prediction | None:
    """What the rows that are left will take, once the sample is asked and merged; ``None``: none of it was.

    Raises:
        StoreError: The lake cannot be read.
    """
    took = list(_took(store, config, annotator, sample))
    if not took:
        return None
    calls = options.calls
    requests, tokens, at_once = (None, None, None) if calls is None else (calls.requests, calls.tokens, calls.at_once)
    pace = Pace(
        at_once=min(options.max_concurrency, at_once or options.max_concurrency),
        calls_per_second=None if requests is None else requests.most / requests.per_seconds,
        tokens_per_second=None if tokens is None else tokens.most / tokens.per_seconds,
    )
    return predict(took, sample.left - len(took), pace)


def _took(
    store: ObjectStore, config: DatasetConfig, annotator: AnnotatorConfig, sample: Sample
) -> Iterator[SampledRow]:
    name = annotator.annotator_name
    request = replace(
        view_request(config, annotator, sample.rows), base_columns=(), annotator_columns={name: _TOOK}, filter=None
    )
    with closing(DatasetView(store, request)) as view:
        for row in view:
            if (row.batch, row.id) in sample.names and row[f"{name}._status"] is not None:
                yield _sampled({column: row[f"{name}.{column}"] for column in _TOOK})


def _sampled(row: dict[str, Any]) -> SampledRow:
    return SampledRow(
        seconds=row["_seconds"] or 0.0,
        calls=row["_attempts"] or 1,
        tokens=(row["_input_tokens"] or 0) + (row["_output_tokens"] or 0),
        cost=row["_cost"] or 0.0,
        failed=row["_status"] == FAILED,
    )
