from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from datalake_service.config.filters import BooleanFilter
from datalake_service.errors import (
    FilterError,
    StoreError,
    UsageError,
)
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore
from tests.support.views import TEXTS, descriptors, dicts, sql, view

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


def test_an_object_that_is_replaced_while_the_view_is_planned(folder_store: FolderStore) -> None:
    """Once is nothing, ever again is an error."""
    put_rows(folder_store, "posts", "b", TEXTS)
    store = RemoteStore(folder_store)

    def replace_once(key: str) -> None:
        store.before_open = lambda key: None
        put_rows(folder_store, "posts", "b", TEXTS[:3])

    store.before_open = replace_once
    assert view(store).count() == 3

    def replace(key: str) -> None:
        put_rows(folder_store, "posts", "b", TEXTS)

    store.before_open = replace
    with pytest.raises(StoreError, match="in a row"):
        view(store)


def test_a_batch_that_is_deleted_meanwhile(folder_store: FolderStore) -> None:
    """No quiet end."""
    meta = put_rows(folder_store, "posts", "b", TEXTS)
    with view(folder_store) as rows:
        folder_store.delete(meta.key)
        with pytest.raises(StoreError, match="deleted"):
            list(rows)


# Life -----------------------------------------------------------------------------------------------


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


def test_batches_of_a_remote_store_are_brought_in_ahead(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One group at most; one that nobody reads any more is given back, and its failure is nobody's."""
    texts = [{"text": f"{number * 7919:x}" * 50} for number in range(100)]
    for number in range(5):
        put_rows(folder_store, "posts", f"b{number}", texts)
    store = RemoteStore(folder_store)
    monkeypatch.setattr("datalake_service.pipeline.views.reading._REMOTE_BYTES", 1)
    before = (descriptors(), threading.active_count())
    rows = view(store)
    assert [row.batch for row in rows] == [f"b{number}" for number in range(5) for _ in range(100)]
    store.read.clear()
    with rows:
        assert next(iter(rows)).batch == "b0"
    assert {key.split("/")[1] for key, _ in store.read} <= {"b0", "b1"}
    folder_store.delete("posts/b1/merged.parquet")
    with rows:
        assert next(iter(rows)).batch == "b0"
    with pytest.raises(StoreError, match="b1/ was deleted"):
        list(rows)
    assert (descriptors(), threading.active_count()) == before


def test_async_iteration_leaves_the_event_loop_free(folder_store: FolderStore) -> None:
    """Queries run in threads; every row comes, and errors do."""
    put_rows(folder_store, "posts", "b", ({"n": number} for number in range(3_000)))

    async def main() -> None:
        rows: Any = view(folder_store)
        loop_thread = threading.get_ident()
        threads = set()
        inner = rows.blocks

        def watched() -> Any:
            for block in inner():
                threads.add(threading.get_ident())
                yield block

        rows.blocks = watched
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


# Notes ----------------------------------------------------------------------------------------------


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
