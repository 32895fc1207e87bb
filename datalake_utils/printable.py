"""Text from somewhere else, such as a message of somebody's exception, as it can be shown to a person."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text on one line that cannot move the cursor or colour the terminal of its reader."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
