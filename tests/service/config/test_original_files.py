from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.config.available import check_available
from datalake_service.config.compute import Engine, LambdaAndSagemakerEngine, LambdaEngine
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.load import load_dataset, load_dataset_file
from datalake_service.config.manifest import (
    DynamoDBManifest,
    DynamoDBStreamsManifest,
    KinesisManifest,
    LinkManifest,
    SqsManifest,
    TextManifest,
)
from datalake_service.config.read import FileReaderType, KinesisReadConnector, S3ReadConnector, Source
from datalake_service.config.section import Section
from datalake_service.config.write import S3WriteConnector
from datalake_service.errors import ConfigError
from tests.service.config.original_files import ORIGINAL_FILES

FOLDER = Path("somewhere")
SECTIONS = ("readConnector", "writeConnector", "errorConnector", "computeEngine", "manifestFile")
MANIFESTS = {
    "SQS": SqsManifest,
    "Kinesis with vectors": KinesisManifest,
    "DynamoDB Streams": DynamoDBStreamsManifest,
    "DynamoDB table": DynamoDBManifest,
    "single file state machine": LinkManifest,
    "Spark": TextManifest,
}


@pytest.mark.parametrize("name", ORIGINAL_FILES)
def test_a_file_of_the_original_loads_unchanged(tmp_path: Path, name: str) -> None:
    """Whatever this version runs: the file is read, and every one of its values is in the result."""
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(ORIGINAL_FILES[name]), encoding="utf-8")
    config = load_dataset_file(path)
    assert config.document == ORIGINAL_FILES[name]
    assert config.folder == tmp_path
    for section in SECTIONS:
        assert_holds(getattr(config, snake(section)), ORIGINAL_FILES[name][section])


def assert_holds(section: Section, document: dict[str, Any]) -> None:
    """Every value of the JSON is a value of the section, under its key or another spelling of it."""
    by_key = section.keys()
    attributes = {key: attribute for attribute in type(section).model_fields for key in by_key[attribute]}
    for key, value in document.items():
        found = getattr(section, attributes[key])
        if isinstance(found, Section):
            assert_holds(found, value)
        elif isinstance(value, str):
            assert str(found).replace(" ", "").casefold() == value.replace(" ", "").casefold()
        else:
            assert found == value


def snake(key: str) -> str:
    """``readConnector`` to ``read_connector``."""
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in key)


@pytest.mark.parametrize("name", MANIFESTS)
def test_the_source_decides_the_form_of_the_manifest(name: str) -> None:
    """Manifests without a type, such as those of queues, are told by their source."""
    assert type(load_dataset(ORIGINAL_FILES[name], folder=FOLDER).manifest_file) is MANIFESTS[name]


def test_display_names_and_enum_names_mean_the_same() -> None:
    """Values come in two spellings and in any case."""
    java = load_dataset(ORIGINAL_FILES["multiple file state machine"], folder=FOLDER).read_connector
    assert isinstance(java, S3ReadConnector)
    assert java.reader_type is FileReaderType.MULTIPLE_FILE_STATE_MACHINE
    assert java.multiple_file_state_machine_reader_class_name == "com.letsdata.reader.CommonCrawlReader"
    kinesis = load_dataset(ORIGINAL_FILES["Kinesis with vectors"], folder=FOLDER)
    assert isinstance(kinesis.read_connector, KinesisReadConnector)
    assert kinesis.read_connector.connector_destination is Source.KINESIS


def test_nested_engine_settings_are_read() -> None:
    """The prefixed names of LAMBDA_AND_SAGEMAKER mean what the short ones of LAMBDA mean."""
    engine = load_dataset(ORIGINAL_FILES["Kinesis with vectors"], folder=FOLDER).compute_engine
    assert isinstance(engine, LambdaAndSagemakerEngine)
    assert engine.lambda_settings.lambda_concurrency == 2
    assert engine.model is not None
    assert engine.model.model_environment_variables["HF_TASK"] == "feature-extraction"
    assert engine.endpoint is not None
    assert engine.endpoint.sagemaker_serverless is not None
    assert engine.endpoint.sagemaker_serverless.sagemaker_endpoint_concurrency == 15
    short = load_dataset(ORIGINAL_FILES["single file, Java, link"], folder=FOLDER).compute_engine
    assert isinstance(short, LambdaEngine)
    assert (short.compute_engine_type, short.concurrency, short.timeout_in_seconds) == (Engine.LAMBDA, 15, 900)


