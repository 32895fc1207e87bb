"""What goes in comes out: any JSON through ingest, two merges, annotation and export, on a folder and on S3."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_interfaces import Annotation, DataItem
from datalake_service import S3DataTool
from datalake_service.pipeline.upkeep.cleanup import clean_up
from tests.crash.deaths import examples
from tests.support.json_values import ROWS, VALUES, as_read_back, canonical
from tests.support.servers import S3Server

Row = dict[str, Any]

# Annotators' columns have fewer free names: what starts with an underscore is the framework's.
RESULTS = st.dictionaries(st.sampled_from(["label", "Label", "a.b", "", "select"]), VALUES, max_size=3)
NUMBERED_ROWS = st.lists(ROWS, min_size=1, max_size=6)


def by_number(rows: list[Row]) -> list[Row]:
    """Rows of their own kind, told apart and found again by an id."""
    return [{**row, "id": f"row {number}"} for number, row in enumerate(rows)]


async def go_round(tool: S3DataTool, first: list[Row], second: list[Row], results: dict[str, Row]) -> dict[str, Row]:
    """Ingest, merge, ingest more, merge again, annotate, merge that, export; returns rows by id."""
    for rows in (first, second):
        async with tool.dataset_generator as generator:
            await generator.from_async_iterator(
                rows, name="posts", batch="b1", streaming_configs=S3DataTool.StreamingConfigs(chunk_size=2)
            )
        assert all(result.error is None for result in clean_up(tool.store))

    async def annotate(item: DataItem) -> Annotation:
        assert canonical(without_nulls(item.data)) == canonical(as_read_back((first + second)[int(item.id.split()[1])]))
        return Annotation(data=results[item.id])

    async with tool.filter_for_annotation(name="posts", annotator_name="lang") as view:
        report = await view.annotate(annotate)
    assert (report.annotated, report.failed) == (len(first) + len(second), 0)
    assert all(result.error is None for result in clean_up(tool.store))
    async with tool.filter_for_export(name="posts") as exported:
        return {row.id: {**row} for row in exported}


def without_nulls(row: Row) -> Row:
    """Null and missing are the same."""
    return {key: value for key, value in row.items() if value is not None}


def check(tool: S3DataTool, first: list[Row], second: list[Row], results: list[Row]) -> None:
    """Everything that went in came out, and nothing else."""
    first, second = by_number(first), by_number(first + second)[len(first) :]
    wanted = dict(zip((row["id"] for row in first + second), itertools.cycle(results), strict=False))
    found = asyncio.run(go_round(tool, first, second, wanted))
    expected = {
        row["id"]: as_read_back(row) | {f"lang.{key}": value for key, value in as_read_back(wanted[row["id"]]).items()}
        for row in first + second
    }
    assert {key: canonical(without_nulls(row)) for key, row in found.items()} == {
        key: canonical(row) for key, row in expected.items()
    }


@settings(max_examples=examples(25))
@given(NUMBERED_ROWS, NUMBERED_ROWS, st.lists(RESULTS, min_size=1, max_size=4))
def test_what_goes_into_a_folder_comes_out(first: list[Row], second: list[Row], results: list[Row]) -> None:
    """The round trip on a plain folder."""
    with tempfile.TemporaryDirectory() as folder:
        check(S3DataTool(Path(folder) / "lake"), first, second, results)


@pytest.fixture(scope="module")
def bucket_tool(s3_server: S3Server) -> Callable[[], S3DataTool]:
    """Makes a lake below a prefix of its own, all in one bucket."""
    bucket, numbers = s3_server.make_bucket(), itertools.count()
    return lambda: S3DataTool(f"s3://{bucket}/lake-{next(numbers)}", **s3_server.options)


@settings(max_examples=examples(5), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(first=NUMBERED_ROWS, second=NUMBERED_ROWS, results=st.lists(RESULTS, min_size=1, max_size=4))
def test_what_goes_into_a_bucket_comes_out(
    bucket_tool: Callable[[], S3DataTool], first: list[Row], second: list[Row], results: list[Row]
) -> None:
    """The round trip on S3, over HTTP."""
    check(bucket_tool(), first, second, results)
