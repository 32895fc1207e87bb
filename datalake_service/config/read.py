"""``readConnector``: where records come from and which handler turns them into documents."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, ValidationInfo, field_validator

from datalake_service.config.choice import Choice
from datalake_service.config.faults import wrong
from datalake_service.config.section import (
    BucketName,
    ClassName,
    JsonObject,
    KinesisStreamArn,
    LocalPath,
    QueueName,
    ResourceLocation,
    S3Uri,
    Section,
    TableName,
    TableStreamArn,
    Text,
    spelled,
)
from datalake_service.config.variants import Only, VariantBy


class Source(Choice):
    """The kind of source."""

    S3 = "S3"
    FOLDER = "FOLDER"
    GENERATOR = "GENERATOR"
    SQS = "SQS"
    KINESIS = "KINESIS", "Kinesis"
    DYNAMODB_STREAMS = "DYNAMODBSTREAMS", "DynamoDB Streams"
    DYNAMODB = "DYNAMODB", "DynamoDB", "DynamoDB Table"


class Language(Choice):
    """The language that the handlers are written in."""

    PYTHON = "Python"
    JAVA = "Java"
    JAVASCRIPT = "Javascript"


class FileReaderType(Choice):
    """How files are read."""

    SINGLE_FILE = "SINGLEFILEREADER", "Single File Reader"
    """Each file stands alone and holds one kind of record."""
    SINGLE_FILE_STATE_MACHINE = "SINGLEFILESTATEMACHINEREADER", "Single File State Machine Reader"
    """One file with several kinds of records in a cycle, combined into one document."""
    MULTIPLE_FILE_STATE_MACHINE = "MULTIPLEFILESTATEMACHINEREADER", "Multiple File State Machine Reader"
    """Several files in lock-step, one document out of each step."""
    SPARK = "SPARKREADER", "Spark Reader"
    """Files are handed to Spark as a whole."""


class KinesisReaderType(Choice):
    """How streams are read."""

    KINESIS_STREAM = "KINESISSTREAMREADER", "Kinesis Stream Reader"


class SparkFileFormat(Choice):
    """A format that Spark reads or writes."""

    CSV = "csv"
    TEXT = "text"
    JSON = "json"
    PARQUET = "parquet"


class ReaderSection(Section):
    """What every source has: where the handlers are."""

    artifact_implementation_language: Language = Language.PYTHON
    """The language of the handlers."""
    artifact_file_s3_link: S3Uri | None = None
    """The jar with the handlers (Java)."""
    artifact_file_s3_link_resource_location: ResourceLocation | None = None
    """Who owns the jar."""
    interface_ecr_image_path: Text | None = Field(None, alias="interfaceECRImagePath")
    """The container image with the handlers, where the engine runs containers."""
    interface_ecr_image_resource_location: ResourceLocation | None = Field(
        None, alias="interfaceECRImageResourceLocation"
    )
    """Who owns the image."""
    parameters: JsonObject = Field(default_factory=dict)
    """Passed to the handler's constructor as keywords. No secrets: the dataset file is stored in the lake."""


_READER_TYPE_OF: Final = {
    "single_file_parser_implementation_class_name": FileReaderType.SINGLE_FILE,
    "single_file_state_machine_parser_implementation_class_name": FileReaderType.SINGLE_FILE_STATE_MACHINE,
    "single_file_state_machine_reader_implementation_class_name": FileReaderType.SINGLE_FILE_STATE_MACHINE,
    "single_file_state_machine_parser_implementation_class_name_map": FileReaderType.MULTIPLE_FILE_STATE_MACHINE,
    "multiple_file_state_machine_reader_class_name": FileReaderType.MULTIPLE_FILE_STATE_MACHINE,
    "spark_mapper_interface_implementation_class_name": FileReaderType.SPARK,
    "spark_reducer_interface_implementation_class_name": FileReaderType.SPARK,
    "spark_file_format": FileReaderType.SPARK,
    "spark_read_options": FileReaderType.SPARK,
}
"""Settings that only one reader type has."""


