"""Where a task's rows go if not into the lake, its rejections if not beside the batch. Values that can be pickled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from datalake_service.aws.clients import AwsClients
from datalake_service.storage.base import ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueOutput:
    """Messages of a queue."""

    clients: AwsClients
    queue: str
    """Its name."""
    id_key: str | None = None
    """The key of a record that is its deduplication id, in a FIFO queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOutput:
    """Records of a stream."""

    clients: AwsClients
    stream_arn: str
    keep_order: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOutput:
    """Items of a table."""

    clients: AwsClients
    table: str
    """Its name."""


class FileKind(StrEnum):
    """The format of files, and how their names end."""

    JSONL = "jsonl"
    JSONL_GZIP = "jsonl.gz"
    PARQUET = "parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesOutput:
    """Files below the root of a store that is no lake."""

    store: ObjectStore
    kind: FileKind
    rows_per_file: int


Elsewhere = QueueOutput | StreamOutput | TableOutput | FilesOutput
"""Destinations that are not the lake."""


@dataclass(frozen=True, slots=True)
class RejectionsPlace:
    """Where rejections are archived: below the root of a store, as they would be in the lake."""

    store: ObjectStore


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointModel:
    """A SageMaker endpoint that computes vectors."""

    clients: AwsClients
    endpoint: str
    """Its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalModel:
    """A class of the user's that computes vectors in the worker process."""

    reference: str
    """``module.Class``."""
    folder: Path
    """Where the dataset file is."""
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorStep:
    """Vectors for documents, between the handler and the destination."""

    reference: str
    """``module.Class`` of the ``SagemakerVectorsInterface``."""
    folder: Path
    """Where the dataset file is."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    model: EndpointModel | LocalModel
    batch_size: int
    """Texts in a call of the model, at most."""
    concurrency: int
    """Calls at a time, at most."""
