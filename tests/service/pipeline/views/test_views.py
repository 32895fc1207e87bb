from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.filters import BooleanFilter
from datalake_service.errors import (
    DatasetNotFoundError,
    DatasetNotMergedError,
    FilterError,
    NameNotAllowedError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import EngineLimits
from datalake_service.tables.formats.rows import ExportRow
from tests.support.lake import CREATED_AT, put_annotations, put_rows
from tests.support.views import TEXTS, descriptors, dicts, sql, view


def test_keys_of_a_row(folder_store: FolderStore) -> None:
    """Base columns plain, annotators qualified; system columns can be asked for without being keys."""
    put_rows(folder_store, "posts", "b", [{"id": "x", "text": "hello"}])
    put_annotations(folder_store, "posts", "lang", "b", {"x": {"label": "en"}})
    (row,) = view(folder_store)
    assert row == {"id": "x", "text": "hello", "lang.label": "en"}
    assert (row.id, row.batch, row.created_at) == ("x", "b", CREATED_AT)
    assert (row["_batch"], row["_created_at"]) == ("b", CREATED_AT)
    assert isinstance(row, ExportRow)
    assert isinstance(row, dict)
    with pytest.raises(KeyError):
        row["nothing"]


def test_system_columns_are_keys_if_they_are_named(folder_store: FolderStore) -> None:
    """For those who want to see them."""
    put_rows(folder_store, "posts", "b", [{"id": "x"}])
    assert dicts(view(folder_store, base_columns=["_batch", "_created_at"])) == [
        {"id": "x", "_batch": "b", "_created_at": CREATED_AT}
    ]


def test_columns_can_be_chosen(folder_store: FolderStore) -> None:
    """In the order they were asked for; ``id`` is always there."""
    put_rows(folder_store, "posts", "b", TEXTS)
    put_annotations(folder_store, "posts", "lang", "b", {"3": {"label": "en", "ok": True}})
    chosen = view(folder_store, base_columns=["n"], annotator_columns={"lang": ["ok"]}, filter=sql("n = 3"))
    assert dicts(chosen) == [{"id": "3", "n": 3, "lang.ok": True}]
    assert chosen.columns == ("id", "n", "lang.ok")
    assert dicts(view(folder_store, base_columns=[], annotator_columns={"lang": None}, filter=sql("n = 3"))) == [
        {"id": "3", "lang.label": "en", "lang.ok": True}
    ]
    assert dicts(view(folder_store, base_columns=["id"], annotator_columns={}, filter=sql("n = 3"))) == [{"id": "3"}]


def test_annotations_are_joined_by_batch_and_id(folder_store: FolderStore) -> None:
    """The same id in another batch is another row."""
    for batch in ("b1", "b2"):
        put_rows(folder_store, "posts", batch, [{"id": "same", "text": batch}])
    put_annotations(folder_store, "posts", "lang", "b2", {"same": {"label": "two"}, "unknown": {"label": "?"}})
    assert [(row["text"], row["lang.label"]) for row in view(folder_store)] == [("b1", None), ("b2", "two")]


def test_only_finished_annotations_count(folder_store: FolderStore) -> None:
    """Failed and skipped rows are null, unless somebody asks how far they are."""
    put_rows(folder_store, "posts", "b", TEXTS[:3])
    put_annotations(folder_store, "posts", "lang", "b", {"0": {"ok": True}, "1": "failed", "2": "skipped"})
    assert [row["lang.ok"] for row in view(folder_store)] == [True, None, None]
    failed = view(folder_store, filter=sql("lang._status = 'failed'"), annotator_columns={"lang": ["_error", "ok"]})
    assert [(row.id, row["lang._error"], row["lang.ok"]) for row in failed] == [("1", "it broke", None)]


def test_an_annotator_that_does_not_exist_yet_is_null(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """A filter on it selects nothing, rather than everything; one line says so."""
    put_rows(folder_store, "posts", "b", TEXTS)
    put_annotations(folder_store, "posts", "langs", "b", {})
    later = view(folder_store, annotator_columns={"lang": ["label"]})
    assert [row["lang.label"] for row in later] == [None] * 10
    assert dicts(view(folder_store, filter=BooleanFilter(field="lang.ok", value=True))) == []
    assert dicts(view(folder_store, annotator_filters={"lang": sql("label = 'en'")})) == []
    assert "'langs'" in caplog.text


def test_rows_keep_the_order_of_the_batch(folder_store: FolderStore) -> None:
    """With several threads and row groups, joined both ways; annotations lie in another order."""
    count = 30_000
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(count)), group_rows=3_000)
    backwards = {str(number): {"twice": 2 * number} for number in reversed(range(0, count, 3))}
    put_annotations(folder_store, "posts", "double", "b", backwards)
    for limits in (EngineLimits(threads=4), EngineLimits(threads=4, sort_bytes=0)):
        rows = list(view(folder_store, limits=limits))
        assert [row["n"] for row in rows] == list(range(count))
        assert all(row["double.twice"] == (None if row["n"] % 3 else 2 * row["n"]) for row in rows)
        chosen = view(folder_store, filter=sql("n % 5 = 0 AND double.twice % 4 = 0"), limits=limits)
        assert [row["n"] for row in chosen] == [n for n in range(count) if n % 5 == 0 and n % 6 == 0]


