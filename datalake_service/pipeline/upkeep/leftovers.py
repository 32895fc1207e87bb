"""What dead processes left in a dataset: seen in the listing that clean-up makes anyway, looked at again, removed.

Removed is only what nothing refers to, and what nobody can refer to any more, not even a process that slept for days;
``docs/design/010-protocol.md`` says of each kind why. Nothing is looked at unless the listing
gives a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from datalake_service.catalog import layout
from datalake_service.catalog.leases import LeaseRecord, has_expired
from datalake_service.catalog.manifests import RunManifest
from datalake_service.catalog.tasks import TaskState, TaskStatus, load_task
from datalake_service.errors import DatalakeError, ObjectNotFoundError, PreconditionFailedError, UsageError
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.storage.probe import SCRATCH_PREFIX
from datalake_service.storage.scratch import clean_leftovers, find_leftovers
from datalake_service.tables.objects.merged import MergedFile

OLDER_THAN: Final = timedelta(days=1)
"""Younger things may belong to somebody at work."""
LEAST_AGE: Final = timedelta(hours=2)
"""A writer that lives gives a sign of life every hour (``chunks/writer.py``)."""
_STEP_BACK: Final = timedelta(minutes=1)
"""More than the store's clock ever goes back."""


class LeftoverKind(StrEnum):
    """What can be left over, as reports call it."""

    MANIFEST = "manifests"
    """Manifests of runs that died before they had a chunk, or whose chunks are all merged."""
    DUPLICATES = "duplicates"
    """Rows put aside by merges that were broken off."""
    OLDER = "older versions"
    """Annotations put aside by merges that were broken off."""
    REJECTIONS = "rejections"
    """Rejection files of attempts at a task that don't count."""
    WORKERS = "workers"
    """Leases of workers that shared an annotator, or the tasks of a dataset, and died."""
    TALLIES = "tallies"
    """What workers that shared an annotator did, if nobody was left to add it up."""
    WRITES = "writes"
    """Temporary files, scratch folders and unfinished uploads."""
    PROBES = "probes"
    """Scratch objects of tries whether the store honours conditions."""


@dataclass(frozen=True, slots=True)
class Age:
    """How old something must be to be removed."""

    older_than: timedelta
    thorough: bool
    """Also look at what a listing gives no reason to look at; costs a request or two for each."""
    store_now: Callable[[], datetime]
    """What time it is for the store; asked when there is something to judge."""

    def is_over(self, meta: ObjectMeta) -> bool:
        """Whether an object is old enough."""
        return self.store_now() - meta.last_modified > self.older_than


def check_age(older_than: timedelta) -> timedelta:
    """Refuse an age at which it would not be safe to remove things.

    Raises:
        UsageError: Writers that live could be taken for dead.
    """
    if older_than < LEAST_AGE:
        hours = LEAST_AGE // timedelta(hours=1)
        raise UsageError(f"leftovers must be at least {hours} hours old to be removed, not {older_than}")
    return older_than


@dataclass(slots=True)
class _Runs:
    """The runs in one folder."""

    manifests: dict[str, ObjectMeta] = field(default_factory=dict)
    alive: set[str] = field(default_factory=set)
    """Runs with chunks."""

    def see(self, name: str, meta: ObjectMeta) -> None:
        run = layout.parse_run_manifest(name)
        if run is not None:
            self.manifests[run] = meta
        elif (chunk := layout.parse_chunk(name)) is not None:
            self.alive.add(chunk.run)

    def without_chunks(self) -> dict[str, ObjectMeta]:
        return {run: meta for run, meta in self.manifests.items() if run not in self.alive}


@dataclass(slots=True)
class _Side:
    """The side objects of one batch."""

    files: list[ObjectMeta] = field(default_factory=list)
    merged: ObjectMeta | None = None


