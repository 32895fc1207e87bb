"""From ``writeConnector`` to where the rows of a task go."""

from __future__ import annotations

from datalake_service.config.batch import has_placeholder
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.read import Source
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.pipeline.engine import LakeOutput, Output

_TIMED = (Source.SQS, Source.KINESIS, Source.DYNAMODB_STREAMS)
"""Sources whose records have a time."""


def output_of(config: DatasetConfig) -> Output:
    """Return where rows go."""
    write = config.write_connector
    assert isinstance(write, DatalakeWriteConnector)  # noqa: S101 - check_available
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
