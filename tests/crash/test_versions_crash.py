"""Annotating anew dies at any operation of the store: what can be read stays until the new is there, paid for once."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import DataItem
from datalake_service.catalog import layout
from datalake_service.catalog.makers import Maker
from datalake_service.errors import StoreError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.crash.deaths import Death, deaths, every_death, examples
from tests.support.annotations import ANNOTATOR, DATASET, Asked, ListRows, chunk_rows
from tests.support.faulty_store import Crash, FaultyStore
from tests.support.merging import read_merged, read_record
from tests.support.versions import stored_generations

TTL_SECONDS = 3_600
IDS = [f"r{number}" for number in range(9)]
BATCHES = {"b1": IDS, "b10": IDS[:3]}
AGAIN: list[dict[str, str]] = [{"retry": "all"}, {"retry": "all", "campaign": "c"}, {"reuse": "label"}]


class Lake:
    """A lake on which everything was annotated once, and the attempts to do it anew."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.store = FolderStore(folder / "lake", durable=False, clock=self.clock)
        self.paid: Counter[tuple[str, str]] = Counter()
        self.annotate(self.store, 1, "v1")
        self.merge(self.store)
        self.paid.clear()

    def annotate(self, store: ObjectStore, value: int, version: str, **again: Any) -> None:
        """One process."""

        def rule(item: DataItem) -> object:
            self.paid[item.batch, item.id] += 1
            return {"n": value}

        job = AnnotationJob(DATASET, ANNOTATOR, list(BATCHES), maker=Maker(version=version, code="0" * 12))
        options = AnnotationOptions(
            chunk_size=2, max_concurrency=2, lock_ttl_ms=TTL_SECONDS * 1_000,
            retry=again.get("retry"), reuse=again.get("reuse"), campaign=again.get("campaign"),
        )  # fmt: skip
        rows = ListRows(BATCHES, block=4)
        asyncio.run(annotate(store, job, rows=rows, function=Asked(rule), options=options))

    def merge(self, store: ObjectStore) -> None:
        merge_annotator(store, DATASET, ANNOTATOR)

    def dies(self, store: ObjectStore, death: Death, again: dict[str, str], *, merges: bool) -> int:
        """Work that dies; returns how many answers were given and not stored."""
        number, kind = death
        before, stored = self.paid.total(), self.new_rows()
        with suppress(Crash, StoreError):
            faulty = FaultyStore(store, {number: kind}, clock=self.clock)
            self.merge(faulty) if merges else self.annotate(faulty, 2, "v2", **again)
        self.clock.advance(TTL_SECONDS + 10)
        return self.paid.total() - before - (self.new_rows() - stored)

    def new_rows(self) -> int:
        """Rows that were made anew, wherever they are."""
        found = {(row["_batch"], row["id"]) for row in chunk_rows(self.store) if row.get("n") == 2}
        return len(
            found | {(batch, name) for batch in BATCHES for name, value in self.shown(batch).items() if value == 2}
        )

    def shown(self, batch: str) -> dict[str, object]:
        """What a reading shows of each row."""
        key = layout.merged_key(layout.annotation_prefix(DATASET, ANNOTATOR, batch))
        return {row["id"]: row["n"] for row in read_merged(self.store, key)}

    def old_rows(self, batch: str) -> set[str]:
        """Rows of which the first version can be read still."""
        key = layout.merged_key(layout.annotation_prefix(DATASET, ANNOTATOR, batch))
        older = read_record(self.store, key)["older"]
        rows = read_merged(self.store, key)
        if older is not None:
            rows += read_merged(self.store, layout.older_key(DATASET, ANNOTATOR, batch, older))
        return {row["id"] for row in rows if row["n"] == 1}


@given(st.sampled_from(AGAIN), st.lists(st.tuples(deaths(40), st.booleans()), max_size=4))
@settings(max_examples=examples(6), deadline=None)
def test_killed_anywhere_it_goes_on_where_it_was(again: dict[str, str], work: list[tuple[list[Death], bool]]) -> None:
    """Runs and merges that die: every row can be read all the time, both versions of it, and is paid for once."""
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(Path(folder))
        lost = 0
        for planned, merges in work:
            for death in planned[:2]:
                lost += lake.dies(lake.store, death, again, merges=merges)
                for batch, names in BATCHES.items():
                    assert set(lake.shown(batch)) == set(names), "nothing disappears"
                    assert lake.old_rows(batch) == set(names), "the version before can be read"
        completed = any(campaign.completed for campaign in stored_generations(lake.store).campaigns)
        if not (completed and again == {"retry": "all"}):
            lake.annotate(lake.store, 2, "v2", **again)
        lake.merge(lake.store)
        assert all(lake.shown(batch) == dict.fromkeys(names, 2) for batch, names in BATCHES.items())
        if again != {"retry": "all"}:  # one that was through before it died may be begun anew
            assert lake.paid.total() == sum(map(len, BATCHES.values())) + lost
        assert all(lake.old_rows(batch) == set(names) for batch, names in BATCHES.items())


def test_killed_at_every_operation_of_the_merge(tmp_path: Path) -> None:
    """One after the other: older versions are stored before the commit that names them, and deleted after the next."""
    clean = Lake(tmp_path / "clean")
    clean.annotate(clean.store, 2, "v2", retry="all")
    counted = FaultyStore(clean.store, {})
    clean.merge(counted)
    for number, kind in every_death(counted):
        lake = Lake(tmp_path / f"{number} {kind.name}")
        lake.annotate(lake.store, 2, "v2", retry="all")
        lake.dies(lake.store, (number, kind), {}, merges=True)
        for batch, names in BATCHES.items():
            assert set(lake.shown(batch)) == lake.old_rows(batch) == set(names)
        lake.merge(lake.store)
        assert all(lake.shown(batch) == dict.fromkeys(names, 2) for batch, names in BATCHES.items())
        assert all(lake.old_rows(batch) == set(names) for batch, names in BATCHES.items())
