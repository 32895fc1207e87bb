"""The protocol, searched exhaustively within bounds; and the same search with single rules switched off."""

from __future__ import annotations

import pytest

from tests.model import commit_model, lease_model
from tests.model.explorer import explore

LEASE_ACTIONS = {
    "tick", "late-write", "drop", "look", "write", "write-answer-lost", "refused", "lost", "delayed", "crash",
    "ran-out", "read-back-mine", "read-back-other", "renew-write", "renew-lost", "renew-delayed", "release-write",
}  # fmt: skip
COMMIT_ACTIONS = {
    "late-chunk", "drop-chunk", "late-commit", "drop-commit", "put-chunk", "put-chunk-answer-lost", "chunk-read-back",
    "chunk-delayed", "crash-writer", "crash-merger", "plan", "plan-deletes", "store-sides", "commit",
    "commit-answer-lost", "commit-refused", "commit-lost", "commit-delayed", "read-back-mine", "read-back-other",
    "delete", "done",
}  # fmt: skip


def check_lease(bugs: set[str]) -> lease_model.State | None:
    """Explore the lease; returns the violating state, if any."""
    model = lease_model.LeaseModel(bugs=frozenset(bugs))
    invariants = {"at most one acts": lease_model.at_most_one_acts}
    report = explore(lease_model.initial(), model.steps, invariants)
    if not bugs:
        assert report.labels >= LEASE_ACTIONS
        assert report.violation is None, str(report.violation)
    return report.violation.state if report.violation else None


def check_commit(bugs: set[str], *, writers: int = 2, attempts: int = 2, crashes: int = 3) -> str | None:
    """Explore commits and clean-up; returns the violated invariant, if any."""
    model = commit_model.CommitModel(attempts=attempts, bugs=frozenset(bugs))
    report = explore(commit_model.initial(writers, crashes=crashes), model.steps, commit_model.INVARIANTS)
    if not bugs:
        assert report.labels >= COMMIT_ACTIONS
        assert report.violation is None, str(report.violation)
    return report.violation.invariant if report.violation else None


def test_at_most_one_owner_acts_whatever_is_lost_or_late() -> None:
    """Two owners, two acquisitions each, three crashes, late writes: never two that believe they hold the lease."""
    assert check_lease(set()) is None


@pytest.mark.parametrize("bug", ["deadline-after-answer", "short-expiry", "own-clock", "assume-won", "no-condition"])
def test_each_rule_of_the_lease_is_needed(bug: str) -> None:
    """With one rule switched off, the search finds two owners acting."""
    assert check_lease({bug}) is not None


@pytest.mark.parametrize(("writers", "attempts"), [(2, 2), (1, 3)])
def test_commits_lose_nothing_and_repeat_nothing(writers: int, attempts: int) -> None:
    """Two mergers, three crashes, late writes: no acknowledged row is lost, none is there twice."""
    assert check_commit(set(), writers=writers, attempts=attempts) is None


@pytest.mark.parametrize(
    ("bug", "invariant"),
    [
        ("delete-before-commit", "acknowledged rows are there"),
        ("assume-committed", "acknowledged rows are there"),
        ("no-condition", "acknowledged rows are there"),
        ("no-collapse", "no row twice"),
        ("delete-after-doubt", "side object exists"),
        ("delete-all-sides", "side object exists"),
    ],
)
def test_each_rule_of_the_commit_is_needed(bug: str, invariant: str) -> None:
    """With one rule switched off, the search finds what the rule prevents."""
    # A row can only be taken in twice by the third merge, and needs no crash for it.
    bounds = {"attempts": 3, "crashes": 0} if bug == "no-collapse" else {}
    assert check_commit({bug}, **bounds) == invariant
