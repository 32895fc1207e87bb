from __future__ import annotations

from collections.abc import Callable

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import claim_run
from datalake_service.chunks.writer import SIGN_OF_LIFE_SECONDS, ChunkWriter
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.faulty_store import FaultyStore

PREFIX = layout.batch_prefix("posts", "b")
MANIFEST = layout.run_manifest_key(PREFIX, "aaaaaa")


@pytest.fixture
def clock() -> ManualClock:
    """A clock that is turned by hand."""
    return ManualClock()


@pytest.fixture
def store(folder_store: FolderStore) -> FaultyStore:
    """A lake that remembers what was asked of it."""
    return FaultyStore(folder_store)


@pytest.fixture
def write(store: FaultyStore, clock: ManualClock) -> Callable[[], None]:
    """Make one more row of a run durable, in a chunk of its own."""
    manifest = claim_run(
        store, PREFIX, kind="rows", deduplicate_on=["n"], chunk_size=1, now=clock.now(), draw=lambda: "aaaaaa"
    )
    writer = ChunkWriter(store, PREFIX, manifest, clock=clock)

    def one_more() -> None:
        writer.add({"n": 1})
        writer.flush()

    return one_more


def written(store: FaultyStore) -> list[str]:
    """The names of what was written, in order."""
    return [operation.key.removeprefix(PREFIX) for operation in store.writes]


def test_a_writer_that_was_silent_gives_a_sign_of_life_first(
    store: FaultyStore, clock: ManualClock, write: Callable[[], None]
) -> None:
    """Whatever became of its manifest meanwhile, no chunk is without one."""
    write()
    clock.sleep(SIGN_OF_LIFE_SECONDS)
    write()
    store.delete(MANIFEST)
    clock.sleep(2 * 86_400)
    write()
    write()
    name, chunk = "aaaaaa.manifest.json", "aaaaaa_chunk_0000"
    assert written(store) == [
        name, f"{chunk}0.jsonl", f"{chunk}1.jsonl", name, name, f"{chunk}2.jsonl", f"{chunk}3.jsonl"
    ]  # fmt: skip
    assert b'"deduplicateOn": ["n"]' in store.get(MANIFEST)[0]
