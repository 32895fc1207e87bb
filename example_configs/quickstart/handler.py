"""Docstrings of Python's standard library: a parser that finds them, and an annotator that describes them."""

from __future__ import annotations

import ast
import inspect
import re

from datalake_interfaces import (
    Annotation,
    Annotator,
    DataItem,
    Document,
    ErrorDoc,
    RecordHintType,
    RecordParseHint,
    SingleFileParser,
    SkipDoc,
)


class DocstringParser(SingleFileParser):
    """Every docstring of a function or class, as one document.

    A record starts with an indented triple quote and ends with the next one that ends a line. That is a search for
    bytes, not a parser for Python, so a few records are no docstrings at all: they become rejections.
    """

    def __init__(self, *, fewest_words: int = 3) -> None:
        """Leave out docstrings with fewer words than that."""
        self._fewest_words = fewest_words

    def get_s3_file_type(self) -> str:
        """All files are of one kind."""
        return "PYTHON"

    def get_record_start_pattern(self, s3_file_type: str) -> RecordParseHint:
        """An indented docstring begins."""
        return RecordParseHint(RecordHintType.PATTERN, '    """')

    def get_record_end_pattern(self, s3_file_type: str) -> RecordParseHint:
        """It ends with the line."""
        return RecordParseHint(RecordHintType.PATTERN, '"""\n')

    def parse_document(
        self,
        s3_file_type: str,
        s3_filename: str,
        offset_bytes: int,
        byte_arr: bytes,
        start_index: int,
        end_index: int,
    ) -> Document | ErrorDoc | SkipDoc:
        """Turn the literal into text."""
        literal = byte_arr[start_index:end_index].decode("utf-8").strip()
        if literal.count('"""') != 2:  # noqa: PLR2004 - one at each end
            return ErrorDoc(error_message="not one docstring: there are triple quotes inside")
        text = inspect.cleandoc(ast.literal_eval(literal))
        if len(text.split()) < self._fewest_words:
            return SkipDoc(skip_message="too short to say anything")
        return Document(
            {"module": s3_filename.removesuffix(".py").replace("/", "."), "offset": offset_bytes, "text": text},
            record_type="docstring",
        )


class Style(Annotator):
    """How a docstring is written: its summary line, its size, and whether it speaks of exceptions."""

    def annotate(self, item: DataItem) -> Annotation | SkipDoc:
        """Describe one docstring; those without a summary line are left out."""
        text: str = item.data["text"]
        summary = text.partition("\n\n")[0]
        if "\n" in summary or not summary.endswith("."):
            return SkipDoc(skip_message="no summary line")
        return Annotation(
            {
                "summary": summary,
                "words": len(text.split()),
                "mentions_exception": re.search(r"\braises?\b|Error\b", text, re.IGNORECASE) is not None,
            },
        )
