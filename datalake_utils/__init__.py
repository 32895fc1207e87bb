"""Small helpers without a word of the product in them: clock, ids, backoff, units. Standard library only."""

from __future__ import annotations

from datalake_utils.backoff import Backoff
from datalake_utils.clock import Clock, ManualClock, SystemClock
from datalake_utils.ids import RandomSource, random_hex
from datalake_utils.units import format_duration, format_size, parse_duration, parse_size

__all__ = [
    "Backoff",
    "Clock",
    "ManualClock",
    "RandomSource",
    "SystemClock",
    "format_duration",
    "format_size",
    "parse_duration",
    "parse_size",
    "random_hex",
]
