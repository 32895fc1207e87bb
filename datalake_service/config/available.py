"""What this version runs. A dataset file may say more: files of the original load and are checked as a whole."""

from __future__ import annotations

from typing import Final

from datalake_service.config.compute import (
    Engine,
    LambdaAndSagemakerEngine,
    LambdaEngine,
    RayEngine,
    SparkEngine,
    SparkRun,
)
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.manifest import GlobManifest
from datalake_service.config.problems import json_path
from datalake_service.config.read import FileReaderType, FilesSection, Language, Source
from datalake_service.config.version import SHORT_VERSION
from datalake_service.config.write import DatalakeWriteConnector, Destination, FilesWriteSection, WriterType
from datalake_service.errors import ConfigError

SOURCES: Final = tuple(Source)
"""Sources with a reader."""
READER_TYPES: Final = (
    FileReaderType.SINGLE_FILE,
    FileReaderType.SINGLE_FILE_STATE_MACHINE,
    FileReaderType.MULTIPLE_FILE_STATE_MACHINE,
    FileReaderType.SPARK,
)
"""Ways to read files."""
_FILE_HANDLERS: Final = {
    FileReaderType.SINGLE_FILE: (
        "single_file_parser_implementation_class_name",
        "singleFileParserImplementationClassName",
        "the parser",
    ),
    FileReaderType.SINGLE_FILE_STATE_MACHINE: (
        "single_file_state_machine_reader_implementation_class_name",
        "singleFileStateMachineReaderImplementationClassName",
        "the reader",
    ),
    FileReaderType.MULTIPLE_FILE_STATE_MACHINE: (
        "multiple_file_state_machine_reader_class_name",
        "multipleFileStateMachineReaderClassName",
        "the reader",
    ),
}
"""The class that each way of reading files begins with. Parsers may be brought by it."""
LANGUAGES: Final = (Language.PYTHON,)
"""Languages of handlers."""
DESTINATIONS: Final = tuple(Destination)
"""Destinations with a writer."""
_TARGETS: Final = {
    Destination.S3: ("bucket_name", "bucketName", "the bucket"),
    Destination.KINESIS: ("stream_arn", "streamArn", "the ARN of the stream"),
    Destination.SQS: ("queue_name", "queueName", "the queue"),
    Destination.DYNAMODB: ("table_name", "tableName", "the table"),
}
"""What a destination has to name. The original's service makes what is not named; here it has to exist."""
_RECORD_READERS: Final = {
    Source.SQS: ("queue_message_reader_implementation_class_name", "QueueMessageReader"),
    Source.KINESIS: ("kinesis_record_reader_implementation_class_name", "KinesisRecordReader"),
    Source.DYNAMODB_STREAMS: (
        "dynamo_db_streams_record_reader_implementation_class_name",
        "DynamoDBStreamsRecordReader",
    ),
    Source.DYNAMODB: ("dynamo_db_table_item_reader_implementation_class_name", "DynamoDBTableItemReader"),
}
"""The handlers of sources that are no files: field and interface. The original finds them by their names."""


def check_available(config: DatasetConfig, *, name: str = "dataset") -> None:
    """Refuse a dataset that this version cannot run; ``name`` is what the error calls it.

    Raises:
        ConfigError: ``problems`` names each field that asks for more, and what is available.
    """
    connector = config.read_connector
    problems = [
        *_unavailable(("readConnector", "connectorDestination"), connector.connector_destination, SOURCES),
        *_unavailable(
            ("readConnector", "artifactImplementationLanguage"), connector.artifact_implementation_language, LANGUAGES
        ),
        *_files_problems(config),
        *_reader_problems(config),
        *_unavailable(
            ("writeConnector", "connectorDestination"), config.write_connector.connector_destination, DESTINATIONS
        ),
        *_write_problems(config),
        *_engine_problems(config),
        *_function_problems(config),
        *_vectors_problems(config),
    ]
    if problems:
        raise ConfigError(f"{name}: not possible with this version", tuple(problems))


def _files_problems(config: DatasetConfig) -> list[str]:
    connector = config.read_connector
    if not isinstance(connector, FilesSection):
        return []
    problems = _unavailable(("readConnector", "readerType"), connector.reader_type, READER_TYPES)
    if problems:
        return problems
    if connector.reader_type is FileReaderType.SPARK:
        return _spark_problems(config, connector)
    field, key, meaning = _FILE_HANDLERS[connector.reader_type]
    if getattr(connector, field) is None:
        problems.append(f"{json_path(('readConnector', key))}: missing; {meaning}, as module.Class")
    several = connector.reader_type is FileReaderType.MULTIPLE_FILE_STATE_MACHINE
    if several and isinstance(config.manifest_file, GlobManifest):
        needed = (
            "readerType MULTIPLEFILESTATEMACHINEREADER needs fileContents: a line of TYPE:key|TYPE:key for each task"
        )
        problems.append(f"{json_path(('manifestFile',))}: {needed}")
    return problems


