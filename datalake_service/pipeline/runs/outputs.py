"""From ``writeConnector`` to where the rows of a task go."""

from __future__ import annotations

from dataclasses import dataclass

from datalake_service.config.batch import has_placeholder
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.read import Source
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.pipeline.jobs.engine import LakeOutput, Output
from datalake_service.pipeline.jobs.outputs import RejectionsPlace, VectorStep
from datalake_service.pipeline.runs.elsewhere import elsewhere_of, rejections_of, vector_step
from datalake_service.storage.base import OpenStore

_TIMED = (Source.SQS, Source.KINESIS, Source.DYNAMODB_STREAMS)
"""Sources whose records have a time."""

_CONDITIONS = (
    "sqs_reader_task_stop_condition",
    "kinesis_reader_task_stop_condition",
    "stop_condition",
    "completion_mode",
)
"""What manifests call the condition under which a task ends."""


@dataclass(frozen=True, slots=True)
class Routes:
    """What becomes of documents and of rejections; the same for all tasks of a run."""

    output: Output
    vectors: VectorStep | None
    rejections: RejectionsPlace | None


def routes_of(config: DatasetConfig, *, open_store: OpenStore) -> Routes:
    """Return where documents go, what comes between, and where rejections go."""
    vectors = config.vectors
    step = None if vectors is None else vector_step(vectors, folder=config.folder, region=config.region)
    return Routes(output_of(config, open_store=open_store), step, rejections_of(config, open_store=open_store))


def output_of(config: DatasetConfig, *, open_store: OpenStore) -> Output:
    """Return where rows go."""
    elsewhere = elsewhere_of(config, open_store=open_store)
    if elsewhere is not None:
        return elsewhere
    write = config.write_connector
    assert isinstance(write, DatalakeWriteConnector)  # check_available
    return LakeOutput(
        chunk_size=write.chunk_size,
        deduplicate_on=write.deduplicate_on or None,
        batch_by_time=write.batch if has_batches_by_time(config) else None,
    )


def has_batches_by_time(config: DatasetConfig) -> bool:
    """Whether each row goes to the batch of its record's time, so that nobody knows the batches before."""
    write = config.write_connector
    timed = config.read_connector.connector_destination in _TIMED
    return timed and isinstance(write, DatalakeWriteConnector) and has_placeholder(write.batch)


def is_continuous(config: DatasetConfig) -> bool:
    """Whether the source is read until somebody stops that."""
    manifest = config.manifest_file
    return any(str(getattr(manifest, name, "")) == "Continuous" for name in _CONDITIONS)
