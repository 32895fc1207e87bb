"""Merging annotations of several versions: the newest counts, older ones are kept, whenever merges ran."""

from __future__ import annotations

import tempfile
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.catalog import layout
from datalake_service.catalog.makers import Maker, RunMaker
from datalake_service.errors import DatalakeError
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.upkeep.fsck import check_dataset
from datalake_service.storage.base import CreateOnly, ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.annotations import ANNOTATOR, DATASET
from tests.support.faulty_store import Crash, Fault, FaultyStore
from tests.support.merging import read_record
from tests.support.versions import Made, as_made, expected, line, merged, older_objects, put_run, run_maker

KEY = layout.merged_key(layout.annotation_prefix(DATASET, ANNOTATOR, "b1"))
DAY = 86_400.0
MAKERS = ((None, None), ("v1", "c1"), ("v2", "c1"), ("v2", "c2"))


@st.composite
def runs(draw: st.DrawFn) -> list[list[Made]]:
    """Runs by makers that come and go; some from before there were any."""
    found, generation, last = [], 0, None
    for number in range(draw(st.integers(1, 6))):
        maker = draw(st.sampled_from(MAKERS))
        generation += maker != last or draw(st.booleans())
        last = maker
        unknown = maker == (None, None)
        rows = draw(
            st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(("done", "skipped", "failed"))), max_size=5)
        )
        found.append(
            [
                Made(row_id, status, number * 10 + place, *maker, None if unknown else generation)
                for place, (row_id, status) in enumerate(rows)
            ]
        )
    return found


def put(store: ObjectStore, number: int, rows: list[Made]) -> None:
    """A run."""
    one = rows[0] if rows else Made("", "", 0)
    maker = None if one.generation is None else run_maker(one.version, one.code, one.generation)
    put_run(store, f"{number:06x}", map(line, rows), maker)


