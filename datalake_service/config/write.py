"""``writeConnector`` and ``errorConnector``: where documents go, and records that could not become one."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from datalake_service.config.batch import ALLOWED, DEFAULT_BATCH, batch_name, check_template
from datalake_service.config.choice import Choice
from datalake_service.config.faults import absent, wrong
from datalake_service.config.location import join_s3, resolve_uri
from datalake_service.config.read import SparkFileFormat
from datalake_service.config.section import (
    AsTuple,
    BucketName,
    KinesisStreamArn,
    LocalPath,
    PositiveInt,
    QueueName,
    ResourceLocation,
    Section,
    TableName,
    Text,
)
from datalake_service.config.variants import Only, VariantBy
from datalake_service.errors import ConfigError, NameNotAllowedError

DEFAULT_CHUNK_SIZE = 1_000
"""Rows a chunk; one object each, so that 1,000,000 rows are 1,000 requests."""
DEFAULT_ROWS_PER_FILE = 100_000
"""Rows of a file that is written to a bucket or a folder."""


class Destination(Choice):
    """The kind of destination."""

    DATALAKE = "DATALAKE", "Data Lake"
    S3 = "S3"
    FOLDER = "FOLDER"
    KINESIS = "KINESIS", "Kinesis"
    SQS = "SQS"
    DYNAMODB = "DYNAMODB", "DynamoDB", "DynamoDB Table"


class ErrorDestination(Choice):
    """Where records go that could not become a document."""

    DATALAKE = "DATALAKE", "Data Lake"
    S3 = "S3"
    FOLDER = "FOLDER"


class WriterType(Choice):
    """How files are written to a bucket."""

    FILE = "File"
    """By the tasks: each writes files of its own."""
    SPARK = "Spark"


class FileFormat(Choice):
    """The format of files."""

    JSONL = "jsonl", "JSON Lines", "ndjson"
    JSONL_GZIP = "jsonl.gz", "JSON Lines gzip"
    PARQUET = "parquet"


def _batch(value: str) -> str:
    try:
        return check_template(value)
    except NameNotAllowedError:
        raise wrong(f"allowed: {ALLOWED}") from None


def _uri(value: str, info: ValidationInfo) -> str:
    try:
        return resolve_uri(value, folder=(info.context or {}).get("folder"))
    except ConfigError as error:
        raise wrong(error.message) from None


LakeUri = Annotated[Text, AfterValidator(_uri)]
BatchTemplate = Annotated[Text, AfterValidator(_batch)]


def _prefix(value: str) -> str:
    try:
        join_s3("bucket", value)
    except ConfigError as error:
        raise wrong(str(error)) from None
    return value.strip("/")


Prefix = Annotated[str, AfterValidator(_prefix)]


class WriteSection(Section):
    """What every destination has: the batch."""

    resource_location: ResourceLocation | None = None
    """Who owns the destination; makes no difference: it has to exist."""
    batch: BatchTemplate = DEFAULT_BATCH
    """The batch that tasks, rejections and rows of the lake belong to. `{date}` stands for the day in UTC,
    `{date:%Y%m%d-%H}` for a time; filled in once, when a task is created."""

    def batch_name(self, now: datetime) -> str:
        """The batch that a dataset created at ``now`` writes to."""
        return batch_name(self.batch, now)


class FilesWriteSection(WriteSection):
    """What S3 and FOLDER have in common."""

    file_format: FileFormat = FileFormat.JSONL
    """The format of the files."""
    rows_per_file: PositiveInt = DEFAULT_ROWS_PER_FILE
    """A file ends at so many rows; at a checkpoint, too, so that there may be smaller ones."""
    writer_type: WriterType | None = None
    """How files are written; `Spark` belongs to readerType SPARKREADER."""
    spark_file_format: SparkFileFormat | None = None
    """The format of the files (Spark); default: parquet."""
    spark_write_options: dict[str, str] | None = None
    """Options for Spark's writer."""


class DatalakeWriteConnector(WriteSection):
    """Rows of the lake: chunks, then one Parquet object for each batch. The default."""

    connector_destination: Annotated[Destination, Only((Destination.DATALAKE,))] = Destination.DATALAKE
    """The kind of destination."""
    uri: LakeUri | None = None
    """The root of the lake: `s3://bucket/prefix`, or a folder, relative to the dataset file.
    Default: the environment's, else the folder `lake` where the command runs."""
    chunk_size: PositiveInt = DEFAULT_CHUNK_SIZE
    """Rows in a chunk."""
    deduplicate_on: Annotated[tuple[Text, ...], AsTuple] | None = None
    """Columns whose equality makes a row a duplicate; the merge keeps the first one."""


