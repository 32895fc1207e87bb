"""Bugs planted by hand, each in place of one function of the product: what the simulation must find.

Each breaks one rule of ``docs/design/010-protocol.md``, or one of "Sharing" (``012-shared-annotators.md``); its
docstring says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from datalake_service.catalog import claims, fencing, layout, lease_keeper
from datalake_service.catalog.fencing import Workers, find_live
from datalake_service.catalog.leases import Lease, LeaseRecord, _Found, has_expired
from datalake_service.catalog.manifests import RunKind, RunManifest, save_manifest
from datalake_service.chunks.inventory import Inventory, take_inventory
from datalake_service.chunks.writer import ChunkWriter
from datalake_service.errors import AnnotationLockError, OutcomeUnknownError
from datalake_service.pipeline.annotation import finished_rows
from datalake_service.pipeline.annotation.batch_turns import Shared, Turns
from datalake_service.pipeline.annotation.finished_rows import FinishedRows
from datalake_service.pipeline.annotation.lease import WorkerLease
from datalake_service.pipeline.merging import attempt as merge_attempt
from datalake_service.pipeline.merging.attempt import BatchMerge
from datalake_service.pipeline.merging.files import delete_contained
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite, PutMode
from datalake_service.storage.retrying import RetryingStore
from datalake_service.tables.objects.finished_ids import answered_ids
from tests.simulation import actors
from tests.simulation.model import ANNOTATOR, DATASET
from tests.simulation.scenario import World
from tests.simulation.scheduler import START, running
from tests.simulation.store import SimClient


def skip_the_read_back(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 2: a lost answer is not settled, so the repetition fails against itself, and a won race counts as lost."""
    patch.setattr(RetryingStore, "_standing", lambda _self, _key, _body: None)


