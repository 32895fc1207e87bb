from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datalake_service.config.filters import BooleanFilter, RawDuckFilter
from datalake_service.errors import (
    DatasetNotFoundError,
    DatasetNotMergedError,
    FilterError,
    NameNotAllowedError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.view_plan import ViewRequest
from datalake_service.pipeline.views import DatasetView
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.engine import EngineLimits
from datalake_service.tables.rows import ExportRow
from tests.support.lake import CREATED_AT, put_annotations, put_rows
from tests.support.remote import RemoteStore

TEXTS = [{"text": f"text {number}", "n": number} for number in range(10)]


def view(store: ObjectStore, *, limits: EngineLimits | None = None, **request: Any) -> DatasetView:
    """A view of the dataset ``posts``."""
    return DatasetView(store, ViewRequest(dataset="posts", **request), limits=limits)


def sql(text: str) -> RawDuckFilter:
    """A raw filter."""
    return RawDuckFilter(sql=text)


def dicts(rows: DatasetView) -> list[dict[str, Any]]:
    """All rows as plain dicts."""
    with rows:
        return [dict(row) for row in rows]


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


# Rows ------------------------------------------------------------------------------------------------


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
    for limits in (EngineLimits(), EngineLimits(sort_bytes=0)):
        rows = view(folder_store, filter=sql("lang.ok AND n < 9"), limits=limits)
        assert [item.id for block in rows.read("b", leave_out=["4", "who"]) for item in block] == ["3"]


# Errors ----------------------------------------------------------------------------------------------


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
        {"fraction": 1.5}, {"fraction": "all"}, {"fraction": float("nan")}, {"base_columns": [1]},
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


# What else happens meanwhile -------------------------------------------------------------------------


def remote(folder_store: FolderStore) -> RemoteStore:
    """The same lake across a network."""
    return RemoteStore(folder_store)


@pytest.mark.parametrize("make", [lambda store: store, remote])
def test_a_batch_that_was_replaced_before_it_is_read(
    folder_store: FolderStore, make: Callable[[FolderStore], ObjectStore]
) -> None:
    """It is planned again: the rows of now, joined with the annotations of now."""
    put_rows(folder_store, "posts", "b1", [{"id": "x", "text": "old"}])
    put_rows(folder_store, "posts", "b2", [{"id": "y", "text": "other"}])
    with view(make(folder_store), annotator_columns={"lang": ["ok"]}) as rows:
        put_rows(folder_store, "posts", "b1", [{"id": "w", "text": "new"}, {"id": "x", "text": "old"}])
        put_annotations(folder_store, "posts", "lang", "b1", {"x": {"ok": True}})
        assert [(row.id, row["text"], row["lang.ok"]) for row in rows] == [
            ("w", "new", None), ("x", "old", True), ("y", "other", None),
        ]  # fmt: skip


@pytest.mark.parametrize("make", [lambda store: store, remote])
def test_a_batch_that_is_replaced_while_it_is_read(
    folder_store: FolderStore, make: Callable[[FolderStore], ObjectStore]
) -> None:
    """One version to its end, never a mixture."""
    old = [{"text": f"old {number}"} for number in range(20_000)]
    put_rows(folder_store, "posts", "b", old, group_rows=2_000)
    with view(make(folder_store)) as rows:
        texts: list[str] = []
        for row in rows:
            if not texts:
                put_rows(folder_store, "posts", "b", [{"text": "new"}])
            texts.append(row["text"])
    assert texts == [row["text"] for row in old]


def test_columns_that_change_their_type_meanwhile(folder_store: FolderStore) -> None:
    """Rows are read with the types of now; a table, which has one type for each column, says that it cannot."""
    put_rows(folder_store, "posts", "b", [{"n": 1}])
    with view(folder_store, filter=sql("n = '1' OR n = '\"x\"'")) as rows:
        put_rows(folder_store, "posts", "b", [{"n": 1}, {"n": "x"}])
        assert [row["n"] for row in rows] == [1, "x"]
        with pytest.raises(StoreError, match="changed the type"):
            rows.to_arrow()


def test_an_object_that_never_stays_the_same(folder_store: FolderStore) -> None:
    """Ends with an error after a while."""
    put_rows(folder_store, "posts", "b", TEXTS)
    store = RemoteStore(folder_store)
    rows = view(store)

    def replace(key: str) -> None:
        put_rows(folder_store, "posts", "b", TEXTS)

    store.before_open = replace
    with pytest.raises(StoreError, match="in a row"):
        list(rows)


def test_a_batch_that_is_deleted_meanwhile(folder_store: FolderStore) -> None:
    """No quiet end."""
    meta = put_rows(folder_store, "posts", "b", TEXTS)
    with view(folder_store) as rows:
        folder_store.delete(meta.key)
        with pytest.raises(StoreError, match="deleted"):
            list(rows)


# Life ------------------------------------------------------------------------------------------------


def test_stopping_early_gives_everything_back(folder_store: FolderStore) -> None:
    """Files and databases, at once."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(5_000)))
    before = (descriptors(), threading.active_count())
    for row in view(folder_store):
        assert row.id == "0"
        break
    assert (descriptors(), threading.active_count()) == before


def test_a_pass_cannot_go_on_after_the_view_was_closed(folder_store: FolderStore) -> None:
    """It is an error, because the rows that were not read are missing."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(5_000)))
    before = descriptors()
    with view(folder_store) as rows:
        started = iter(rows)
        next(started)
    assert descriptors() == before
    with pytest.raises(UsageError, match="closed"):
        list(started)


def test_closing_interrupts_a_query_in_another_thread(folder_store: FolderStore) -> None:
    """``close`` does not wait for the end of a long one."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(100_000)))
    rows = view(folder_store, filter=sql("sha256(repeat(CAST(n AS VARCHAR), 10000)) = ''"))
    failures: list[Exception] = []

    def read() -> None:
        try:
            list(rows)
        except (StoreError, UsageError) as error:
            failures.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    while not failures and thread.is_alive():
        rows.close()
        thread.join(0.05)
    thread.join()
    assert failures


def test_async_iteration_leaves_the_event_loop_free(folder_store: FolderStore) -> None:
    """Queries run in threads; every row comes, and errors do."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(3_000)))

    async def main() -> None:
        rows = view(folder_store)
        loop_thread = threading.get_ident()
        threads = set()
        inner = rows.blocks

        def watched() -> Any:
            for block in inner():
                threads.add(threading.get_ident())
                yield block

        rows.blocks = watched  # type: ignore[method-assign]
        assert [row["n"] async for row in rows] == list(range(3_000))
        assert [row["n"] async for row in rows][-1] == 2_999
        assert loop_thread not in threads
        with pytest.raises(FilterError):
            async for _ in view(folder_store, filter=sql("CAST('x' || n AS INTEGER) = 1")):
                pass

    asyncio.run(main())


def test_breaking_out_of_an_async_iteration_gives_everything_back(folder_store: FolderStore) -> None:
    """As in a plain one."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(5_000)))

    async def main() -> None:
        before = descriptors()
        async for _ in view(folder_store):
            break
        while descriptors() > before:  # noqa: ASYNC110 - the thread that read lets go of the block a moment later
            await asyncio.sleep(0.01)

    asyncio.run(main())


# Notes -----------------------------------------------------------------------------------------------


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning."""
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_chunks_that_wait_are_mentioned_once(folder_store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """Those that the merged object contains already do not wait; foreign files do."""
    put_rows(folder_store, "posts", "b1", TEXTS)
    with view(folder_store) as rows:
        list(rows)
    assert warnings(caplog) == []
    folder_store.put("posts/b1/new.jsonl", b"{}\n", mode=Overwrite())
    folder_store.put("posts/b1/rejected/x.jsonl", b"{}\n", mode=Overwrite())
    with view(folder_store) as rows:
        list(rows)
        list(rows)
    (line,) = warnings(caplog)
    assert "1 of 1 batches have chunks" in line


def test_annotations_that_wait_are_mentioned(folder_store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """Only those of annotators that the view shows."""
    put_rows(folder_store, "posts", "b1", TEXTS)
    folder_store.put("posts/annotations/lang/.temp/a1b2c3_chunk_00000.jsonl", b"{}\n", mode=Overwrite())
    view(folder_store, annotator_columns={})
    assert warnings(caplog) == []
    view(folder_store)
    (line,) = warnings(caplog)
    assert "--annotator posts:lang" in line


@pytest.mark.parametrize(
    "request_",
    [
        {"filter": sql("txet = 'x' OR txet IS NULL")},
        {"base_filter": BooleanFilter(field="txet", value=True)},
        {"base_columns": ["txet"]},
    ],
)
def test_a_column_that_is_nowhere_is_mentioned_once(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture, request_: dict[str, Any]
) -> None:
    """With the nearest name."""
    put_rows(folder_store, "posts", "b1", TEXTS)
    put_rows(folder_store, "posts", "b2", TEXTS)
    dicts(view(folder_store, **request_))
    (line,) = warnings(caplog)
    assert "'txet'" in line
    assert "did you mean 'text'" in line


# Tables ----------------------------------------------------------------------------------------------

MIXED: Sequence[dict[str, Any]] = [
    {"i": 1, "f": 1.5, "n": 1, "s": "x", "b": True, "big": 2**63, "j": {"k": [1]}},
    {"i": 2**60, "f": 2.0, "n": 0.5, "s": "é", "b": False, "big": -1, "j": None},
]


def test_an_arrow_table_has_the_types_of_all_batches(folder_store: FolderStore) -> None:
    """int64 and double become double where that is exact; every other mix is JSON text."""
    put_rows(folder_store, "posts", "b1", MIXED)
    put_rows(folder_store, "posts", "b2", [{"i": "text", "f": 3, "n": 7, "s": float("nan"), "b": None, "extra": 1}])
    put_annotations(folder_store, "posts", "lang", "b2", {"0": {"ok": True}})
    table = view(folder_store).to_arrow()
    types = {field.name: field.type for field in table.schema}
    assert types == {
        "id": pa.string(), "i": pa.string(), "f": pa.float64(), "n": pa.float64(), "s": pa.string(), "b": pa.bool_(),
        "big": pa.string(), "j": pa.string(), "_batch": pa.string(), "_created_at": pa.string(), "extra": pa.int64(),
        "lang.ok": pa.bool_(),
    }  # fmt: skip
    assert table.column("i").to_pylist() == ["1", str(2**60), '"text"']
    assert table.column("f").to_pylist() == [1.5, 2.0, 3.0]
    assert table.column("n").to_pylist() == [1.0, 0.5, 7.0]
    assert table.column("s").to_pylist() == ['"x"', '"é"', "NaN"]
    assert table.column("big").to_pylist() == [str(2**63), "-1", None]
    assert table.column("j").to_pylist() == ['{"k":[1]}', None, None]
    assert table.column("_batch").to_pylist() == ["b1", "b1", "b2"]
    assert table.schema.field("i").metadata[b"datalake.type"] == b"json"


def test_tables_of_chosen_columns_hold_those_only(folder_store: FolderStore) -> None:
    """And ``id``."""
    put_rows(folder_store, "posts", "b1", MIXED)
    assert view(folder_store, base_columns=["s", "_batch"]).to_arrow().column_names == ["id", "s", "_batch"]


def test_data_frames_keep_integers(folder_store: FolderStore) -> None:
    """A null beside them makes no floats of them."""
    put_rows(folder_store, "posts", "b", [{"i": 2**60 + 1, "b": True}, {"s": "x"}])
    frame = view(folder_store).to_pandas()
    assert frame["i"].tolist()[0] == 2**60 + 1
    assert frame["b"].tolist()[0] is True
    polars = view(folder_store).to_polars()
    assert polars["i"].to_list() == [2**60 + 1, None]
    assert polars["s"].to_list() == [None, "x"]


def test_a_parquet_file_appears_when_it_is_complete(folder_store: FolderStore, tmp_path: Path) -> None:
    """And an old one stays if the new one cannot be made."""
    put_rows(folder_store, "posts", "b", ({"n": number, "": str(number)} for number in range(20_000)))
    target = tmp_path / "out.parquet"
    assert view(folder_store, filter=sql("n >= 100")).to_parquet(target) == 19_900
    assert pq.read_table(target).column("n").to_pylist() == list(range(100, 20_000))
    with pytest.raises(FilterError):
        view(folder_store, filter=sql("CAST(if(n = 19000, 'x', '1') AS INTEGER) = 1")).to_parquet(str(target))
    assert pq.read_metadata(target).num_rows == 19_900
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["out.parquet"]
    with pytest.raises(UsageError, match="cannot write"):
        view(folder_store).to_parquet(tmp_path / "nowhere" / "out.parquet")


# Names -----------------------------------------------------------------------------------------------

WEIRD = [
    "",
    'a"b',
    "select",
    "Text",
    "text",
    "a.b",
    "new\nline",
    "é",
    "\ud800",
    "nul\0",
    "id ",
    "'",
    "row_number",
    "o0",
]


@pytest.mark.parametrize("limits", [EngineLimits(), EngineLimits(sort_bytes=0)])
def test_any_column_name_goes_through(folder_store: FolderStore, limits: EngineLimits, tmp_path: Path) -> None:
    """In the base, from an annotator, in rows and tables."""
    row = {name: number for number, name in enumerate(WEIRD)}
    put_rows(folder_store, "posts", "b", [{"id": "x", **row}])
    put_annotations(folder_store, "posts", "my-ann", "b", {"x": row})
    expected = {"id": "x", **row, **{f"my-ann.{name}": value for name, value in row.items()}}
    rows = view(folder_store, limits=limits)
    assert dicts(rows) == [expected]
    assert dicts(view(folder_store, base_columns=WEIRD, annotator_columns={"my-ann": WEIRD}, limits=limits)) == [
        expected
    ]
    assert len(rows.to_arrow().schema) == len(expected) + 2
    assert rows.to_parquet(tmp_path / "x.parquet") == 1
    for name, value in row.items():
        if name and name.isprintable():
            quoted = '"' + name.replace('"', '""') + '"'
            chosen = view(
                folder_store, filter=sql(f'{quoted} = {value} AND "my-ann".{quoted} = {value}'), limits=limits
            )
            assert chosen.count() == 1, name


# S3 --------------------------------------------------------------------------------------------------


def test_a_view_of_a_bucket(s3_store: ObjectStore) -> None:
    """Rows, joins, tables, chosen columns: the same as on a folder."""
    put_rows(s3_store, "posts", "b1", TEXTS)
    put_rows(s3_store, "posts", "b2", TEXTS)
    put_annotations(s3_store, "posts", "lang", "b2", {"3": {"ok": True}})
    chosen = view(s3_store, base_columns=["text"], filter=BooleanFilter(field="lang.ok", value=True))
    assert dicts(chosen) == [{"id": "3", "text": "text 3", "lang.ok": True}]
    assert view(s3_store).count() == 20
    assert view(s3_store).to_arrow().num_rows == 20


def test_a_lean_view_stays_lean(folder_store: FolderStore) -> None:
    """Of a batch with long texts, two small columns are fetched and nothing else."""
    rows = [{"text": os.urandom(600).hex(), "n": number} for number in range(4_000)]
    meta = put_rows(folder_store, "posts", "b", rows, group_rows=1_000)
    put_annotations(folder_store, "posts", "lang", "b", {str(number): {"ok": number == 7} for number in range(4_000)})
    store = RemoteStore(folder_store)
    chosen = view(store, base_columns=["n"], annotator_columns={}, filter=BooleanFilter(field="lang.ok", value=True))
    assert dicts(chosen) == [{"id": "7", "n": 7}]
    assert sum(size for key, size in store.read if key == meta.key) < meta.size / 5
