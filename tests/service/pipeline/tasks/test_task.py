from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from dataclasses import replace
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO

import pytest
import zstandard

from datalake_service.catalog.tasks import TaskCounts, TaskEvent, TaskStatus, load_task, move, save_task
from datalake_service.errors import HandlerLoadError, PreconditionFailedError
from datalake_service.handling.policy import OnError
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.storage import FolderStore, Overwrite
from tests.support.tasks import (
    LINES,
    TickingClock,
    after,
    file_job,
    merged_rows,
    run_here,
    state_of,
    stored_rejections,
    stored_rows,
    write_module,
)

Make = Callable[..., TaskJob]


@pytest.fixture
def make(store: FolderStore, tmp_path: Path) -> Make:
    """Makes a task for a file with the given content."""
    folder = write_module(tmp_path / "code", LINES)

    def job(content: bytes | str | None, *, name: str = "in.log", **fields: Any) -> TaskJob:
        path = folder / "input" / name
        data = content.encode() if isinstance(content, str) else content
        if data is not None and not (path.exists() and path.read_bytes() == data):  # else its version stays as it is
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return file_job(store, folder, name=name, **fields)

    return job


def lines(count: int, word: str = "doc") -> str:
    """Numbered lines."""
    return "".join(f"{word} number {number}\n" for number in range(count))


def texts(store: FolderStore) -> list[str]:
    """The texts of the rows that a merge would keep, in the order of their derived ids."""
    return [row["text"] for _, row in sorted(merged_rows(store).items())]


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "in.log": bytes,
    "in.log.gz": lambda data: gzip.compress(data[:100]) + gzip.compress(data[100:]),
    "in.log.zst": zstandard.compress,
    "in.log.bz2": lambda data: bz2.compress(data[:100]) + bz2.compress(data[100:]),
}


@pytest.mark.parametrize("name", COMPRESSORS)
def test_records_become_rows(store: FolderStore, make: Make, name: str) -> None:
    """One row for each document, whatever the file is compressed with."""
    result = run_here(make(COMPRESSORS[name](lines(35).encode()), name=name))
    assert result.status is TaskStatus.COMPLETED
    assert texts(store) == [f"number {number}" for number in range(35)]
    assert (result.counts.records, result.counts.documents) == (35, 35)
    assert len(stored_rows(store)) == 35


def test_every_record_is_accounted_for(store: FolderStore, make: Make) -> None:
    """Documents, skips and rejections add up to the records, and the size is that of the file."""
    content = lines(12) + "skip a\nbad b\nraise c\nset d\n" + lines(1)
    result = run_here(make(content))
    assert result.status is TaskStatus.COMPLETED
    assert result.counts == state_of(store).counts == TaskCounts(17, 13, 1, 3, len(content))
    (rejections,) = stored_rejections(store).values()
    assert [(entry["kind"], entry["message"]) for entry in rejections] == [
        ("parse", "bad line: b"),
        ("parse", "Lines.parse_document raised RuntimeError: c (handler.py:30)"),
        ("write", "column 'text': a value of type object cannot be stored as JSON"),
    ]
    assert [entry["text"] for entry in rejections] == ["bad b\n", "raise c\n", "set d\n"]
    assert state_of(store).rejection_files == 1


def test_rows_have_the_ids_of_their_documents_or_places(store: FolderStore, make: Make) -> None:
    """The document's own id, else one that depends on file and offset only."""
    run_here(make("own X1 text\ndoc a\n"))
    first, second = merged_rows(store)
    assert first == "X1"
    assert second.endswith("-00000000000c")


def test_the_task_tells_who_did_what_when(store: FolderStore, make: Make) -> None:
    """Attempt, worker, run and times stand in its object."""
    run_here(make(lines(3)))
    state = state_of(store)
    assert (state.attempt, state.status, state.error) == (1, TaskStatus.COMPLETED, None)
    assert state.worker is not None
    assert state.run is not None
    assert state.started_at is not None
    assert state.finished_at is not None
    assert state.input is not None
    assert (state.input["key"], state.input["size"]) == ("in.log", len(lines(3)))


def test_an_empty_file_completes(store: FolderStore, make: Make) -> None:
    """With nothing to show, and without a run."""
    result = run_here(make(""))
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts())
    assert list(store.list("d/b/")) == []