def test_batches_without_rows(folder_store: FolderStore) -> None:
    """An empty batch shows nothing; a dataset of nothing but empty batches neither."""
    put_rows(folder_store, "posts", "b0", [])
    assert dicts(view(folder_store)) == []
    assert view(folder_store).to_arrow().num_rows == 0
    put_rows(folder_store, "posts", "b1", TEXTS)
    put_rows(folder_store, "posts", "b2", [])
    assert len(dicts(view(folder_store))) == 10


def test_a_view_can_be_read_again(folder_store: FolderStore) -> None:
    """Also while another pass over it is under way."""
    put_rows(folder_store, "posts", "b", TEXTS)
    with view(folder_store) as rows:
        first = iter(rows)
        assert next(first).id == "0"
        assert len(list(rows)) == 10
        assert len(list(first)) == 9


def test_batches_can_be_chosen(folder_store: FolderStore) -> None:
    """By name, each once; one that does not exist is an error with the nearest names."""
    for batch in ("b1", "b10", "b2"):
        put_rows(folder_store, "posts", batch, [{"text": batch}])
    assert [row.batch for row in view(folder_store)] == ["b1", "b10", "b2"]
    assert [row.batch for row in view(folder_store, batches=["b2", "b1", "b2"])] == ["b2", "b1"]
    with pytest.raises(UsageError, match="no batch 'b11'; did you mean 'b1"):
        view(folder_store, batches=["b11"])


def test_many_batches_share_databases(folder_store: FolderStore) -> None:
    """More files than one database is given, and than a process should have open at once."""
    for number in range(120):
        put_rows(folder_store, "posts", f"b{number:03}", [{"n": number}])
    before = descriptors()
    most = 0
    with view(folder_store) as rows:
        for row in rows:
            most = max(most, descriptors() - before)
            assert row.batch == f"b{row['n']:03}"
        assert rows.count() == 120
    assert most < 80
    assert descriptors() == before


def test_items_for_an_annotator(folder_store: FolderStore) -> None:
    """In blocks; without the ids that are left out; nothing for a batch that is not in the view."""
    put_rows(folder_store, "posts", "b1", ({"text": str(number)} for number in range(700)))
    put_rows(folder_store, "posts", "b2", TEXTS)
    put_annotations(folder_store, "posts", "lang", "b1", {"699": {"ok": True}})
    with view(folder_store, batches=["b1"]) as rows:
        blocks = list(rows.read("b1", leave_out={str(number) for number in range(100)}))
        assert len(blocks) > 1
        items = [item for block in blocks for item in block]
        assert [item.id for item in items] == [str(number) for number in range(100, 700)]
        assert items[-1].batch == "b1"
        assert items[-1].data == {"id": "699", "text": "699", "lang.ok": True}
        assert list(rows.read("b2")) == []


def test_leaving_out_goes_with_filters_and_both_joins(folder_store: FolderStore) -> None:
    """Ids that are no rows do not matter."""
    put_rows(folder_store, "posts", "b", TEXTS)
    put_annotations(folder_store, "posts", "lang", "b", {"3": {"ok": True}, "4": {"ok": True}, "9": {"ok": True}})
    for limits in (EngineLimits(), EngineLimits(sort_bytes=0), EngineLimits(narrow_bytes=0, large_value=0)):
        rows = view(folder_store, filter=sql("lang.ok AND n < 9"), limits=limits)
        assert [item.id for block in rows.read("b", leave_out=["4", "who"]) for item in block] == ["3"]


