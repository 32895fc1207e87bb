"""The rows that need no annotation any more, from a merged object of annotations: two columns of it, nothing else."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

import pyarrow as pa
import pyarrow.compute as pc

from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.merged import MergedFile

_ATTEMPTS = 5
"""How often reading starts again because the object was replaced in the middle."""


def finished_ids(store: ObjectStore, key: str, *, statuses: Collection[str]) -> set[str]:
    """The ids of the rows with one of ``statuses``; none if there is no object ``key``.

    One version of the object is read, and only the ids and the statuses of it.

    Raises:
        StoreError: The object cannot be read, or is no merged object of annotations.
    """
    for _ in range(_ATTEMPTS):
        try:
            with closing(MergedFile(store, store.head(key))) as file:
                return _ids(file, pa.array(sorted(statuses), pa.large_string()))
        except ObjectNotFoundError:
            return set()
        except PreconditionFailedError:
            continue
    msg = f"{key} was replaced {_ATTEMPTS} times while it was being read; run again when nothing merges it"
    raise StoreError(msg)


def _ids(file: MergedFile, statuses: pa.Array) -> set[str]:
    try:
        id_name, status_name = file.field_name("id"), file.field_name("_status")
    except KeyError as error:
        msg = f"{file.meta.key} holds no annotations ({error.args[0]}); move it away"
        raise StoreError(msg) from error
    ids: set[str] = set()
    for number in range(len(file.group_sizes)):
        table = file.read_group(number, ["id", "_status"])
        found = pc.is_in(table.column(status_name), value_set=statuses)
        ids.update(table.column(id_name).filter(found).to_pylist())
    return ids
