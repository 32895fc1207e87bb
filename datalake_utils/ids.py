"""Random names. The only module that asks the operating system for randomness."""

from __future__ import annotations

import os
from collections.abc import Callable

RandomSource = Callable[[int], bytes]
"""Answers a number with that many random bytes."""
SYSTEM: RandomSource = os.urandom
"""The source to use, unless a test wants to know what comes."""


def random_hex(digits: int, *, source: RandomSource = SYSTEM) -> str:
    """Return ``digits`` (at least one) random lower-case hexadecimal digits."""
    if digits < 1:
        raise ValueError(f"a random name needs at least one digit, not {digits}")
    return source((digits + 1) // 2).hex()[:digits]