def test_writer_options_of_spark_are_read() -> None:
    """Free maps keep their content."""
    writer = load_dataset(ORIGINAL_FILES["Spark"], folder=FOLDER).write_connector
    assert isinstance(writer, S3WriteConnector)
    assert writer.spark_write_options == {"compression": "gzip"}


@pytest.mark.parametrize("name", ORIGINAL_FILES)
def test_what_this_version_cannot_run_is_named_with_what_it_can(name: str) -> None:
    """Not one of these files runs here as it is: the original finds classes by itself, and makes what is not named."""
    with pytest.raises(ConfigError) as caught:
        check_available(load_dataset(ORIGINAL_FILES[name], folder=FOLDER), name="dataset.json")
    unnamed = (", as module.Class", ", which has to exist")
    told = [line for line in caught.value.problems if not line.endswith(unnamed)]
    assert all(" is not available in version 0.1; available: " in line for line in told)


@pytest.mark.parametrize(
    ("engine", "path"),
    [
        ({"computeEngineType": "lambda", "concurrency": 2}, "computeEngine.functionName"),
        (
            {"computeEngineType": "Lambda and Sagemaker", "lambda": {"concurrency": 2}},
            "computeEngine.lambda.functionName",
        ),
    ],
)
def test_a_function_has_to_be_named(engine: dict[str, Any], path: str) -> None:
    """The original makes one; here a line says which field is missing."""
    document = {
        "datasetName": "rows",
        "readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"},
        "computeEngine": engine,
    }
    with pytest.raises(ConfigError) as caught:
        check_available(load_dataset(document, folder=FOLDER))
    assert caught.value.problems == (
        f"{path}: missing; the name or ARN of the function that runs tasks, which has to exist",
    )


def with_endpoint(vectors: dict[str, Any], endpoint: str) -> DatasetConfig:
    """A dataset with vectors, on an engine that names an endpoint."""
    engine = {
        "computeEngineType": "LAMBDA_AND_SAGEMAKER",
        "lambda": {"concurrency": 2, "functionName": "f"},
        "endpoint": {"sagemakerEndpointName": endpoint},
    }
    connector = {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"}
    vectors = {"sagemakerVectorsInterfaceImplementationClassName": "a.V", **vectors}
    document = {"datasetName": "d", "readConnector": connector, "computeEngine": engine, "vectors": vectors}
    return load_dataset(document, folder=FOLDER)


def test_the_engine_may_name_the_endpoint_of_the_vectors() -> None:
    """Once is enough; twice has to be the same; a model of one's own needs none."""
    found = with_endpoint({}, "texts")
    check_available(found)
    assert found.vectors is not None
    assert found.vectors.sagemaker_endpoint_name == "texts"
    check_available(with_endpoint({"sagemakerEndpointName": "texts"}, "texts"))
    own = with_endpoint({"modelImplementationClassName": "a.M"}, "texts")
    assert own.vectors is not None
    assert own.vectors.sagemaker_endpoint_name is None
    with pytest.raises(ConfigError) as caught:
        check_available(with_endpoint({"sagemakerEndpointName": "images"}, "texts"))
    assert caught.value.problems == (
        'vectors.sagemakerEndpointName: "images", and computeEngine.endpoint names "texts"; keep one of them',
    )


def test_a_file_reader_without_its_class_cannot_run() -> None:
    """The original finds classes in its image; here they have a name."""
    document = {"datasetName": "files", "readConnector": {"connectorDestination": "FOLDER", "path": "in"}}
    with pytest.raises(ConfigError, match=r"readConnector\.singleFileParserImplementationClassName: missing"):
        check_available(load_dataset(document, folder=FOLDER))


@pytest.mark.parametrize(
    "connector",
    [
        {"connectorDestination": "S3", "bucketName": "crawl", "singleFileParserImplementationClassName": "a.B"},
        {"connectorDestination": "FOLDER", "path": "in", "singleFileParserImplementationClassName": "a.B"},
        {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"},
    ],
)
def test_what_this_version_runs_passes(connector: dict[str, Any]) -> None:
    """The three sources of this version, with everything else at its default."""
    document: dict[str, Any] = {"datasetName": "d", "readConnector": connector}
    if connector["connectorDestination"] == "S3":
        document["manifestFile"] = {"globs": ["**/*.gz"]}
        document["errorConnector"] = {"connectorDestination": "S3", "resourceLocation": "letsdata"}
    check_available(load_dataset(document, folder=FOLDER))
