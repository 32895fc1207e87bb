"""What a dataset file names for state machines: lines of the manifest as files, and the classes that read them."""

from __future__ import annotations

from collections.abc import Sequence

from datalake_service.config.read import FileReaderType, FilesSection
from datalake_service.errors import ConfigError, UsageError
from datalake_service.pipeline.jobs.engine import FileInput, MachineInput
from datalake_service.plan.manifest import typed_files
from datalake_service.storage.base import ObjectStore


def file_handler(connector: FilesSection) -> str:
    """The class that a task of files begins with, as ``module.Class``; the dataset file has been checked."""
    reference = {
        FileReaderType.SINGLE_FILE_STATE_MACHINE: connector.single_file_state_machine_reader_implementation_class_name,
        FileReaderType.MULTIPLE_FILE_STATE_MACHINE: connector.multiple_file_state_machine_reader_class_name,
        FileReaderType.SPARK: connector.spark_mapper_interface_implementation_class_name
        or connector.spark_reducer_interface_implementation_class_name,
    }.get(connector.reader_type, connector.single_file_parser_implementation_class_name)
    assert reference is not None  # check_available
    return reference


def file_inputs(
    connector: FilesSection, items: Sequence[str], *, store: ObjectStore, prefix: str
) -> list[FileInput | MachineInput]:
    """The inputs of the items of a manifest, in their order.

    Args:
        connector: The source.
        items: Lines of the manifest, or keys that a glob matched.
        store: Where the files are.
        prefix: Before a key it makes the stable name of a file.

    Raises:
        ConfigError: A line is none for a reader of several files; each such line is one problem.
    """
    if connector.reader_type is FileReaderType.MULTIPLE_FILE_STATE_MACHINE:
        return _several(connector, items, store, prefix)
    if connector.reader_type is not FileReaderType.SINGLE_FILE_STATE_MACHINE:
        return [FileInput(store, item) for item in items]
    parser = connector.single_file_state_machine_parser_implementation_class_name
    parsers = {} if parser is None else {"": parser}
    return [MachineInput(store=store, files={"": item}, parsers=parsers, prefix=prefix) for item in items]


def _several(
    connector: FilesSection, items: Sequence[str], store: ObjectStore, prefix: str
) -> list[FileInput | MachineInput]:
    parsers = connector.single_file_state_machine_parser_implementation_class_name_map or {}
    inputs: list[FileInput | MachineInput] = []
    problems: list[str] = []
    for item in items:
        try:
            files = typed_files(item)
        except UsageError as error:
            problems.append(str(error))
            continue
        missing = sorted(set(parsers) - set(files))
        if missing:
            problems.append(f"{item!r} has no file of the type {', '.join(missing)}")
        given = {kind: parsers[kind] for kind in files if kind in parsers}
        inputs.append(MachineInput(store=store, files=files, parsers=given, prefix=prefix))
    if problems:
        raise ConfigError(
            "manifestFile: each line of a MULTIPLEFILESTATEMACHINEREADER names all files of a task: TYPE:key|TYPE:key",
            tuple(problems),
        )
    return inputs
