from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.config.filters import (
    AllFilter,
    AnyFilter,
    BooleanFilter,
    ContainsFilter,
    EqualsFilter,
    InFilter,
    NotFilter,
    NullFilter,
    RangeFilter,
    RawDuckFilter,
)
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import EngineLimits
from tests.support.json_values import COLUMNS, VALUES, as_read_back, canonical
from tests.support.lake import put_annotations, put_rows
from tests.support.views import Annotations, Batches, Node, shown, verdict

LIMITS = [
    EngineLimits(sort_bytes=0),
    EngineLimits(),
    EngineLimits(narrow_bytes=0, large_value=4),
    EngineLimits(narrow_bytes=0, large_value=0, sort_bytes=0),
]
"""Both ways to keep the order of rows: beside each other, and sorted."""

IDS = st.lists(st.text("abcdé'\"", min_size=1, max_size=4), unique=True, max_size=6)


def write(store: FolderStore, batches: Batches, annotations: Annotations) -> None:
    """Put everything into the dataset ``d``."""
    for batch, rows in batches.items():
        put_rows(store, "d", batch, rows, group_rows=2)
    for annotator, by_batch in annotations.items():
        for batch, by_id in by_batch.items():
            put_annotations(store, "d", annotator, batch, by_id)


@st.composite
def lakes(
    draw: st.DrawFn, columns: st.SearchStrategy[str], values: st.SearchStrategy[Any]
) -> tuple[Batches, Annotations]:
    """One to three batches, and annotators that know some of their rows and some others."""
    added = columns.filter(lambda name: not name.startswith("_"))
    batches: dict[str, list[dict[str, Any]]] = {}
    for name in ["b1", "b10", "b2"][: draw(st.integers(1, 3))]:
        ids = draw(IDS)
        batches[name] = [{"id": row_id, **draw(st.dictionaries(columns, values, max_size=4))} for row_id in ids]
    annotations: dict[str, dict[str, dict[str, Any]]] = {}
    for annotator in draw(st.sets(st.sampled_from(["lang", "my-ann", "gpt.4"]), max_size=2)):
        for batch in draw(st.sets(st.sampled_from(["b1", "b10", "gone"]))):
            ids = [row["id"] for row in batches.get(batch, [])]
            known = draw(st.lists(st.sampled_from([*ids, "other"]), unique=True))
            one = st.one_of(st.sampled_from(["failed", "skipped"]), st.dictionaries(added, values, max_size=3))
            annotations.setdefault(annotator, {})[batch] = {
                row_id: draw(one) for row_id in draw(st.permutations(known))
            }
    return batches, annotations


@settings(max_examples=10)
@pytest.mark.parametrize("limits", LIMITS)
@given(lake=lakes(COLUMNS, VALUES))
def test_a_view_shows_exactly_what_went_in(limits: EngineLimits, lake: tuple[Batches, Annotations]) -> None:
    """Any JSON value under any column name, joined across batches with other columns and types, in order."""
    batches, annotations = lake
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        write(store, batches, annotations)
        expected = list(shown(batches, annotations))
        with DatasetView(store, ViewRequest(dataset="d"), limits=limits) as view:
            rows = list(view)
            assert [(row.batch, row.id) for row in rows] == [(row["_batch"], row["id"]) for row in expected]
            for row, wanted in zip(rows, expected, strict=True):
                plain = {name: value for name, value in wanted.items() if name != "_batch"}
                assert canonical(as_read_back(row)) == canonical(as_read_back(plain))
                assert set(row) == set(view.columns)
            assert view.count() == len(expected)
            assert view.to_arrow().num_rows == len(expected)


