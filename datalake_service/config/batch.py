"""Batch names with placeholders for the date: ``"{date:%Y%m%d-%H}"``. Pure."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from datalake_service.config.names import check_name

DEFAULT_BATCH: Final = "{date}"
"""One batch a day."""

_DAY: Final = "%Y%m%d"
_CODES: Final = "YmdHMSj"
_PLACEHOLDER: Final = re.compile(r"\{date(?::(?P<format>(?:%[" + _CODES + r"]|[A-Za-z0-9._-])+))?\}")
_SAMPLE: Final = datetime(2026, 11, 20, 13, 5, 9, tzinfo=UTC)
ALLOWED: Final = (
    "a batch name; in it {date} stands for the day in UTC (20261120) and {date:%Y%m%d-%H} for a time, "
    "with %Y %m %d %H %M %S %j"
)


def batch_name(template: str, now: datetime) -> str:
    """Fill in the placeholders of a checked template; dates are UTC."""
    moment = now.astimezone(UTC)
    return _PLACEHOLDER.sub(lambda match: moment.strftime(match["format"] or _DAY), template)


def has_placeholder(template: str) -> bool:
    """Whether the name depends on the time."""
    return _PLACEHOLDER.search(template) is not None


def check_template(template: str) -> str:
    """Return ``template`` if every date makes a batch name of it.

    Raises:
        NameNotAllowedError: The name is not allowed, or a placeholder is not known.
    """
    check_name(batch_name(template, _SAMPLE), what="batch")
    return template
