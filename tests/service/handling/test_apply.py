from __future__ import annotations

import gc
from collections import UserDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_interfaces import (
    Document,
    ErrorDoc,
    HandlerContext,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.apply import FileHandler, Outcome, Skip

Answer = Callable[[bytes], Any]


class Parser(SingleFileParser):
    """Answers whatever a test wants."""

    def __init__(self, answer: Answer = lambda data: Document({"text": data.decode()})) -> None:
        self.answer = answer
        self.calls: list[tuple[object, ...]] = []

    def get_s3_file_type(self) -> str:
        return "LOG"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, s3_file_type)

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.OFFSET, offset=3)

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Any:
        self.calls.append((s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index))
        return self.answer(byte_arr)


def handler(answer: Answer) -> FileHandler:
    """An open handler around a parser."""
    made = FileHandler(Parser(answer), folder=Path(__file__).parent)
    made.open(HandlerContext())
    return made


def outcome(answer: object, *, data: bytes = b"data", offset: int = 40) -> Outcome:
    """What becomes of one record for which the parser returns ``answer`` (or calls it, if it is a function)."""
    made = handler(answer if callable(answer) else lambda _data: answer)
    (found,) = made.apply([(offset, data)], source="s3://bucket/a.log", file_name="a.log")
    assert made.counts().records == 1
    return found


def rejection(answer: object, **record: Any) -> Rejection:
    """The rejection of one record."""
    found = outcome(answer, **record)
    assert isinstance(found, Rejection)
    assert (found.source, found.data) == ("s3://bucket/a.log", b"data")
    return found


def raising(error: BaseException) -> Answer:
    """A parser that raises."""

    def answer(_data: bytes) -> object:
        raise error

    return answer


def test_the_parser_gets_the_record_as_the_original_passes_it() -> None:
    """Type, name, offset, bytes, and the range in the bytes."""
    parser = Parser()
    made = FileHandler(parser)
    made.open(HandlerContext())
    list(made.apply([(7, b"one"), (10, b"three")], source="s", file_name="key"))
    assert parser.calls == [("LOG", "key", 7, b"one", 0, 3), ("LOG", "key", 10, b"three", 0, 5)]


def test_a_document_becomes_a_flat_row() -> None:
    """Its own fields, overlaid by its map: the user's keys win."""
    document = Document(
        {"text": "t", "recordType": "mine"},
        document_id="d1",
        record_type="theirs",
        partition_key="p",
        document_metadata={"lang": "en"},
    )
    assert outcome(document) == {
        "id": "d1",
        "documentId": "d1",
        "recordType": "mine",
        "partitionKey": "p",
        "documentMetadata": {"lang": "en"},
        "text": "t",
    }


def test_fields_that_are_none_are_left_out() -> None:
    """Missing and null are the same; keys of the map are the user's own."""
    row = outcome(Document({"a": None}))
    assert isinstance(row, dict)
    assert set(row) == {"id", "a"}


@pytest.mark.parametrize(
    ("document", "row_id"),
    [
        (Document({"id": "own"}, document_id="d"), "own"),
        (Document({"id": 7}, document_id="d"), 7),
        (Document({"id": None}, document_id="d"), "d"),
        (Document({}, document_id="d"), "d"),
    ],
)
def test_the_id_is_the_own_one_else_the_documents(document: Document, row_id: object) -> None:
    """In this order; the writer decides whether it can be stored."""
    row = outcome(document)
    assert isinstance(row, dict)
    assert row["id"] == row_id


def test_a_derived_id_depends_on_source_and_offset_only() -> None:
    """Reading the same input again yields the same ids, so that a merge keeps one."""
    made = handler(lambda data: Document({"text": data}))

    def ids(source: str, *offsets: int) -> list[str]:
        records = [(offset, b"x") for offset in offsets]
        return [row["id"] for row in made.apply(records, source=source, file_name="f") if isinstance(row, dict)]

    assert ids("a", 0, 5) == ids("a", 0, 5)
    assert len({*ids("a", 0, 5), *ids("b", 0, 5)}) == 4
    assert ids("a", 5, 100, 10**9) == sorted(ids("a", 5, 100, 10**9))
    assert ids("logs/a.log", 4096) == ["a140c646169da06f82a1-000000001000"]  # part of the format


