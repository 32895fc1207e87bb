"""From a dataset file to destinations that are not the lake, and to where its rejections and vectors come from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from datalake_service.aws.clients import AwsClients
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.location import join_s3
from datalake_service.config.vectors import VectorsConfig
from datalake_service.config.write import (
    DynamoDBWriteConnector,
    FileFormat,
    FilesWriteSection,
    FolderErrorConnector,
    FolderWriteConnector,
    KinesisWriteConnector,
    S3ErrorConnector,
    S3WriteConnector,
    SqsWriteConnector,
)
from datalake_service.pipeline.jobs.outputs import (
    Elsewhere,
    EndpointModel,
    FileKind,
    FilesOutput,
    LocalModel,
    QueueOutput,
    RejectionsPlace,
    StreamOutput,
    TableOutput,
    VectorStep,
)
from datalake_service.storage.base import OpenStore

_KINDS: Final = {
    FileFormat.JSONL: FileKind.JSONL,
    FileFormat.JSONL_GZIP: FileKind.JSONL_GZIP,
    FileFormat.PARQUET: FileKind.PARQUET,
}


def elsewhere_of(config: DatasetConfig, *, open_store: OpenStore) -> Elsewhere | None:
    """Where rows go; ``None``: into the lake. What the dataset file lacks for it, ``available.py`` has refused."""
    write = config.write_connector
    clients = AwsClients(region=config.region)
    if isinstance(write, SqsWriteConnector):
        assert write.queue_name is not None  # check_available
        return QueueOutput(clients=clients, queue=write.queue_name, id_key=write.message_id_attribute_name)
    if isinstance(write, KinesisWriteConnector):
        assert write.stream_arn is not None  # check_available
        region = write.stream_arn.split(":")[3]
        return StreamOutput(clients=AwsClients(region=region), stream_arn=write.stream_arn, keep_order=write.keep_order)
    if isinstance(write, DynamoDBWriteConnector):
        assert write.table_name is not None  # check_available
        return TableOutput(clients=clients, table=write.table_name)
    if isinstance(write, FilesWriteSection):
        kind = _KINDS[write.file_format]
        return FilesOutput(store=open_store(_root(write)), kind=kind, rows_per_file=write.rows_per_file)
    return None


def destination_told(config: DatasetConfig) -> tuple[str, ...]:
    """Where documents go, for people; nothing: into the lake."""
    write = config.write_connector
    if isinstance(write, SqsWriteConnector):
        return (f"queue {write.queue_name}",)
    if isinstance(write, KinesisWriteConnector):
        return (f"stream {write.stream_arn}",)
    if isinstance(write, DynamoDBWriteConnector):
        return (f"table {write.table_name}",)
    if isinstance(write, FilesWriteSection):
        return (f"{_root(write)}/{config.dataset_name}/",)
    return ()


def destination_notes(config: DatasetConfig) -> tuple[str, ...]:
    """What a dataset file asks of its destination that is not done, for people."""
    write = config.write_connector
    if not isinstance(write, KinesisWriteConnector) or write.kinesis_shard_count is None:
        return ()
    asked = f"writeConnector.kinesisShardCount: {write.kinesis_shard_count} is not applied"
    return (f"{asked}: streams are used as they are, never made or scaled; scale it where it was made",)


def rejections_uri(config: DatasetConfig) -> str | None:
    """The root below which rejections are archived; ``None``: they lie beside the batch."""
    connector = config.error_connector
    if isinstance(connector, FolderErrorConnector):
        return str(connector.path.resolve())
    if isinstance(connector, S3ErrorConnector) and connector.bucket_name is not None:
        return join_s3(connector.bucket_name, connector.prefix)
    return None


def rejections_of(config: DatasetConfig, *, open_store: OpenStore) -> RejectionsPlace | None:
    """Where rejections go; ``None``: beside the batch."""
    uri = rejections_uri(config)
    return None if uri is None else RejectionsPlace(open_store(uri))


def vector_step(vectors: VectorsConfig, *, folder: Path, region: str | None) -> VectorStep:
    """The vectors of a dataset file or of an annotator, whose classes are in ``folder``."""
    model: EndpointModel | LocalModel
    if vectors.sagemaker_endpoint_name is not None:
        clients = AwsClients(region=region, read_timeout=vectors.timeout_in_seconds)
        model = EndpointModel(clients=clients, endpoint=vectors.sagemaker_endpoint_name)
    else:
        assert vectors.model_implementation_class_name is not None  # one of both
        model = LocalModel(
            reference=vectors.model_implementation_class_name, folder=folder, parameters=vectors.model_parameters
        )
    return VectorStep(
        reference=vectors.sagemaker_vectors_interface_implementation_class_name,
        folder=folder,
        parameters=vectors.parameters,
        model=model,
        batch_size=vectors.batch_size,
        concurrency=vectors.max_concurrency,
    )


def _root(write: FilesWriteSection) -> str:
    if isinstance(write, FolderWriteConnector):
        return str(write.path.resolve())
    assert isinstance(write, S3WriteConnector)  # the only other one
    assert write.bucket_name is not None  # check_available
    return join_s3(write.bucket_name, write.prefix)
