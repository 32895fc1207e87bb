"""What an annotator says about a call that failed: try later, or give up. And what calls cost."""

from __future__ import annotations

from dataclasses import dataclass


class TryLaterError(Exception):
    """Raise it when another attempt at this row is worth while: a service that is busy, an answer that was cut off."""

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        """Say why, and how long to wait at least; ``None``: as long as is usual, ``0``: not at all."""
        super().__init__(message)
        self.after_seconds = after_seconds


class GiveUpError(Exception):
    """Raise it when no attempt at this row will ever work: a text that the service refuses. The next run asks again."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What calls have cost."""

    input_tokens: int = 0
    """Tokens that were sent."""
    output_tokens: int = 0
    """Tokens that were answered."""
    cost: float = 0.0
    """Money, in whatever currency the annotator counts."""

    @property
    def tokens(self) -> int:
        """Both ways."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """Both together."""
        return Usage(
            self.input_tokens + other.input_tokens, self.output_tokens + other.output_tokens, self.cost + other.cost
        )

    def __sub__(self, other: Usage) -> Usage:
        """What this is more than the other."""
        return Usage(
            self.input_tokens - other.input_tokens, self.output_tokens - other.output_tokens, self.cost - other.cost
        )


NOTHING = Usage()
"""No usage at all."""
