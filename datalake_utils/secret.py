"""A text that is not shown by accident."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_STARS: Final = "**********"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A key or a password. Neither messages nor logs show it: whoever needs it says so."""

    _text: str

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        """Stars, as many for each."""
        return f"Secret({_STARS!r})"

    def __str__(self) -> str:
        """The same for people."""
        return _STARS
