from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from datalake_service.config.load import load_dataset
from datalake_service.config.schema import dataset_file_schema, schema_text
from datalake_service.errors import ConfigError
from tests.service.config.original_files import ORIGINAL_FILES
from tests.support.repository import ROOT

VALIDATOR = Draft202012Validator(dataset_file_schema())
EXAMPLES = {path.parent.name: json.loads(path.read_text()) for path in ROOT.glob("example_configs/*/dataset.json")}
GOOD = ORIGINAL_FILES | EXAMPLES
GENERATOR = {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "handler.Rows"}


def accepted(document: dict[str, Any]) -> bool:
    """Whether the loader takes a file."""
    try:
        load_dataset(document, folder=Path())
    except ConfigError:
        return False
    return True


def test_the_page_is_the_schema() -> None:
    """Made by ``datalake schema``: docs/reference/dataset-file.schema.json is what it prints."""
    page = ROOT / "docs" / "reference" / "dataset-file.schema.json"
    assert page.read_text(encoding="utf-8") == schema_text() + "\n"


def test_it_is_a_schema() -> None:
    """By the rules of its own dialect."""
    Draft202012Validator.check_schema(dataset_file_schema())


@pytest.mark.parametrize("name", GOOD)
def test_what_the_loader_takes_the_schema_takes(name: str) -> None:
    """Files of the original and the examples."""
    assert accepted(GOOD[name])
    assert [error.message for error in VALIDATOR.iter_errors(GOOD[name])] == []


@pytest.mark.parametrize("name", GOOD)
def test_values_are_taken_in_any_case(name: str) -> None:
    """As by the loader."""
    for change in (str.upper, str.lower, str.swapcase):
        document = copy.deepcopy(GOOD[name])
        document["readConnector"]["connectorDestination"] = change(document["readConnector"]["connectorDestination"])
        assert accepted(document)
        assert VALIDATOR.is_valid(document)


@pytest.mark.parametrize(
    "sections",
    [
        {"readConnector": {"connectorDestination": "S4"}},
        {"readConnector": {"connectorDestination": "SQS"}},
        {"readConnector": {**GENERATOR, "typo": 1}},
        {"typo": 1},
        {"datasetName": "a/b"},
        {"datasetName": "annotations"},
        {"computeEngine": {"concurrency": "2"}},
        {"computeEngine": {"concurrency": 0}},
        {"computeEngine": {"computeEngineType": "LAMBDA"}},
        {"computeEngine": {"computeEngineType": "LAMBDA", "concurrency": 1, "lambdaConcurrency": 1}},
        {"onError": {"policy": "go on"}},
        {"onError": {"maxErrorShare": 2}},
        {"annotators": [{"annotatorName": "a"}]},
        {"annotators": [{"annotatorName": "a", "annotatorImplementationClassName": "a.B", "filter": {"type": "x"}}]},
        {"writeConnector": {"deduplicateOn": "text"}},
    ],
)
def test_what_the_schema_refuses_the_loader_refuses(sections: dict[str, Any]) -> None:
    """An editor marks what would fail."""
    document = {"datasetName": "d", "readConnector": GENERATOR, **sections}
    assert not accepted(document)
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("key", ["concurrency", "lambdaConcurrency"])
def test_each_spelling_of_a_setting_is_in_the_schema(key: str) -> None:
    """One of them is needed; see above for both."""
    document = {
        "datasetName": "d",
        "readConnector": GENERATOR,
        "computeEngine": {"computeEngineType": "lambda", key: 1},
    }
    assert accepted(document)
    assert VALIDATOR.is_valid(document)


def test_every_setting_is_described() -> None:
    """A schema without words is no documentation."""
    schema = dataset_file_schema()
    definitions = {"the file": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in {**definitions.get(value.get("$ref", "").rpartition("/")[2], {}), **value}
        and key
        not in {"type", "filters", "filter", "value", "values", "pattern"}  # of filters, whose classes are described
    ]
    assert bare == []
