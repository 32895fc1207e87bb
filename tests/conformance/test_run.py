from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.conformance import run
from tests.conformance.stores import Store
from tests.conformance.survey import DIFFERS, HONOURED, REFUSED, Observation
from tests.support.servers import S3Server


def never(_: Path) -> AbstractContextManager[S3Server]:
    """A server that cannot be started."""
    raise AssertionError("it is not installed")


@pytest.fixture(autouse=True)
def _one_store_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only one there is."""
    absent = Store("absent", lambda: "apt-get install absent", lambda: "absent 1", never)
    monkeypatch.setattr(run, "STORES", {"absent": absent})
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the handler is for the command


def test_a_store_that_is_not_known_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    """The others are named."""
    assert run.main(["nothing"]) == 2
    assert "no store 'nothing'; there are: absent" in capsys.readouterr().err


def test_a_store_that_is_not_installed_is_shown_and_fails_only_if_it_was_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With the command that installs it, in the table and in the end."""
    for names, status in (([], 0), (["absent"], 1)):
        assert run.main(names) == status
        shown = capsys.readouterr().out
        assert "=== absent: NOT RUN. Install it: apt-get install absent" in shown
        assert shown.splitlines()[-1].split(maxsplit=1) == ["absent", "NOT RUN: install apt-get install absent"]


@pytest.mark.parametrize(
    ("rows", "failures", "result"),
    [
        ([Observation("a", HONOURED, ""), Observation("b", DIFFERS, "500")], [], "works"),
        ([Observation("a", REFUSED, "too large")], [], "works; refused: a"),
        ([Observation("a", REFUSED, "the store ignores all")], [], "refused, as it has to be; with the mutex works"),
        (
            [
                Observation("a", REFUSED, "the store ignores all"),
                Observation("b", DIFFERS, "with the mutex: 2 winners"),
            ],
            [],
            "refused, as it has to be; with the mutex differs: b",
        ),
        ([Observation("a", DIFFERS, "2 winners")], ["a: 2 winners"], "FAILED: 1"),
    ],
)
def test_the_last_line_says_what_came_of_it(rows: list[Observation], failures: list[str], result: str) -> None:
    """In a few words, for each store."""
    outcome = run.Outcome("one", "one 1", 1.0, rows, failures)
    assert list(run._summary([outcome]))[-1].endswith(f"  {result}")
    assert any("FAILED a: 2 winners" in line for line in run._table(outcome)) is bool(failures)
