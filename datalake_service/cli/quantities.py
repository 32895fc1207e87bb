"""Sizes and durations as options give them."""

from __future__ import annotations

from datetime import timedelta

import click


def to_size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """A size such as ``1 GiB`` in bytes; a callback of an option."""
    from datalake_utils.units import parse_size

    if value is None:
        return None
    try:
        return parse_size(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def to_timedelta(_context: click.Context, _option: click.Parameter, value: str | None) -> timedelta | None:
    """A duration such as ``12h``; a callback of an option."""
    from datalake_utils.units import parse_duration

    if value is None:
        return None
    try:
        return timedelta(seconds=parse_duration(value))
    except OverflowError:
        raise click.BadParameter(f"{value!r} is too long a time; choose a shorter one") from None
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
