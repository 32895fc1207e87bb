"""Which failures are worth another attempt, and when.

Read from exceptions as client libraries spell them, without importing any.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Any, Final

from datalake_interfaces.attempts import GiveUpError, TryLaterError


class Worth(Enum):
    """What a failure says about other attempts."""

    FINAL = "final"
    """The same call would fail again."""
    AGAIN = "again"
    """The same call may work."""
    OVERLOADED = "overloaded"
    """It may work later; the service wants fewer calls, whoever makes them."""
    REFUSED = "refused"
    """No call of this annotator will work: wrong key, no permission, no money."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a failure."""

    worth: Worth
    after_seconds: float | None = None
    """How long to wait at least; ``None``: nobody said."""


_OVERLOADED: Final = frozenset({429, 503, 529})
_REFUSED: Final = frozenset({401, 402, 403})
_AGAIN: Final = frozenset({408, 409, 425})
_SERVER: Final = range(500, 600)
_TRANSPORT: Final = {
    "httpx": frozenset({"TransportError"}),
    "httpcore": frozenset({"NetworkError", "TimeoutException", "ProtocolError"}),
    "aiohttp": frozenset({"ClientConnectionError", "ClientPayloadError"}),
    "requests": frozenset({"ConnectionError", "Timeout", "ChunkedEncodingError"}),
    "urllib3": frozenset({"HTTPError"}),
    "openai": frozenset({"APIConnectionError"}),
    "anthropic": frozenset({"APIConnectionError"}),
}
"""Classes that say that no whole answer arrived, by the package that they are in."""


def judge(error: BaseException, *, now: Callable[[], datetime]) -> Verdict:
    """What to do about an exception of user code; ``now`` is the wall clock, for dates in headers."""
    if isinstance(error, TryLaterError):
        return Verdict(Worth.AGAIN, _not_negative(error.after_seconds))
    if isinstance(error, GiveUpError):
        return Verdict(Worth.FINAL)
    status = _status(error)
    if status is not None:
        return Verdict(_worth(status), after(_headers(error), now=now))
    if isinstance(error, ConnectionError | TimeoutError) or _is_transport(type(error)):
        return Verdict(Worth.AGAIN)
    return Verdict(Worth.FINAL)


def _worth(status: int) -> Worth:
    if status in _OVERLOADED:
        return Worth.OVERLOADED
    if status in _REFUSED:
        return Worth.REFUSED
    return Worth.AGAIN if status in _AGAIN or status in _SERVER else Worth.FINAL


def _status(error: BaseException) -> int | None:
    """The HTTP status that an exception carries, as client libraries spell it."""
    response = getattr(error, "response", None)
    for value in (
        getattr(error, "status_code", None),
        getattr(error, "status", None),
        getattr(response, "status_code", None),
        getattr(response, "status", None),
        getattr(error, "code", None),
    ):
        if type(value) is int and 400 <= value < 600:  # noqa: PLR2004 - statuses of errors
            return value
    return None


def _headers(error: BaseException) -> Mapping[str, str]:
    for source in (getattr(error, "response", None), error):
        headers: Any = getattr(source, "headers", None)
        try:
            return {str(name).lower(): str(value) for name, value in headers.items()}
        except (AttributeError, TypeError, ValueError):
            continue
    return {}


def _is_transport(kind: type[BaseException]) -> bool:
    return any(base.__name__ in _TRANSPORT.get(base.__module__.partition(".")[0], ()) for base in kind.__mro__)


def after(headers: Mapping[str, str], *, now: Callable[[], datetime]) -> float | None:
    """How long a service asks to be left alone, by its headers (with lower-case names)."""
    if (milliseconds := _number(headers.get("retry-after-ms", ""))) is not None:
        return milliseconds / 1_000
    if "retry-after" in headers:
        return _moment(headers["retry-after"], now)
    waits = [
        _moment(headers.get(f"{prefix}reset{suffix}", ""), now)
        for prefix, suffix in (
            ("x-ratelimit-", "-requests"),
            ("x-ratelimit-", "-tokens"),
            ("x-ratelimit-", ""),
        )
        if _number(headers.get(f"{prefix}remaining{suffix}", "")) == 0
    ]
    return max((wait for wait in waits if wait is not None), default=None)


def _moment(text: str, now: Callable[[], datetime]) -> float | None:
    """Seconds from now: a number (of seconds, or since 1970), a duration such as ``6m0s`` or ``120ms``, or a date."""
    text = text.strip()
    seconds = _number(text)
    if seconds is not None:
        return seconds if seconds < _EPOCHS else max(0.0, seconds - now().timestamp())
    if _DURATION.fullmatch(text) and text:
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(text)
        except (TypeError, ValueError):
            continue
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return max(0.0, (moment - now()).total_seconds())
    return None


_EPOCHS: Final = 1e8
"""A number beyond this (three years) is a moment since 1970."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")


def _number(text: str) -> float | None:
    try:
        return _not_negative(float(text))
    except ValueError:
        return None


def _not_negative(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else max(0.0, value)
