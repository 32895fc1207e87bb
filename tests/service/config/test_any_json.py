from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.config.available import check_available
from datalake_service.config.load import load_dataset
from datalake_service.errors import ConfigError
from tests.service.config.original_files import ORIGINAL_FILES
from tests.support.json_values import VALUES

FULL: dict[str, Any] = {
    "datasetName": "full",
    "readConnector": {
        "connectorDestination": "FOLDER",
        "path": "in",
        "readerType": "Single File Reader",
        "singleFileParserImplementationClassName": "handler.Parser",
        "parameters": {"a": 1},
    },
    "manifestFile": {"manifestType": "GLOB", "globs": ["*.gz"]},
    "writeConnector": {"uri": "lake", "batch": "{date}", "chunkSize": 10, "deduplicateOn": ["text"]},
    "onError": {"policy": "continue", "maxErrors": 3, "maxErrorShare": 0.5},
    "computeEngine": {"computeEngineType": "LOCAL", "concurrency": 2, "logLevel": "INFO"},
    "annotators": [
        {
            "annotatorName": "lang",
            "annotatorImplementationClassName": "handler.Lang",
            "annotatorColumns": {"old": ["label"]},
            "filter": {
                "type": "all",
                "filters": [{"type": "boolean", "field": "a", "value": True}, {"type": "raw_duck", "sql": "x > 1"}],
            },
            "fraction": 0.5,
        }
    ],
}
DOCUMENTS = [FULL, *ORIGINAL_FILES.values()]
NOWHERE = st.sampled_from(
    ["s3://bucket/x", "annotations", "{date:%Y}", "a.B", "LAMBDA", "Spark", "KINESIS", "customer"]
)


def places(value: object, path: tuple[int | str, ...] = ()) -> list[tuple[int | str, ...]]:
    """Every place of a JSON value, the top included."""
    items: list[tuple[int | str, object]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(found for key, item in items for found in places(item, (*path, key)))]


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A dataset file in which some values were replaced, removed or added."""
    document: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    for _ in range(draw(st.integers(1, 4))):
        *parents, last = draw(st.sampled_from([place for place in places(document) if place]))
        target: Any = document
        for key in parents:
            target = target[key]
        change = draw(st.sampled_from(["replace", "remove", "add", "copy"]))
        if change == "remove":
            del target[last]
        elif change == "replace":
            target[last] = draw(VALUES | NOWHERE)
        elif isinstance(target, dict):
            value = draw(VALUES | NOWHERE) if change == "add" else copy.deepcopy(target[last])
            target[draw(st.text(max_size=5) | st.sampled_from(["concurrency", "globs", "filter", "prefix"]))] = value
    return document


@settings(max_examples=100)
@given(spoiled())
def test_any_json_is_a_config_or_lines_that_say_why_not(document: dict[str, Any]) -> None:
    """No other error, whatever the file holds; each mistake is one line that can be printed."""
    for line in problems(document):
        assert line.isprintable()
        assert ": " in line


def problems(document: dict[str, Any]) -> tuple[str, ...]:
    """What a file is answered with; nothing if this version runs it."""
    try:
        check_available(load_dataset(document, folder=Path("folder")))
    except ConfigError as error:
        return error.problems
    return ()
