"""Failures as client libraries raise them, without the libraries."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from datalake_service.annotating.failures import Worth, after, judge

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def raised(module: str, *names: str, **attributes: object) -> Exception:
    """An exception whose class has such a name in such a module, and bases named after it."""
    kind: type[Exception] = Exception
    for name in reversed(names):
        kind = type(name, (kind,), {"__module__": module})
    error = kind("it failed")
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


class Response:
    """What several libraries hang on their exceptions."""

    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code = status_code
        self.headers = headers


@pytest.mark.parametrize(
    ("error", "worth"),
    [
        (raised("httpx", "ReadTimeout", "TransportError"), Worth.AGAIN),
        (raised("httpx._exceptions", "ConnectError", "TransportError"), Worth.AGAIN),
        (raised("aiohttp.client_exceptions", "ServerDisconnectedError", "ClientConnectionError"), Worth.AGAIN),
        (raised("requests.exceptions", "ConnectionError"), Worth.AGAIN),
        (raised("openai", "APITimeoutError", "APIConnectionError"), Worth.AGAIN),
        (raised("mine", "TransportError"), Worth.FINAL),
        (raised("httpx", "InvalidURL"), Worth.FINAL),
        (raised("openai", "RateLimitError", status_code=429), Worth.OVERLOADED),
        (raised("aiohttp", "ClientResponseError", status=503), Worth.OVERLOADED),
        (raised("requests", "HTTPError", response=Response(502, {})), Worth.AGAIN),
        (raised("httpx", "HTTPStatusError", response=Response(401, {})), Worth.REFUSED),
        (raised("urllib.error", "HTTPError", code=404), Worth.FINAL),
        (raised("mine", "Error", status_code="429"), Worth.FINAL),
        (raised("mine", "Error", status=7, code=200), Worth.FINAL),
    ],
)
def test_the_verdict_on_what_libraries_raise(error: Exception, worth: Worth) -> None:
    """By status where there is one, else by the class's name in its package."""
    assert judge(error, now=lambda: NOW).worth is worth


def test_headers_of_the_response_say_when() -> None:
    """Whatever the case of their names."""
    error = raised("httpx", "HTTPStatusError", response=Response(429, {"Retry-AFTER": "3"}))
    assert judge(error, now=lambda: NOW).after_seconds == 3.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(NOW.timestamp() + 12)}, 12.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "2026-11-21T12:01:00Z"}, 60.0),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "1h0m2s",
            },
            3_602.0,
        ),
        ({"x-ratelimit-remaining-requests": "0"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_moments_come_in_many_forms(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, durations, dates, moments since 1970; what makes no sense says nothing."""
    assert after(headers, now=lambda: NOW) == pytest.approx(seconds)