def believe_in_luck(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 3: a write of unknown outcome counts as made, and what it would contain is deleted."""
    put = SimClient.put

    def hopeful(self: SimClient, key: str, body: Any, *, mode: PutMode) -> ObjectMeta:
        try:
            return put(self, key, body, mode=mode)
        except OutcomeUnknownError:
            return ObjectMeta(key, 1, "?", START)

    patch.setattr(SimClient, "put", hopeful)


def delete_before_commit(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 4: chunks go before the commit that contains them."""
    build = BatchMerge._build

    def hasty(self: BatchMerge, plan: Any, *rest: Any) -> Any:
        built = build(self, plan, *rest)
        delete_contained(self._store, plan.new)
        return built

    patch.setattr(BatchMerge, "_build", hasty)


def reuse_a_run_id(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 5: a run is taken without a claim, under a name that others use, too."""

    def careless(store: ObjectStore, prefix: str, *, kind: RunKind, draw: Any, now: Any, **rest: Any) -> RunManifest:
        manifest = RunManifest(run="000000", kind=kind, created_at=now, **rest)
        save_manifest(store, prefix, manifest)
        return manifest

    patch.setattr(actors, "claim_run", careless)


def forget_the_slash(patch: pytest.MonkeyPatch, world: World) -> None:
    """A prefix without its slash: batch ``b1`` takes the chunks of ``b10``, too."""
    world.bucket.lenient = True

    def flat(store: ObjectStore, prefix: str) -> Inventory:
        here = take_inventory(store, prefix)
        seen = {source.meta.key for source in here.sources}
        strangers = [meta for meta in store.list(prefix.rstrip("/")) if not meta.key.startswith(prefix)]
        wider = take_inventory(store, strangers[0].key.rpartition("/")[0] + "/") if strangers else here
        more = [source for source in wider.sources if source.meta.key not in seen]
        return replace(here, sources=(*here.sources, *more))

    patch.setattr(merge_attempt, "take_inventory", flat)


def renew_too_late(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rules 8 and 10: the lease is thought to last one time limit from the answer, and is renewed when that is over."""

    def late(self: Lease, mine: _Found, started: float) -> None:
        self._mine, self._renewal, self.holder = mine, None, None
        self._deadline = self._clock.monotonic() + self._ttl.total_seconds()

    # So that it happens more often: answers that are late, to many that want the lease for themselves, and again soon.
    world.weather, world.share = replace(world.weather, slow_answers=0.5), 0.2
    patch.setattr(actors, "TTL", timedelta(seconds=60))
    patch.setattr(Lease, "_take", late)
    patch.setattr(lease_keeper, "renewal_lead", lambda _ttl: timedelta(seconds=1))
    patch.setattr(lease_keeper, "stopping_lead", lambda _ttl: timedelta(0))


def compare_two_clocks(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 9: the taker's wall clock is compared with the owner's."""

    def naive(self: Lease, found: _Found) -> LeaseRecord | None:
        record = found.record
        free = record.released or has_expired(record, written=record.acquired_at, store_now=self._clock.now())
        return None if free else record

    patch.setattr(Lease, "_holder", naive)


def done_before_flush(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 12: rows count as stored when they are on their way."""
    patch.setattr(ChunkWriter, "flush", ChunkWriter.seal)


def unpinned_read(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 13: ranges are read from whatever stands there now."""
    opened = SimClient.open

    def unpinned(self: SimClient, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Any:
        return opened(self, key, start=start, end=end)

    patch.setattr(SimClient, "open", unpinned)


def commit_without_condition(patch: pytest.MonkeyPatch, world: World) -> None:
    """Rule 1: a merge overwrites whatever another one committed meanwhile."""
    patch.setattr(merge_attempt, "CreateOnly", Overwrite)
    patch.setattr(merge_attempt, "IfMatch", lambda _etag: Overwrite())


def merged_before_chunks(patch: pytest.MonkeyPatch, world: World) -> None:
    """Done is looked up in merged objects first, then in chunks: what is merged in between is paid for twice."""
    world.share = 1.0  # so that it happens more often
    init = FinishedRows.__init__

    def hasty(self: FinishedRows, store: ObjectStore, dataset: str, annotator: str) -> None:
        early = {}
        for batch in actors.BATCHES:
            early[batch] = answered_ids(store, dataset, annotator, batch)
        running().scheduler.sleep(60)  # so that it happens more often
        init(self, store, dataset, annotator)
        patch.setattr(finished_rows, "answered_ids", lambda _store, _dataset, _annotator, batch, _rule: early[batch])

    patch.setattr(FinishedRows, "__init__", hasty)


def look_before_write(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 1: a shared worker looks for one that works alone before its own lease can be seen."""

    def hasty(self: WorkerLease) -> None:
        holder = find_live(self._store, layout.annotator_lease_key(DATASET, ANNOTATOR), clock=self._clock)
        self._clock.sleep(20)  # so that it happens more often
        if holder is not None or not self._lease.acquire():
            raise AnnotationLockError("planned")
        self._asked = True

    patch.setattr(WorkerLease, "take", hasty)


def leave_the_leases_of_the_dead(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 2: leases that ran out are left as they are, so renewals that come late revive their workers."""
    live = Workers.live
    patch.setattr(Workers, "live", lambda self, *, but=None, look_only=False: live(self, but=but, look_only=True))
    patch.setattr(fencing, "take_away", lambda *_arguments, **_options: None)


def workers_before_claims(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 3: who lives is looked up before the claims are read, so a worker that came between seems dead."""
    look_again = Shared._look_again

    def hasty(self: Shared) -> None:
        live = self._workers.live(but=self._worker.name)
        running().scheduler.sleep(20)  # so that it happens more often
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._workers, "live", lambda **_options: live)
            look_again(self)

    patch.setattr(Shared, "_look_again", hasty)


def claim_without_condition(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 4: a claim overwrites whatever stands there."""
    patch.setattr(claims, "CreateOnly", Overwrite)
    patch.setattr(claims, "IfMatch", lambda _etag: Overwrite())


def finished_rows_before_the_claim(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 5: what was stored since the beginning is not looked for."""
    patch.setattr(FinishedRows, "look_again", _only_once(FinishedRows.look_again))


def _only_once(look: Callable[[FinishedRows], None]) -> Callable[[FinishedRows], None]:
    def once(self: FinishedRows) -> None:
        if not self._seen:
            look(self)
            self._seen.add("looked")

    return once


def give_back_before_flush(patch: pytest.MonkeyPatch, world: World) -> None:
    """Sharing, rule 6: a batch is free before its last answers are stored."""

    def hasty(self: actors._Asking, turns: Turns) -> None:
        self._give_back(turns)
        self._session.clock.sleep(20)  # so that it happens more often
        self._flush()

    patch.setattr(actors._Asking, "_store", hasty)


PLANTED = (
    skip_the_read_back,
    believe_in_luck,
    delete_before_commit,
    reuse_a_run_id,
    forget_the_slash,
    renew_too_late,
    compare_two_clocks,
    done_before_flush,
    unpinned_read,
    commit_without_condition,
    merged_before_chunks,
    look_before_write,
    leave_the_leases_of_the_dead,
    workers_before_claims,
    claim_without_condition,
    finished_rows_before_the_claim,
    give_back_before_flush,
)
