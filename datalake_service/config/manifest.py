"""``manifestFile``: which items of the source are read. Each item is one task."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    field_validator,
)

from datalake_service.config.choice import Choice
from datalake_service.config.faults import absent, wrong
from datalake_service.config.location import resolve_object
from datalake_service.config.read import FileReaderType
from datalake_service.config.section import (
    AsTuple,
    Form,
    JsonObject,
    PositiveInt,
    Region,
    ResourceLocation,
    Section,
    Text,
    spelled,
)
from datalake_service.config.variants import Only, VariantBy
from datalake_service.errors import ConfigError

EVERY_FILE: Final = "**/*"
"""The glob that stands for a whole folder."""


class ManifestType(Choice):
    """The form of the manifest of S3 and FOLDER."""

    TEXT = "S3ReaderTextManifestFile", "Text"
    LINK = "S3ReaderS3LinkManifestFile", "S3 Link"
    GLOB = "GLOB"


class KinesisManifestType(Choice):
    """The form of the manifest of KINESIS."""

    KINESIS = "KinesisStreamReaderManifest"


class StreamsManifestType(Choice):
    """The form of the manifest of DYNAMODBSTREAMS."""

    STREAMS = "DynamoDBStreamReaderManifest"


class SqsStop(Choice):
    """When a task that reads a queue ends."""

    DRAIN_QUEUES = "DrainQueues", "Drain Queues"
    CONTINUOUS = "Continuous"


class StreamStop(Choice):
    """When a task that reads a stream ends."""

    CONTINUOUS = "Continuous"


class StreamStart(Choice):
    """Where a task begins that has no checkpoint yet."""

    EARLIEST = "Earliest", "TrimHorizon"
    LATEST = "Latest"
    """With what comes after the dataset was planned for the first time."""
    TIMESTAMP = "Timestamp", "AtTimestamp"
    SEQUENCE_NUMBER = "SequenceNumber", "AtSequenceNumber"


class PollFrequency(Choice):
    """How often a stream is asked when it has nothing new."""

    EXPONENTIAL = "Poll with exponential frequency (max 1 min)", "Exponential"


class TableCompletion(Choice):
    """When a task that reads a table ends."""

    SINGLE_TABLE_SCAN = "SingleTableScan", "Single Table Scan"
    CONTINUOUS = "Continuous"


def _lines(value: object) -> object:
    """A JSON array of lines means the same as one text with line ends."""
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        value = "\n".join(value)
    if isinstance(value, str) and not value.strip():
        raise wrong("allowed: at least one line; each names a file")
    return value


def _object_uri(value: str, info: ValidationInfo) -> str:
    try:
        return resolve_object(value, folder=(info.context or {}).get("folder"))
    except ConfigError as error:
        raise wrong(error.message) from None


class FilesManifest(Section):
    """What the manifests of S3 and FOLDER have in common."""

    reader_type: FileReaderType | None = None
    """Repeats the readConnector's readerType."""
    region: Region | None = None
    """The region of the files."""


class TextManifest(FilesManifest):
    """The lines themselves."""

    manifest_type: Annotated[ManifestType, Only((ManifestType.TEXT,))] = ManifestType.TEXT
    """The form of the manifest."""
    file_contents: Annotated[Text, BeforeValidator(_lines, json_schema_input_type=str | list[str])]
    """One line (or one element of a list) for each task: the key of a file, relative to the bucket or folder.
    For MULTIPLEFILESTATEMACHINEREADER: `TYPE:key` pairs with `|` between."""


class LinkManifest(FilesManifest):
    """A file that holds the lines."""

    manifest_type: Annotated[ManifestType, Only((ManifestType.LINK,))] = ManifestType.LINK
    """The form of the manifest."""
    manifest_file_s3_uri: Annotated[
        Text, AfterValidator(_object_uri), Field(validation_alias=spelled("manifestFileS3Uri", "manifestFileUri"))
    ]
    """`s3://bucket/key`, or a path relative to the dataset file."""
    reader_manifest_resource_location: ResourceLocation | None = None
    """Who owns that file."""


class GlobManifest(FilesManifest):
    """Every file whose key matches; `*` and `?` stay within a folder, `**` does not."""

    manifest_type: Annotated[ManifestType, Only((ManifestType.GLOB,))] = ManifestType.GLOB
    """The form of the manifest."""
    globs: Annotated[tuple[Text, ...], AsTuple, Field(min_length=1)] = (EVERY_FILE,)
    """Patterns such as `logs/2026-*/**/*.gz`, relative to the bucket or folder."""


