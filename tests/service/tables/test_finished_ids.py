from __future__ import annotations

import json
import random
import sys

import pytest

from datalake_service.catalog import layout
from datalake_service.errors import StoreError
from datalake_service.pipeline.finished_rows import FinishedRows
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.finished_ids import FinishedIds, IdPile, finished_ids
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore

MERGED = layout.merged_key(layout.annotation_prefix("posts", "lang", "b"))
TEMP = layout.annotator_temp_prefix("posts", "lang")
FINAL = ("done", "skipped")


def pile(*ids: str) -> IdPile:
    """A pile of them."""
    made = IdPile()
    made.add(ids)
    return made


def put_chunk(store: ObjectStore, name: str, *rows: object) -> None:
    """A chunk of the annotator."""
    store.put(f"{TEMP}{name}.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows), mode=CreateOnly())


def row(row_id: object, status: object = "done", batch: object = "b") -> dict[str, object]:
    """An annotation row."""
    return {"id": row_id, "_batch": batch, "_status": status}


def test_ids_are_there_once() -> None:
    """Whichever side is the larger one, and however often one was added."""
    one = FinishedIds().joined(pile("a", "b", "a"))
    assert sorted(one) == ["a", "b"]
    assert sorted(one.joined(pile("b", "c", "d", "e"))) == ["a", "b", "c", "d", "e"]
    assert sorted(FinishedIds().joined(pile(*"abcde")).joined(pile("e", "f"))) == ["a", "b", "c", "d", "e", "f"]
    assert one.joined(IdPile()) is one


def test_single_ids_can_be_asked_for() -> None:
    """Text only; nothing is like it but itself."""
    ids = FinishedIds().joined(pile("a", "é", ""))
    assert (len(ids), bool(ids), bool(FinishedIds())) == (3, True, False)
    assert "é" in ids
    assert "" in ids
    assert "A" not in ids
    assert not ids.__contains__(1)


def test_many_ids_take_little_more_than_their_text() -> None:
    """A Python set of them takes 120 bytes each."""
    made = IdPile()
    for start in range(0, 100_000, 100):
        made.add([f"{number:032x}" for number in range(start, start + 100)])
    ids = FinishedIds().joined(made)
    assert len(ids) == 100_000
    assert ids.column.nbytes < 40 * len(ids)
    assert sys.getsizeof(ids) < 1_000


def test_half_characters_are_no_ids() -> None:
    """No stored row has such an id, so none is finished by it."""
    assert list(FinishedIds().joined(pile("a", "\ud800", "b"))) == ["a", "b"]


def test_only_final_rows_of_a_merged_object_count(folder_store: FolderStore) -> None:
    """A failed row is asked again; no object is no row."""
    assert len(finished_ids(folder_store, MERGED, statuses=FINAL)) == 0
    put_annotations(folder_store, "posts", "lang", "b", {"1": {"ok": True}, "2": "skipped", "3": "failed"})
    assert sorted(finished_ids(folder_store, MERGED, statuses=FINAL)) == ["1", "2"]


def test_only_two_columns_are_read(folder_store: FolderStore) -> None:
    """What annotators say may be large."""
    large = {str(number): {"text": random.Random(number).randbytes(4_000).hex()} for number in range(100)}
    meta = put_annotations(folder_store, "posts", "lang", "b", large)
    store = RemoteStore(folder_store)
    assert len(finished_ids(store, MERGED, statuses=FINAL)) == 100
    assert sum(size for _, size in store.read) < meta.size / 4


def test_rows_are_no_annotations(folder_store: FolderStore) -> None:
    """Somebody put them in the wrong place."""
    meta = put_rows(folder_store, "posts", "b", [{"text": "a"}])
    with pytest.raises(StoreError, match="holds no annotations"):
        finished_ids(folder_store, meta.key, statuses=FINAL)


def test_chunks_and_merged_objects_count_together(folder_store: FolderStore) -> None:
    """Each id once, by batch; lines that are no annotation rows are nobody's."""
    put_annotations(folder_store, "posts", "lang", "b", {"1": {"ok": True}, "2": "failed"})
    put_chunk(
        folder_store, "aaaaaa_chunk_00000", row("1"), row("2", "skipped"), row("3", "failed"), row("9", "done", "c")
    )
    put_chunk(folder_store, "aaaaaa_chunk_00001", row(4), row("5", ["done"]), row("6", batch=1), [], "text", row("7"))
    put_chunk(folder_store, "mine", row("8"))
    finished = FinishedRows(folder_store, "posts", "lang")
    assert sorted(finished.of("b")) == ["1", "2", "7"]
    assert list(finished.of("c")) == ["9"]
    assert sorted(finished.of("b")) == ["1"], "a batch that was asked for is forgotten, but for what is merged"
