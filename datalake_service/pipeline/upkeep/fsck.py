"""Read everything of a dataset, and say what is wrong: damage, and what is left over. Changes nothing.

Batch by batch, then annotator by annotator; what others merge meanwhile is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final, Protocol

from datalake_service.catalog import layout
from datalake_service.catalog.claims import ClaimRecord
from datalake_service.catalog.datasets import DatasetState, load_dataset
from datalake_service.catalog.deletions import find_deletion
from datalake_service.catalog.generations import Generations
from datalake_service.catalog.leases import LeaseRecord, time_key
from datalake_service.catalog.ledger_record import Ledger
from datalake_service.catalog.manifests import format_time
from datalake_service.catalog.stops import load_stops
from datalake_service.catalog.tallies import Whole, WorkerTally
from datalake_service.catalog.tasks import load_tasks
from datalake_service.chunks.reader import Lines
from datalake_service.errors import DatasetNotFoundError, ObjectNotFoundError, StoreError
from datalake_service.pipeline.upkeep.fsck_files import (
    LOOK_AGAIN,
    NO_FINDING,
    Patience,
    Waiting,
    check_json_lines,
    check_waiting,
    look_at_nothing,
)
from datalake_service.pipeline.upkeep.fsck_findings import Finding, FindingKind
from datalake_service.pipeline.upkeep.fsck_leftovers import leftover_objects, leftover_writes
from datalake_service.pipeline.upkeep.fsck_merged import CheckedMerged, check_base_rows, check_merged
from datalake_service.pipeline.upkeep.fsck_older import check_older
from datalake_service.pipeline.upkeep.lifecycle import require_dataset
from datalake_service.storage.base import ObjectMeta, ObjectStore
from datalake_service.tables.formats.chunk_ranges import holds
from datalake_service.tables.formats.schema import MergedMetadata
from datalake_utils.clock import Clock, SystemClock

OLDER_THAN: Final = timedelta(hours=1)
"""Younger objects may belong to a merge or a writer at work."""
MEMORY_BYTES: Final = 256 << 20
"""For comparing ids; more rows than fit are compared in several passes."""
_ROUNDS: Final = 3
"""How often a folder is looked at again because it changed."""


def check_dataset(
    store: ObjectStore,
    dataset: str,
    *,
    older_than: timedelta = OLDER_THAN,
    memory_bytes: int = MEMORY_BYTES,
    clock: Clock | None = None,
) -> Iterator[Finding]:
    """Check all objects of a dataset; answers what was found, folder by folder.

    Args:
        store: The lake.
        dataset: Its name.
        older_than: Younger objects are not called unreferenced.
        memory_bytes: For comparing ids, beside one row group.
        clock: Time source.

    Raises:
        DatasetNotFoundError: There is no such dataset.
        StoreError: The store failed.
    """
    require_dataset(store, dataset)
    check = _Check(store, dataset, Patience((clock or SystemClock()).now(), older_than), memory_bytes)
    return check.run()


class _Parse(Protocol):
    """Reads a small object, or raises ``StoreError``."""

    def __call__(self, data: bytes, *, key: str) -> object: ...


class _Check:
    """One check of one dataset."""

    def __init__(self, store: ObjectStore, dataset: str, patience: Patience, memory_bytes: int) -> None:
        self._store = store
        self._dataset = dataset
        self._patience = patience
        self._memory = memory_bytes
        self._found: list[Finding] = []
        self._leftovers: dict[str, Finding] = {}
        """What clean-up will remove, as long as it was not told."""

    def run(self) -> Iterator[Finding]:
        self._leftovers = {found.key: found for found in leftover_objects(self._store, self._dataset, self._patience)}
        state = self._state()
        yield from self._found
        root = layout.dataset_prefix(self._dataset)
        folders = set(self._store.list_folders(root))
        batches = {folder for folder in folders if layout.is_batch_folder(folder)}
        for batch in sorted(batches | ({name for name, rows in state.rows.items() if rows} if state else set())):
            yield from self._settled(layout.batch_prefix(self._dataset, batch), partial(self._batch, batch, state))
        for annotator in self._store.list_folders(layout.annotators_prefix(self._dataset)):
            prefix = layout.annotator_prefix(self._dataset, annotator)
            yield from self._settled(prefix, partial(self._annotator, annotator))
        known = {layout.ANNOTATIONS, layout.STATE}
        for folder in sorted(folders - batches - known):
            yield from self._settled(f"{root}{folder}/", partial(self._strange, f"{root}{folder}/"))
        yield from self._leftovers.values()
        yield from leftover_writes(self._store, self._dataset, self._patience)

    def _settled(self, prefix: str, look: Callable[[], None]) -> Iterator[Finding]:
        """Look until nothing changes meanwhile."""
        for _ in range(_ROUNDS):
            self._found = []
            try:
                look()
            except LOOK_AGAIN:
                continue
            yield from self._found
            return
        yield Finding(FindingKind.BUSY, prefix, f"it changed during each of {_ROUNDS} looks; check it again later")

    def _tell(self, kind: FindingKind, key: str, message: str) -> None:
        if kind is FindingKind.UNREFERENCED and key in self._leftovers:
            return  # told in the end, and what will become of it
        self._found.append(Finding(kind, key, message))

    def _left_over(self, meta: ObjectMeta, message: str) -> None:
        if self._patience.is_over(meta):
            self._tell(FindingKind.UNREFERENCED, meta.key, message)

    def _state(self) -> DatasetState | None:
        """Read what ``.state`` holds."""
        state = None
        try:
            state = load_dataset(self._store, self._dataset)
        except DatasetNotFoundError:
            pass  # made without a dataset file
        except NO_FINDING:
            raise
        except StoreError as error:
            self._tell(FindingKind.UNREADABLE, layout.dataset_state_key(self._dataset), str(error))
        for key, read in (
            (layout.deletion_key(self._dataset), find_deletion),
            (layout.tasks_prefix(self._dataset), load_tasks),
            (layout.stop_key(self._dataset), load_stops),
        ):
            try:
                read(self._store, self._dataset)
            except NO_FINDING:
                raise
            except StoreError as error:
                self._tell(FindingKind.UNREADABLE, key, str(error))
        of_dataset = (layout.dataset_state_key, layout.deletion_key, layout.stop_key)
        keys = [key_of(self._dataset) for key_of in of_dataset]
        for meta in self._store.list(f"{layout.dataset_prefix(self._dataset)}{layout.STATE}/"):
            task = meta.key.startswith(layout.tasks_prefix(self._dataset)) and meta.key.endswith(".json")
            log = meta.key.startswith(layout.task_logs_prefix(self._dataset)) and meta.key.endswith(".jsonl")
            if meta.key not in keys and not task and not log and not self._of_task_workers(meta):
                self._left_over(meta, "nothing of ours has this name")
        return state

    def _batch(self, batch: str, state: DatasetState | None) -> None:
        prefix = layout.batch_prefix(self._dataset, batch)
        listed = {meta.key: meta for meta in self._store.list(prefix)}
        merged_meta = listed.pop(layout.merged_key(prefix), None)
        self._read_summary(listed.pop(layout.summary_key(prefix), None))
        folders = (layout.rejected_prefix(self._dataset, batch), layout.duplicates_prefix(self._dataset, batch))
        rejected, duplicates = ([meta for key, meta in listed.items() if key.startswith(one)] for one in folders)
        files = [meta for key, meta in listed.items() if "/" not in key.removeprefix(prefix)]
        waiting = self._waiting(prefix, files, annotations=False)
        self._strangers(prefix, [meta for key, meta in listed.items() if not key.startswith(folders)])
        for meta in rejected:
            check_json_lines(self._store, meta, self._tell, look_at_nothing)
        merged = None
        if merged_meta is not None:
            merged = self._merged(merged_meta, "rows", batch, waiting.sealed())
        elif state is not None and state.rows.get(batch):
            message = f"the batch had {state.rows[batch]:,} rows when it was merged last, and has no merged object"
            self._tell(FindingKind.MISSING, layout.merged_key(prefix), message)
        times = set(merged.times) if merged is not None else set()
        known = merged is not None or merged_meta is None  # what it contains, and what it names
        self._duplicates(merged, duplicates, batch, times, known=known)
        if known:
            self._gone(prefix, waiting, merged.metadata if merged is not None else None, times)

    def _merged(self, meta: ObjectMeta, kind: str, batch: str, times: set[str]) -> CheckedMerged | None:
        return check_merged(
            self._store,
            meta,
            kind="rows" if kind == "rows" else "annotations",
            batch=batch,
            times=times,
            memory_bytes=self._memory,
            tell=self._tell,
        )

    def _waiting(self, prefix: str, files: list[ObjectMeta], *, annotations: bool) -> Waiting:
        return check_waiting(
            self._store, prefix, files, annotations=annotations, patience=self._patience, tell=self._tell
        )

    def _duplicates(
        self, merged: CheckedMerged | None, found: Iterable[ObjectMeta], batch: str, times: set[str], *, known: bool
    ) -> None:
        """Rows that were taken out: those that the merged object names, and those of attempts that lost."""
        named = merged.metadata.duplicates if merged is not None else None
        wanted = layout.duplicates_key(self._dataset, batch, named) if named is not None else None
        there = False
        for meta in found:

            def note(lines: Lines) -> None:
                times.update(str(row.get("_created_at")) for row in lines.rows)

            is_named = meta.key == wanted
            rows = check_json_lines(self._store, meta, self._tell, note if is_named else look_at_nothing)
            if not is_named:
                if known:
                    self._left_over(meta, "no merged object names it; the next merge that adds rows removes it")
                continue
            there = True
            said = merged.metadata.counts.get("duplicates") if merged is not None else None
            if said != rows:
                message = f"has {rows:,} rows; the merged object says {said}"
                self._tell(FindingKind.WRONG_COUNT, meta.key, message)
        if wanted is not None and not there:
            self._tell(FindingKind.MISSING, wanted, "the merged object names it: rows taken out as duplicates are lost")

    def _gone(self, prefix: str, waiting: Waiting, merged: MergedMetadata | None, times: set[str]) -> None:
        """Chunks that manifests name: merged (the record, or the times of rows say so), or lost."""
        for name, entry in waiting.gone():
            chunk = layout.parse_chunk(name)
            was_merged = merged is not None and chunk is not None and holds(merged.runs, chunk)
            if not was_merged and format_time(entry.sealed_at) not in times:
                message = f"a manifest names it, {entry.rows:,} rows: it is not there, and no merged row comes from it"
                self._tell(FindingKind.MISSING, prefix + name, message)

    def _annotator(self, annotator: str) -> None:
        prefix = layout.annotator_prefix(self._dataset, annotator)
        temp = layout.annotator_temp_prefix(self._dataset, annotator)
        rejected = layout.annotator_rejected_prefix(self._dataset, annotator)
        lease = layout.annotator_lease_key(self._dataset, annotator)
        listed = {meta.key: meta for meta in self._store.list(prefix)}
        ledger = layout.ledger_key(self._dataset, annotator)
        self._readable(listed.pop(lease, None), LeaseRecord.from_json)
        self._readable(listed.pop(ledger, None), Ledger.from_json)
        for key in (lease, ledger):
            listed.pop(time_key(key), None)
        self._readable(listed.pop(layout.generations_key(self._dataset, annotator), None), Generations.from_json)
        merged = False
        for batch in sorted({key.removeprefix(prefix).split("/")[0] for key in listed if not key.startswith(temp)}):
            if not layout.is_batch_folder(batch):
                continue
            below = layout.annotation_prefix(self._dataset, annotator, batch)
            meta = listed.pop(layout.merged_key(below), None)
            self._read_summary(listed.pop(layout.summary_key(below), None))
            older = layout.older_prefix(self._dataset, annotator, batch)
            beside = [listed.pop(key) for key in list(listed) if key.startswith(older)]
            if meta is not None:
                merged = True
                self._annotations(meta, batch, beside, older)
        files = [meta for key, meta in listed.items() if key.startswith(temp) and "/" not in key.removeprefix(temp)]
        waiting = self._waiting(temp, files, annotations=True)
        if not merged:  # else a chunk that is not there was merged into one batch or another
            self._gone(temp, waiting, None, set())
        shared = layout.shared_prefix(self._dataset, annotator)
        for key, meta in listed.items():
            if key.startswith(shared) and self._of_workers(meta, annotator):
                continue
            if key.startswith(rejected):
                check_json_lines(self._store, meta, self._tell, look_at_nothing)
            elif key.startswith(temp):
                self._strangers(temp, [meta])
            else:
                self._left_over(meta, "nothing of ours has this name")

    def _of_workers(self, meta: ObjectMeta, annotator: str) -> bool:
        """Check what workers that share an annotator say to each other; whether it is any of that."""
        dataset = self._dataset
        if meta.key == layout.whole_key(dataset, annotator):
            self._readable(meta, Whole.from_json)
            return True
        kinds: tuple[tuple[str, Callable[[str], object], _Parse], ...] = (
            (layout.worker_leases_prefix(dataset, annotator), layout.parse_worker_lease, LeaseRecord.from_json),
            (layout.claims_prefix(dataset, annotator), layout.parse_claim, ClaimRecord.from_json),
            (layout.tallies_prefix(dataset, annotator), layout.parse_tally, WorkerTally.from_json),
        )
        for prefix, parse_name, parse in kinds:
            if meta.key.startswith(prefix):
                self._shared(meta, parse_name, parse)
                return True
        return False

    def _of_task_workers(self, meta: ObjectMeta) -> bool:
        """Check what workers that share the tasks say to each other; whether it is any of that."""
        dataset = self._dataset
        locks = (layout.planning_lease_key(dataset), layout.merging_lease_key(dataset))
        if meta.key in locks or meta.key.startswith(layout.task_workers_prefix(dataset)):
            self._shared(meta, layout.parse_worker_lease, LeaseRecord.from_json)
        elif meta.key.startswith(layout.task_claims_prefix(dataset)):
            self._shared(meta, layout.parse_claim, ClaimRecord.from_json)
        else:
            return meta.key in map(time_key, locks)
        return True

    def _annotations(self, meta: ObjectMeta, batch: str, beside: Iterable[ObjectMeta], older: str) -> None:
        merged = self._merged(meta, "annotations", batch, set())
        check_older(self._store, merged, beside, prefix=older, batch=batch, tell=self._tell, left_over=self._left_over)
        if merged is None:
            return
        try:
            base = self._store.head(layout.merged_key(layout.batch_prefix(self._dataset, batch)))
        except ObjectNotFoundError:
            base = None
        try:
            check_base_rows(self._store, base, meta, memory_bytes=self._memory, tell=self._tell)
        except NO_FINDING:
            raise
        except StoreError:
            pass  # the batch cannot be read: that was told when it was checked itself

    def _readable(self, meta: ObjectMeta | None, parse: _Parse) -> None:
        if meta is None:
            return
        try:
            parse(self._store.get(meta.key)[0], key=meta.key)
        except NO_FINDING:
            raise
        except StoreError as error:
            self._tell(FindingKind.UNREADABLE, meta.key, str(error))

    def _shared(self, meta: ObjectMeta, parse_name: Callable[[str], object], parse: _Parse) -> None:
        """Check what says who of many workers does what."""
        if parse_name(meta.key.rpartition("/")[2]) is None:
            self._left_over(meta, "nothing of ours has this name")
        else:
            self._readable(meta, parse)

    def _read_summary(self, meta: ObjectMeta | None) -> None:
        """Read what is only for people; a merge writes it without a condition, so any version will do."""
        if meta is not None:
            self._store.get(meta.key)

    def _strangers(self, prefix: str, listed: Iterable[ObjectMeta]) -> None:
        for meta in listed:
            name = meta.key.removeprefix(prefix)
            if "/" in name or not (name.endswith(".jsonl") or layout.parse_run_manifest(name) is not None):
                self._left_over(meta, "nothing of ours has this name")

    def _strange(self, prefix: str) -> None:
        for meta in self._store.list(prefix):
            self._left_over(meta, "nothing of ours has this name")
