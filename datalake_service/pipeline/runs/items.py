"""What a dataset file names to be read: the source opened, the manifest read or the folder listed. No task yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datalake_service.aws.clients import AwsClients
from datalake_service.config.dataset import DatasetConfig
from datalake_service.config.manifest import GlobManifest, LinkManifest, SqsManifest, SqsStop, TextManifest
from datalake_service.config.read import (
    DynamoDBReadConnector,
    FileReaderType,
    FilesSection,
    FolderReadConnector,
    GeneratorReadConnector,
    S3ReadConnector,
    SqsReadConnector,
)
from datalake_service.config.write import DatalakeWriteConnector
from datalake_service.errors import ConfigError, ObjectNotFoundError
from datalake_service.pipeline.jobs.engine import GeneratorInput, HandlerSpec, Input, QueueInput
from datalake_service.pipeline.jobs.stream_inputs import ShardInput
from datalake_service.pipeline.runs.machine_items import file_handler, file_inputs
from datalake_service.pipeline.runs.spark_items import program_items
from datalake_service.pipeline.runs.stream_items import (
    StreamConnector,
    StreamItem,
    handler_of,
    segment_items,
    shard_items,
)
from datalake_service.plan.globs import Glob, listing_prefixes
from datalake_service.plan.manifest import Plan, decode_lines, plan_globs, plan_lines, task_id
from datalake_service.storage.base import ObjectMeta, ObjectStore, OpenStore

"""Opens a store by its URI or path, with the credentials of the run."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to be read."""

    task: str
    """The id of its task."""
    name: str
    """The manifest's line, for people."""
    source: str
    """The stable name that ids of rows are derived from."""
    input: Input
    parents: tuple[str, ...] = ()
    """Tasks that have to be completed before this one is run."""
    start: object = None
    """The checkpoint that a new task begins with."""


@dataclass(frozen=True, slots=True)
class Items:
    """Everything that a dataset file names."""

    items: tuple[Item, ...]
    handler: HandlerSpec
    notes: tuple[str, ...] = ()
    listed: Mapping[str, ObjectMeta] = field(default_factory=dict)
    """What the source's listing said of keys, if one was made."""
    grows: bool = False
    """Whether there may be more items when one of them has been read."""
    reader: Callable[[int], Item] | None = None
    """Makes the item of reader *n*, where any number of readers may share the source; ``items`` are the first ones."""


def find_items(config: DatasetConfig, *, batch: str, open_store: OpenStore) -> Items:
    """Return what a dataset file names.

    Args:
        config: The dataset file, of a kind that this version runs.
        batch: Its batch filled in, for generators. Items of files belong to the batch as it is written.
        open_store: Opens the source.

    Raises:
        ConfigError: The source or the manifest does not exist.
        StoreError: It cannot be read.
    """
    connector = config.read_connector
    if isinstance(connector, GeneratorReadConnector):
        return _generator(config, connector, batch)
    if isinstance(connector, SqsReadConnector):
        return _queue(config, connector)
    if isinstance(connector, StreamConnector):
        return _parts(config, connector.stream_arn, shard_items(config, connector), handler_of(connector))
    if isinstance(connector, DynamoDBReadConnector):
        return _parts(config, connector.table_name, segment_items(config, connector), handler_of(connector))
    assert isinstance(connector, FilesSection)  # check_available
    return _files(config, HandlerSpec(file_handler(connector), config.folder, connector.parameters), open_store)


def _generator(config: DatasetConfig, connector: GeneratorReadConnector, batch: str) -> Items:
    """The one item of a generator: class and parameters. Each name of its batch makes another task of it."""
    reference = connector.generator_implementation_class_name
    parameters = json.dumps(connector.parameters, sort_keys=True).encode()
    name = f"{reference}#{hashlib.blake2b(parameters, digest_size=4).hexdigest()}"
    if not isinstance(config.write_connector, DatalakeWriteConnector):
        batch = f"{batch}\n{destination_of(config)}"
    item = Item(task_id(name, batch=batch), name, name, GeneratorInput())
    return Items((item,), HandlerSpec(reference, config.folder, connector.parameters))


def destination_of(config: DatasetConfig) -> str:
    """What names the destination in the ids of tasks: the same items can be read for several."""
    write = config.write_connector
    if isinstance(write, DatalakeWriteConnector):
        return write.batch
    fields = ("bucket_name", "prefix", "path", "stream_arn", "queue_name", "table_name")
    names = [str(getattr(write, field)) for field in fields if getattr(write, field, None)]
    return " ".join((write.batch, str(write.connector_destination), *names))