@pytest.mark.parametrize("status", [ParseDocumentResultStatus.SUCCESS, "SUCCESS", "success"], ids=range(3))
def test_a_result_is_unwrapped(status: Any) -> None:
    """As the original's handlers return it; the status may be a plain string in any case."""
    row = outcome(ParseDocumentResult(None, Document({"a": 1}, document_id="d"), status))
    assert row == {"id": "d", "documentId": "d", "a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        SkipDoc(),
        ParseDocumentResult(None, SkipDoc()),
        ParseDocumentResult(None, None, "skip"),  # type: ignore[arg-type]  # wrong on purpose
        ParseDocumentResult(None, Document({"a": 1}), ParseDocumentResultStatus.SKIP),
    ],
)
def test_a_skip_is_a_skip_however_it_is_said(answer: object) -> None:
    """The document, or the status."""
    assert outcome(answer) == Skip(None)


def test_a_skip_keeps_its_message() -> None:
    """For whoever wants to count the reasons."""
    assert outcome(SkipDoc(skip_message="too short")) == Skip("too short")


@pytest.mark.parametrize(
    "answer",
    [
        ErrorDoc(),
        ParseDocumentResult(None, ErrorDoc()),
        ParseDocumentResult(None, None, "ERROR"),  # type: ignore[arg-type]  # wrong on purpose
        ParseDocumentResult(None, Document({}), ParseDocumentResultStatus.ERROR),
    ],
)
def test_an_error_is_a_rejection_that_the_framework_fills_in(answer: object) -> None:
    """Source, offsets, bytes and a message, if the handler gave none."""
    assert rejection(answer) == Rejection(
        source="s3://bucket/a.log",
        start_offset="40",
        end_offset="44",
        kind=RejectionKind.PARSE,
        message="the handler answered with an error document",
        data=b"data",
    )


@pytest.mark.parametrize(
    ("start", "end", "offsets"),
    [
        ({"LOG": "1"}, {"LOG": 2}, ("1", "2")),
        ({"other": "1"}, {"other": "2"}, ("1", "2")),
        ({"a": "1", "b": "2"}, {"a": "1", "LOG": "9"}, ("40", "9")),
        ({}, None, ("40", "44")),
        ({"LOG": [1]}, "nonsense", ("40", "44")),
    ],
)
def test_an_error_document_keeps_what_it_says(start: Any, end: Any, offsets: tuple[str, str]) -> None:
    """Message, ids, and offsets by the file type, as far as they make sense."""
    document = ErrorDoc(
        {"half": 1},
        error_message="no\nend",
        document_id="d",
        record_type="r",
        error_start_offset_map=start,
        error_end_offset_map=end,
    )
    found = rejection(document)
    assert (found.start_offset, found.end_offset) == offsets
    assert (found.message, found.document_id, found.record_type) == ("no end", "d", "r")
    assert found.document == {"half": 1, "documentId": "d", "id": "d", "recordType": "r"}


@pytest.mark.parametrize(
    "error", [ValueError("bad\nvalue"), KeyError("k"), SystemExit(3), RecursionError(), Exception()]
)
def test_a_parser_that_raises_makes_a_rejection(error: BaseException) -> None:
    """Whatever it raises, with its line; a call of ``sys.exit`` in some library does not end the worker."""
    found = rejection(raising(error))
    assert found.kind is RejectionKind.PARSE
    assert found.message.startswith(f"Parser.parse_document raised {type(error).__name__}")
    assert "test_apply.py:" in found.message
    assert "\n" not in found.message
    assert (found.start_offset, found.end_offset) == ("40", "44")


def test_an_interruption_is_not_caught() -> None:
    """Ctrl-C stops the worker, not the record."""
    with pytest.raises(KeyboardInterrupt):
        outcome(raising(KeyboardInterrupt()))


