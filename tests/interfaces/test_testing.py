from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_interfaces import (
    Document,
    ErrorDoc,
    HandlerContext,
    ParseDocumentResult,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)
from datalake_interfaces._checks import flat
from datalake_interfaces._samples import records
from datalake_interfaces.testing import check_parser
from datalake_service.handling.rows import flat_row
from datalake_service.readers.framing import Framer

SAMPLE = b"<one><two>noise<three>"


class Parser(SingleFileParser):
    """Records in angle brackets; a test says what becomes of one."""

    def __init__(self, answer: Callable[[bytes], Any] | None = None) -> None:
        self._answer = answer or (lambda record: Document({"text": record.decode()}))
        self.events: list[str] = []

    def open(self, context: HandlerContext) -> None:
        self.events.append(f"open {context.dataset}")

    def close(self) -> None:
        self.events.append("close")

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, "<")

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, ">")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Any:
        return self._answer(byte_arr[start_index:end_index])


def problems(answer: Any) -> list[str]:
    """What is wrong with a parser that answers so."""
    report = check_parser(Parser(answer if callable(answer) else lambda _record: answer), b"<a>")
    assert report.ok == (not report.problems)
    return report.problems


def test_a_good_parser_has_a_good_report() -> None:
    """Rows as they would be stored, and no problem."""
    parser = Parser()
    report = check_parser(parser, SAMPLE, context=HandlerContext(dataset="d"))
    assert report.ok
    assert [row["text"] for row in report.rows] == ["<one>", "<two>", "<three>"]
    assert parser.events == ["open d", "close"]
    assert str(report) == "3 rows, 0 skips, 0 errors, 0 problems"


@pytest.mark.parametrize(("name", "pack"), [("a.log", bytes), ("a.log.gz", gzip.compress), ("a.bz2", bz2.compress)])
def test_a_sample_may_be_a_file(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    """Compressed or not; the parser is told its name."""
    (tmp_path / name).write_bytes(pack(SAMPLE))
    names: list[str] = []

    class Named(Parser):
        def get_resolved_s3_file_name(self, s3_file_type: str, file_name: str) -> str:
            names.append(file_name)
            return file_name

    for path in (tmp_path / name, str(tmp_path / name)):
        assert len(check_parser(Named(), path).rows) == 3
    assert names == [name, name]


def test_zstd_samples_are_refused(tmp_path: Path) -> None:
    """The standard library has none, and this module has nothing else."""
    (tmp_path / "a.zst").write_bytes(b"")
    with pytest.raises(ValueError, match="decompressed bytes"):
        check_parser(Parser(), tmp_path / "a.zst")


def test_errors_and_skips_are_allowed_and_listed() -> None:
    """With where and why."""

    def answer(record: bytes) -> object:
        if record == b"<one>":
            return SkipDoc(skip_message="short")
        if record == b"<two>":
            return ErrorDoc(error_message="bad")
        raise ValueError("worse")

    report = check_parser(Parser(answer), SAMPLE)
    assert report.ok
    assert report.skips == ["record at byte 0: short"]
    assert report.errors[0] == "record at byte 5: bad"
    assert report.errors[1].startswith("record at byte 15: ValueError: worse (")
    assert str(report).splitlines()[:2] == ["0 rows, 1 skips, 2 errors, 0 problems", "error: record at byte 5: bad"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "record at byte 0: the answer is NoneType, not a Document, an ErrorDoc or a SkipDoc"),
        (
            {},
            "record at byte 0: the answer is dict, not a Document, an ErrorDoc or a SkipDoc; wrap it: Document(row)",
        ),
        (ParseDocumentResult(None, None), "record at byte 0: the result has the status SUCCESS and no document"),
        (
            ParseDocumentResult(None, Document({}), "OK"),  # type: ignore[arg-type]  # wrong on purpose
            "record at byte 0: the result's status is 'OK', none of ERROR, SKIP, SUCCESS",
        ),
        (Document([]), "record at byte 0: document_key_values_map is no mapping"),  # type: ignore[arg-type]  # wrong on purpose
        (Document({"a": {1}}), "record at byte 0: column 'a' cannot be written as JSON: set has no JSON form"),
        (
            ParseDocumentResult(None, {}),  # type: ignore[arg-type]  # wrong on purpose
            "record at byte 0: the result's document is dict",
        ),
        (Document({"_batch": 1}), "record at byte 0: column '_batch' has a name that is reserved"),
        (Document({1: 1}), "record at byte 0: column 1 has a name that is no text"),  # type: ignore[dict-item]  # wrong on purpose
        (Document({"id": 1.5}), "record at byte 0: the id is float; an id is text or an integer"),
    ],
)
def test_an_answer_that_would_be_rejected_is_a_problem(answer: object, words: str) -> None:
    """In words that say what to change."""
    assert problems(answer) == [words]


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: int


class Scalar:
    """As numpy's."""

    def tolist(self) -> int:
        return 1


