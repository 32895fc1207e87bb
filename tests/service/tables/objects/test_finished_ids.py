from __future__ import annotations

import json
import random
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import DoneRule
from datalake_service.catalog.makers import Maker, RunMaker
from datalake_service.catalog.manifests import claim_run
from datalake_service.errors import StoreError
from datalake_service.pipeline.annotation import finished_rows
from datalake_service.pipeline.annotation.finished_rows import FinishedRows
from datalake_service.storage.base import CreateOnly, ObjectMeta, ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.objects.finished_ids import AllBut, Answered, FinishedIds, IdPile, answered_ids
from tests.support.lake import put_annotations, put_rows
from tests.support.remote import RemoteStore

MERGED = layout.merged_key(layout.annotation_prefix("posts", "lang", "b"))
SEPARATORS = (",", ":")
TEMP = layout.annotator_temp_prefix("posts", "lang")


def pile(*ids: str) -> IdPile:
    """A pile of them."""
    made = IdPile()
    made.add(ids)
    return made


def put_chunk(store: ObjectStore, name: str, *rows: object) -> None:
    """A chunk of the annotator, as our writer writes it."""
    lines = (json.dumps(row, separators=SEPARATORS).encode() + b"\n" for row in rows)
    store.put(f"{TEMP}{name}.jsonl", b"".join(lines), mode=CreateOnly())


def row(row_id: object, status: object = "done", batch: object = "b") -> dict[str, object]:
    """An annotation row."""
    return {"id": row_id, "_batch": batch, "_status": status, "_annotated_at": "2026-01-01T00:00:00Z"}


@pytest.fixture(params=["beginnings", "spaced", "large"])
def read_as(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    """By the beginnings of lines, or by a parser: because lines have spaces, or because chunks are large."""
    if request.param == "spaced":
        monkeypatch.setattr(f"{__name__}.SEPARATORS", (", ", ": "))
    if request.param == "large":
        monkeypatch.setattr(finished_rows, "_WHOLE_BYTES", 1)
    return request.param


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
    assert len(answered_ids(folder_store, "posts", "lang", "b").finished()) == 0
    put_annotations(folder_store, "posts", "lang", "b", {"1": {"ok": True}, "2": "skipped", "3": "failed"})
    assert sorted(answered_ids(folder_store, "posts", "lang", "b").finished()) == ["1", "2"]


def test_only_two_columns_are_read(folder_store: FolderStore) -> None:
    """What annotators say may be large."""
    large = {str(number): {"text": random.Random(number).randbytes(4_000).hex()} for number in range(100)}
    meta = put_annotations(folder_store, "posts", "lang", "b", large)
    store = RemoteStore(folder_store)
    assert len(answered_ids(store, "posts", "lang", "b").finished()) == 100
    assert sum(size for _, size in store.read) < meta.size / 4


def test_rows_are_no_annotations(folder_store: FolderStore) -> None:
    """Somebody put them in the wrong place."""
    meta = put_rows(folder_store, "posts", "b", [{"text": "a"}])
    folder_store.put(MERGED, folder_store.get(meta.key)[0], mode=CreateOnly())
    with pytest.raises(StoreError, match="holds no annotations"):
        answered_ids(folder_store, "posts", "lang", "b")


@pytest.mark.usefixtures("read_as")
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


def test_newer_failures_undo_older_annotations() -> None:
    """Generation by generation; within one, an annotation is the newest whatever came last."""
    answered = Answered()
    answered.add(1, final=["a", "b", "c"], failed=["a", "x"])
    answered.add(2, final=["c"], failed=["b", "c", "y"])
    answered.add(3, final=["y"])
    assert sorted(answered.finished()) == ["a", "c", "y"]
    assert sorted(answered.failed()) == ["b", "x"]
    more = Answered()
    more.add(2, final=["x", "x"])
    assert sorted(answered.joined(more).finished()) == ["a", "c", "x", "y"]
    assert list(answered.joined(more).failed()) == ["b"]


def test_all_but_some() -> None:
    """Says no to those only, and counts as something even if it says no to none."""
    ids = AllBut(FinishedIds().joined(pile("a")))
    assert ("a" in ids, "b" in ids, bool(ids), bool(AllBut(FinishedIds()))) == (False, True, True, True)
    assert (len(ids), list(ids)) == (0, [])


@pytest.mark.usefixtures("read_as")
def test_who_made_a_chunk_says_its_manifest(folder_store: FolderStore) -> None:
    """Label, code and generation of its run; of a line, what it says itself; of old runs, nothing."""
    put_run(folder_store, "aaaaaa", RunMaker(Maker(version="v1", code="c1"), 1))
    put_run(folder_store, "bbbbbb", RunMaker(Maker(version="v2", code="c2"), 2))
    put_run(folder_store, "cccccc", None)
    put_chunk(folder_store, "aaaaaa_chunk_00000", row("1"), row("2"), row("3", "failed"), row("4", "skipped"))
    put_chunk(folder_store, "aaaaaa_chunk_00001", row("7"))
    put_chunk(folder_store, "bbbbbb_chunk_00001", row("7", "failed"))
    put_chunk(folder_store, "bbbbbb_chunk_00000", row("1"), row("2", "failed"), {**row("5"), "_version": "v1"})
    put_chunk(folder_store, "cccccc_chunk_00000", row("6"))

    def done(**rule: Any) -> list[str]:
        return sorted(FinishedRows(folder_store, "posts", "lang", rule=DoneRule(**rule)).of("b"))

    assert done() == ["1", "4", "5", "6"]
    assert done(by_label=True, label="v1") == ["1", "2", "4", "5", "7"]
    assert done(by_label=True, label="v2") == ["1"]
    assert done(by_label=True, label=None) == ["6"]
    assert done(by_code=True, code="c2") == ["1", "5"]
    assert done(since=2) == ["1", "5"]
    assert done(skipped_since=2) == ["1", "5", "6"]
    failed = FinishedRows(folder_store, "posts", "lang", only_failed=True).of("b")
    assert [name for name in "1234567" if name not in failed] == ["2", "3", "7"]


def test_a_chunk_whose_manifest_went_with_it_says_nothing(folder_store: FolderStore) -> None:
    """A merge took both since the listing: the rows are in the merged object, which knows who made them."""
    put_chunk(folder_store, "aaaaaa_chunk_00000", row("1"))
    key = f"{TEMP}aaaaaa_chunk_00000.jsonl"

    class MergedMeanwhile(RemoteStore):
        def get(self, wanted: str, *, etag: str | None = None) -> tuple[bytes, ObjectMeta]:
            folder_store.delete(key)
            return super().get(wanted, etag=etag)

    assert list(FinishedRows(MergedMeanwhile(folder_store), "posts", "lang").of("b")) == []


def put_run(store: ObjectStore, run: str, maker: RunMaker | None) -> None:
    """The manifest of a run of the annotator."""
    claim_run(
        store,
        TEMP,
        kind="annotation",
        deduplicate_on=None,
        chunk_size=10,
        now=datetime(2026, 1, 1, tzinfo=UTC),
        draw=lambda: run,
        maker=maker,
    )