class Suspects:
    """What in the listing of a dataset may be left over; memory does not grow with what cannot be."""

    def __init__(self, dataset: str, *, batches: Collection[str] | None = None) -> None:
        """Look at the objects of ``dataset``, or of some ``batches`` of it only."""
        self.dataset = dataset
        self._prefix = layout.dataset_prefix(dataset)
        self._batches = batches
        self.runs: dict[str, _Runs] = {}
        """By folder."""
        self.sides: dict[str, _Side] = {}
        """By batch; those that have duplicates."""
        self.older: dict[str, _Side] = {}
        """By folder; annotated batches that have older versions."""
        self._annotated: ObjectMeta | None = None
        self.rejections: dict[tuple[str, str], dict[int, ObjectMeta]] = {}
        """By batch and task, then by number."""
        self.tasks: dict[str, ObjectMeta] = {}
        self.workers: list[ObjectMeta] = []
        """Leases of workers that share annotators or tasks; living ones among them."""
        self.tallies: dict[str, list[ObjectMeta]] = {}
        """By folder; of workers that share one annotator, living ones among them."""

    def see(self, meta: ObjectMeta) -> None:
        """Take an object of the listing into account."""
        folder, _, name = meta.key.removeprefix(self._prefix).rpartition("/")
        top, _, below = folder.partition("/")
        if layout.is_batch_folder(top):
            if self._batches is None or top in self._batches:
                self._see_in_batch(top, below, name, meta)
        elif self._batches is not None:
            return
        elif top == layout.ANNOTATIONS:
            self._see_annotations(f"{self._prefix}{folder}/", below, name, meta)
        elif meta.key.startswith(layout.task_workers_prefix(self.dataset)):
            self.workers.append(meta)
        elif meta.key.startswith(layout.tasks_prefix(self.dataset)) and name.endswith(".json"):
            self.tasks[name.removesuffix(".json")] = meta

    def _see_in_batch(self, batch: str, below: str, name: str, meta: ObjectMeta) -> None:
        if not below:
            if batch in self.sides and meta.key == layout.merged_key(layout.batch_prefix(self.dataset, batch)):
                self.sides[batch].merged = meta  # behind the duplicates, in the order of keys
            else:
                self._runs_in(layout.batch_prefix(self.dataset, batch)).see(name, meta)
        elif below == "duplicates":
            self.sides.setdefault(batch, _Side()).files.append(meta)
        elif below == "rejected" and (found := layout.parse_task_rejections(name)) is not None:
            self.rejections.setdefault((batch, found.task), {})[found.number] = meta

    def _see_annotations(self, folder: str, below: str, name: str, meta: ObjectMeta) -> None:
        if below.endswith("/.temp") and below.count("/") == 1:
            self._runs_in(folder).see(name, meta)
        elif below.endswith(f"/{layout.SHARED}/workers"):
            self.workers.append(meta)
        elif below.endswith(f"/{layout.SHARED}/tallies"):
            self.tallies.setdefault(folder, []).append(meta)
        elif below.endswith("/older"):
            at = folder.removesuffix("older/")
            before = self._annotated  # it comes right before the older ones, in the order of keys
            merged = before if before is not None and before.key == layout.merged_key(at) else None
            self.older.setdefault(at, _Side(merged=merged)).files.append(meta)
        elif meta.key == layout.merged_key(folder):
            self._annotated = meta

    def _runs_in(self, folder: str) -> _Runs:
        return self.runs.setdefault(folder, _Runs())


@dataclass(frozen=True, slots=True)
class Look:
    """Something to look at more closely."""

    kind: LeftoverKind
    plain: bool
    """Whether the listing gives a reason to; otherwise only who is thorough looks."""
    find: Callable[[], list[ObjectMeta]]
    """What is left over. Raises ``StoreError`` if that cannot be found out."""


def looks(store: ObjectStore, suspects: Suspects, age: Age) -> Iterator[Look]:
    """Everything that has to be looked at in a dataset."""
    for folder, runs in suspects.runs.items():
        silent = runs.without_chunks()
        if silent:
            find = partial(_dead_manifests, store, folder, silent, age)
            yield Look(LeftoverKind.MANIFEST, plain=True, find=find)
    for batch, side in suspects.sides.items():
        # A file that lies alone is taken for the one that is named, so that a batch in order costs nothing.
        plain = len(side.files) > 1
        if side.merged is not None and (plain or age.thorough):
            prefix = layout.duplicates_prefix(suspects.dataset, batch)
            find = partial(_lost, store, side.merged, side.files, age, prefix, ".jsonl")
            yield Look(LeftoverKind.DUPLICATES, plain=plain, find=find)
    for at, side in suspects.older.items():
        plain = len(side.files) > 1
        if side.merged is not None and (plain or age.thorough):
            find = partial(_lost, store, side.merged, side.files, age, f"{at}older/", layout.OLDER_SUFFIX)
            yield Look(LeftoverKind.OLDER, plain=plain, find=find)
    for (batch, task), files in suspects.rejections.items():
        state = suspects.tasks.get(task)
        plain = state is not None and _looks_odd(files, state)
        if state is not None and (plain or age.thorough):
            find = partial(_lost_rejections, store, suspects.dataset, batch, task, files, age)
            yield Look(LeftoverKind.REJECTIONS, plain=plain, find=find)
    yield from _looks_at_workers(store, suspects, age)


def _looks_at_workers(store: ObjectStore, suspects: Suspects, age: Age) -> Iterator[Look]:
    if suspects.workers:
        yield Look(LeftoverKind.WORKERS, plain=True, find=partial(_dead_workers, store, suspects.workers, age))
    for folder, tallies in suspects.tallies.items():
        yield Look(LeftoverKind.TALLIES, plain=True, find=partial(_lost_tallies, store, folder, tallies, age))


@dataclass(slots=True)
class Removed:
    """What became of leftovers."""

    counts: Counter[str] = field(default_factory=Counter)
    """By kind."""
    errors: list[DatalakeError] = field(default_factory=list)
    """Why others stay."""


