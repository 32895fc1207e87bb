"""Conditional writes on a store without conditions: searched exhaustively, and with single rules switched off."""

from __future__ import annotations

import os

import pytest

from tests.model.explorer import explore
from tests.model.publish_model import INVARIANTS, PublishModel, initial

ACTIONS = {
    "drop", "late", "expire", "crash", "read", "lock", "check", "stage", "list", "discard", "discarded", "compare",
    "time", "complete", "answer-lost", "request-lost", "delayed", "refused", "report", "unreachable", "take-back",
    "look", "report-changed", "report-refused", "report-unknown",
}  # fmt: skip
BOUNDS = [(2, 2, True)]
if os.environ.get("TEST_LARGE_MODELS"):  # half a minute
    BOUNDS += [(3, 0, False), (3, 0, True)]


@pytest.mark.parametrize(("writers", "crashes", "early"), BOUNDS)
def test_nothing_is_overwritten_unseen_whatever_is_late_or_lost(
    writers: int,
    crashes: int,
    early: bool,
) -> None:
    """The mutex may be lost at any moment, and the one who loses it goes on: reports are true all the same."""
    report = explore(initial(writers, crashes), PublishModel(early=early).steps, INVARIANTS)
    assert report.violation is None, str(report.violation)
    assert report.labels >= ACTIONS - ({"crash"} if not crashes else set())
    assert ("stage-early" in report.labels) == early


@pytest.mark.parametrize(
    ("bug", "violated"),
    [
        ("no-discard", "nothing is overwritten unseen"),
        ("compare-first", "nothing is overwritten unseen"),
        ("ignore-the-time", "what is reported as applied is"),
        ("no-look-at-the-time", "what is reported as applied is"),
        ("assume-discarded", "what is reported as not applied never is"),
    ],
)
def test_each_rule_of_publication_is_needed(bug: str, violated: str) -> None:
    """With one rule switched off, the search finds what it prevents."""
    report = explore(initial(2, 1), PublishModel(bugs=frozenset({bug})).steps, INVARIANTS)
    assert report.violation is not None
    assert report.violation.invariant == violated
