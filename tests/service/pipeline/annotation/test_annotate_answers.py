"""Wrong, late and missing answers: they fail their row and no other, up to a limit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from datalake_interfaces import Annotation, DataItem, Document, ErrorDoc
from datalake_service.errors import LimitExceededError, NameNotAllowedError, UsageError
from datalake_service.events import ANNOTATION_COMPLETED, ANNOTATION_ROW_FAILED
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import (
    ANNOTATOR,
    BATCH,
    DATASET,
    Asked,
    ListRows,
    chunk_rows,
    events,
    failed_rows,
    one_batch,
    raising,
    run,
    statuses,
)


class UnprintableError(Exception):
    """Cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


class Hostile(Mapping[str, Any]):
    """A mapping that raises when it is looked at."""

    def __getitem__(self, key: str) -> Any:
        raise OSError("nobody looks at me")

    def __iter__(self) -> Iterator[str]:
        raise OSError("nobody looks at me")

    def __len__(self) -> int:
        return 1


NONSENSE: dict[str, tuple[Callable[[DataItem], object], str]] = {
    "raises": (raising(ValueError("no such thing")), "ValueError: no such thing"),
    "raises without a word": (raising(KeyError()), "KeyError"),
    "raises the unprintable": (
        raising(UnprintableError()),
        "UnprintableError: (the exception could not be turned into text)",
    ),
    "cancels itself": (raising(asyncio.CancelledError()), "CancelledError"),
    "stops iteration": (raising(StopAsyncIteration()), "StopAsyncIteration"),
    "error": (lambda item: ErrorDoc(error_message="the model refused"), "the model refused"),
    "silent error": (lambda item: ErrorDoc(), "the annotator answered ErrorDoc without a message"),
    "nothing": (lambda item: None, "the annotator answered NoneType: answer an Annotation, a dict, a SkipDoc or"),
    "text": (lambda item: "positive", "the annotator answered str: answer an Annotation"),
    "a document": (lambda item: Document({"n": 1}), "the annotator answered Document: answer an Annotation"),
    "id": (lambda item: {"id": "x"}, "column 'id' is reserved"),
    "underscore": (lambda item: Annotation({"_status": "done"}), "column '_status' is reserved"),
    "reserved with metadata": (lambda item: Annotation({"_x": 1}, {"m": 1}), "column '_x' is reserved"),
    "no data": (lambda item: Annotation(None), "the annotation's data must be a dict, not NoneType"),  # type: ignore[arg-type]  # wrong on purpose
    "odd metadata": (lambda item: Annotation({}, [1]), "the annotation's metadata must be a dict or None, not list"),  # type: ignore[arg-type]  # wrong on purpose
    "an object": (lambda item: {"what": object()}, "column 'what': "),
    "metadata with an object": (lambda item: Annotation({}, {"what": object()}), "column '_metadata': "),
    "hostile": (lambda item: Hostile(), "OSError: nobody looks at me"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_nonsense_fails_its_row_and_no_other(folder_store: FolderStore, case: str) -> None:
    """The row says why, in the lake; every other row is annotated; the next run asks it again."""
    rule, message = NONSENSE[case]
    answers = Asked(lambda item: rule(item) if item.id == "r0013" else {"n": 1})
    report = run(folder_store, one_batch(40), answers, max_concurrency=4)
    assert (report.annotated, report.failed, report.remaining) == (39, 1, 1)
    (row,) = failed_rows(folder_store)
    assert row["id"] == "r0013"
    assert row["_error"].startswith(message)
    assert set(row) == {"id", "_batch", "_status", "_annotated_at", "_error", "_kind", "_seconds"}
    assert row["_error"].startswith((row["_kind"], message))
    again = Asked()
    run(folder_store, one_batch(40), again)
    assert again.ids == ["r0013"]


@pytest.mark.parametrize("case", ["raises", "raises the unprintable", "stops iteration", "nothing", "an object"])
def test_nonsense_of_a_plain_function_too(folder_store: FolderStore, case: str) -> None:
    """The same in threads."""
    rule, message = NONSENSE[case]
    report = run(folder_store, one_batch(10), lambda item: rule(item) if item.id == "r0003" else {"n": 1})
    assert (report.annotated, report.failed) == (9, 1)
    (row,) = failed_rows(folder_store)
    assert row["_error"].startswith(message)


def test_an_error_is_kept_short(folder_store: FolderStore) -> None:
    """An exception may quote a whole document."""
    run(folder_store, one_batch(1), Asked(raising(ValueError("x" * 10**6))))
    assert len(chunk_rows(folder_store)[0]["_error"]) == 2_000


def test_values_that_json_cannot_write_are_converted_as_everywhere(folder_store: FolderStore) -> None:
    """The one documented conversion; NaN stays what it is."""
    answer = {"at": datetime(2026, 1, 1, tzinfo=UTC), "price": Decimal("1.10"), "score": float("nan"), "big": 2**70}
    assert run(folder_store, one_batch(1), Asked(lambda item: answer)).annotated == 1
    (row,) = chunk_rows(folder_store)
    assert (row["at"], row["price"], row["big"]) == ("2026-01-01T00:00:00+00:00", "1.10", 2**70)
    assert row["score"] != row["score"]


def test_metadata_is_kept(folder_store: FolderStore) -> None:
    """What the annotator wants to remember stands beside its columns."""
    run(folder_store, one_batch(1), Asked(lambda item: Annotation({"n": 1}, {"model": "m", "cost": 0.5})))
    assert chunk_rows(folder_store)[0]["_metadata"] == {"model": "m", "cost": 0.5}


def test_other_columns_for_every_row(folder_store: FolderStore) -> None:
    """More sets of names than are remembered."""
    report = run(folder_store, one_batch(2_500), Asked(lambda item: {f"column {item.id}": 1}))
    assert report.annotated == 2_500


def test_failures_are_logged_without_contents(folder_store: FolderStore, caplog: pytest.LogCaptureFixture) -> None:
    """Where and what kind, not what the exception said; a flood of them is cut off."""
    with caplog.at_level(logging.INFO):
        run(folder_store, one_batch(200), Asked(raising(ValueError("secret text of the row"))))
    told = events(caplog, ANNOTATION_ROW_FAILED)
    where = {"dataset": DATASET, "annotator": ANNOTATOR, "batch": BATCH, "failure": "ValueError"}
    assert [fields | where for fields in told] == told
    assert len({fields["id"] for fields in told}) == 10
    (end,) = events(caplog, ANNOTATION_COMPLETED)
    assert (end["annotated"], end["failed"]) == (0, 200)
    assert "secret" not in caplog.text + str(told) + str(end)


# Time-outs -----------------------------------------------------------------------------------------------------


def test_a_hanging_call_fails_its_row(folder_store: FolderStore) -> None:
    """The others go on, and the worker is used again."""

    async def function(item: DataItem) -> dict[str, Any]:
        if item.id in ("r0001", "r0002"):
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        return {}

    report = run(folder_store, one_batch(50), function, max_concurrency=2, timeout_seconds=0.05)
    assert (report.annotated, report.failed) == (48, 2)
    assert {row["_error"] for row in failed_rows(folder_store)} == {"no answer within 0.05 s"}


def test_a_hanging_plain_call_fails_its_row(folder_store: FolderStore) -> None:
    """Its thread cannot be stopped; the worker goes on with another one."""
    release = threading.Event()

    def function(item: DataItem) -> dict[str, Any]:
        if item.id in ("r0001", "r0002"):
            release.wait()
        return {}

    report = run(folder_store, one_batch(50), function, max_concurrency=2, timeout_seconds=0.05)
    release.set()
    assert (report.annotated, report.failed) == (48, 2)


def test_too_many_hanging_plain_calls_end_the_run(folder_store: FolderStore) -> None:
    """Threads without end would end worse."""
    release = threading.Event()
    with pytest.raises(LimitExceededError, match="make it async"):
        run(folder_store, one_batch(300), lambda item: release.wait(), max_concurrency=20, timeout_seconds=0.01)
    release.set()


def test_who_is_late_but_answers_is_heard(folder_store: FolderStore) -> None:
    """The call ignores its cancellation and returns: the answer is paid for, so it is kept."""

    async def function(item: DataItem) -> dict[str, Any]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return {"late": True}

    report = run(folder_store, one_batch(20), function, max_concurrency=3, timeout_seconds=0.02)
    assert (report.annotated, report.failed) == (20, 0)


def test_a_deadline_leaves_no_trace_in_the_next_call(folder_store: FolderStore) -> None:
    """User code with time-outs and task groups of its own works after the worker was cancelled for being late."""

    async def inner() -> None:
        await asyncio.sleep(0)

    async def function(item: DataItem) -> dict[str, Any]:
        if int(item.id[1:]) % 3 == 0:
            await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(inner())
        if item.id == "r0001":
            raise ValueError
        return {}

    report = run(folder_store, one_batch(30), function, max_concurrency=1, timeout_seconds=0.03)
    assert (report.annotated, report.failed) == (19, 11)
    errors = {row["id"]: row["_error"] for row in failed_rows(folder_store)}
    assert (errors["r0000"], errors["r0001"]) == ("no answer within 0.03 s", "ValueError")


def test_the_limit_of_failures_ends_the_run(folder_store: FolderStore) -> None:
    """One more than allowed; what was answered is stored, and the message says what to do."""
    asked = Asked(lambda item: {"n": 1} if int(item.id[1:]) % 2 else None)
    with pytest.raises(LimitExceededError, match=r"rows failed in .* posts/lang \(answer 1[1-3]\), allowed: 10"):
        run(folder_store, one_batch(1_000), asked, max_errors=10, max_concurrency=2)
    assert len(asked.ids) < 40
    assert statuses(chunk_rows(folder_store)).keys() == set(asked.ids)


def test_as_many_failures_as_allowed_are_fine(folder_store: FolderStore) -> None:
    """The limit is what is tolerated."""
    rule = Asked(lambda item: None if item.id < "r0010" else {"n": 1})
    assert run(folder_store, one_batch(50), rule, max_errors=10).failed == 10


def test_the_share_is_judged_from_a_hundred_answers_on(folder_store: FolderStore) -> None:
    """Bad luck in the beginning ends nothing; a bad annotator is stopped soon."""
    unlucky = Asked(lambda item: None if item.id < "r0020" else {"n": 1})
    assert run(folder_store, one_batch(300), unlucky, max_error_share=0.25, max_concurrency=1).failed == 20
    bad = Asked(lambda item: None)
    with pytest.raises(LimitExceededError, match=r"a share of 0\.25"):
        run(folder_store, one_batch(1_000), bad, annotator="other", max_error_share=0.25, max_concurrency=1)
    assert 100 <= len(bad.ids) <= 102


def test_the_share_of_a_small_run_is_judged_in_the_end(folder_store: FolderStore) -> None:
    """Ten rows of which five fail."""
    half = Asked(lambda item: None if int(item.id[1:]) % 2 else {"n": 1})
    with pytest.raises(LimitExceededError, match="5 of 10 rows"):
        run(folder_store, one_batch(10), half, max_error_share=0.4)
    assert len(chunk_rows(folder_store)) == 10


@pytest.mark.parametrize(
    "options",
    [
        {"max_concurrency": 0},
        {"chunk_size": True},
        {"max_batches": 0},
        {"timeout_seconds": 0},
        {"max_chunk_seconds": -1.0},
        {"max_errors": -1},
        {"max_error_share": 1.5},
        {"lock_ttl_ms": 0},
    ],
)
def test_numbers_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    """Each by its name."""
    with pytest.raises(UsageError, match=next(iter(options))):
        AnnotationOptions(**options)


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".", "annotations"])
def test_names_are_checked_before_anything_is_written(folder_store: FolderStore, name: str) -> None:
    """Dataset and annotator are user input."""
    for job in (AnnotationJob(name, "lang", []), AnnotationJob("posts", name, [])):
        with pytest.raises(NameNotAllowedError):
            asyncio.run(annotate(folder_store, job, rows=ListRows({}), function=Asked()))
    assert list(folder_store.list("")) == []