def remove_leftovers(store: ObjectStore, suspects: Suspects, age: Age) -> Removed:
    """Remove what is left over in a dataset. What cannot be looked at or removed does not keep it from the rest."""
    removed = Removed()
    for look in looks(store, suspects, age):
        try:
            for meta in look.find():
                removed.counts[look.kind] += _is_removed(store, meta)
        except DatalakeError as error:
            removed.errors.append(error)
    removed.counts = +removed.counts
    return removed


def remove_from_store(store: ObjectStore, age: Age) -> Counter[str]:
    """Remove what is left over in the lake but belongs to no dataset; returns how much of each kind.

    Raises:
        StoreError: The store failed, or does not allow it.
    """
    removed: Counter[str] = Counter()
    probes = [meta for meta in store.list(SCRATCH_PREFIX) if age.is_over(meta)]
    if probes:
        store.delete_many(meta.key for meta in probes)
    removed[LeftoverKind.PROBES] = len(probes)
    if next(find_leftovers(store), None) is not None:
        removed[LeftoverKind.WRITES] = clean_leftovers(store, older_than=age.older_than, now=age.store_now())
    return +removed


def _dead_manifests(store: ObjectStore, folder: str, found: Mapping[str, ObjectMeta], age: Age) -> list[ObjectMeta]:
    """Those of runs that are dead: not completed, silent for long, and without a chunk, then and now."""
    old = {run: meta for run, meta in found.items() if age.is_over(meta)}
    if not old:
        return []
    now = _Runs()
    for meta in store.list(folder):
        now.see(meta.key.removeprefix(folder), meta)
    silent = [meta for run, meta in now.without_chunks().items() if run in old and meta.etag == old[run].etag]
    return [meta for meta in silent if _is_incomplete(store, meta)]


def _is_incomplete(store: ObjectStore, meta: ObjectMeta) -> bool:
    """Whether the run never ended in order; if it did, the manifest is for a merge to remove."""
    try:
        return not RunManifest.from_json(store.get(meta.key, etag=meta.etag)[0], key=meta.key).completed
    except (ObjectNotFoundError, PreconditionFailedError):
        return False


def _lost(
    store: ObjectStore, merged: ObjectMeta, found: Iterable[ObjectMeta], age: Age, prefix: str, suffix: str
) -> list[ObjectMeta]:
    """Those that were stored before the merged object that does not name them: their merges cannot commit any more."""
    before = [meta for meta in found if meta.last_modified + _STEP_BACK < merged.last_modified and age.is_over(meta)]
    if not before:
        return []
    try:
        with closing(MergedFile(store, merged)) as file:
            record = file.metadata
    except (ObjectNotFoundError, PreconditionFailedError):
        return []  # merged again meanwhile, and tidied up with that
    kept = {f"{prefix}{named}{suffix}" for named in (record.duplicates, record.older)}
    return [meta for meta in before if meta.key not in kept]


def _looks_odd(files: Mapping[int, ObjectMeta], state: ObjectMeta) -> bool:
    """Whether one was written after its task ended, or before one that counts earlier: another attempt wrote it."""
    times = [files[number].last_modified for number in sorted(files)]
    return times != sorted(times) or times[-1] > state.last_modified


def _lost_rejections(
    store: ObjectStore, dataset: str, batch: str, task: str, files: Mapping[int, ObjectMeta], age: Age
) -> list[ObjectMeta]:
    """Those that a completed task does not count. What another task may still count on is left to its end."""
    old = {number: meta for number, meta in files.items() if age.is_over(meta)}
    if not old:
        return []
    try:
        state: TaskState = load_task(store, dataset, task).state
    except ObjectNotFoundError:
        return []
    if state.status is not TaskStatus.COMPLETED or state.batch != batch:
        return []
    return [meta for number, meta in old.items() if number >= state.rejection_files]


def _dead_workers(store: ObjectStore, found: Iterable[ObjectMeta], age: Age) -> list[ObjectMeta]:
    """Leases that ran out long ago, or were taken away. Whoever sleeps on one finds it gone when it renews."""
    dead = []
    for meta in found:
        if not age.is_over(meta):
            continue
        try:
            record = LeaseRecord.from_json(store.get(meta.key, etag=meta.etag)[0], key=meta.key)
        except (ObjectNotFoundError, PreconditionFailedError):
            continue  # given back, or renewed after all
        if record.released or has_expired(record, written=meta.last_modified, store_now=age.store_now()):
            dead.append(meta)
    return dead


def _lost_tallies(store: ObjectStore, folder: str, found: Iterable[ObjectMeta], age: Age) -> list[ObjectMeta]:
    """All of an annotator's, if nobody works on it: whoever does writes its own every half minute.

    As long as one is young, the run goes on, and its last worker adds up those of the dead as well. Whoever sleeps
    writes all that it did when it wakes up.
    """
    if not all(map(age.is_over, found)):
        return []
    now = list(store.list(folder))
    return now if all(map(age.is_over, now)) else []


def _is_removed(store: ObjectStore, meta: ObjectMeta) -> bool:
    """Delete this version; what is another one now stays."""
    with suppress(PreconditionFailedError):
        store.delete(meta.key, etag=meta.etag)
        return True
    return False
