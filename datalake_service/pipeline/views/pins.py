"""Views of one version of an annotator: what a label or a hash means, and where older versions lie."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from datalake_service.catalog import layout
from datalake_service.catalog.annotations import CODE, VERSION
from datalake_service.errors import UsageError
from datalake_service.storage.base import ObjectStore
from datalake_service.tables.database.engine import Engine, EngineLimits
from datalake_service.tables.filters.naming import nearest_names
from datalake_service.tables.queries.query import Pin
from datalake_service.tables.queries.reading import PlannedBatch, Version, in_parallel, read_versions


class Pinned(Protocol):
    """What is asked of a dataset, as far as versions go."""

    @property
    def dataset(self) -> str:
        """Its name."""

    @property
    def versions(self) -> Mapping[str, str] | None:
        """By annotator, a label, or ``code:`` and a code hash."""


def add_older(
    store: ObjectStore,
    request: Pinned,
    engine: Engine,
    pairs: Sequence[tuple[str, str]],
    by_key: dict[str, Version],
    *,
    limits: EngineLimits,
) -> None:
    """Read the footers of older versions, of annotators of which one version is wanted.

    Args:
        store: The lake.
        request: What is wanted.
        engine: A database that may read files.
        pairs: Annotators and batches.
        by_key: The merged annotations by key; those that have older versions are replaced.
        limits: What a query may use.

    Raises:
        ObjectNotFoundError: Something was merged meanwhile.
        StoreError: The lake cannot be read.
    """
    found = {}
    for name, batch in pairs:
        version = by_key.get(layout.merged_key(layout.annotation_prefix(request.dataset, name, batch)))
        if version is not None and name in (request.versions or {}) and version.footer.older is not None:
            found[version.meta.key] = layout.older_key(request.dataset, name, batch, version.footer.older)
    metas = in_parallel(store, store.head, list(found.values()))
    for key, older in zip(found, read_versions(store, metas, engine.connection, limits), strict=True):
        by_key[key] = replace(by_key[key], older=older)


def find_pins(
    versions: Mapping[str, str] | None, batches: Sequence[PlannedBatch], existing: Collection[str]
) -> dict[str, Pin]:
    """What the versions of a request mean.

    Raises:
        UsageError: There is no such version, or no such annotator.
    """
    pins = {}
    for name, version in (versions or {}).items():
        if name not in existing:
            near = nearest_names(name, existing)
            hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
            raise UsageError(f"versions: there is no annotator {name!r}{hint}")
        label, _, code = version.partition("code:")
        pins[name] = Pin(VERSION, version) if label or not code else Pin(CODE, code)
        footers = (batch.annotations[name].footer for batch in batches if name in batch.annotations)
        there = {one for footer in footers for one in footer.versions}
        if not pins[name].is_among(there):
            known = sorted(f"{one or 'no label'} (code:{by or 'unknown'})" for one, by in there)
            raise UsageError(
                f"no annotation of {name!r} is of version {version!r}; there are: {', '.join(known) or 'none'}"
            )
    return pins
