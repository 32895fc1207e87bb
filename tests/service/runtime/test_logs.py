from __future__ import annotations

import io
import json
import logging
import warnings

import pytest

from datalake_service import events
from datalake_service.errors import ConfigError
from datalake_service.runtime.logs import LogSettings, log_settings, set_up_logging


@pytest.mark.parametrize(
    ("value", "json", "level", "expected"),
    [
        ("", False, None, LogSettings(json=False, level=logging.WARNING)),
        ("json", False, None, LogSettings(json=True, level=logging.WARNING)),
        ("JSON, info", False, None, LogSettings(json=True, level=logging.INFO)),
        ("debug", True, None, LogSettings(json=True, level=logging.DEBUG)),
        ("json,debug", False, "error", LogSettings(json=True, level=logging.ERROR)),
        ("warn", False, None, LogSettings(json=False, level=logging.WARNING)),
    ],
)
def test_the_command_line_wins_over_the_variable(
    value: str, *, json: bool, level: str | None, expected: LogSettings
) -> None:
    """Form and level are told apart, in any order."""
    assert log_settings(json=json, level=level, environ={"DATALAKE_LOG": value}) == expected


def test_a_word_that_is_not_known_is_an_error() -> None:
    """A typo must not silence anything."""
    with pytest.raises(ConfigError, match="'jsn' is not known"):
        log_settings(json=False, level=None, environ={"DATALAKE_LOG": "jsn"})


def test_events_are_json_with_their_fields() -> None:
    """One object a line, whatever the values are."""
    stream = io.StringIO()
    set_up_logging(LogSettings(json=True, level=logging.INFO), stream=stream)
    events.emit(events.TASK_COMPLETED, task="t", rows=3, item="a\nb", path={"x": [1]}, odd=object)
    events.emit("debug.hidden", level=logging.DEBUG)
    logging.getLogger("botocore").info("not heard")
    logging.getLogger("botocore").warning("heard %s", "too")
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert first.pop("timestamp").endswith("Z")
    assert first.pop("odd").startswith("<class")
    assert first == {
        "event": "task.completed", "task": "t", "rows": 3, "item": "a\nb", "path": {"x": [1]},
        "level": "info", "logger": "datalake",
    }  # fmt: skip
    assert (second["event"], second["logger"]) == ("heard too", "botocore")


def test_events_are_lines_for_people() -> None:
    """Also when a value has line ends; warnings of Python are lines of the same kind."""
    stream = io.StringIO()
    set_up_logging(LogSettings(), stream=stream)
    events.emit(events.TASK_FAILED, level=logging.WARNING, task="t", error="two\nlin\x1b[1mes", nothing=None)
    events.emit(events.TASK_COMPLETED, task="t")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("newer chunks wait", stacklevel=1)
    assert stream.getvalue() == "warning: task.failed task=t error=two lin\\x1b[1mes\nwarning: newer chunks wait\n"


def test_an_exception_is_shown_with_its_traceback() -> None:
    """Where a library logs one."""
    for as_json in (True, False):
        stream = io.StringIO()
        set_up_logging(LogSettings(json=as_json), stream=stream)
        try:
            raise KeyError("x")
        except KeyError:
            logging.getLogger("datalake").exception("it broke")
        assert "Traceback" in stream.getvalue()
        assert ("\n" in stream.getvalue().strip()) is not as_json
