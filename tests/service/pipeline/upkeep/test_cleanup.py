from __future__ import annotations

import json
from typing import Any

import pytest

from datalake_service.catalog.deletions import mark_deleted
from datalake_service.errors import NameNotAllowedError
from datalake_service.pipeline.upkeep.cleanup import BatchResult, clean_up
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.faulty_store import Fault, FaultyStore, at


def put(store: ObjectStore, key: str, *rows: object) -> None:
    """A file of rows."""
    store.put(key, b"".join(json.dumps(row).encode() + b"\n" for row in rows), mode=CreateOnly())


def annotation(batch: str, row_id: str = "1") -> dict[str, str]:
    """An annotation row."""
    return {"id": row_id, "_batch": batch, "_status": "done", "_annotated_at": "t"}


def told(results: list[BatchResult]) -> list[tuple[str | None, str | None, str | None, str]]:
    """What was said of whom, in short."""
    return [
        (
            result.dataset, result.batch, result.annotator,
            "failed" if result.error else "warned" if result.result is None else
            "merged" if result.result.committed else "nothing",
        )
        for result in results
    ]  # fmt: skip


@pytest.fixture
def lake(folder_store: FolderStore) -> FolderStore:
    """Two datasets with things to merge, one without."""
    put(folder_store, "posts/b2/x.jsonl", {"n": 1})
    put(folder_store, "posts/b1/x.jsonl", {"n": 1})
    put(folder_store, "posts/annotations/lang/.temp/aaaaaa_chunk_00000.jsonl", annotation("b1"), annotation("b2"))
    put(folder_store, "posts/annotations/size/.temp/aaaaaa_chunk_00000.jsonl", annotation("b1"))
    put(folder_store, "mails/b/x.jsonl", {"n": 1})
    put(folder_store, "quiet/b/rejected/x.jsonl", {})
    put(folder_store, "quiet/.state/tasks/x.jsonl", {})
    return folder_store


def test_everything_that_waits_is_merged(any_store: ObjectStore) -> None:
    """Batches and annotators of all datasets; afterwards nothing waits."""
    put(any_store, "posts/b1/x.jsonl", {"n": 1})
    put(any_store, "posts/annotations/lang/.temp/aaaaaa_chunk_00000.jsonl", annotation("b1"))
    put(any_store, "mails/b/x.jsonl", {"n": 1})
    assert told(list(clean_up(any_store))) == [
        ("mails", "b", None, "merged"), ("posts", "b1", None, "merged"), ("posts", "b1", "lang", "merged"),
    ]  # fmt: skip
    assert list(clean_up(any_store)) == []


def test_only_what_is_asked_for(lake: FolderStore) -> None:
    """A dataset with all that is in it, a batch alone, an annotator alone."""
    assert told(list(clean_up(lake, datasets={"posts": ["b2"]}))) == [("posts", "b2", None, "merged")]
    assert told(list(clean_up(lake, annotators=[("posts", "size")]))) == [("posts", "b1", "size", "merged")]
    assert told(list(clean_up(lake, datasets={"posts": None, "quiet": None}))) == [
        ("posts", "b1", None, "merged"), ("posts", "b1", "lang", "merged"), ("posts", "b2", "lang", "merged"),
    ]  # fmt: skip
    assert told(list(clean_up(lake, datasets={"posts": ["b1"]}))) == [("posts", "b1", None, "nothing")]


def test_a_bad_batch_does_not_stop_the_others(lake: FolderStore) -> None:
    """Whatever is wrong with it: one line each, with the reason."""
    lake.put("mails/b/merged.parquet", b"damaged", mode=CreateOnly())
    lake.put("posts/annotations/lang/b1/merged.parquet", b"damaged", mode=CreateOnly())
    put(lake, "posts/annotations/size/.temp/bbbbbb_chunk_00000.jsonl", [])
    results = list(clean_up(lake))
    assert told(results) == [
        ("mails", "b", None, "failed"),
        ("posts", "b1", None, "merged"),
        ("posts", "b2", None, "merged"),
        ("posts", "b2", "lang", "merged"),
        ("posts", "b1", "lang", "failed"),
        ("posts", "b1", "size", "merged"),
        ("posts", None, "size", "warned"),
    ]
    assert results[0].error == "mails/b/merged.parquet is no complete Parquet file: move it away, or restore it"
    assert results[-1].warnings == (
        "1 lines are no annotation rows; they were moved to posts/annotations/size/.rejected/",
    )


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.UNKNOWN])
def test_a_store_that_fails_for_one_batch_fails_for_it_alone(lake: FolderStore, fault: Fault) -> None:
    """The next one may be luckier."""
    store = FaultyStore(lake, at("put", fault, key="posts/b1/merged.parquet"))
    results = told(list(clean_up(store, datasets={"posts": ["b1", "b2"]})))
    assert results == [("posts", "b1", None, "failed"), ("posts", "b2", None, "merged")]
    store = FaultyStore(lake, at("list", Fault.UNAVAILABLE, key="posts/annotations/lang"))
    results = told(list(clean_up(store, datasets={"posts": None})))
    assert results == [
        ("posts", "b1", None, "merged"), ("posts", None, "lang", "failed"), ("posts", "b1", "size", "merged"),
    ]  # fmt: skip


def test_what_is_not_there_is_told(lake: FolderStore) -> None:
    """A typo is no success."""
    results = list(clean_up(lake, datasets={"post": None, "posts": ["b3"]}))
    assert told(results) == [("post", None, None, "failed"), ("posts", "b3", None, "failed")]
    assert results[0].error == f"no dataset 'post' in {lake.uri}; see: datalake datasets list"
    assert results[1].error == "dataset 'posts' has no such batch"


def test_a_deleted_dataset_is_left_alone(lake: FolderStore) -> None:
    """Asking for it by name is an error that says what to do."""
    mark_deleted(lake, "posts")
    assert told(list(clean_up(lake))) == [("mails", "b", None, "merged")]
    for chosen in ({"datasets": {"posts": None}}, {"annotators": [("posts", "lang")]}):
        (result,) = clean_up(lake, **chosen)
        assert result.error == "the dataset was deleted; restore it first"


def test_names_are_checked_before_anything_is_done(lake: FolderStore) -> None:
    """All of them, at once."""
    store = FaultyStore(lake)
    for datasets, annotators in (
        ({"../x": None}, []), ({"posts": ["a/b"]}, []), ({}, [("posts", "a/b")]), ({}, [("..", "a")]),
    ):  # fmt: skip
        with pytest.raises(NameNotAllowedError):
            clean_up(store, datasets=datasets, annotators=annotators)
    assert store.operations == []


def test_an_unexpected_error_of_the_machine_is_one_line(lake: FolderStore) -> None:
    """No space for temporary files, for instance."""

    class FullStore(FaultyStore):
        def list(self, prefix: str) -> Any:
            if prefix == "posts/b1/":
                raise OSError(28, "No space left on device")
            return super().list(prefix)

    results = list(clean_up(FullStore(lake), datasets={"posts": ["b1", "b2"]}))
    assert results[0].error == "OSError: [Errno 28] No space left on device"
    assert told(results)[1] == ("posts", "b2", None, "merged")