def _spark_problems(config: DatasetConfig, connector: FilesSection) -> list[str]:
    """A mapper and a reducer need Spark, files to write, and the classes that the mode asks for."""
    engine, write = config.compute_engine, config.write_connector
    problems = []
    if not isinstance(engine, SparkEngine):
        path = json_path(("computeEngine", "computeEngineType"))
        problems.append(f"{path}: readerType {FileReaderType.SPARK} needs {Engine.SPARK}")
    if not isinstance(write, FilesWriteSection):
        path = json_path(("writeConnector", "connectorDestination"))
        problems.append(f"{path}: a mapper writes files; allowed with {FileReaderType.SPARK}: S3, FOLDER")
    mode = engine.run_spark_interfaces if isinstance(engine, SparkEngine) else SparkRun.MAPPER_AND_REDUCER
    for unused, name, program in (
        (SparkRun.REDUCER_ONLY, "sparkMapperInterfaceImplementationClassName", "mapper"),
        (SparkRun.MAPPER_ONLY, "sparkReducerInterfaceImplementationClassName", "reducer"),
    ):
        if mode is not unused and getattr(connector, f"spark_{program}_interface_implementation_class_name") is None:
            problems.append(f"{json_path(('readConnector', name))}: missing; the {program}, as module.Class")
    return problems


def _writer_problems(config: DatasetConfig, connector: FilesWriteSection) -> list[str]:
    """Spark writes what mappers and reducers make, tasks write what handlers make."""
    read = config.read_connector
    by_spark = isinstance(read, FilesSection) and read.reader_type is FileReaderType.SPARK
    path = json_path(("writeConnector", "writerType"))
    if by_spark and connector.writer_type is WriterType.FILE:
        return [f'{path}: found "{WriterType.FILE}"; readerType {FileReaderType.SPARK} needs {WriterType.SPARK}']
    if not by_spark and connector.writer_type is WriterType.SPARK:
        return [f'{path}: found "{WriterType.SPARK}"; that needs readConnector.readerType {FileReaderType.SPARK}']
    return []


def _reader_problems(config: DatasetConfig) -> list[str]:
    connector = config.read_connector
    field, interface = _RECORD_READERS.get(connector.connector_destination, ("", ""))
    if not field or getattr(connector, field) is not None:
        return []
    path = json_path(("readConnector", f"{interface[0].lower()}{interface[1:]}ImplementationClassName"))
    return [f"{path}: missing; the {interface}, as module.Class"]


def _write_problems(config: DatasetConfig) -> list[str]:
    """A destination that is no lake has to be named; nothing can be annotated there."""
    connector = config.write_connector
    problems = []
    field, key, meaning = _TARGETS.get(connector.connector_destination, ("", "", ""))
    if field and getattr(connector, field) is None:
        problems.append(f"{json_path(('writeConnector', key))}: missing; {meaning}, which has to exist")
    if isinstance(connector, FilesWriteSection):
        problems += _writer_problems(config, connector)
    if config.annotators and not isinstance(connector, DatalakeWriteConnector):
        destination = connector.connector_destination
        problems.append(f"{json_path(('annotators',))}: they annotate rows of the lake, and rows go to {destination}")
    return problems


def _function_problems(config: DatasetConfig) -> list[str]:
    """The original's service makes a function; here it has to exist."""
    engine = config.compute_engine
    if isinstance(engine, LambdaEngine):
        place: tuple[str, ...] = ("functionName",)
        name = engine.function_name
    elif isinstance(engine, LambdaAndSagemakerEngine):
        place, name = ("lambda", "functionName"), engine.lambda_settings.function_name
    else:
        return []
    path = json_path(("computeEngine", *place))
    return [] if name else [f"{path}: missing; the name or ARN of the function that runs tasks, which has to exist"]


def _engine_problems(config: DatasetConfig) -> list[str]:
    """Resources are for annotators that there are."""
    engine, known = config.compute_engine, [annotator.annotator_name for annotator in config.annotators]
    if not isinstance(engine, RayEngine):
        return []
    unknown = [name for name in engine.annotator_resources if name not in known]
    names = ", ".join(known) or "none"
    return [
        f"{json_path(('computeEngine', 'annotatorResources', name))}: no annotator has this name; there are: {names}"
        for name in unknown
    ]


def _vectors_problems(config: DatasetConfig) -> list[str]:
    """Somebody has to name the model: the vectors, or the engine."""
    vectors, engine = config.vectors, config.compute_engine
    if vectors is None:
        return []
    endpoint, path = vectors.sagemaker_endpoint_name, json_path(("vectors", "sagemakerEndpointName"))
    if endpoint is None and vectors.model_implementation_class_name is None:
        return [f"{path}: missing; the endpoint, or modelImplementationClassName: the VectorModel, as module.Class"]
    if isinstance(engine, LambdaAndSagemakerEngine) and engine.endpoint is not None:
        other = engine.endpoint.sagemaker_endpoint_name
        if endpoint is not None and other not in {None, endpoint}:
            return [f'{path}: "{endpoint}", and computeEngine.endpoint names "{other}"; keep one of them']
    return []


def _unavailable(path: tuple[str, ...], value: str, available: tuple[str, ...]) -> list[str]:
    return [] if value in available else [_sentence(path, value, available)]


def _sentence(path: tuple[str, ...], value: str, available: tuple[str, ...]) -> str:
    names = ", ".join(available)
    return f'{json_path(path)}: "{value}" is not available in version {SHORT_VERSION}; available: {names}'