def test_what_the_service_converts_is_no_problem() -> None:
    """Dates, numbers and bytes of Python, enumerations, dataclasses, and what converts itself."""
    row = {
        "a": datetime(2026, 1, 1, tzinfo=UTC),
        "b": Decimal(1),
        "c": b"x",
        "d": UUID(int=1),
        "e": float("nan"),
        "f": Colour.RED,
        "g": Point(1),
        "h": MappingProxyType({"a": 1}),
        "i": Scalar(),
    }
    assert problems(Document(row)) == []


def test_an_async_method_is_a_problem() -> None:
    """It would never be awaited."""

    async def answer() -> None: ...

    (problem, *_) = problems(lambda _record: answer())
    assert problem == "record at byte 0: the method is async; it has to be a plain one"


@pytest.mark.parametrize("status", ["ERROR", "SKIP", "SUCCESS"])
def test_results_are_unwrapped(status: Any) -> None:
    """The status decides, as it does in the service."""
    documents = [Document({"a": 1}), *([None] if status != "SUCCESS" else [])]
    for answer in [ParseDocumentResult(None, document, status) for document in documents]:
        report = check_parser(Parser(partial(lambda answer, _record: answer, answer)), b"<a>")
        assert report.ok
        assert [len(report.rows), len(report.skips), len(report.errors)] == [
            int(status == name) for name in ("SUCCESS", "SKIP", "ERROR")
        ]


def test_a_parser_that_depends_on_its_past_is_a_problem() -> None:
    """A task that resumes would make other rows."""
    numbers = iter(range(100))
    assert problems(lambda _record: Document({"n": next(numbers)})) == [
        "record at byte 0: parsed again, it is another document: a task that resumes has other rows"
    ]


def test_a_parser_that_ignores_the_indexes_is_a_problem() -> None:
    """The record may be a part of a larger buffer."""

    class Whole(Parser):
        def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as people write them
            return Document({"size": len(byte_arr)})

    class Strict(Parser):
        def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as people write them
            return Document({"text": byte_arr.decode()})

    assert check_parser(Whole(), b"<a>").problems == [
        "record at byte 0: start_index and end_index are not used: the record may be part of byte_arr"
    ]
    (problem,) = check_parser(Strict(), b"<a>").problems
    assert problem.startswith("record at byte 0: parsed again, it raised UnicodeDecodeError")


def test_ids_that_repeat_are_a_problem() -> None:
    """Two different rows of one id: one of them would be set aside."""
    report = check_parser(Parser(lambda record: Document({"text": record}, document_id="x")), SAMPLE)
    assert report.problems == [
        "record at byte 5: the id 'x' was used before, for another row",
        "record at byte 15: the id 'x' was used before, for another row",
    ]


def test_a_sample_without_records_is_a_problem() -> None:
    """The pattern is most likely wrong."""
    assert check_parser(Parser(), b"nothing here").problems == [
        "no record in 12 bytes: the start pattern '<' does not occur"
    ]
    assert check_parser(Parser(), b"").ok


@pytest.mark.parametrize(
    ("method", "answer", "words"),
    [
        ("get_s3_file_type", 3, "get_s3_file_type returned int, not str"),
        ("get_record_end_pattern", b">", "a pattern is bytes, not RecordParseHint"),
        ("open", KeyError("k"), "open, close or a pattern failed: KeyError: 'k'"),
        ("close", KeyError("k"), "open, close or a pattern failed: KeyError: 'k'"),
    ],
)
def test_other_methods_are_checked_too(method: str, answer: object, words: str) -> None:
    """Types of what they return, and whether they raise."""

    def wrong(*_arguments: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    parser = type("Wrong", (Parser,), {method: wrong})()
    assert any(problem.startswith(words) for problem in check_parser(parser, SAMPLE).problems)


TEXTS = st.none() | st.text(max_size=3)


@given(
    st.builds(
        Document,
        st.dictionaries(st.sampled_from(["id", "documentId", "recordType", "a"]), st.none() | st.integers()),
        document_id=TEXTS,
        record_type=TEXTS,
        partition_key=TEXTS,
        document_metadata=st.none() | st.just({"m": 1}),
    )
)
def test_the_row_shown_is_the_row_written(document: Document) -> None:
    """The two packages have code of their own for it; null and missing are the same."""
    shown, written = flat(document), flat_row(document)
    assert {key: value for key, value in shown.items() if value is not None} == {
        key: value for key, value in written.items() if value is not None
    }


HINTS = st.one_of(
    st.text("ab", min_size=1, max_size=2).map(lambda text: RecordParseHint(RecordHintType.PATTERN, text)),
    st.integers(1, 3).map(lambda offset: RecordParseHint(RecordHintType.OFFSET, offset=offset)),
)


@given(st.text("ab", max_size=30).map(str.encode), HINTS, HINTS)
def test_the_records_shown_are_the_records_read(data: bytes, start: RecordParseHint, end: RecordParseHint) -> None:
    """So that a handler that works on a sample works in a task."""
    framer = Framer(start, end)
    framer.push(data)
    read = framer.take()
    last = framer.finish()
    assert list(records(data, start, end)) == [*read, *([last] if last else [])]
