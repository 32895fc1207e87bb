from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    Generator,
    HandlerContext,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
)

HINT = RecordParseHint(RecordHintType.OFFSET, offset=1)


class Parser(SingleFileParser):
    """Only what has to be there."""

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        return HINT

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        return HINT

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document:
        return Document({})


class Rows(Generator):
    """Only what has to be there."""

    def generate(self) -> Iterator[dict[str, Any]]:
        yield {}


class Note(Annotator):
    """Only what has to be there."""

    async def annotate(self, item: DataItem) -> Annotation:
        return Annotation({"id": item.id})


def test_the_smallest_parser_works() -> None:
    """The rest has defaults: a file type, the line of the manifest as the key, nothing to open or close."""
    parser = Parser()
    parser.open(HandlerContext())
    assert parser.get_s3_file_type() == "FILE"
    assert parser.get_resolved_s3_file_name("FILE", "logs/a.gz") == "logs/a.gz"
    parser.close()


def test_the_smallest_generator_and_annotator_work() -> None:
    """They need neither open nor close."""
    rows, note = Rows(), Note()
    rows.open(HandlerContext())
    assert list(rows.generate()) == [{}]
    rows.close()
    assert note.open(HandlerContext()) is None
    assert asyncio.run(note.annotate(DataItem({}, "a", "b"))) == Annotation({"id": "a"})
    assert note.close() is None


@pytest.mark.parametrize("interface", [SingleFileParser, Generator, Annotator])
def test_an_interface_alone_is_no_handler(interface: Any) -> None:
    """What is missing is named when the class is constructed."""
    with pytest.raises(TypeError, match=r"parse_document|generate|annotate"):
        interface()
