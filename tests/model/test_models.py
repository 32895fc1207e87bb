"""The protocol, searched exhaustively within bounds; and the same search with single rules switched off."""

from __future__ import annotations

import os

import pytest

from tests.model import commit_model, lease_model, shared_model
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
SHARED_ACTIONS = {
    "tick", "late", "drop", "renew", "renew-delayed", "create", "look", "read-claim", "claim", "claim-delayed",
    "read-finished", "ask", "flush", "give-back", "end",
}  # fmt: skip
ALONE_ACTIONS = {"crash", "take-lease", "nobody-shares", "refused", "release"}
TWO_WORKERS_ACTIONS = {"claim-refused", "take-away", "wait"}


CRASHES = 3 if os.environ.get("TEST_LARGE_MODELS") else 1
"""Of processes, where none of the rules is switched off: each more doubles what there is to search."""


def check_lease(bugs: set[str]) -> lease_model.State | None:
    """Explore the lease; returns the violating state, if any."""
    model = lease_model.LeaseModel(bugs=frozenset(bugs))
    invariants = {"at most one acts": lease_model.at_most_one_acts}
    first = lease_model.initial(crashes=3 if bugs else CRASHES)
    report = explore(first, model.steps, invariants)
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
    """Two owners, two acquisitions each, crashes, late writes: never two that believe they hold the lease."""
    assert check_lease(set()) is None


@pytest.mark.parametrize("bug", ["deadline-after-answer", "short-expiry", "own-clock", "assume-won", "no-condition"])
def test_each_rule_of_the_lease_is_needed(bug: str) -> None:
    """With one rule switched off, the search finds two owners acting."""
    assert check_lease({bug}) is not None


@pytest.mark.parametrize(("writers", "attempts"), [(2, 2), (1, 3)])
def test_commits_lose_nothing_and_repeat_nothing(writers: int, attempts: int) -> None:
    """Two mergers, crashes, late writes: no acknowledged row is lost, none is there twice."""
    assert check_commit(set(), writers=writers, attempts=attempts, crashes=CRASHES) is None


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


def check_shared(bugs: set[str], *, alone: bool, crashes: int) -> str | None:
    """Explore a shared annotator (two workers, or one and one that works alone); returns the violated invariant."""
    model = shared_model.SharedModel(bugs=frozenset(bugs))
    first = shared_model.initial(1 if alone else 2, alone=alone, crashes=crashes)
    report = explore(first, model.steps, shared_model.INVARIANTS)
    if not bugs:
        assert report.labels >= SHARED_ACTIONS | (ALONE_ACTIONS if alone else TWO_WORKERS_ACTIONS)
        assert report.violation is None, str(report.violation)
    return report.violation.invariant if report.violation else None


@pytest.mark.parametrize(
    ("alone", "crashes"), [(True, CRASHES), (False, 0)]
)  # whoever takes no more steps is as good as dead
def test_one_worker_at_a_time_acts_on_a_batch(alone: bool, crashes: int) -> None:
    """Late renewals, late claims, crashes: no two act on a batch, no row is asked that is stored or in flight."""
    assert check_shared(set(), alone=alone, crashes=crashes) is None


@pytest.mark.parametrize(
    ("bug", "alone"),
    [
        ("look-first", True),
        ("no-fence", True),
        ("no-fence", False),
        ("no-condition", False),
        ("worker-first", False),
        ("give-back-first", False),
    ],
)
def test_each_rule_of_sharing_is_needed(bug: str, alone: bool) -> None:
    """With one rule switched off, the search finds two workers on one batch."""
    assert check_shared({bug}, alone=alone, crashes=0) == "at most one acts on the batch"


def test_finished_rows_are_read_after_the_batch_is_claimed() -> None:
    """Before it, what a worker stored before it died would be missed."""
    assert check_shared({"finished-first"}, alone=False, crashes=0) == "no row is asked that is stored or in flight"
