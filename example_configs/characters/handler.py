"""Characters of Unicode, from the database that Python carries: a generator."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from datalake_interfaces import Document, Generator


class Characters(Generator):
    """Every character of a range that has a name."""

    def __init__(self, *, first: int, last: int) -> None:
        """Take code points from ``first`` to ``last``, both included."""
        self._range = range(first, last + 1)

    def generate(self) -> Iterator[Document]:
        """Yield one document for each character; its id depends on the character only."""
        for code_point in self._range:
            character = chr(code_point)
            name = unicodedata.name(character, "")
            if name:
                yield Document(
                    {
                        "character": character,
                        "name": name,
                        "category": unicodedata.category(character),
                        "decomposition": unicodedata.decomposition(character) or None,
                    },
                    document_id=f"U+{code_point:04X}",
                )