class Unprintable(Exception):  # noqa: N818 - it is hostile, not named well
    """An exception whose message cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_be_printed_is_told() -> None:
    """The rejection is kept all the same."""
    assert "cannot be shown: RuntimeError" in rejection(raising(Unprintable())).message


def test_an_error_document_with_a_strange_payload_keeps_its_message() -> None:
    """The message says more than that the payload is no mapping."""
    found = rejection(ErrorDoc([], error_message="bad"))  # type: ignore[arg-type]  # wrong on purpose
    assert (found.kind, found.message, found.document) == (RejectionKind.PARSE, "bad", None)


def test_a_very_long_message_is_cut() -> None:
    """Some libraries put the whole document into theirs."""
    assert len(rejection(raising(ValueError("x" * 100_000))).message) < 1500


async def coroutine() -> None:
    """What an async parser returns."""


class Hostile(UserDict[str, Any]):
    """A mapping that fails when it is read."""

    def keys(self) -> Any:
        raise RuntimeError("no keys today")


NONSENSE: dict[str, tuple[object, str]] = {
    "none": (None, "parse_document returned nothing (None); return a Document, an ErrorDoc or a SkipDoc"),
    "list": ([], "parse_document returned list; return a Document, an ErrorDoc or a SkipDoc"),
    "dict": ({}, "parse_document returned dict; wrap it: Document(row)"),
    "str": ("x", "parse_document returned str; return a Document, an ErrorDoc or a SkipDoc"),
    "class": (Document, "parse_document returned type; return a Document, an ErrorDoc or a SkipDoc"),
    "result of none": (
        ParseDocumentResult(None, None),
        "parse_document returned a ParseDocumentResult with no document (None); it needs a Document",
    ),
    "result of a dict": (
        ParseDocumentResult(None, {}),  # type: ignore[arg-type]  # wrong on purpose
        "parse_document returned a ParseDocumentResult with dict as its document; it needs a Document",
    ),
    "status": (
        ParseDocumentResult(None, Document({}), "DONE"),  # type: ignore[arg-type]  # wrong on purpose
        "parse_document returned a ParseDocumentResult with status 'DONE'; it is one of ERROR, SKIP, SUCCESS",
    ),
    "payload": (
        Document([("a", 1)]),  # type: ignore[arg-type]  # wrong on purpose
        "document_key_values_map is list; it has to be a mapping",
    ),
    "hostile payload": (Document(Hostile(a=1)), "RuntimeError: no keys today (test_apply.py:"),
}


@pytest.mark.parametrize("case", NONSENSE)
def test_an_answer_that_is_no_document_is_a_rejection(case: str) -> None:
    """It says what was returned and what is expected."""
    answer, message = NONSENSE[case]
    found = rejection(lambda _data: answer)
    assert found.kind is RejectionKind.TRANSFORM
    assert found.message.startswith(message)


def test_an_async_parser_is_told_so() -> None:
    """Without the warning that Python gives at a confusing place (warnings are errors here)."""
    found = rejection(lambda _data: coroutine())
    assert found.message == "parse_document is async; it has to be a plain method: def parse_document"
    gc.collect()


def test_a_row_that_cannot_be_stored_moves_in_the_counts() -> None:
    """The writer says why; the row goes into the rejection with its record."""
    made = handler(lambda _data: Document({"a": object}))
    (row,) = made.apply([(3, b"xyz")], source="s", file_name="f")
    assert isinstance(row, dict)
    assert made.counts() == TaskCounts(records=1, documents=1)
    found = made.reject_row(row, "column 'a': no", source="s", offset=3, data=b"xyz")
    assert (found.kind, found.message, found.end_offset) == (RejectionKind.WRITE, "column 'a': no", "6")
    assert found.document == row
    assert made.counts() == TaskCounts(records=1, rejections=1)


ANSWERS: list[tuple[str, object]] = [
    ("documents", Document({"a": 1})),
    ("documents", ParseDocumentResult(None, Document({}))),
    ("skips", SkipDoc()),
    ("rejections", ErrorDoc()),
    ("rejections", None),
    ("rejections", ValueError("raise me")),
]


@given(st.lists(st.sampled_from(ANSWERS)), st.integers(0, 20))
def test_every_record_is_accounted_for(answers: list[tuple[str, object]], stop: int) -> None:
    """Records = documents + skips + rejections, also when the consumer stops anywhere; it is called once for each."""
    remaining = iter(answers)

    def answer(_data: bytes) -> object:
        _, value = next(remaining)
        if isinstance(value, Exception):
            raise value
        return value

    made = handler(answer)
    outcomes = made.apply([(n, b"x") for n in range(len(answers))], source="s", file_name="f")
    taken = [found for found, _ in zip(outcomes, range(stop), strict=False)]
    # zip takes one more outcome to find out that there are enough.
    done = answers[: min(stop + 1, len(answers))]
    assert len(taken) == min(stop, len(answers))
    counts = made.counts()
    assert counts.records == len(done)
    for name in ("documents", "skips", "rejections"):
        assert getattr(counts, name) == sum(kind == name for kind, _ in done)


def test_the_context_reaches_the_parser_and_close_never_fails_a_task() -> None:
    """The rows are safe when ``close`` is called; what it raises is a note."""
    seen: list[object] = []

    class Opening(Parser):
        def open(self, context: HandlerContext) -> None:
            seen.append(context)

        def close(self) -> None:
            raise OSError("gone")

    context = HandlerContext(dataset="d", task="t", parameters={"a": 1})
    made = FileHandler(Opening(), folder=Path(__file__).parent)
    made.open(context)
    assert seen == [context]
    assert str(made.close()).startswith("Opening.close raised OSError: gone (test_apply.py:")
    assert handler(lambda data: data).close() is None


def test_the_hints_and_the_key_are_asked_for() -> None:
    """The hints with the file type, the key with the line of the manifest."""
    made = handler(lambda data: data)
    start, end = made.hints()
    assert (start.pattern_bytes, end.offset) == (b"LOG", 3)
    assert made.resolve("a.log") == "a.log"


async def no_hint(_self: object, _file_type: str) -> RecordParseHint:
    """A hint that has to be awaited."""
    return RecordParseHint(RecordHintType.OFFSET, offset=1)


BAD_METHODS: Mapping[str, tuple[object, str]] = {
    "open": (lambda _self, _context: {"a": 1}["key"], "Bad.open raised KeyError: 'key' (test_apply.py:"),
    "get_s3_file_type": (lambda _self: None, "Bad.get_s3_file_type returned NoneType, not str"),
    "get_resolved_s3_file_name": (
        lambda _self, _type, _name: "",
        "Bad.get_resolved_s3_file_name returned nothing, not an object key",
    ),
    "get_record_start_pattern": (
        lambda _self, _type: b"<",
        "Bad.get_record_start_pattern returned bytes; return a RecordParseHint",
    ),
    "get_record_end_pattern": (
        no_hint,
        "Bad.get_record_end_pattern is async; it has to be a plain method: def get_record_end_pattern",
    ),
}


@pytest.mark.parametrize("method", BAD_METHODS)
def test_a_handler_that_fails_before_the_first_record_fails_the_task(method: str) -> None:
    """With its name, its method and what is wrong."""
    function, message = BAD_METHODS[method]
    bad = FileHandler(type("Bad", (Parser,), {method: function})(), folder=Path(__file__).parent)

    def begin() -> None:
        bad.open(HandlerContext())
        bad.resolve("a.log")
        bad.hints()

    with pytest.raises(HandlerLoadError) as caught:
        begin()
    assert str(caught.value).startswith(message)


def test_a_pattern_of_an_unknown_encoding_is_told() -> None:
    """Before the file is read."""

    class Encoded(Parser):
        def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
            return RecordParseHint(RecordHintType.PATTERN, "<", encoding="klingon")

    made = FileHandler(Encoded())
    made.open(HandlerContext())
    with pytest.raises(HandlerLoadError, match="pattern cannot be encoded: unknown encoding: klingon"):
        made.hints()
