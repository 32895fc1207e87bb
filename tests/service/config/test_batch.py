from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.config.batch import batch_name, check_template
from datalake_service.config.load import load_dataset
from datalake_service.config.names import check_name
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.errors import NameNotAllowedError

NOON = datetime(2026, 11, 20, 13, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("symbols", "symbols"),
        ("{date}", "20261120"),
        ("{date:%Y%m%d-%H}", "20261120-13"),
        ("posts.{date:%Y-%m-%d}_v2", "posts.2026-11-20_v2"),
        ("{date:%j}-{date:%M%S}", "324-0509"),
        ("d{date:T%H.%M-x_}", "dT13.05-x_"),
    ],
)
def test_placeholders_stand_for_the_time_in_utc(template: str, name: str) -> None:
    """The one time that machines agree on, wherever they are."""
    assert batch_name(check_template(template), NOON) == name
    assert batch_name(template, NOON.astimezone(timezone(timedelta(hours=9)))) == name


@pytest.mark.parametrize(
    "template",
    [
        "",
        "{day}",
        "{date",
        "{date:}",
        "{date:%Q}",
        "{date:%Y/%m}",
        "{date:%%}",
        "a/b",
        "..",
        ".x",
        "annotations",
        "{date: %Y}",
        "{Date}",
    ],
)
def test_what_would_make_no_batch_name_is_refused(template: str) -> None:
    """Before anything is written, not when the hour comes."""
    with pytest.raises(NameNotAllowedError):
        check_template(template)


@given(st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9999, 12, 30), timezones=st.timezones()))  # noqa: DTZ001 - hypothesis wants it
def test_every_date_makes_a_name_of_a_checked_template(now: datetime) -> None:
    """A template is checked once; the name is allowed whenever it is filled in."""
    template = check_template("{date:%Y%m%d-%H%M%S}.{date:%j}")
    assert check_name(batch_name(template, now), what="batch")


def test_the_write_connector_names_its_batch() -> None:
    """One batch a day unless the file says otherwise."""
    document = {
        "datasetName": "d",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"},
    }
    connector = load_dataset(document, folder=Path()).write_connector
    assert isinstance(connector, DatalakeWriteConnector)
    assert connector.batch_name(NOON) == "20261120"