def _queue(config: DatasetConfig, connector: SqsReadConnector) -> Items:
    """As many readers as the engine is to run at once; which of them gets a message makes no difference to its row."""
    reference = connector.queue_message_reader_implementation_class_name
    assert reference is not None  # check_available
    manifest, engine = config.manifest_file, config.compute_engine
    assert isinstance(manifest, SqsManifest)  # each source has its manifest
    drains = manifest.sqs_reader_task_stop_condition is SqsStop.DRAIN_QUEUES
    receives = manifest.sqs_reader_task_stop_after_consecutive_empty_receives if drains else None
    readers = getattr(engine, "concurrency", None) or 1
    source = f"sqs://{connector.queue_name}"
    queue = QueueInput(clients=AwsClients(region=config.region), queue=connector.queue_name, empty_receives=receives)
    batch = f"{source}\n{destination_of(config)}"

    def reader(number: int) -> Item:
        name = f"{connector.queue_name}#{number}"
        return Item(task_id(name, batch=batch), name, source, queue)

    handler = HandlerSpec(reference, config.folder, connector.parameters)
    return Items(tuple(map(reader, range(readers))), handler, reader=reader)


def _parts(config: DatasetConfig, whole: str, found: Sequence[StreamItem], reference: str) -> Items:
    """The shards of a stream, or the segments of a table."""
    batch = f"{whole}\n{destination_of(config)}"
    tasks = {entry.name: task_id(entry.name, batch=batch) for entry in found}
    items = [
        Item(
            tasks[entry.name],
            entry.name,
            entry.source,
            entry.input,
            parents=tuple(tasks[parent] for parent in entry.parents),
            start=entry.start,
        )
        for entry in found
    ]
    handler = HandlerSpec(reference, config.folder, config.read_connector.parameters)
    return Items(tuple(items), handler, grows=any(isinstance(entry.input, ShardInput) for entry in found))


def _files(config: DatasetConfig, handler: HandlerSpec, open_store: OpenStore) -> Items:
    connector = config.read_connector
    if isinstance(connector, S3ReadConnector):
        root = f"s3://{connector.bucket_name}"
        store, prefix = open_store(root), f"{root}/"
    else:
        # Names in a folder stand for themselves: the same files in another place are the same items.
        assert isinstance(connector, FolderReadConnector)  # the only other one
        if not connector.path.is_dir():
            raise ConfigError(f"readConnector.path: there is no folder {connector.path}")
        store, prefix = open_store(str(connector.path)), ""
    batch = f"{prefix}\n{destination_of(config)}"
    plan, listed = _planned(config, store, batch, open_store)
    assert isinstance(connector, FilesSection)
    if connector.reader_type is FileReaderType.SPARK:
        files = {task.id: task.item for task in plan.tasks}
        calls = program_items(config, connector, files, store=store, batch=batch, open_store=open_store)
        programs = tuple(Item(call.task, call.name, call.name, call.input) for call in calls)
        return Items(programs, handler, plan.notes, listed)
    inputs = file_inputs(connector, [task.item for task in plan.tasks], store=store, prefix=prefix)
    items = (Item(task.id, task.item, prefix + task.item, read) for task, read in zip(plan.tasks, inputs, strict=True))
    return Items(tuple(items), handler, plan.notes, listed)


def _planned(
    config: DatasetConfig, store: ObjectStore, batch: str, open_store: OpenStore
) -> tuple[Plan, Mapping[str, ObjectMeta]]:
    manifest = config.manifest_file
    if isinstance(manifest, GlobManifest):
        prefixes = listing_prefixes(Glob(pattern) for pattern in manifest.globs)
        listed = {meta.key: meta for prefix in prefixes for meta in store.list(prefix)}
        return plan_globs(manifest.globs, listed, batch=batch), listed
    if isinstance(manifest, LinkManifest):
        name = manifest.manifest_file_s3_uri
        text = decode_lines(_linked(name, open_store), name=name)
        return plan_lines(text, batch=batch, name=name), {}
    assert isinstance(manifest, TextManifest)  # the only other one
    return plan_lines(manifest.file_contents, batch=batch, name="manifestFile.fileContents"), {}


def _linked(uri: str, open_store: OpenStore) -> bytes:
    """The bytes of a manifest that is an object or a file of its own."""
    if uri.startswith("s3://"):
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        try:
            return open_store(f"s3://{bucket}").get(key)[0]
        except ObjectNotFoundError as error:
            raise ConfigError(f"manifestFile.manifestFileS3Uri: {error}") from error
    try:
        return Path(uri).read_bytes()
    except OSError as error:
        raise ConfigError(f"manifestFile.manifestFileS3Uri: {uri} cannot be read: {error.strerror}") from error