SQL: dict[str, Any] = {
    "n > 2": lambda row: None if row["n"] is None else row["n"] > 2,
    "n IS NULL": lambda row: row["n"] is None,
    "length(text) > 1": lambda row: None if row["text"] is None else len(row["text"]) > 1,
    "lang.label = 'en'": lambda row: None if row["lang.label"] is None else row["lang.label"] == "en",
    '"my-ann".label <> lang.label': lambda row: (
        None if None in (row["my-ann.label"], row["lang.label"]) else row["my-ann.label"] != row["lang.label"]
    ),
    "NOT (lang.ok OR ok) -- either": lambda row: (
        False if True in (row["lang.ok"], row["ok"]) else None if None in (row["lang.ok"], row["ok"]) else True
    ),
    "missing = 1": lambda row: None,
    "lang.label IS NULL": lambda row: row["lang.label"] is None,
    "coalesce(lang.ok, TRUE)": lambda row: row["lang.ok"] is not False,
    "lang._status = 'failed' OR lang.ok": lambda row: row["lang.failed"] or row["lang.ok"],
    "coalesce(n, 0) + coalesce(lang.score, 0) > 1.5": lambda row: (row["n"] or 0) + (row["lang.score"] or 0) > 1.5,
}
SCALARS = st.one_of(st.integers(0, 4), st.sampled_from(["en", "a", "true"]), st.booleans())
LEAVES = st.one_of(
    st.builds(RawDuckFilter, sql=st.sampled_from(sorted(SQL))),
    st.builds(BooleanFilter, field=st.sampled_from(["ok", "lang.ok", "nope", "n", "odd"]), value=st.booleans()),
    st.builds(EqualsFilter, field=st.sampled_from(["n", "text", "odd", "lang.label", "nope"]), value=SCALARS),
    st.builds(InFilter, field=st.sampled_from(["n", "odd", "lang.label"]), values=st.lists(SCALARS, max_size=2)),
    st.builds(RangeFilter, field=st.sampled_from(["n", "odd", "lang.score"]), ge=st.floats(0, 3)),
    st.builds(ContainsFilter, field=st.sampled_from(["text", "odd", "lang.label"]), value=st.sampled_from(["a", "e"])),
    st.builds(NullFilter, field=st.sampled_from(["n", "lang.ok", "nope"]), value=st.booleans()),
)
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(AllFilter, filters=st.lists(inner, max_size=3)),
        st.builds(AnyFilter, filters=st.lists(inner, max_size=3)),
        st.builds(NotFilter, filter=inner),
    ),
    max_leaves=6,
)
FILTERED = {
    "n": st.one_of(st.integers(0, 4), st.sampled_from([0.5, 2.5, 3.0])),
    "text": st.text("ab", max_size=3),
    "ok": st.booleans(),
    "odd": st.one_of(st.booleans(), st.integers(0, 1), st.sampled_from(["true", "x"])),
}
ADDED = {"label": st.sampled_from(["en", "de"]), "ok": st.booleans(), "score": st.floats(0, 2)}


def some(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Some of the columns."""
    optional = {name: st.one_of(st.none(), values) for name, values in columns.items()}
    return st.fixed_dictionaries({}, optional=optional)


@st.composite
def filtered_lakes(draw: st.DrawFn) -> tuple[Batches, Annotations]:
    """Batches and two annotators with the columns that the filters name."""
    batches = {
        name: [{"id": f"{name}-{number}", **draw(some(FILTERED))} for number in range(draw(st.integers(0, 6)))]
        for name in ["b1", "b2"]
    }
    annotations = {
        annotator: {
            batch: {
                row["id"]: draw(st.one_of(st.just("failed"), some(ADDED)))
                for row in draw(st.permutations(rows))
                if draw(st.booleans())
            }
            for batch, rows in batches.items()
            if draw(st.booleans())
        }
        for annotator in ["lang", "my-ann"]
    }
    return batches, annotations


@settings(max_examples=8)
@pytest.mark.parametrize("limits", LIMITS)
@given(lake=filtered_lakes(), node=NODES, base=st.one_of(st.none(), st.sampled_from(["n > 2", "n IS NULL"])))
def test_filters_select_what_plain_python_selects(
    limits: EngineLimits, lake: tuple[Batches, Annotations], node: Node, base: str | None
) -> None:
    """Nested to any depth, over base and annotators, with SQL's three truth values."""
    batches, annotations = lake
    base_filter = None if base is None else RawDuckFilter(sql=base)
    columns = {"n", "text", "ok", "odd", "nope", *(f"{a}.{c}" for a in ("lang", "my-ann") for c in ADDED)}
    expected = []
    for row in shown(batches, annotations):
        status = annotations["lang"].get(row["_batch"], {}).get(row["id"])
        full = {**dict.fromkeys(columns), **row, "lang.failed": None if status is None else status == "failed"}
        if verdict(node, full, SQL) and (base is None or SQL[base](full)):
            expected.append((row["_batch"], row["id"]))
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        write(store, batches, annotations)
        request = ViewRequest(dataset="d", base_columns=[], annotator_columns={}, filter=node, base_filter=base_filter)
        with DatasetView(store, request, limits=limits) as view:
            assert [(row.batch, row.id) for row in view] == expected
            assert view.count() == len(expected)


@given(fractions=st.lists(st.floats(0.001, 1), min_size=2, max_size=2), ids=st.lists(st.text(min_size=1), unique=True))
@settings(max_examples=8)
def test_a_fraction_is_the_share_of_hashes_below_it(fractions: list[float], ids: list[str]) -> None:
    """By the first 64 bits of SHA-256: the same rows on every machine, and more of them for a larger share."""
    ids = [row_id for row_id in ids if row_id.isprintable()]
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        put_rows(store, "d", "b", [{"id": row_id} for row_id in ids])
        found = []
        for fraction in sorted(fractions):
            with DatasetView(store, ViewRequest(dataset="d", fraction=fraction)) as view:
                found.append([row.id for row in view])
            limit = int(fraction * 2**64)
            assert found[-1] == [
                row_id
                for row_id in ids
                if fraction == 1 or int.from_bytes(hashlib.sha256(row_id.encode()).digest()[:8], "big") < limit
            ]
    assert set(found[0]) <= set(found[1])
