"""Each annotation says what it took: attempts, time, money, tokens; a failure what kind it was."""

from __future__ import annotations

import asyncio
from typing import Any

from datalake_interfaces import DataItem, ErrorDoc, GiveUpError, SkipDoc, TryLaterError
from datalake_interfaces.attempts import Usage
from datalake_service.annotating.policy import CallPolicy
from datalake_service.annotating.usage import Spent
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ListRows, chunk_rows, one_batch, run


def rows_by_id(store: FolderStore) -> dict[str, dict[str, Any]]:
    """Every annotation row in chunks."""
    return {row["id"]: row for row in chunk_rows(store)}


def test_what_was_reported_stands_in_the_row(folder_store: FolderStore) -> None:
    """Of all attempts together, whatever became of the row; what was not reported is not there."""

    async def annotate(item: DataItem) -> object:
        if item.id == "free":
            return {"n": 1}
        item.spend(input_tokens=10, output_tokens=2, cost=0.25)
        if item.attempt < 3:
            raise TryLaterError("busy", after_seconds=0)
        return {"done": {"n": 1}, "skipped": SkipDoc(), "failed": ErrorDoc(error_message="no")}[item.id]

    rows = ListRows({"b1": ["free", "done", "skipped", "failed"]})
    run(folder_store, rows, annotate, calls=CallPolicy())
    found = rows_by_id(folder_store)
    for name in ("done", "skipped", "failed"):
        row = found[name]
        assert (row["_status"], row["_attempts"], row["_cost"]) == (name, 3, 0.75)
        assert (row["_input_tokens"], row["_output_tokens"]) == (30, 6)
    assert found["failed"]["_kind"] == "ErrorDoc"
    assert not {"_attempts", "_cost", "_input_tokens"} & set(found["free"])
    assert all(type(row["_seconds"]) is float and row["_seconds"] >= 0 for row in found.values())


def test_a_row_that_was_too_late_took_as_long_as_it_had(folder_store: FolderStore) -> None:
    """Not the moment between its cancellation and its end; what it had spent by then is kept."""

    async def never(item: DataItem) -> object:
        item.spend(cost=1)
        await asyncio.sleep(30)
        raise AssertionError

    run(folder_store, one_batch(1), never, timeout_seconds=0.1)
    (row,) = chunk_rows(folder_store)
    assert (row["_kind"], row["_cost"]) == ("timeout", 1.0)
    assert 0.1 <= row["_seconds"] < 20


def test_an_answer_that_cannot_be_stored_was_paid_for(folder_store: FolderStore) -> None:
    """Its failure says what it took; so does the report, also where nobody counts calls."""

    async def annotate(item: DataItem) -> object:
        item.spend(input_tokens=7)
        return {"value": object()}

    report = run(folder_store, one_batch(1), annotate)
    assert report.spent == Spent(1, usage=Usage(input_tokens=7))
    (row,) = chunk_rows(folder_store)
    assert (row["_status"], row["_kind"], row["_input_tokens"], row["_output_tokens"]) == ("failed", "answer", 7, 0)
    assert "_seconds" in row


def test_the_kind_is_the_name_of_the_exception(folder_store: FolderStore) -> None:
    """However long somebody called it."""

    async def annotate(item: DataItem) -> object:
        raise GiveUpError("never") if item.id == "r0000" else type("Odd" * 1_000, (Exception,), {})("x")

    run(folder_store, one_batch(2), annotate)
    found = rows_by_id(folder_store)
    assert found["r0000"]["_kind"] == "GiveUpError"
    assert found["r0001"]["_kind"] == ("Odd" * 1_000)[:200]