class S3WriteConnector(FilesWriteSection):
    """Files in a bucket that is no lake."""

    connector_destination: Annotated[Destination, Only((Destination.S3,))]
    """The kind of destination."""
    bucket_name: BucketName | None = None
    """The bucket. Credentials and endpoint come from the environment."""
    prefix: Prefix = ""
    """Where in the bucket; below it, files are in `datasetName/batch/task/`."""


class FolderWriteConnector(FilesWriteSection):
    """Files in a folder of this machine that is no lake."""

    connector_destination: Annotated[Destination, Only((Destination.FOLDER,))]
    """The kind of destination."""
    path: LocalPath
    """The folder, relative to the dataset file; below it, files are in `datasetName/batch/task/`."""


class KinesisWriteConnector(WriteSection):
    """Records of a stream: the gzip data of one JSON object each."""

    connector_destination: Annotated[Destination, Only((Destination.KINESIS,))]
    """The kind of destination."""
    stream_arn: KinesisStreamArn | None = None
    """The stream. It has to exist."""
    keep_order: bool = False
    """Whether records of one partition key keep their order. Then a request holds one record of each key."""
    kinesis_shard_count: PositiveInt | None = None
    """Read, and not applied, which the report says: the stream has to exist, and is never scaled."""


class SqsWriteConnector(WriteSection):
    """Messages of a queue: one JSON object each."""

    connector_destination: Annotated[Destination, Only((Destination.SQS,))]
    """The kind of destination."""
    queue_name: QueueName | None = None
    """The queue. It has to exist."""
    message_id_attribute_name: Text | None = None
    """The key of a document that is the id of its message. In a FIFO queue it is the deduplication id; in a standard
    queue the message's id is given by the service, and the value stands in the body."""


class DynamoDBWriteConnector(WriteSection):
    """Items of a table. An item with the same primary key is replaced."""

    connector_destination: Annotated[Destination, Only((Destination.DYNAMODB,))]
    """The kind of destination."""
    table_name: TableName | None = None
    """The table. It has to exist; documents need the attributes of its primary key."""


WriteConnector = Annotated[
    DatalakeWriteConnector
    | S3WriteConnector
    | FolderWriteConnector
    | KinesisWriteConnector
    | SqsWriteConnector
    | DynamoDBWriteConnector,
    VariantBy(
        "connectorDestination",
        Destination,
        {
            Destination.DATALAKE: DatalakeWriteConnector,
            Destination.S3: S3WriteConnector,
            Destination.FOLDER: FolderWriteConnector,
            Destination.KINESIS: KinesisWriteConnector,
            Destination.SQS: SqsWriteConnector,
            Destination.DYNAMODB: DynamoDBWriteConnector,
        },
        guess=lambda _: DatalakeWriteConnector,
    ),
]


class DatalakeErrorConnector(Section):
    """Beside the batch, in its folder `rejected`. The default."""

    connector_destination: Annotated[ErrorDestination, Only((ErrorDestination.DATALAKE,))] = ErrorDestination.DATALAKE
    """Where rejections go."""


class S3ErrorConnector(Section):
    """A bucket. With `resourceLocation` LetsData: the lake, beside the batch."""

    connector_destination: Annotated[ErrorDestination, Only((ErrorDestination.S3,))]
    """Where rejections go."""
    resource_location: ResourceLocation = ResourceLocation.LETSDATA
    """Who owns the bucket."""
    bucket_name: BucketName | None = Field(None, validate_default=True)
    """The bucket, if you own it."""
    prefix: Prefix = ""
    """Where in the bucket."""

    @field_validator("bucket_name")
    @classmethod
    def _named_if_owned(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None and info.data.get("resource_location") is ResourceLocation.CUSTOMER:
            raise absent('needed with "resourceLocation": "Customer": the name of your bucket')
        return value


class FolderErrorConnector(Section):
    """A folder of this machine."""

    connector_destination: Annotated[ErrorDestination, Only((ErrorDestination.FOLDER,))]
    """Where rejections go."""
    path: LocalPath
    """The folder, relative to the dataset file."""


ErrorConnector = Annotated[
    DatalakeErrorConnector | S3ErrorConnector | FolderErrorConnector,
    VariantBy(
        "connectorDestination",
        ErrorDestination,
        {
            ErrorDestination.DATALAKE: DatalakeErrorConnector,
            ErrorDestination.S3: S3ErrorConnector,
            ErrorDestination.FOLDER: FolderErrorConnector,
        },
        guess=lambda _: DatalakeErrorConnector,
    ),
]
