"""What clean-up will remove from a dataset, and when: decided by the functions with which clean-up decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from datalake_service.catalog import layout
from datalake_service.errors import AccessDeniedError, NotSupportedError, StoreError
from datalake_service.pipeline.upkeep.fsck_files import NO_FINDING, Patience
from datalake_service.pipeline.upkeep.fsck_findings import Finding, FindingKind
from datalake_service.pipeline.upkeep.leftovers import OLDER_THAN, Age, LeftoverKind, Suspects, looks
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.scratch import find_leftovers

_WORDS: Mapping[LeftoverKind, str] = {
    LeftoverKind.MANIFEST: "its run never ended, and has no chunk",
    LeftoverKind.DUPLICATES: "the merged object does not name it: a merge was broken off, or lost a race",
    LeftoverKind.OLDER: "the merged object does not name it: a merge was broken off, or lost a race",
    LeftoverKind.REJECTIONS: "its task is complete, and does not count it",
    LeftoverKind.WORKERS: "the lease of a worker that died",
    LeftoverKind.TALLIES: "what a worker did, which nobody was left to add up",
}


def leftover_objects(store: ObjectStore, dataset: str, patience: Patience) -> Iterator[Finding]:
    """Objects that clean-up removes.

    Raises:
        StoreUnavailableError: The store does not answer. What cannot be read otherwise is a finding of somebody else.
    """
    suspects = Suspects(dataset)
    for meta in store.list(layout.dataset_prefix(dataset)):
        suspects.see(meta)
    age = Age(patience.older_than, thorough=True, store_now=lambda: patience.now)
    for look in looks(store, suspects, age):
        try:
            for meta in look.find():
                yield _leftover(meta.key, _WORDS[look.kind], meta.last_modified, patience, plain=look.plain)
        except NO_FINDING:
            raise
        except StoreError:
            continue


def leftover_writes(store: ObjectStore, dataset: str, patience: Patience) -> Iterator[Finding]:
    """What writes left that died, or are under way, and is no object. In a folder it may be of any dataset."""
    prefix = layout.dataset_prefix(dataset)
    try:
        for found in find_leftovers(store, prefix=prefix):
            if patience.now - found.touched >= patience.older_than:
                yield _leftover(found.name, found.what, found.touched, patience, plain=True)
    except (AccessDeniedError, NotSupportedError) as error:
        yield Finding(FindingKind.UNREFERENCED, prefix, f"unfinished uploads cannot be looked at: {error}")


def _leftover(key: str, what: str, touched: datetime, patience: Patience, *, plain: bool) -> Finding:
    when = touched + OLDER_THAN
    command = "clean-up" if plain else "clean-up --thorough"
    due = "the next" if when <= patience.now else f"from {when:%Y-%m-%d %H:%M} UTC on"
    words = f"{due} {command} removes it" if when <= patience.now else f"{command} removes it {due}"
    return Finding(FindingKind.LEFTOVER, key, f"{what}; {words}", when)