# Errors ---------------------------------------------------------------------------------------------


def test_a_dataset_that_does_not_exist(folder_store: FolderStore) -> None:
    """The nearest name is offered."""
    put_rows(folder_store, "post", "b", TEXTS)
    with pytest.raises(DatasetNotFoundError, match="did you mean 'post'"):
        view(folder_store)


def test_a_dataset_that_was_never_merged(folder_store: FolderStore) -> None:
    """Says what to run; batches that are not merged are skipped once one is."""
    folder_store.put("posts/b1/a1b2c3_chunk_00000.jsonl", b"{}\n", mode=Overwrite())
    with pytest.raises(DatasetNotMergedError, match="clean-up --dataset posts"):
        view(folder_store)
    put_rows(folder_store, "posts", "b2", TEXTS)
    assert len(dicts(view(folder_store))) == 10
    with pytest.raises(DatasetNotMergedError, match="b1"):
        view(folder_store, batches=["b1"])


@pytest.mark.parametrize(
    "request_",
    [
        {"base_columns": "text"}, {"batches": "b"}, {"annotator_columns": {"lang": "label"}}, {"fraction": 0},
        {"annotator_columns": ["lang"]}, {"fraction": 1.5}, {"fraction": "all"}, {"fraction": float("nan")},
        {"base_columns": [1]},
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(folder_store: FolderStore, request_: dict[str, Any]) -> None:
    """Before anything is read."""
    with pytest.raises(UsageError):
        view(folder_store, **request_)


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "annotations", ""])
def test_names_are_checked(folder_store: FolderStore, name: str) -> None:
    """Of datasets and annotators."""
    with pytest.raises(NameNotAllowedError):
        DatasetView(folder_store, ViewRequest(dataset=name))
    with pytest.raises(NameNotAllowedError):
        view(folder_store, annotator_columns={name: []})


def test_two_columns_of_one_name_are_refused(folder_store: FolderStore) -> None:
    """One would hide the other."""
    put_rows(folder_store, "posts", "b", [{"id": "x", "lang.label": "mine"}])
    put_annotations(folder_store, "posts", "lang", "b", {"x": {"label": "theirs"}})
    with pytest.raises(UsageError, match=r"'lang\.label'"):
        view(folder_store)
    assert dicts(view(folder_store, annotator_columns={})) == [{"id": "x", "lang.label": "mine"}]


def test_an_error_in_the_middle_is_raised(folder_store: FolderStore) -> None:
    """After the rows before it, and never taken for the end; the value is not shown."""
    rows = [{"text": str(number) if number != 5_000 else "secret"} for number in range(6_000)]
    put_rows(folder_store, "posts", "b", rows, group_rows=1_000)
    with pytest.raises(FilterError, match="Conversion Error") as caught:
        list(view(folder_store, filter=sql("CAST(text AS INTEGER) >= 0")))
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_damaged_object_is_an_error(folder_store: FolderStore) -> None:
    """Its key is named, no part of it is shown as if it were the whole."""
    meta = put_rows(folder_store, "posts", "b", [{"text": os.urandom(50).hex()} for _ in range(1_000)])
    path = Path(folder_store.uri) / meta.key
    body = bytearray(path.read_bytes())
    body[1_000:30_000] = bytes(29_000)
    folder_store.put(meta.key, bytes(body), mode=Overwrite())
    with pytest.raises(StoreError, match="'b'"):
        list(view(folder_store))


@pytest.mark.parametrize(
    "text",
    [
        "text IN (SELECT content FROM read_text('/etc/passwd'))",
        "(SELECT count(*) FROM glob('/*')) > 0",
        "EXISTS (FROM 'other.parquet')",
    ],
)
def test_a_filter_cannot_reach_files(folder_store: FolderStore, text: str) -> None:
    """It is one expression about a row."""
    put_rows(folder_store, "posts", "b", TEXTS)
    with pytest.raises(FilterError, match="cannot hold a query"):
        view(folder_store, filter=sql(text))
