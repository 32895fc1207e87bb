"""Rows that are left when ids are left out: exactly those, in order, and no byte of the others' text."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.pipeline.annotation.finished_rows import FinishedRows
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import EngineLimits
from datalake_service.tables.queries.rows_left import _MAX_RANGES, _ranges
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore
from tests.support.views import sql, view

GROUP, GROUPS = 50, 12
ROWS = GROUP * GROUPS
LIMITS = (EngineLimits(), EngineLimits(sort_bytes=0), EngineLimits(narrow_bytes=0))


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """A batch of twelve row groups of half a megabyte, a third of which is annotated."""
    store = FolderStore(Path(tmp_path_factory.mktemp("lake")), durable=False)
    texts = random.Random(1)
    put_rows(
        store, "posts", "b", ({"n": n, "text": texts.randbytes(9_000).hex()} for n in range(ROWS)), group_rows=GROUP
    )
    put_annotations(store, "posts", "lang", "b", {str(n): {"ok": n % 2 == 0} for n in range(0, ROWS, 3)})
    return store


def read(store: ObjectStore, leave_out: Collection[str], limits: EngineLimits = LIMITS[0], **request: Any) -> list[int]:
    """The numbers of the rows that are left, as they come."""
    with view(store, limits=limits, **request) as rows:
        return [item.data["n"] for block in rows.read("b", leave_out=leave_out) for item in block]


def text_bytes(lake: FolderStore, leave_out: Collection[str], **request: Any) -> int:
    """Bytes read of the batch across a network."""
    store = RemoteStore(lake)
    read(store, leave_out, **request)
    return sum(size for key, size in store.read if key == "posts/b/merged.parquet")


REQUESTS: dict[str, tuple[dict[str, Any], Callable[[int], bool]]] = {
    "all": ({"annotator_columns": {}}, lambda n: True),
    "joined": ({}, lambda n: True),
    "filtered": ({"filter": sql("lang.ok OR n < 100")}, lambda n: n % 6 == 0 or n < 100),
}


@settings(max_examples=12, deadline=None)
@given(data=st.data(), request=st.sampled_from(sorted(REQUESTS)), limits=st.sampled_from(LIMITS), remote=st.booleans())
def test_exactly_the_others_are_left(
    lake: FolderStore, data: st.DataObject, request: str, limits: EngineLimits, *, remote: bool
) -> None:
    """Whatever is left out: whole row groups, single rows, everything, ids of no row."""
    spans = data.draw(st.lists(st.tuples(st.integers(0, GROUPS), st.integers(0, GROUPS)), max_size=3))
    single = data.draw(st.lists(st.integers(-5, ROWS + 5), max_size=20))
    out = {n for start, end in spans for n in range(start * GROUP, end * GROUP)} | set(single)
    store = RemoteStore(lake) if remote else lake
    wanted, shown = REQUESTS[request]
    assert read(store, {str(n) for n in out}, limits, **wanted) == [n for n in range(ROWS) if n not in out and shown(n)]


def test_a_row_group_without_a_row_that_is_left_is_not_read(lake: FolderStore) -> None:
    """Of the rest nothing but what is needed; when all is done, only the ids."""
    everything = text_bytes(lake, ["x"], annotator_columns={})
    half = text_bytes(lake, [str(n) for n in range(ROWS // 2)], annotator_columns={})
    nothing = text_bytes(lake, [str(n) for n in range(ROWS)], annotator_columns={})
    scattered = text_bytes(lake, [str(n) for n in range(ROWS) if n % 2], annotator_columns={})
    assert everything > ROWS * 9_000
    assert half < 0.55 * everything
    assert nothing < 70_000, "the footer and the ids"
    assert scattered <= 1.01 * everything, "texts lie so close that fetching what is between them costs less"


def test_the_same_with_filters_over_annotations(lake: FolderStore) -> None:
    """The sorted way and the streamed one."""
    for limits in LIMITS:
        whole, half = (
            text_bytes(lake, [str(n) for n in range(end)], limits=limits, filter=sql("lang.ok"))
            for end in (1, ROWS // 2)
        )
        assert half < 0.55 * whole


def test_what_is_finished_is_left_out(lake: FolderStore) -> None:
    """As an annotation run asks."""
    finished = FinishedRows(lake, "posts", "lang").of("b")
    assert len(finished) == ROWS // 3
    for store in (lake, RemoteStore(lake)):
        assert read(store, finished) == [n for n in range(ROWS) if n % 3]


def test_scattered_row_groups_are_read_in_few_ranges() -> None:
    """With what lies between the nearest of them; none is forgotten."""
    assert _ranges([0, 1, 2, 5, 9, 10]) == [(0, 3), (5, 6), (9, 11)]
    assert _ranges([]) == []
    groups = [*range(0, 100, 2), *range(200, 400, 5)]
    found = _ranges(groups)
    assert len(found) == _MAX_RANGES
    assert set(groups) <= {group for start, end in found for group in range(start, end)}
    assert sum(end - start for start, end in found) < 300
