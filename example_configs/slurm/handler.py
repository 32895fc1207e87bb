"""Files to read, rows to annotate, and an annotator that stands for a service that takes its time."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator
from typing import Any

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    Generator,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
)


class CharacterNames(Generator):
    """One row for each of the first characters of Unicode that have a name."""

    def __init__(self, *, rows: int = 12_000) -> None:
        """Stop after so many rows."""
        self._rows = rows

    def generate(self) -> Iterator[dict[str, Any]]:
        """Rows with an id of their own, so that running it again adds nothing."""
        named = ((code, unicodedata.name(chr(code), None)) for code in range(0x110000))
        rows = ({"id": f"U+{code:04X}", "name": name} for code, name in named if name is not None)
        for _, row in zip(range(self._rows), rows, strict=False):
            yield row


class Script(Annotator):
    """The script that a character belongs to, by its name. Put a model or a service here."""

    def __init__(self, *, seconds: float = 0.002) -> None:
        """Take so long for each row."""
        self._seconds = seconds

    async def annotate(self, item: DataItem) -> Annotation:
        """Wait as for an answer; meanwhile other rows are asked."""
        await asyncio.sleep(self._seconds)
        name: str = item.data["name"]
        return Annotation({"script": name.partition(" ")[0].title(), "capital": " CAPITAL " in name})


class Definitions(SingleFileParser):
    """The name of every function and method of a Python file. Put your own format here."""

    def get_s3_file_type(self) -> str:
        """All files are of one kind."""
        return "PYTHON"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """A definition begins."""
        return RecordParseHint(RecordHintType.PATTERN, "def ")

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """Its name is over."""
        return RecordParseHint(RecordHintType.PATTERN, "(")

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document:
        """Name and file."""
        name = byte_arr[start_index:end_index].decode("utf-8", "replace")
        return Document({"function": name.removeprefix("def ").removesuffix("("), "file": s3_filename})