def test_a_completed_task_is_not_read_again(store: FolderStore, make: Make) -> None:
    """Its result is told once more."""
    job = make(lines(3))
    result = run_here(job)
    before = {meta.key: meta.etag for meta in store.list("d/")}
    assert run_here(job) == result
    assert {meta.key: meta.etag for meta in store.list("d/")} == before


# Stopping and going on -------------------------------------------------------------------------------------------


MIXED = "".join(f"{word} {number}\n" for number in range(30) for word in ("doc", "own", "skip", "bad"))


@pytest.mark.parametrize("name", COMPRESSORS)
@pytest.mark.parametrize("looks", [0, 1, 7, 50, 119])
def test_a_stopped_task_goes_on_where_it_was(store: FolderStore, make: Make, name: str, looks: int) -> None:
    """No record is handled twice, none is left out."""
    job = make(COMPRESSORS[name](MIXED.encode()), name=name)
    stopped = run_here(job, stop=after(looks), clock=TickingClock())
    assert stopped.status is TaskStatus.STOPPED
    assert stopped.counts.records == looks + 1
    result = run_here(job)
    assert result.status is TaskStatus.COMPLETED
    assert result.counts == state_of(store).counts
    assert replace(result.counts, size=0) == TaskCounts(120, 60, 30, 30)
    assert len(stored_rows(store)) == len(merged_rows(store)) == 60
    rejected = [entry["text"] for _, file in sorted(stored_rejections(store).items()) for entry in file]
    assert rejected == [f"bad {number}\n" for number in range(30)]


def test_a_task_that_is_stopped_again_and_again_comes_to_its_end(store: FolderStore, make: Make) -> None:
    """Each attempt adds its share."""
    job = make(gzip.compress(MIXED.encode()), name="in.gz")
    attempts = 1
    while run_here(job, stop=after(10), clock=TickingClock()).status is TaskStatus.STOPPED:
        attempts += 1
    assert attempts == state_of(store).attempt == 11
    assert replace(state_of(store).counts, size=0) == TaskCounts(120, 60, 30, 30)
    assert len(merged_rows(store)) == 60


def test_checkpoints_are_made_along_the_way(store: FolderStore, make: Make) -> None:
    """After a sealed chunk when the last one is 2 seconds old, and after 30 seconds in any case."""
    job = make(lines(100), chunk_size=10)
    seen: list[int] = []

    def look() -> bool:
        seen.append(state_of(store).counts.documents)
        return False

    run_here(job, stop=look, clock=TickingClock(0.3))
    assert sorted(set(seen)) == list(range(0, 101, 10))
    assert len(stored_rows(store)) == 100


def test_a_note_survives_a_stop(store: FolderStore, make: Make) -> None:
    """What was found strange at the beginning of a file is not seen again by who goes on in its middle."""
    job = make(lines(50), name="in.gz")
    stopped = run_here(job, stop=after(5), clock=TickingClock())
    assert [note.startswith("in.gz: ") for note in stopped.notes] == [True]
    assert run_here(job).notes == stopped.notes


def test_a_slow_handler_is_checkpointed_in_the_middle_of_a_chunk(store: FolderStore, make: Make) -> None:
    """A chunk that takes an hour to fill is not an hour's work to lose."""
    seen: list[int] = []

    def look() -> bool:
        seen.append(state_of(store).counts.documents)
        return False

    run_here(make(lines(8), chunk_size=1000), stop=look, clock=TickingClock(10.0))
    assert seen == [0, 2, 2, 2, 5, 5, 5, 8]


# Trouble with the input ------------------------------------------------------------------------------------------


def test_a_missing_file_fails_its_task(store: FolderStore, make: Make) -> None:
    """The message names it; once it is there the task goes on."""
    job = make(None)
    result = run_here(job)
    assert result.status is state_of(store).status is TaskStatus.FAILED
    assert result.error is not None
    assert "no object 'in.log'" in result.error
    assert run_here(make(lines(3))).status is TaskStatus.COMPLETED
    assert state_of(store).error is None


