from __future__ import annotations

import logging
import re

import pytest

from datalake_service import events
from tests.support.repository import ROOT

NAMES = {name: value for name, value in vars(events).items() if name.isupper() and "." in str(value)}
PAGE = (ROOT / "docs" / "reference" / "events.md").read_text(encoding="utf-8")
SOURCE = {
    path: path.read_text(encoding="utf-8")
    for path in (ROOT / "datalake_service").rglob("*.py")
    if path.name != "events.py"
}


def test_events_are_named_noun_and_past_participle() -> None:
    """As the constant says: TASK_COMPLETED is task.completed."""
    for name, value in NAMES.items():
        assert re.fullmatch(r"[a-z]+\.[a-z_]+", value)
        assert value.replace(".", "_").upper() == name


def test_the_page_lists_every_event_and_no_other() -> None:
    """In the order of their names."""
    listed = re.findall(r"^\| `([a-z_.]+)` \|", PAGE, re.MULTILINE)
    assert listed == sorted(NAMES.values())


@pytest.mark.parametrize("name", NAMES)
def test_every_event_is_told_somewhere(name: str) -> None:
    """A name that nobody uses would be a promise that nobody keeps."""
    assert any(re.search(rf"\b{name}\b", text) for text in SOURCE.values())


def test_no_event_is_told_by_a_name_of_its_own() -> None:
    """Names are constants, so that the page can be complete."""
    found = [
        f"{path}: {match}" for path, text in SOURCE.items() for match in re.findall(r"\bemit\(\s*f?\"[^\"]*", text)
    ]
    assert found == []


def test_an_event_is_a_log_record_with_fields(caplog: pytest.LogCaptureFixture) -> None:
    """A field may have the name of anything that a log record has."""
    with caplog.at_level(logging.INFO, logger="datalake"):
        events.emit(events.TASK_COMPLETED, name="x", msg="y", rows=1)
    (record,) = caplog.records
    assert (record.getMessage(), record.levelno, record.name) == ("task.completed", logging.INFO, "datalake")
    assert getattr(record, events.FIELDS) == {"name": "x", "msg": "y", "rows": 1}


def test_an_event_below_the_level_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """It is dropped before a record is made."""
    with caplog.at_level(logging.WARNING, logger="datalake"):
        events.emit(events.TASK_COMPLETED, rows=1)
    assert caplog.records == []
