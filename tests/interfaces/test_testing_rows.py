"""Checks of generators and annotators: what makes rows, without a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from datalake_interfaces import Annotation, Annotator, DataItem, Document, ErrorDoc, Generator, HandlerContext, SkipDoc
from datalake_interfaces.testing import Report, check_annotator, check_generator


class Rows(Generator):
    """Yields what a test wants."""

    def __init__(self, rows: list[Any], *, asynchronous: bool = False) -> None:
        self._rows = rows
        self._asynchronous = asynchronous
        self.closed = 0

    def generate(self) -> Any:
        return self._later() if self._asynchronous else self._now()

    def _now(self) -> Iterator[Any]:
        for row in self._rows:
            if isinstance(row, Exception):
                raise row
            yield row

    async def _later(self) -> AsyncIterator[Any]:
        for row in self._now():
            await asyncio.sleep(0)
            yield row

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_generator_is_checked(*, asynchronous: bool) -> None:
    """Plain or async; rows are dictionaries or documents."""
    rows = Rows(
        [{"a": 1}, Document({"a": 2}, document_id="d"), SkipDoc(), [], {"a": object()}], asynchronous=asynchronous
    )
    report = check_generator(rows)
    assert report.rows[:2] == [{"a": 1}, {"id": "d", "documentId": "d", "a": 2}]
    assert report.skips == ["row 2: no reason given"]
    assert report.problems == [
        "row 3: the answer is list, not a Document, an ErrorDoc or a SkipDoc",
        "row 4: column 'a' cannot be written as JSON: object has no JSON form",
    ]
    assert rows.closed == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_endless_generator_is_left_at_the_limit(*, asynchronous: bool) -> None:
    """And closed."""
    rows = Rows([{"a": number} for number in range(100)], asynchronous=asynchronous)
    assert len(check_generator(rows, limit=7).rows) == 7
    assert rows.closed == 1


def test_a_generator_that_raises_keeps_the_rows_before() -> None:
    """As the service does."""
    report = check_generator(Rows([{"a": 1}, OSError("gone")]))
    assert report.rows == [{"a": 1}]
    assert report.problems[0].startswith("generate failed after 1 rows: OSError: gone")


class Notes(Annotator):
    """Answers whatever a test wants."""

    def __init__(self, answer: Callable[[DataItem], Any]) -> None:
        self._answer = answer
        self.events: list[str] = []

    async def open(self, context: HandlerContext) -> None:
        self.events.append("open")

    def annotate(self, item: DataItem) -> Any:
        return self._answer(item)

    async def close(self) -> None:
        self.events.append("close")


def annotated(answer: Callable[[DataItem], Any]) -> Report:
    """The report about one row."""
    annotator = Notes(answer)
    report = check_annotator(annotator, [{"id": "r", "text": "one two"}])
    assert annotator.events == ["open", "close"]
    return report


def test_an_annotator_is_checked() -> None:
    """Plain or async, with an Annotation or a mapping."""

    async def later(item: DataItem) -> Annotation:
        await asyncio.sleep(0)
        return Annotation({"words": len(item.data["text"].split())})

    assert annotated(later).rows == [{"words": 2}]
    assert annotated(lambda item: {"id_was": item.id}).rows == [{"id_was": "r"}]
    assert annotated(lambda _item: SkipDoc()).skips == ["row r: no reason given"]
    assert annotated(lambda _item: ErrorDoc(error_message="no")).errors == ["row r: no"]
    assert annotated(lambda item: item.data["none"]).errors[0].startswith("row r: KeyError: 'none'")


def test_an_annotator_that_cannot_be_opened_is_a_problem() -> None:
    """Nothing else is asked of it."""

    class Closed(Notes):
        async def open(self, context: HandlerContext) -> None:
            raise OSError("no model")

    (problem,) = check_annotator(Closed(lambda _item: {}), [{"a": 1}]).problems
    assert problem.startswith("open or close failed: OSError: no model (")


def test_an_annotator_gets_items_as_they_are() -> None:
    """Rows without an id are numbered."""
    seen: list[DataItem] = []

    def answer(item: DataItem) -> dict[str, int]:
        seen.append(item)
        return {}

    check_annotator(Notes(answer), [{"a": 1}, DataItem({"a": 2}, "x", "b")])
    assert seen == [DataItem({"a": 1}, "0", "sample"), DataItem({"a": 2}, "x", "b")]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "row r: annotate returned NoneType; return an Annotation, a SkipDoc or an ErrorDoc"),
        (
            Annotation([]),  # type: ignore[arg-type]  # wrong on purpose
            "row r: annotate returned an Annotation of list; return an Annotation, a SkipDoc or an ErrorDoc",
        ),
        (
            {"id": 1},
            (
                "row r: column 'id' has a name that is reserved: an annotator's column is not called id "
                "and does not begin with _"
            ),
        ),
        ({"a": object()}, "row r: column 'a' cannot be written as JSON: object has no JSON form"),
    ],
)
def test_an_annotation_that_cannot_be_stored_is_a_problem(answer: object, words: str) -> None:
    """In words that say what to change."""
    assert annotated(lambda _item: answer).problems == [words]


def test_checking_works_where_an_event_loop_is_running() -> None:
    """As in a notebook."""

    async def notebook() -> Report:
        await asyncio.sleep(0)
        return annotated(lambda _item: {"a": 1})

    assert asyncio.run(notebook()).rows == [{"a": 1}]
