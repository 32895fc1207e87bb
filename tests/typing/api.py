"""How authors write handlers: this file is type-checked in strict mode and never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, assert_type

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    ErrorDoc,
    Generator,
    HandlerContext,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)
from datalake_interfaces.testing import Report, check_annotator, check_generator, check_parser
from datalake_service.handling.load import load_class, load_handler


class AsTheOriginal(SingleFileParser):
    """Every method, with results in an envelope."""

    def open(self, context: HandlerContext) -> None:
        assert_type(context.parameters["x"], Any)
        context.logger.info("open %s", context.dataset)

    def get_s3_file_type(self) -> str:
        return "LOG"

    def get_resolved_s3_file_name(self, s3_file_type: str, file_name: str) -> str:
        return f"logs/{file_name}"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, '{"ts"', -1)

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        return RecordParseHint(RecordHintType.PATTERN, b"}\n")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> ParseDocumentResult:
        document = Document({"text": byte_arr[start_index:end_index].decode()}, document_id="d")
        return ParseDocumentResult(None, document, ParseDocumentResultStatus.SUCCESS)


class Plain(AsTheOriginal):
    """Documents without an envelope would be another return type: an override may only narrow it."""

    def parse_document(  # type: ignore[override]  # the parent promised an envelope
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document:
        return ErrorDoc(error_message="no")


class Numbers(Generator):
    """A generator function."""

    def generate(self) -> Iterator[dict[str, Any]]:
        yield {"n": 1}


class Documents(Generator):
    """Documents."""

    def generate(self) -> list[Document]:
        return [Document({})]


class Later(Generator):
    """An async generator function."""

    async def generate(self) -> AsyncIterator[dict[str, Any]]:
        yield {"n": 1}


class AsyncAnnotator(Annotator):
    """Async from open to close."""

    async def open(self, context: HandlerContext) -> None: ...

    async def annotate(self, item: DataItem) -> Annotation | SkipDoc:
        return Annotation({"n": len(item.data)}) if item.id else SkipDoc()

    async def close(self) -> None: ...


class PlainAnnotator(Annotator):
    """Plain."""

    def open(self, context: HandlerContext) -> None: ...

    def annotate(self, item: DataItem) -> dict[str, int]:
        return {"n": len(item.data)}


def loading(folder: Path) -> None:
    """The loader returns what it was asked for."""
    assert_type(load_class("a.B", folder=folder, interface=PlainAnnotator), type[PlainAnnotator])
    assert_type(load_handler("a.B", folder=folder, interface=Numbers, parameters={}), Numbers)


def checking() -> None:
    """The checks take what authors have at hand."""
    assert_type(check_parser(AsTheOriginal(), b""), Report)
    assert_type(check_parser(AsTheOriginal(), Path("a.log")).rows, list[dict[str, Any]])
    check_generator(Numbers(), limit=3)
    check_annotator(AsyncAnnotator(), [{"text": "x"}])


wrong_position = Document({}, "d")  # type: ignore[call-arg]  # only the payload goes by position
wrong_payload = Document("text")  # type: ignore[arg-type]  # wrong on purpose
