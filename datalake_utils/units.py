"""Byte sizes and durations as people write them, to numbers and back. Pure; knows no setting's name."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_BINARY: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
_SIZES: Final = {
    "": 1,
    "b": 1,
    **{unit.lower(): 1024**power for power, unit in enumerate(_BINARY, start=1)},
    **{unit[0].lower() + "b": 1000**power for power, unit in enumerate(_BINARY, start=1)},
    **{unit[0].lower(): 1024**power for power, unit in enumerate(_BINARY, start=1)},
}
_SECONDS: Final = {
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "min": Decimal(60),
    "h": Decimal(3_600),
    "d": Decimal(86_400),
}
_QUANTITY: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[A-Za-z]*)")
_BYTES_PER_STEP: Final = 1024


def parse_size(text: str) -> int:
    """Read a byte size: ``"512 MiB"``, ``"1.5gb"``, ``"64k"`` or a plain number of bytes.

    ``KiB`` to ``PiB`` and the bare letters ``K`` to ``P`` count in steps of 1024, ``KB`` to ``PB`` in steps
    of 1000; case does not matter. The result is exact; a part of a byte is an error.

    Raises:
        ValueError: The text is no size.
    """
    match = _QUANTITY.fullmatch(text.strip())
    factor = _SIZES.get(match["unit"].lower()) if match else None
    if match is None or factor is None:
        message = f"{text!r} is not a size; write a number and a unit, such as '512 MiB' (KiB to PiB, KB to PB)"
        raise ValueError(message)
    size = Decimal(match["number"]) * factor
    if size != int(size):
        message = f"{text!r} is not a whole number of bytes"
        raise ValueError(message)
    return int(size)


def format_size(size: int) -> str:
    """Write a byte size for people, to one decimal place: ``"512 MiB"``, ``"1.5 GiB"``, ``"17 B"``.

    Raises:
        ValueError: The size is negative.
    """
    if size < 0:
        message = f"a size cannot be negative, got {size}"
        raise ValueError(message)
    if size < _BYTES_PER_STEP:
        return f"{size} B"
    tenths, power = size * 10, 0
    while power < len(_BINARY) and _rounded(tenths, _BYTES_PER_STEP**power) >= _BYTES_PER_STEP * 10:
        power += 1
    whole, tenth = divmod(_rounded(tenths, _BYTES_PER_STEP**power), 10)
    return f"{whole}.{tenth} {_BINARY[power - 1]}" if tenth else f"{whole} {_BINARY[power - 1]}"


def _rounded(number: int, divisor: int) -> int:
    """Divide to the nearest whole number, half up, without floats."""
    return (2 * number + divisor) // (2 * divisor)


def parse_duration(text: str) -> float:
    """Read a duration in seconds: ``"90s"``, ``"1.5 h"``, ``"250ms"``, ``"1h30m"``, or a plain number of seconds.

    Units are ``ms``, ``s``, ``m`` or ``min``, ``h`` and ``d``; parts add up, largest first, each unit once.

    Raises:
        ValueError: The text is no duration.
    """
    compact = "".join(text.split())
    seconds, position, previous = Decimal(0), 0, None
    while match := _QUANTITY.match(compact, position):
        unit = _SECONDS.get(match["unit"].lower() or ("s" if match.end() == len(compact) and not position else ""))
        if unit is None or (previous is not None and unit >= previous):
            break
        seconds, position, previous = seconds + Decimal(match["number"]) * unit, match.end(), unit
    if not compact or position != len(compact):
        message = f"{text!r} is not a duration; write a number and a unit, such as '90s' or '1h30m' (ms, s, m, h, d)"
        raise ValueError(message)
    return float(seconds)


def format_duration(seconds: float) -> str:
    """Write a duration for people with its two largest units: ``"250ms"``, ``"4.2s"``, ``"1m30s"``, ``"2d3h"``.

    Raises:
        ValueError: The duration is negative or not finite.
    """
    if not 0 <= seconds < float("inf"):
        message = f"a duration must be finite and not negative, got {seconds}"
        raise ValueError(message)
    if round(seconds * 1000) < 1000:  # noqa: PLR2004 - milliseconds in a second
        return f"{round(seconds * 1000)}ms"
    if round(seconds, 1) < 60:  # noqa: PLR2004 - seconds in a minute
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    parts = ((whole // 86_400, "d"), (whole // 3_600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s"))
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return "".join(f"{count}{unit}" for count, unit in parts[first : first + 2] if count)
