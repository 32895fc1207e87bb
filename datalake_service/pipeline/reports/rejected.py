"""The rejections of a dataset, for people: which records could not be used, and why.

An error is named by ``batch/file:line``; the name stays as long as the file does. Files lie beside the batch, and where
the error connectors of the dataset file have sent them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from datalake_service.catalog import layout
from datalake_service.catalog.datasets import load_dataset
from datalake_service.catalog.tasks import TaskState, load_tasks
from datalake_service.config.names import check_name
from datalake_service.errors import DatasetNotFoundError, ObjectNotFoundError, UsageError
from datalake_service.pipeline.upkeep.lifecycle import require_dataset
from datalake_service.storage.base import ObjectMeta, ObjectStore, OpenStore

"""Opens a store by its URI or path."""
_BYTES: Final = ("text", "base64", "document")
"""What a rejection holds of the record itself: shown by ``view`` only."""


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """One line of a rejection file."""

    name: str
    """``batch/file:line``."""
    batch: str
    fields: Mapping[str, Any]
    """As stored."""

    def summary(self) -> dict[str, Any]:
        """The JSON form without the record itself."""
        told = {key: value for key, value in self.fields.items() if key not in _BYTES}
        return {"error": self.name, "batch": self.batch, **told}

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, the record included."""
        return {"error": self.name, "batch": self.batch, **self.fields}


def open_archives(store: ObjectStore, dataset: str, *, open_store: OpenStore) -> list[ObjectStore]:
    """The stores besides the lake that hold rejections of a dataset.

    Raises:
        ConfigError: An address cannot be opened.
        NameNotAllowedError: No dataset is called so.
    """
    check_name(dataset, what="dataset")
    try:
        archives = load_dataset(store, dataset).archives
    except DatasetNotFoundError:  # made without a dataset file
        return []
    return [open_store(uri) for uri in archives]


def absent_archives(store: ObjectStore, dataset: str, archives: Sequence[ObjectStore]) -> list[str]:
    """Folders of ``archives`` that are not on this machine, although tasks have rejected something."""
    absent = [archive.uri for archive in archives if "://" not in archive.uri and not Path(archive.uri).is_dir()]
    if absent and not any(task.state.counts.rejections for task in load_tasks(store, dataset)):
        return []
    return absent


def list_rejected(
    store: ObjectStore, dataset: str, *, batch: str | None = None, archives: Sequence[ObjectStore] = ()
) -> Iterator[RejectedRecord]:
    """Every rejection of a dataset, or of one batch, in the order of batches, places and files.

    Raises:
        DatasetNotFoundError: No such dataset, or no such batch.
    """
    require_dataset(store, dataset)
    places = [store, *archives]
    folders = {name for place in places for name in place.list_folders(layout.dataset_prefix(dataset))}
    batches = sorted(filter(layout.is_batch_folder, folders))
    if batch is not None:
        check_name(batch, what="batch")
        if batch not in batches:
            known = ", ".join(batches) or "none"
            raise DatasetNotFoundError(f"dataset {dataset!r} has no batch {batch!r}; there are: {known}")
        batches = [batch]
    leftovers = _leftovers([task.state for task in load_tasks(store, dataset)], dataset)
    for name in batches:
        prefix = layout.rejected_prefix(dataset, name)
        for place in places:
            for meta in place.list(prefix):
                if meta.key not in leftovers:
                    yield from _read(place, name, prefix, meta)


def find_rejected(
    store: ObjectStore, dataset: str, name: str, *, archives: Sequence[ObjectStore] = ()
) -> RejectedRecord:
    """One rejection by its name.

    Raises:
        UsageError: No error has this name.
    """
    require_dataset(store, dataset)
    file, _, line = name.rpartition(":")
    batch, _, file = file.partition("/")
    unknown = UsageError(
        f"dataset {dataset!r} has no error {name!r}; see: datalake errors list --datasetName {dataset}"
    )
    if not file or not line.isdecimal() or "/" in file:
        raise unknown
    check_name(batch, what="batch")
    prefix = layout.rejected_prefix(dataset, batch)
    for place in (store, *archives):
        try:
            meta = place.head(f"{prefix}{file}")
        except ObjectNotFoundError:
            continue
        found = next((record for record in _read(place, batch, prefix, meta) if record.name == name), None)
        if found is not None:
            return found
    raise unknown


def _leftovers(states: list[TaskState], dataset: str) -> set[str]:
    """Files of tasks that a later attempt does not count any more: they are read again, or were already."""
    return {
        layout.task_rejections_key(layout.rejected_prefix(dataset, state.batch), state.id, number)
        for state in states
        for number in range(state.rejection_files, state.rejection_files_ever)
    }


def _read(store: ObjectStore, batch: str, prefix: str, meta: ObjectMeta) -> Iterator[RejectedRecord]:
    file = meta.key.removeprefix(prefix)
    with store.open(meta.key, etag=meta.etag) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                fields = json.loads(line)
            except ValueError:
                fields = None
            if not isinstance(fields, dict):
                fields = {"source": file, "kind": "line", "message": "this line of the rejection file is damaged"}
            yield RejectedRecord(f"{batch}/{file}:{number}", batch, fields)
