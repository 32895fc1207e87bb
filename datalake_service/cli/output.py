"""The answer of a command: text for people on a terminal, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from datalake_utils.printable import printable

Cell = str | int | float | None
"""A field of a table; numbers are aligned to the right."""


@dataclass(frozen=True, slots=True)
class Output:
    """Where the answer goes, and in which form."""

    pretty: bool = False
    """Indented JSON was asked for."""
    to_terminal: bool = False
    """A person reads the answer."""
    errors_to_terminal: bool = False
    """A person reads what is said meanwhile."""

    @property
    def for_people(self) -> bool:
        """Whether the answer is text."""
        return self.to_terminal and not self.pretty

    def show(self, value: object, text: Callable[[], Iterable[str]]) -> None:
        """Answer with ``value`` as JSON, or with the lines of ``text``."""
        if self.for_people:
            for line in text():
                print_line(printable(line))
        else:
            print_line(self.json(value))

    def json(self, value: object) -> str:
        """A value as JSON: indented if that was asked for, else on one line."""
        if self.pretty:
            return json.dumps(value, indent=2, ensure_ascii=False)
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def print_line(text: str) -> None:
    """Write a line to standard output."""
    _write(sys.stdout, text)


def say(text: str) -> None:
    """Write a line to standard error: what a person wants to know, and what is no part of the answer."""
    _write(sys.stderr, text)
    sys.stderr.flush()


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]]) -> list[str]:
    """Rows as aligned lines below their headings; what is empty shows as ``-``."""
    rows = list(rows)
    columns = [[row[number] for row in rows] for number in range(len(headings))]
    return [
        "  ".join(fields).rstrip()
        for fields in zip(*(_column(name, cells) for name, cells in zip(headings, columns, strict=True)), strict=True)
    ]


def _column(heading: str, cells: Sequence[Cell]) -> list[str]:
    texts = [heading, *map(_text, cells)]
    width = max(map(len, texts))
    known = [cell for cell in cells if cell is not None]
    numbers = bool(known) and all(isinstance(cell, (int, float)) for cell in known)
    return [text.rjust(width) if numbers else text.ljust(width) for text in texts]


def _text(cell: Cell) -> str:
    if cell is None or cell == "":
        return "-"
    return printable(cell) if isinstance(cell, str) else f"{cell:,}"


def _write(stream: TextIO, text: str) -> None:
    """Write a line; what the stream has no characters for is escaped."""
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