@given(runs(), st.lists(st.booleans(), min_size=6, max_size=6), st.sampled_from([None, *Fault]), st.integers(1, 25))
@settings(max_examples=40)
def test_the_newest_counts_and_older_versions_stay(
    made: list[list[Made]], merges: list[bool], fault: Fault | None, when: int
) -> None:
    """Whenever merges ran, and wherever one of them died: the same rows, one side object at most, counts that fit."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        for number, (rows, merge) in enumerate(zip(made, merges, strict=False)):
            put(store, number, rows)
            if merge:
                merge_annotator(store, DATASET, ANNOTATOR)
        if fault is not None:
            with suppress(Crash, DatalakeError):
                merge_annotator(FaultyStore(store, {when: fault}), DATASET, ANNOTATOR)
        merge_annotator(store, DATASET, ANNOTATOR)
        rows = [row for run in made for row in run]
        if not rows:
            return
        counting, kept = merged(store)
        assert (as_made(counting), as_made(kept)) == expected(rows)
        record = read_record(store, KEY)
        named = [] if record["older"] is None else [f"{record['older']}.parquet"]
        there = [Path(key).name for key in older_objects(store)]
        assert there == named or (fault is not None and set(there) >= set(named))
        said = Counter(dict.fromkeys(("done", "skipped", "failed", "older"), 0))
        for one in record["made"]:
            said.update({status: one[status] for status in said})
        actual = Counter(row["_status"] for row in counting)
        assert said == {**dict.fromkeys(said, 0), **actual, "older": len(kept)}
        assert record["counts"]["superseded"] == len(rows) - len(counting) - len(kept)
        assert record["spent"]["attempts"] == len(rows)


def test_what_was_replaced_is_forgotten_when_somebody_says_so(tmp_path: Path) -> None:
    """Only of versions that made nothing since, only what a reading does not show, and no failure that is news."""
    clock = ManualClock()
    folder_store, began = FolderStore(tmp_path, durable=False, clock=clock), clock.now()
    put_run(folder_store, "aaaaaa", [line(Made(name, "done", 1)) for name in "abc"], run_maker("v1", "c", 1))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    second = [line(Made(name, "done", 2)) for name in "abe"] + [line(Made("c", "failed", 2))]
    clock.advance(3 * DAY)
    put_run(folder_store, "bbbbbb", second, run_maker("v2", "c", 2))
    clock.advance(2 * DAY)
    put_run(folder_store, "cccccc", [line(Made("a", "done", 3))], run_maker("v3", "c", 3))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    counting = as_made(merged(folder_store)[0])

    def kept(day: int, store: ObjectStore = folder_store) -> set[tuple[str, str]]:
        merge_annotator(store, DATASET, ANNOTATOR, forget_before=began + timedelta(days=day))
        rows, older = merged(folder_store)
        assert as_made(rows) == counting, "what is read stays"
        return {(row["id"], row["_version"]) for row in older}

    assert kept(0) == {("a", "v1"), ("b", "v1"), ("a", "v2"), ("c", "v2")}
    for number in range(1, 12):
        with suppress(Crash):
            kept(2, FaultyStore(folder_store, {number: Fault.CRASH_AFTER}))
    assert kept(2) == {("a", "v2"), ("c", "v2")}
    assert [one["older"] for one in read_record(folder_store, KEY)["made"]] == [0, 2, 0]
    assert kept(4) == {("c", "v2")}, "it says that the row has failed since"
    assert kept(30) == {("c", "v2")}
    assert len(older_objects(folder_store)) == 1
    assert read_record(folder_store, KEY)["spent"]["attempts"] == 8


def test_the_record_says_who_made_what(folder_store: FolderStore) -> None:
    """Label, code, generation, model, parameters, filter, base, runs and times of each version that has rows."""
    first = Maker(
        version="v1", code="c", model="m", parameters={"p": 1}, filter={"type": "all", "filters": []}, fraction=0.5
    )
    put_run(folder_store, "aaaaaa", map(line, [Made("a", "done", 1)]), RunMaker(first, 1, {"b1": "etag"}, "1.0"))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    put_run(folder_store, "bbbbbb", map(line, [Made("b", "failed", 1)]), RunMaker(first, 1, {"b1": "later"}, "1.0"))
    put_run(folder_store, "cccccc", map(line, [Made("a", "skipped", 2)]), run_maker("v2", "d", 2))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    one, two = read_record(folder_store, KEY)["made"]
    assert {name: one[name] for name in ("version", "code", "generation", "model", "parameters", "fraction")} == {
        "version": "v1", "code": "c", "generation": 1, "model": "m", "parameters": {"p": 1}, "fraction": 0.5,
    }  # fmt: skip
    assert (one["filter"], one["base"]) == ({"type": "all", "filters": []}, "later")
    assert (one["runs"], one["done"], one["failed"], one["older"]) == (["aaaaaa", "bbbbbb"], 0, 1, 1)
    assert one["firstAt"] <= one["lastAt"]
    assert (two["version"], two["generation"], two["skipped"], two["runs"]) == ("v2", 2, 1, ["cccccc"])


def test_what_calls_took_is_added_up(folder_store: FolderStore) -> None:
    """Of every row that was ever merged, also of those that were replaced; a number that is none counts for nothing."""
    usage = {"_attempts": 3, "_seconds": 1.5, "_cost": 0.25, "_input_tokens": 10, "_output_tokens": 2}
    rows = [line(Made("a", "failed", 1)) | usage, line(Made("b", "done", 1)) | {"_cost": float("nan")}]
    put_run(folder_store, "aaaaaa", rows, run_maker("v1", "c", 1))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    put_run(folder_store, "bbbbbb", [line(Made("a", "done", 1)) | usage], run_maker("v1", "c", 1))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    assert read_record(folder_store, KEY)["spent"] == {
        "attempts": 7, "seconds": 3.0, "cost": 0.5, "inputTokens": 20, "outputTokens": 4,
    }  # fmt: skip


def test_a_line_that_says_it_itself_is_believed(folder_store: FolderStore) -> None:
    """Somebody copied rows from another lake; odd spaces at the beginning of a line do no harm."""
    prefix = layout.annotator_temp_prefix(DATASET, ANNOTATOR)
    own = line(Made("a", "done", 1)) | {"_version": "mine", "_generation": 7, "_attempts": 2}
    put_run(folder_store, "aaaaaa", [own, line(Made("b", "done", 2))], run_maker("v1", "c", 1))
    key = layout.chunk_key(prefix, "aaaaaa", 0)
    folder_store.put(key, b"  " + folder_store.get(key)[0], mode=Overwrite())
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    counting, kept = merged(folder_store)
    assert as_made(counting) == {Made("a", "done", 1, "mine", "c", 7), Made("b", "done", 2, "v1", "c", 1)}
    assert kept == []
    assert [row["_attempts"] for row in counting] == [2, 1]


@pytest.mark.parametrize("damage", ["gone", "stray"])
def test_fsck_knows_older_versions(folder_store: FolderStore, damage: str) -> None:
    """One that is named has to be there, one that is not has no business there; otherwise there is nothing to find."""
    put_run(folder_store, "aaaaaa", map(line, [Made("a", "done", 1)]), run_maker("v1", "c", 1))
    put_run(folder_store, "bbbbbb", map(line, [Made("a", "done", 2)]), run_maker("v2", "c", 2))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    (key,) = older_objects(folder_store)

    def found() -> list[str]:
        findings = check_dataset(folder_store, DATASET, older_than=timedelta(0))
        return [finding.key for finding in findings if "/older/" in finding.key or "/.state/" in finding.key]

    assert found() == []
    if damage == "gone":
        folder_store.delete(key)
    else:
        key = key.replace(Path(key).name, "000000000000.parquet")
        folder_store.put(key, b"x", mode=CreateOnly())
    assert set(found()) == {key}
