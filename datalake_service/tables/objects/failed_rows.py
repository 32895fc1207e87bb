"""Failed rows of merged annotations, and which of some rows have a final one. Reads system columns only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import pyarrow.compute as pc

from datalake_service.catalog.annotations import ANNOTATION_COLUMNS, FAILED, FINAL_STATUSES, GENERATION, STATUS
from datalake_service.tables.formats.arrays import array_of, scalar_of
from datalake_service.tables.formats.schema import TEXT_TYPE
from datalake_service.tables.objects.merged import MergedFile


def failed_rows(file: MergedFile) -> Iterator[dict[str, Any]]:
    """Every failed row with its system columns, in the order of the object.

    Raises:
        PreconditionFailedError: The object was replaced.
        StoreError: It cannot be read.
    """
    there = {column.name for column in file.schema.columns}
    names = ["id", *(name for name in ANNOTATION_COLUMNS if name in there)]
    for number in range(len(file.group_sizes)):
        statuses = file.read_group(number, [STATUS])
        if FAILED not in pc.unique(statuses.column(0)).to_pylist():
            continue
        table = file.read_group(number, names)
        table = table.filter(pc.equal(table.column(file.field_name(STATUS)), scalar_of(FAILED, TEXT_TYPE)))
        columns = [file.values(table, name) for name in names]
        for values in zip(*columns, strict=True):
            yield dict(zip(names, values, strict=True))


def final_generations(file: MergedFile, ids: Collection[str]) -> dict[str, int]:
    """Those of some rows that have a final annotation, and its generation (0: from before there were any).

    Raises:
        PreconditionFailedError: The object was replaced.
        StoreError: It cannot be read.
    """
    found: dict[str, int] = {}
    if not ids:
        return found
    wanted, final = array_of(sorted(ids), TEXT_TYPE), array_of(sorted(FINAL_STATUSES), TEXT_TYPE)
    there = {column.name for column in file.schema.columns}
    names = ["id", STATUS, *([GENERATION] if GENERATION in there else [])]
    for number in range(len(file.group_sizes)):
        table = file.read_group(number, names)
        among = pc.is_in(table.column(file.field_name("id")).cast(TEXT_TYPE), value_set=wanted)
        done = pc.is_in(table.column(file.field_name(STATUS)).cast(TEXT_TYPE), value_set=final)
        chosen = table.filter(pc.and_(among, done))
        for row_id, generation in zip(file.values(chosen, "id"), file.values(chosen, GENERATION), strict=True):
            found[row_id] = generation or 0
    return found
