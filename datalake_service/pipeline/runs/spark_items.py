"""From a dataset file with ``readerType`` SPARKREADER to the calls of its mapper and its reducer. Reads nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from datalake_service.config.compute import SparkEngine, SparkRun
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.read import FilesSection
from datalake_service.config.write import FilesWriteSection
from datalake_service.errors import ConfigError
from datalake_service.pipeline.jobs.outputs import FilesOutput
from datalake_service.pipeline.jobs.spark_inputs import INTERMEDIATE, RESULT, Program, SparkFormat, SparkProgramInput
from datalake_service.pipeline.runs.elsewhere import elsewhere_of
from datalake_service.plan.manifest import task_id
from datalake_service.storage.base import ObjectStore, OpenStore

REDUCER: Final = "reducer"
"""The item of the reducer, for people."""
_BETWEEN: Final = SparkFormat("parquet", {"compression": "gzip"})
_DEFAULT: Final = "parquet"


@dataclass(frozen=True, slots=True)
class ProgramItem:
    """One call."""

    task: str
    name: str
    input: SparkProgramInput


def program_items(
    config: DatasetConfig,
    connector: FilesSection,
    files: Mapping[str, str],
    *,
    store: ObjectStore,
    batch: str,
    open_store: OpenStore,
) -> list[ProgramItem]:
    """The calls of a dataset file, mappers first.

    Args:
        config: The dataset file.
        connector: Its source.
        files: The items of the manifest, by the ids of their tasks.
        store: Where they are.
        batch: What names source and destination in ids.
        open_store: Opens the destination.

    Raises:
        ConfigError: There is nothing to reduce.
    """
    engine = config.compute_engine
    assert isinstance(engine, SparkEngine)  # check_available
    mode = engine.run_spark_interfaces
    make = _Calls(config, connector, engine, store, open_store)
    if mode is SparkRun.MAPPER_ONLY:
        return [make.mapper(task, name, folder=task, writes=make.result) for task, name in files.items()]
    if not files:
        raise ConfigError("manifestFile: it names no file, and a reducer needs one at least")
    names = tuple(files.values())
    if mode is SparkRun.REDUCER_ONLY:
        return [make.reducer(task_id("\n".join((REDUCER, *names)), batch=batch), names=names)]
    mappers = [
        make.mapper(task, name, folder=f"{INTERMEDIATE}/{task}", writes=_BETWEEN) for task, name in files.items()
    ]
    return [*mappers, make.reducer(task_id("\n".join((REDUCER, *files)), batch=batch), after=tuple(files))]


class _Calls:
    """Makes the calls of one dataset file."""

    def __init__(
        self,
        config: DatasetConfig,
        connector: FilesSection,
        engine: SparkEngine,
        store: ObjectStore,
        open_store: OpenStore,
    ) -> None:
        write, output = config.write_connector, elsewhere_of(config, open_store=open_store)
        assert isinstance(write, FilesWriteSection)  # check_available
        assert isinstance(output, FilesOutput)
        self._connector = connector
        self._source = str(config.read_connector.connector_destination)
        self._engine = engine
        self._store = store
        self._target = output.store
        self._destination = str(write.connector_destination)
        self._read = SparkFormat(str(connector.spark_file_format or _DEFAULT), connector.spark_read_options or {})
        self.result = SparkFormat(str(write.spark_file_format or _DEFAULT), write.spark_write_options or {})

    def mapper(self, task: str, name: str, *, folder: str, writes: SparkFormat) -> ProgramItem:
        reference = self._connector.spark_mapper_interface_implementation_class_name
        return ProgramItem(task, name, self._call(Program.MAPPER, reference, self._read, folder, writes, names=(name,)))

    def reducer(self, task: str, *, names: Sequence[str] = (), after: Sequence[str] = ()) -> ProgramItem:
        reference = self._connector.spark_reducer_interface_implementation_class_name
        reads = _BETWEEN if after else self._read
        call = self._call(Program.REDUCER, reference, reads, RESULT, self.result, names=names, after=after)
        return ProgramItem(task, REDUCER, call)

    def _call(
        self,
        program: Program,
        reference: str | None,
        reads: SparkFormat,
        folder: str,
        writes: SparkFormat,
        *,
        names: Sequence[str],
        after: Sequence[str] = (),
    ) -> SparkProgramInput:
        assert reference is not None  # check_available
        return SparkProgramInput(
            program=program,
            reference=reference,
            store=self._store,
            source=self._source,
            names=tuple(names),
            after=tuple(after),
            reads=reads,
            target=self._target,
            destination=self._destination,
            folder=folder,
            writes=writes,
            secret=self._engine.spark_credentials_secret_arn,
        )