def test_an_archive_that_is_cut_off_gives_its_good_records(store: FolderStore, make: Make) -> None:
    """And one rejection, and a note."""
    whole = gzip.compress(lines(5).encode()) + gzip.compress(lines(5, "own").encode())
    result = run_here(make(whole[:-20], name="in.gz"))
    assert result.status is TaskStatus.COMPLETED
    assert result.counts.documents >= 5
    assert result.counts.rejections == 1
    assert result.counts.balanced
    assert result.notes == state_of(store).notes
    assert [note.startswith("in.gz: cut off") for note in result.notes] == [True]
    ((rejection,),) = stored_rejections(store).values()
    assert (rejection["kind"], rejection["source"]) == ("read", "in.gz")


def test_an_archive_that_is_cut_off_fails_under_the_policy_fail(store: FolderStore, make: Make) -> None:
    """Its good records are kept; the whole archive completes the task later."""
    whole = gzip.compress(lines(5).encode()) + gzip.compress(lines(500, "own").encode())
    result = run_here(make(whole[:-20], name="in.gz", on_error=OnError("fail")))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert "cut off" in result.error
    assert "onError.policy is 'fail'" in result.error
    assert result.counts.rejections == 0
    again = run_here(make(whole, name="in.gz", on_error=OnError("fail")))
    assert again.status is TaskStatus.COMPLETED
    assert replace(again.counts, size=0) == TaskCounts(505, 505)
    assert stored_rejections(store) == {}


def test_a_file_that_changed_between_attempts_is_read_anew(store: FolderStore, make: Make) -> None:
    """The checkpoint belongs to another file."""
    job = make(lines(50))
    assert run_here(job, stop=after(20), clock=TickingClock()).status is TaskStatus.STOPPED
    result = run_here(make("own A\nown B\n"))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 2)
    assert {"A", "B"} <= merged_rows(store).keys()


class ReplacedInTheMiddle(FolderStore):
    """Its object is replaced while it is read, as often as there are new contents for it."""

    def __init__(self, root: Path, contents: list[bytes]) -> None:
        super().__init__(root, durable=False)
        self.contents = contents

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> BinaryIO:
        stream = super().open(key, start=start, end=end, etag=etag)
        if not self.contents:
            return stream
        first = stream.read(200)
        stream.close()
        self.put(key, self.contents.pop(0), mode=Overwrite())
        return BufferedReader(Breaking(first))


