from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.tasks import TaskCounts
from datalake_service.errors import UsageError
from datalake_service.handling.policy import SHARE_AFTER, OnError


def counts(records: int, rejections: int) -> TaskCounts:
    """So many of the records were rejected."""
    return TaskCounts(records, records - rejections, 0, rejections)


def test_without_limits_nothing_stops() -> None:
    """The default."""
    assert OnError().judge(counts(1000, 1000), ended=True) is None


def test_fail_stops_at_the_first_rejection() -> None:
    """And not before."""
    policy = OnError("fail")
    assert policy.judge(counts(1000, 0), ended=True) is None
    assert policy.judge(counts(1000, 1), ended=False) == "a record was rejected and onError.policy is 'fail'"


def test_a_number_of_errors_is_allowed() -> None:
    """One more stops, at once."""
    policy = OnError(max_errors=3)
    assert policy.judge(counts(5, 3), ended=True) is None
    assert policy.judge(counts(5, 4), ended=False) == "4 records were rejected; onError.maxErrors allows 3"
    assert OnError(max_errors=0).judge(counts(5, 1), ended=False) is not None


def test_a_share_is_judged_when_there_are_enough_records_or_no_more() -> None:
    """One bad record of three is no reason to stop; at the end it counts."""
    policy = OnError(max_error_share=0.05)
    assert policy.judge(counts(SHARE_AFTER - 1, SHARE_AFTER - 1), ended=False) is None
    assert policy.judge(counts(SHARE_AFTER, 5), ended=False) is None
    assert policy.judge(counts(SHARE_AFTER, 6), ended=False) == (
        "6 of 100 records (6.00%) were rejected; onError.maxErrorShare allows 5.00%"
    )
    assert policy.judge(counts(3, 1), ended=False) is None
    assert policy.judge(counts(3, 1), ended=True) is not None


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.none() | st.integers(0, 300))
def test_no_errors_never_stop_and_more_errors_never_help(
    records: int, rejections: int, share: float, most: int | None
) -> None:
    """Judging is monotonous in the errors."""
    rejections = min(rejections, records)
    policy = OnError(max_errors=most, max_error_share=share)
    assert policy.judge(counts(records, 0), ended=True) is None
    if policy.judge(counts(records, rejections), ended=True) is not None and rejections < records:
        assert policy.judge(counts(records, rejections + 1), ended=True) is not None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"policy": "retry"}, "onError.policy must be 'continue' or 'fail', not 'retry'"),
        ({"max_errors": -1}, "onError.maxErrors must be 0 or more"),
        ({"max_error_share": 1.5}, "onError.maxErrorShare must be between 0 and 1"),
        ({"max_error_share": float("nan")}, "onError.maxErrorShare must be between 0 and 1"),
        ({"policy": "fail", "max_errors": 3}, "limits need the policy 'continue'"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], words: str) -> None:
    """Where they are made."""
    with pytest.raises(UsageError, match=words):
        OnError(**settings)