class FilesSection(ReaderSection):
    """What S3 and FOLDER have in common."""

    reader_type: FileReaderType = FileReaderType.SINGLE_FILE
    """How files are read."""
    single_file_parser_implementation_class_name: ClassName | None = None
    """The `SingleFileParser` (SINGLEFILEREADER)."""
    single_file_state_machine_parser_implementation_class_name: ClassName | None = None
    """The parser (SINGLEFILESTATEMACHINEREADER)."""
    single_file_state_machine_reader_implementation_class_name: ClassName | None = None
    """The reader (SINGLEFILESTATEMACHINEREADER)."""
    single_file_state_machine_parser_implementation_class_name_map: dict[Text, ClassName] | None = None
    """One parser for each file type (MULTIPLEFILESTATEMACHINEREADER)."""
    multiple_file_state_machine_reader_class_name: ClassName | None = Field(
        None,
        validation_alias=spelled(
            "multipleFileStateMachineReaderClassName", "multipleFileStateMachineReaderImplementationClassName"
        ),
    )
    """The reader (MULTIPLEFILESTATEMACHINEREADER)."""
    spark_mapper_interface_implementation_class_name: ClassName | None = None
    """The mapper (SPARKREADER)."""
    spark_reducer_interface_implementation_class_name: ClassName | None = None
    """The reducer (SPARKREADER)."""
    spark_file_format: SparkFileFormat | None = None
    """The format of the files (SPARKREADER)."""
    spark_read_options: dict[str, str] | None = None
    """Options for Spark's reader (SPARKREADER)."""

    @field_validator(*_READER_TYPE_OF)
    @classmethod
    def _only_with_its_reader_type(cls, value: object, info: ValidationInfo) -> object:
        chosen, needed = info.data.get("reader_type"), _READER_TYPE_OF[str(info.field_name)]
        if value is not None and chosen is not None and chosen is not needed:
            raise wrong(f"this setting belongs to readerType {needed}, but readerType is {chosen}")
        return value


class S3ReadConnector(FilesSection):
    """Files in a bucket."""

    connector_destination: Annotated[Source, Only((Source.S3,))]
    """The kind of source."""
    bucket_name: BucketName
    """The bucket with the files. Credentials and endpoint come from the environment."""
    bucket_resource_location: ResourceLocation | None = None
    """Who owns the bucket."""


class FolderReadConnector(FilesSection):
    """Files in a folder of this machine."""

    connector_destination: Annotated[Source, Only((Source.FOLDER,))]
    """The kind of source."""
    path: LocalPath
    """The folder with the files, relative to the dataset file. The lines of the manifest are relative to it."""


class GeneratorReadConnector(ReaderSection):
    """Rows that a class of yours yields, without a source."""

    connector_destination: Annotated[Source, Only((Source.GENERATOR,))]
    """The kind of source."""
    generator_implementation_class_name: ClassName
    """The `Generator`."""


class SqsReadConnector(ReaderSection):
    """Messages of a queue."""

    connector_destination: Annotated[Source, Only((Source.SQS,))]
    """The kind of source."""
    queue_name: QueueName
    """The queue."""
    resource_location: ResourceLocation | None = None
    """Who owns the queue."""
    queue_message_reader_implementation_class_name: ClassName | None = None
    """The `QueueMessageReader`."""


class KinesisReadConnector(ReaderSection):
    """Records of a stream."""

    connector_destination: Annotated[Source, Only((Source.KINESIS,))]
    """The kind of source."""
    reader_type: KinesisReaderType = KinesisReaderType.KINESIS_STREAM
    """How the stream is read."""
    stream_arn: KinesisStreamArn
    """The stream."""
    resource_location: ResourceLocation | None = None
    """Who owns the stream."""
    kinesis_record_reader_implementation_class_name: ClassName | None = None
    """The `KinesisRecordReader`."""


class DynamoDBStreamsReadConnector(ReaderSection):
    """Changes of a table, from its stream."""

    connector_destination: Annotated[Source, Only((Source.DYNAMODB_STREAMS,))]
    """The kind of source."""
    stream_arn: TableStreamArn
    """The stream of the table."""
    resource_location: ResourceLocation | None = None
    """Who owns the stream."""
    dynamo_db_streams_record_reader_implementation_class_name: ClassName | None = Field(
        None, alias="dynamoDBStreamsRecordReaderImplementationClassName"
    )
    """The `DynamoDBStreamsRecordReader`."""


class DynamoDBReadConnector(ReaderSection):
    """Items of a table, by scanning it."""

    connector_destination: Annotated[Source, Only((Source.DYNAMODB,))]
    """The kind of source."""
    table_name: TableName
    """The table."""
    resource_location: ResourceLocation | None = None
    """Who owns the table."""
    dynamo_db_table_item_reader_implementation_class_name: ClassName | None = Field(
        None, alias="dynamoDBTableItemReaderImplementationClassName"
    )
    """The `DynamoDBTableItemReader`."""


ReadConnector = Annotated[
    S3ReadConnector
    | FolderReadConnector
    | GeneratorReadConnector
    | SqsReadConnector
    | KinesisReadConnector
    | DynamoDBStreamsReadConnector
    | DynamoDBReadConnector,
    VariantBy(
        "connectorDestination",
        Source,
        {
            Source.S3: S3ReadConnector,
            Source.FOLDER: FolderReadConnector,
            Source.GENERATOR: GeneratorReadConnector,
            Source.SQS: SqsReadConnector,
            Source.KINESIS: KinesisReadConnector,
            Source.DYNAMODB_STREAMS: DynamoDBStreamsReadConnector,
            Source.DYNAMODB: DynamoDBReadConnector,
        },
    ),
]