class Breaking(RawIOBase):
    """Some bytes, and then the store finds that they are of an old version."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self.data:
            raise PreconditionFailedError("the object was replaced")
        buffer[: len(self.data)] = self.data
        count, self.data = len(self.data), b""
        return count


def test_a_file_that_is_replaced_while_it_is_read_is_read_anew(store: FolderStore, make: Make, tmp_path: Path) -> None:
    """From its beginning: versions are not mixed, and counts are those of the one that was read to its end."""
    new = lines(7, "own").encode()
    source = ReplacedInTheMiddle(tmp_path / "code/input", [lines(70).encode(), new])
    result = run_here(make(lines(60), source=source))
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts(7, 7, 0, 0, len(new)))
    assert state_of(store).attempt == 3


def test_a_file_that_never_stands_still_fails_its_task(store: FolderStore, make: Make, tmp_path: Path) -> None:
    """Three versions are enough to see it."""
    source = ReplacedInTheMiddle(tmp_path / "code/input", [lines(count).encode() for count in (60, 61, 62, 63)])
    result = run_here(make(lines(60), source=source))
    assert result.status is state_of(store).status is TaskStatus.FAILED
    assert result.error == "in.log changed 3 times while it was being read"


# The policy --------------------------------------------------------------------------------------------------------


def test_the_policy_fail_stops_at_the_first_rejection(store: FolderStore, make: Make) -> None:
    """What was before it is kept, the rejection can be looked at, and a better handler goes on there."""
    content = lines(15) + "worse x\n" + lines(3, "own")
    strict = OnError("fail")
    result = run_here(make(content, on_error=strict))
    assert result.status is TaskStatus.FAILED
    assert result.error == "bad line: x (in.log at 200; onError.policy is 'fail')"
    assert replace(result.counts, size=0) == TaskCounts(15, 15)
    assert [entry["text"] for entry in stored_rejections(store)["task_t1_00000.jsonl"]] == ["worse x\n"]
    again = run_here(make(content, on_error=strict, parameters={"accept": ["worse"]}))
    assert again.status is TaskStatus.COMPLETED
    assert again.counts == TaskCounts(19, 19, 0, 0, len(content))
    assert len(stored_rows(store)) == 19
    assert stored_rejections(store) == {}


@pytest.mark.parametrize("content", ["worse x\n", "worse x\ndoc a\n", "doc a\nworse x\n"])
def test_the_policy_fail_works_at_the_edges(store: FolderStore, make: Make, content: str) -> None:
    """In the first record and the last."""
    strict = OnError("fail")
    assert run_here(make(content, on_error=strict)).status is TaskStatus.FAILED
    again = run_here(make(content, on_error=strict, parameters={"accept": ["worse"]}))
    assert again.counts == TaskCounts(content.count("\n"), content.count("\n"), 0, 0, len(content))
    assert len(stored_rows(store)) == content.count("\n")


def test_a_row_that_cannot_be_stored_counts_under_the_policy(store: FolderStore, make: Make) -> None:
    """It is a rejection like any other."""
    result = run_here(make("doc a\nset b\ndoc c\n", on_error=OnError("fail")))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    assert result.error.startswith("column 'text': a value of type object cannot be stored")
    assert replace(result.counts, size=0) == TaskCounts(1, 1)


def test_a_limit_of_rejections_fails_the_task(store: FolderStore, make: Make) -> None:
    """Those up to the limit are part of what is done."""
    result = run_here(make("doc a\nbad 1\nbad 2\nbad 3\ndoc b\n", on_error=OnError(max_errors=2)))
    assert (result.status, result.error) == (
        TaskStatus.FAILED,
        "3 records were rejected; onError.maxErrors allows 2",
    )
    again = run_here(make("doc a\nbad 1\nbad 2\nbad 3\ndoc b\n", on_error=OnError(max_errors=3)))
    assert replace(again.counts, size=0) == TaskCounts(5, 2, 0, 3)


# Handlers ----------------------------------------------------------------------------------------------------------


def test_a_handler_that_cannot_be_loaded_leaves_the_task_alone(store: FolderStore, make: Make) -> None:
    """It is the dataset file that is wrong."""
    with pytest.raises(HandlerLoadError, match="has no Nothing"):
        run_here(make(lines(1), reference="handler.Nothing"))
    assert state_of(store).status is TaskStatus.CREATED


def test_a_handler_that_cannot_be_opened_fails_its_task(store: FolderStore, make: Make, tmp_path: Path) -> None:
    """The next attempt may have more luck."""
    job = make(lines(3))
    write_module(tmp_path / "code", LINES + "    def open(self, context):\n        raise OSError(context.task)\n")
    result = run_here(job)
    assert (result.status, result.error) == (TaskStatus.FAILED, "Lines.open raised OSError: t1 (handler.py:33)")


def test_what_close_raises_is_a_note(store: FolderStore, make: Make, tmp_path: Path) -> None:
    """The rows are safe."""
    job = make(lines(3))
    write_module(tmp_path / "code", LINES + "    def close(self):\n        raise OSError('late')\n")
    result = run_here(job)
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 3)
    assert result.notes == ("Lines.close raised OSError: late (handler.py:33)",)


# Others ------------------------------------------------------------------------------------------------------------


def test_a_task_that_somebody_else_took_is_left_to_them(store: FolderStore, make: Make) -> None:
    """The next write finds their version; nothing of theirs is touched."""
    job = make(lines(50))
    taken = iter([False, True])

    def look() -> bool:
        if next(taken, False):
            stored = load_task(store, "d", "t1")
            save_task(store, "d", move(stored.state, TaskEvent.START, worker="other", attempt=2), etag=stored.etag)
        return False

    result = run_here(job, stop=look, clock=TickingClock())
    assert (result.status, result.error) == (TaskStatus.RUNNING, "another worker has taken the task over")
    assert (state_of(store).worker, state_of(store).attempt) == ("other", 2)
    assert run_here(job).status is TaskStatus.COMPLETED
    assert len(merged_rows(store)) == 50


def test_many_rejections_do_not_pile_up(store: FolderStore, make: Make) -> None:
    """They are stored a thousand at a time."""
    result = run_here(make(lines(2_500, "bad")), clock=TickingClock(1e-6))
    assert result.counts.rejections == 2_500
    assert [len(file) for _, file in sorted(stored_rejections(store).items())] == [1_000, 1_000, 500]
