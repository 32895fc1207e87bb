"""Rows to annotate, and an annotator that stands for a service that takes its time."""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Iterator
from typing import Any

from datalake_interfaces import Annotation, Annotator, DataItem, Generator


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