def _goes_with(start: StreamStart) -> WrapValidator:
    """A setting that is needed for one way to start, and means nothing for the others."""

    def check(value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        chosen = next((entry for entry in info.data.values() if isinstance(entry, StreamStart)), None)
        if value is None and chosen is start:
            raise absent(f"needed where reading starts from {start}")
        if value is not None and chosen not in {None, start}:
            raise wrong(f"this setting belongs to a start from {start}, but the start is from {chosen}")
        return None if value is None else handler(value)

    return WrapValidator(check)


def _time(value: object) -> object:
    try:
        time = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        time = None
    if time is None or time.tzinfo is None:
        raise wrong("allowed: a time with its zone, as in 2026-11-20T13:00:00Z")
    return time


StartTime = Annotated[
    Annotated[datetime, BeforeValidator(_time, json_schema_input_type=str)] | None,
    _goes_with(StreamStart.TIMESTAMP),
    Field(validate_default=True),
]
StartNumbers = Annotated[
    dict[Text, Annotated[str, Form("[0-9]{1,129}", "a sequence number: digits, as text")]] | None,
    _goes_with(StreamStart.SEQUENCE_NUMBER),
    Field(validate_default=True),
]


class SqsManifest(Section):
    """How long a queue is read."""

    sqs_reader_task_stop_condition: SqsStop = SqsStop.DRAIN_QUEUES
    """When a task ends."""
    sqs_reader_task_stop_after_consecutive_empty_receives: PositiveInt = 10
    """With DrainQueues: after so many receives in a row that got nothing."""


class KinesisManifest(Section):
    """Which part of a stream is read, and how long."""

    manifest_type: KinesisManifestType = KinesisManifestType.KINESIS
    """The form of the manifest."""
    kinesis_reader_task_stop_condition: StreamStop = StreamStop.CONTINUOUS
    """When a task ends."""
    kinesis_reader_task_start_from_condition: StreamStart = StreamStart.EARLIEST
    """Where a task begins that has no checkpoint yet."""
    kinesis_reader_task_start_from_timestamp: StartTime = None
    """With Timestamp: the time, as in `2026-11-20T13:00:00Z`."""
    kinesis_reader_task_start_from_sequence_numbers: StartNumbers = None
    """With SequenceNumber: the sequence number for each shard, by its id; other shards begin with their oldest
    record."""
    kinesis_reader_task_continuous_poll_frequency: PollFrequency = PollFrequency.EXPONENTIAL
    """How often the stream is asked when it has nothing new."""


class DynamoDBStreamsManifest(Section):
    """Which part of a table's stream is read, and how long."""

    manifest_type: StreamsManifestType = StreamsManifestType.STREAMS
    """The form of the manifest."""
    stop_condition: StreamStop = Field(
        StreamStop.CONTINUOUS,
        validation_alias=spelled("dynamoDBReaderTaskStopCondition", "dynamoDBStreamsReaderTaskStopCondition"),
    )
    """When a task ends."""
    start_from_condition: StreamStart = Field(
        StreamStart.EARLIEST,
        validation_alias=spelled("dynamoDBReaderTaskStartFromCondition", "dynamoDBStreamsReaderTaskStartFromCondition"),
    )
    """Where a task begins that has no checkpoint yet."""
    start_from_timestamp: StartTime = Field(
        None,
        validation_alias=spelled("dynamoDBReaderTaskStartFromTimestamp", "dynamoDBStreamsReaderTaskStartFromTimestamp"),
    )
    """With Timestamp: the time, as in `2026-11-20T13:00:00Z`."""
    start_from_sequence_numbers: StartNumbers = Field(
        None,
        validation_alias=spelled(
            "dynamoDBReaderTaskStartFromSequenceNumbers", "dynamoDBStreamsReaderTaskStartFromSequenceNumbers"
        ),
    )
    """With SequenceNumber: the sequence number for each shard, by its id; other shards begin with their oldest
    record."""
    continuous_poll_frequency: PollFrequency = Field(
        PollFrequency.EXPONENTIAL,
        validation_alias=spelled(
            "dynamoDBReaderTaskContinuousPollFrequency", "dynamoDBStreamsReaderTaskContinuousPollFrequency"
        ),
    )
    """How often the stream is asked when it has nothing new."""


class DynamoDBManifest(Section):
    """How a table is scanned. The names of these keys are ours: those of the original are not public."""

    completion_mode: TableCompletion = TableCompletion.SINGLE_TABLE_SCAN
    """When a task ends."""
    segments: PositiveInt = 1
    """Into how many segments the table is cut; each is one task."""
    filter_expression: Text | None = None
    """Only items for which this DynamoDB expression holds."""
    expression_attribute_names: dict[str, str] | None = None
    """Names used in the expression."""
    expression_attribute_values: JsonObject | None = None
    """Values used in the expression: as JSON has them, or typed as DynamoDB has them, as in `{"N": "5"}`."""

    @field_validator("expression_attribute_names", "expression_attribute_values")
    @classmethod
    def _only_with_an_expression(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and info.data.get("filter_expression", "invalid") is None:
            raise wrong("this setting belongs to a filterExpression, and there is none")
        return value


FileManifestFile = TextManifest | LinkManifest | GlobManifest
ManifestFile = FileManifestFile | SqsManifest | KinesisManifest | DynamoDBStreamsManifest | DynamoDBManifest


def _by_content(value: dict[str, Any]) -> type[Section] | None:
    """The form of a manifest without ``manifestType``: the key that only one form has tells it."""
    told_by: dict[str, type[Section]] = {
        "fileContents": TextManifest,
        "manifestFileS3Uri": LinkManifest,
        "manifestFileUri": LinkManifest,
    }
    return next((form for key, form in told_by.items() if key in value), GlobManifest if "globs" in value else None)


FILE_MANIFESTS: Final = VariantBy(
    "manifestType",
    ManifestType,
    {ManifestType.TEXT: TextManifest, ManifestType.LINK: LinkManifest, ManifestType.GLOB: GlobManifest},
    guess=_by_content,
)
"""Which form a manifest of files has."""
