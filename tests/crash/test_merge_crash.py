"""A merge that dies, or loses its answers, at any operation of the store: nothing missing, nothing twice."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.errors import DatalakeError
from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_annotator, merge_batch
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import examples
from tests.support.faulty_store import Crash, Fault, FaultyStore, Plan, at, seeded
from tests.support.merging import File, Row, check, files_of, read_merged, read_record, read_rejected

PREFIX = "d/b/"
TEMP = "d/annotations/a/.temp/"
ROWS = [{"text": f"text {number % 4}", "n": number, "id": f"row {number % 6}"} for number in range(8)]
FAULTS = [fault for fault in Fault if fault is not Fault.CRASH_BEFORE]
"""One before an operation leaves what one after the operation before it leaves."""


def run(store: ObjectStore, columns: list[str] | None, name: str, rows: list[dict[str, object]]) -> None:
    """Chunks of two rows."""
    asyncio.run(
        ingest_iterator(store, rows, dataset="d", batch="b", chunk_size=2, deduplicate_on=columns, draw=lambda: name)
    )


def first_part(store: ObjectStore) -> None:
    """What is merged before the merge that dies: rows, duplicates, rejections."""
    run(store, ["text", "n"], "aaaaaa", [*ROWS[:4], {"text": "text 1", "n": 1}, {"text": "text 1", "n": 1}])
    store.put(f"{PREFIX}first.jsonl", b'{"id":"row 1","text":"other"}\nnonsense\n', mode=CreateOnly())


def second_part(store: ObjectStore) -> None:
    """What the merge that dies finds: repeated, conflicting, duplicate, bad and foreign rows; an empty run."""
    run(store, ["text"], "bbbbbb", [*ROWS, {"text": "text 3"}, {"n": 7}])
    run(store, None, "cccccc", [])
    store.put(f"{PREFIX}second.jsonl", b'{"id":"row 1","text":"text 1","n":1}\n[]\n{"a":1}', mode=CreateOnly())


def batch_merge(store: ObjectStore) -> None:
    """The operation that dies."""
    merge_batch(store, "d", "b", draw=iter([f"{number:012x}" for number in range(20)]).__next__)


def annotator_chunks(store: ObjectStore) -> None:
    """Two chunks over three batches."""
    first = b"".join(
        b'{"id":"%d","_batch":"b%d","_status":"%s","_annotated_at":"t","v":%d}\n'
        % (number % 4, number % 3, status, number)
        for number, status in enumerate([b"done", b"failed", b"skipped", b"failed"] * 3)
    )
    store.put(f"{TEMP}aaaaaa_chunk_00000.jsonl", first, mode=CreateOnly())
    store.put(f"{TEMP}bbbbbb_chunk_00000.jsonl", first.replace(b"failed", b"done") + b"nonsense\n", mode=CreateOnly())


def annotator_merge(store: ObjectStore) -> None:
    """The other operation that dies."""
    merge_annotator(store, "d", "a")


@pytest.fixture(params=["first merge", "second merge"])
def prepared(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, list[File]]:
    """A lake with something to merge, and every file that will have been merged then."""
    store = FolderStore(tmp_path / "prepared", durable=False)
    first_part(store)
    files = files_of(store, PREFIX, [])
    if request.param == "second merge":
        merge_batch(store, "d", "b")
    second_part(store)
    return store.root, files + files_of(store, PREFIX, files)


def copy_of(folder: Path, name: str) -> FolderStore:
    """The same lake again; links keep times and versions."""
    copy = folder.with_name(name)
    shutil.copytree(folder, copy, copy_function=lambda source, target: Path(target).hardlink_to(source))
    return FolderStore(copy, durable=False)


def is_tidy(store: ObjectStore) -> None:
    """Nothing is left that a merge would take, or that nobody needs."""
    left = {meta.key.removeprefix(PREFIX) for meta in store.list(PREFIX)}
    assert {name for name in left if "/" not in name} == {"merged.parquet", "manifest.yaml"}


def survives(
    start: Callable[[str], FolderStore], plan: Plan | Mapping[int, Fault] | None, name: str, files: list[File]
) -> int:
    """Merge with faults, then merge again as the next process would; returns the number of operations."""
    store = start(name)
    faulty = FaultyStore(store, plan)
    with contextlib.suppress(Crash, DatalakeError):
        batch_merge(faulty)
    merge_batch(store, "d", "b")
    merge_batch(store, "d", "b")
    check(store, PREFIX, files)
    is_tidy(store)
    shutil.rmtree(store.root)
    return len(faulty.operations)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_at_any_operation(prepared: tuple[Path, list[File]], fault: Fault) -> None:
    """Rows, duplicates and rejections are those of a merge in peace; counted once."""
    folder, files = prepared
    number, operations = 1, survives(lambda name: copy_of(folder, name), None, "clean", files)
    while number <= operations:
        operations = max(operations, survives(lambda name: copy_of(folder, name), {number: fault}, "copy", files))
        number += 1
    assert number > 15


def test_merges_that_never_get_to_delete(folder_store: FolderStore) -> None:
    """A file that was merged long ago and is still there is not merged again."""
    files: list[File] = []
    for number in range(4):
        body = b'{"n":%d}\n{"id":"same","v":1}\nnonsense %d' % (number, number)
        folder_store.put(f"{PREFIX}part {number}.jsonl", body, mode=CreateOnly())
        files += files_of(folder_store, PREFIX, files)
        with pytest.raises(Crash):
            merge_batch(FaultyStore(folder_store, at("delete", Fault.CRASH_BEFORE)), "d", "b")
        check(folder_store, PREFIX, files)
    assert len([meta for meta in folder_store.list(PREFIX) if "/part" in meta.key]) == 8  # and their rejections
    merge_batch(folder_store, "d", "b")
    check(folder_store, PREFIX, files)
    is_tidy(folder_store)


@settings(max_examples=examples(15))
@given(seed=st.integers(0, 2**32), rate=st.sampled_from([0.05, 0.1, 0.3]))
def test_many_faults(tmp_path_factory: pytest.TempPathFactory, seed: int, rate: float) -> None:
    """However often a merge is tried and fails, while more and more arrives: in the end everything is there once."""
    store = FolderStore(tmp_path_factory.mktemp("lake"), durable=False)
    files: list[File] = []
    for attempt in range(8):
        if attempt in (0, 4):
            (second_part if attempt else first_part)(store)
        else:
            store.put(f"{PREFIX}part {attempt}.jsonl", b'{"text":"text 1","n":%d}' % attempt, mode=CreateOnly())
        files += files_of(store, PREFIX, files)
        with contextlib.suppress(Crash, DatalakeError):
            merge_batch(FaultyStore(store, seeded(seed + attempt, rate, Fault)), "d", "b")
    merge_batch(store, "d", "b")
    merge_batch(store, "d", "b")
    check(store, PREFIX, files)
    is_tidy(store)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_while_annotations_are_merged(tmp_path: Path, fault: Fault) -> None:
    """Every batch has every annotation once, and no chunk goes before all of its batches have it."""
    peaceful = FolderStore(tmp_path / "peaceful", durable=False)
    annotator_chunks(peaceful)
    clean = FaultyStore(peaceful)
    annotator_merge(clean)
    expected = merged_annotations(peaceful)
    assert {len(rows) for _, rows in expected.values()} == {4}
    for number in range(1, len(clean.operations) + 1):
        store = FolderStore(tmp_path / f"lake{number}", durable=False)
        annotator_chunks(store)
        with contextlib.suppress(Crash, DatalakeError):
            annotator_merge(FaultyStore(store, {number: fault}))
        annotator_merge(store)
        assert merged_annotations(store) == expected
        assert list(store.list(TEMP)) == []
        assert read_rejected(store, "d/annotations/a/.") == [b"nonsense"]


def merged_annotations(store: ObjectStore) -> dict[str, tuple[object, list[Row]]]:
    """The counts and the merged annotations of each batch."""
    merged = {}
    for batch in store.list_folders("d/annotations/a/"):
        if batch.startswith("b"):
            key = f"d/annotations/a/{batch}/merged.parquet"
            rows = sorted(read_merged(store, key), key=lambda row: str(row["id"]))
            merged[batch] = (read_record(store, key)["counts"], rows)
    return merged
