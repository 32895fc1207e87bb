"""What this version runs. A dataset file may say more: files of the original load and are checked as a whole."""

from __future__ import annotations

from typing import Final

from datalake_service.config.compute import Engine
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.problems import json_path
from datalake_service.config.read import FileReaderType, FilesSection, Language, Source
from datalake_service.config.section import ResourceLocation
from datalake_service.config.version import SHORT_VERSION
from datalake_service.config.write import Destination, ErrorDestination, S3ErrorConnector
from datalake_service.errors import ConfigError

SOURCES: Final = (Source.S3, Source.FOLDER, Source.GENERATOR, Source.SQS)
"""Sources with a reader."""
READER_TYPES: Final = (FileReaderType.SINGLE_FILE,)
"""Ways to read files."""
LANGUAGES: Final = (Language.PYTHON,)
"""Languages of handlers."""
DESTINATIONS: Final = (Destination.DATALAKE,)
"""Destinations with a writer."""
ENGINES: Final = (Engine.LOCAL,)
"""Engines with an adapter."""
_PARSER: Final = "singleFileParserImplementationClassName"
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
        *_error_connector_problems(config),
        *_unavailable(("computeEngine", "computeEngineType"), config.compute_engine.compute_engine_type, ENGINES),
    ]
    if problems:
        raise ConfigError(f"{name}: not possible with this version", tuple(problems))


def _files_problems(config: DatasetConfig) -> list[str]:
    connector = config.read_connector
    if not isinstance(connector, FilesSection):
        return []
    problems = _unavailable(("readConnector", "readerType"), connector.reader_type, READER_TYPES)
    if not problems and connector.single_file_parser_implementation_class_name is None:
        problems = [f"{json_path(('readConnector', _PARSER))}: missing; the parser, as module.Class"]
    return problems


def _reader_problems(config: DatasetConfig) -> list[str]:
    connector = config.read_connector
    field, interface = _RECORD_READERS.get(connector.connector_destination, ("", ""))
    if not field or getattr(connector, field) is not None:
        return []
    path = json_path(("readConnector", f"{interface[0].lower()}{interface[1:]}ImplementationClassName"))
    return [f"{path}: missing; the {interface}, as module.Class"]


def _error_connector_problems(config: DatasetConfig) -> list[str]:
    """A bucket of the service's own is the lake: rejections go beside the batch."""
    connector = config.error_connector
    if isinstance(connector, S3ErrorConnector) and connector.resource_location is ResourceLocation.LETSDATA:
        return []
    if isinstance(connector, S3ErrorConnector):
        return [_sentence(("errorConnector", "resourceLocation"), connector.resource_location, ("LetsData",))]
    return _unavailable(
        ("errorConnector", "connectorDestination"), connector.connector_destination, (ErrorDestination.DATALAKE,)
    )


def _unavailable(path: tuple[str, ...], value: str, available: tuple[str, ...]) -> list[str]:
    return [] if value in available else [_sentence(path, value, available)]


def _sentence(path: tuple[str, ...], value: str, available: tuple[str, ...]) -> str:
    names = ", ".join(available)
    return f'{json_path(path)}: "{value}" is not available in version {SHORT_VERSION}; available: {names}'
