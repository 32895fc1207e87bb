"""What a dataset remembers of its runs: which batches wait for a merge, how each batch is read, the last report."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from datalake_service.catalog.datasets import (
    DatasetRun,
    DatasetState,
    RunStatus,
    load_dataset,
    update_dataset,
)
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.problems import redacted
from datalake_service.config.read import (
    DynamoDBReadConnector,
    DynamoDBStreamsReadConnector,
    FileReaderType,
    FilesSection,
    GeneratorReadConnector,
    KinesisReadConnector,
    SqsReadConnector,
)
from datalake_service.errors import ConfigError, DatasetNotFoundError
from datalake_service.pipeline.runs.elsewhere import rejections_uri
from datalake_service.pipeline.runs.machine_items import file_handler
from datalake_service.pipeline.runs.report import MergedBatch, RunReport
from datalake_service.storage.base import ObjectStore
from datalake_utils.ids import random_hex

_RUN_DIGITS = 12


class RunRecord:
    """The state of a dataset, as one run of its dataset file changes it."""

    def __init__(self, store: ObjectStore, dataset: str, run: str, state: DatasetState) -> None:
        """Use ``begin``."""
        self._store = store
        self._dataset = dataset
        self._run = run
        self._state = state

    @classmethod
    def begin(cls, store: ObjectStore, config: DatasetConfig, *, now: datetime, worker: str | None = None) -> RunRecord:
        """Record that a run begins; ``worker`` names it, if it is one of several.

        Raises:
            ConfigError: It would read the same items in another way into the same batch.
        """
        run = DatasetRun(
            id=random_hex(_RUN_DIGITS),
            status=RunStatus.RUNNING,
            started_at=now,
            host=socket.gethostname(),
            pid=os.getpid(),
            worker=worker,
        )
        reading = reading_of(config)
        batch = str(getattr(config.write_connector, "batch", ""))
        archive = rejections_uri(config)

        def change(state: DatasetState | None) -> DatasetState:
            old = state or DatasetState(dataset=config.dataset_name, created_at=now, config={})
            _check_reading(config.dataset_name, batch, old.readings.get(batch), reading)
            return replace(
                old,
                # Secrets should not be there; they are not kept.
                config={key: redacted(value, key=key) for key, value in config.document.items()},
                readings={**old.readings, batch: reading},
                archives=old.archives if archive is None else tuple(dict.fromkeys((*old.archives, archive))),
                runs=(*old.runs, run),
            )

        return cls(store, config.dataset_name, run.id, update_dataset(store, config.dataset_name, change))

    @property
    def unmerged(self) -> tuple[str, ...]:
        """Batches that tasks may have written to since they were merged last."""
        return self._state.unmerged

    @property
    def rows(self) -> Mapping[str, int]:
        """Rows of each batch when it was merged last."""
        return self._state.rows

    def refresh(self) -> None:
        """Read again what others may have changed."""
        with suppress(DatasetNotFoundError):  # deleted under our eyes: the next change puts it back
            self._state = load_dataset(self._store, self._dataset)

    def will_write_to(self, batches: Iterable[str]) -> None:
        """Record, before anything is written, which batches will have to be merged."""
        new = set(batches) - set(self._state.unmerged)
        if new:
            self._change(lambda state: replace(state, unmerged=tuple(sorted({*state.unmerged, *new}))))

    def merged(self, outcomes: Iterable[MergedBatch]) -> None:
        """Record what was merged."""
        rows = {outcome.batch: outcome.result.rows for outcome in outcomes if outcome.result is not None}
        if rows:
            self._change(
                lambda state: replace(
                    state,
                    unmerged=tuple(batch for batch in state.unmerged if batch not in rows),
                    rows={**state.rows, **rows},
                )
            )

    def end(self, report: RunReport, *, now: datetime) -> None:
        """Record how the run ended."""
        self._end(report.status, now=now, error=report.limit)
        self._change(lambda state: replace(state, report=report.to_dict()))

    def break_off(self, status: RunStatus, error: str, *, now: datetime) -> None:
        """Record that the run was ended by an error or an interrupt, before it could report."""
        self._end(status, now=now, error=error)

    def _end(self, status: RunStatus, *, now: datetime, error: str | None) -> None:
        def ended(run: DatasetRun) -> DatasetRun:
            return replace(run, status=status, ended_at=now, error=error) if run.id == self._run else run

        self._change(lambda state: replace(state, runs=tuple(map(ended, state.runs))))

    def _change(self, change: Callable[[DatasetState], DatasetState]) -> None:
        def of_existing(state: DatasetState | None) -> DatasetState:
            return change(state or self._state)  # somebody deleted it under our eyes: put it back

        self._state = update_dataset(self._store, self._dataset, of_existing)


def reading_of(config: DatasetConfig) -> dict[str, str]:
    """What decides which rows an item becomes, by JSON key: a batch must not mix two of it."""
    connector = config.read_connector
    reading = {"connectorDestination": str(connector.connector_destination)}
    if isinstance(connector, FilesSection):
        reading["readerType"] = str(connector.reader_type)
        single = connector.reader_type is FileReaderType.SINGLE_FILE
        name = "singleFileParserImplementationClassName" if single else "readerClassName"
        reading[name] = file_handler(connector)
    elif isinstance(connector, GeneratorReadConnector):
        reading["generatorImplementationClassName"] = connector.generator_implementation_class_name
    elif isinstance(connector, SqsReadConnector):
        reading["queueMessageReaderImplementationClassName"] = (
            connector.queue_message_reader_implementation_class_name or ""
        )
    elif isinstance(connector, KinesisReadConnector):
        handler = connector.kinesis_record_reader_implementation_class_name
        reading["kinesisRecordReaderImplementationClassName"] = handler or ""
    elif isinstance(connector, DynamoDBStreamsReadConnector):
        handler = connector.dynamo_db_streams_record_reader_implementation_class_name
        reading["dynamoDBStreamsRecordReaderImplementationClassName"] = handler or ""
    elif isinstance(connector, DynamoDBReadConnector):
        handler = connector.dynamo_db_table_item_reader_implementation_class_name
        reading["dynamoDBTableItemReaderImplementationClassName"] = handler or ""
    return reading


def _check_reading(dataset: str, batch: str, old: Mapping[str, str] | None, new: Mapping[str, str]) -> None:
    # What an older version has not noted, nobody can compare; the connector and the kind of reader always were.
    if old is None or all(new.get(key) == value for key, value in old.items()):
        return
    problems = [
        f"readConnector.{key}: was {_told(old.get(key))}, is {_told(new.get(key))}"
        for key in {**old, **new}
        if old.get(key) != new.get(key)
    ]
    raise ConfigError(
        f"dataset {dataset!r}: its batch {batch!r} was read in another way before. One batch holds one reading: name "
        "another batch in writeConnector.batch, or another datasetName, or change this back",
        tuple(problems),
    )


def _told(value: str | None) -> str:
    return "not set" if value is None else f'"{value}"'
