"""State machines over several files at once."""

from __future__ import annotations

import gzip
from dataclasses import replace

import pytest

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.storage import FolderStore
from tests.support.machines import Make, in_order, pair, pairs, rejections
from tests.support.tasks import TickingClock, after, merged_rows, run_here, state_of


def test_files_are_walked_in_lock_step(store: FolderStore, make: Make) -> None:
    """One row for a pair of each."""
    result = run_here(make({"A": pairs(3), "B": gzip.compress(pairs(13, begin=10))}))
    assert (result.status, result.counts.records) == (TaskStatus.COMPLETED, 3)
    row = in_order(store)[1]
    assert row == {"id": None, "A_key": "k1", "A": "body 1", "B_key": "k11", "B": "body 11", "before": "k0"}
    state = state_of(store)
    assert state.input is not None
    assert {kind: version["key"] for kind, version in state.input["files"].items()} == {"A": "fA", "B": "fB"}


def test_a_shorter_file_is_the_readers_to_judge(store: FolderStore, make: Make) -> None:
    """The others go on; a note names it."""
    result = run_here(make({"A": pairs(4), "B": pairs(2)}))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 4)
    assert result.notes == ("fB: it ended where the reader asked for another record",)
    assert [row.get("B") for row in in_order(store)] == ["body 0", "body 1", None, None]


ENOUGH = """
class Enough(LockStep):
    def parse_document(self, last_processed_record_types, last_processed_doc, file_readers):
        answer = super().parse_document(last_processed_record_types, last_processed_doc, file_readers)
        done = answer.document_key_values_map.get("A_key") == "k2"
        return ParseCompositeDocumentResult(answer, reader_state=FileReaderState.COMPLETED if done else "PROCESSING")
"""


@pytest.mark.parametrize(("count", "notes"), [(9, 0), (2, 1)])
def test_a_file_that_is_not_wanted_any_more_is_not_shorter(make: Make, count: int, notes: int) -> None:
    """One that ended before is."""
    result = run_here(make({"A": pairs(9), "B": pairs(count)}, code=ENOUGH, reader="handler.Enough"))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 3)
    assert len(result.notes) == notes


def test_a_missing_file_fails_its_task(make: Make) -> None:
    """The message names it; once it is there the task goes on."""
    result = run_here(make({"A": pairs(4), "B": None}))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "no object 'fB'" in result.error
    assert run_here(make({"A": pairs(4), "B": pairs(4)})).status is TaskStatus.COMPLETED


def test_a_line_with_other_types_fails_its_task(make: Make) -> None:
    """The message has both."""
    result = run_here(make({"A": pairs(4), "C": pairs(4)}))
    assert result.error == "A:fA|C:fC: the reader wants files of the types A, B, the line has A, C"


def test_damage_in_one_file_leaves_the_others_alone(store: FolderStore, make: Make) -> None:
    """It is one rejection, of that file."""
    damaged = gzip.compress(pairs(5))[:-20]
    result = run_here(make({"A": pairs(5), "B": damaged}))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 5)
    assert result.counts.rejections == len(rejections(store)) == 1
    (rejection,) = rejections(store)
    assert (rejection["source"], rejection["kind"]) == ("fB", "read")
    assert [note.partition(" the")[0] for note in result.notes] == [
        "fB: its name does not say that it holds gzip data; decompressed",
        "fB: cut off:",
    ]
    rows = in_order(store)
    assert [row["A"] for row in rows] == [f"body {number}" for number in range(5)]
    assert rows[0]["B"] == "body 0"
    assert "B" not in rows[4]


def test_a_bad_record_in_one_file_leaves_the_others_alone(store: FolderStore, make: Make) -> None:
    """The files stay in step."""
    content = pair("a", "one") + pair("b", "bad") + pair("c", "three")
    result = run_here(make({"A": pairs(3), "B": content}))
    assert replace(result.counts, size=0) == TaskCounts(4, 3, 0, 1)
    assert [(row["A"], row.get("B")) for row in in_order(store)] == [
        ("body 0", "one"),
        ("body 1", None),
        ("body 2", "three"),
    ]
    (rejection,) = rejections(store)
    assert (rejection["source"], rejection["startOffset"], rejection["text"]) == ("fB", "13", "bad")


RAISING = """
class Raising(LockStep):
    def parse_document(self, last_processed_record_types, last_processed_doc, file_readers):
        answer = super().parse_document(last_processed_record_types, last_processed_doc, file_readers)
        if answer.document_key_values_map.get("A_key") == "k1":
            raise ValueError("no")
        if answer.document_key_values_map.get("A_key") == "k2":
            own = ErrorDoc(error_message="own", error_start_offset_map={"B": 7}, error_end_offset_map={"B": "9"})
            plain = ErrorDoc(error_message="plain", record_type="X", document_id="D")
            return ParseCompositeDocumentResult(answer, [own, plain])
        return answer
"""


def test_rejections_of_steps_say_where_they_were_in_each_file(store: FolderStore, make: Make) -> None:
    """In the manifest's own way of writing."""
    result = run_here(make({"A": pairs(4), "B": pairs(4)}, code=RAISING, reader="handler.Raising"))
    assert replace(result.counts, size=0) == TaskCounts(6, 3, 0, 3)
    told = [(line["source"], line["startOffset"], line["endOffset"], line["message"]) for line in rejections(store)]
    assert told[0][:3] == ("A:fA|B:fB", "A:12|B:12", "A:24|B:24")
    assert told[1] == ("A:fA|B:fB", "B:7", "B:9", "own")
    assert told[2] == ("A:fA|B:fB", "A:24|B:24", "A:36|B:36", "plain")
    assert rejections(store)[0]["text"] == "@k1 6\nbody 1@k1 6\nbody 1"
    assert (rejections(store)[2]["recordType"], rejections(store)[2]["documentId"]) == ("X", "D")


@pytest.mark.parametrize("looks", [0, 1, 2, 5])
def test_a_stopped_task_goes_on_in_all_files(store: FolderStore, make: Make, looks: int) -> None:
    """Also behind the end of one, and behind damage, which is not told twice."""
    contents: dict[str, bytes | None] = {"A": pairs(12), "B": gzip.compress(pairs(6))[:-20]}
    expected = run_here(make(contents))
    rows, rejected = merged_rows(store), rejections(store)
    for meta in list(store.list("")):
        store.delete(meta.key)
    job = make(contents)
    while (result := run_here(job, stop=after(looks), clock=TickingClock())).status is TaskStatus.STOPPED:
        pass
    assert replace(result.counts, size=0) == replace(expected.counts, size=0)
    assert result.notes == expected.notes
    assert merged_rows(store) == rows
    assert rejections(store) == rejected
