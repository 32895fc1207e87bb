from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.manifests import ChunkEntry, RunManifest, save_manifest
from datalake_service.chunks.inventory import take_inventory
from datalake_service.errors import StoreError
from datalake_service.storage.base import CreateOnly, ObjectMeta, Overwrite
from datalake_service.storage.folder import FolderStore
from tests.support.faulty_store import FaultyStore

PREFIX = "d/b/"
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def manifest(run: str, *sizes: int, completed: bool = False, columns: tuple[str, ...] | None = None) -> RunManifest:
    """The manifest of a run with chunks of the given sizes, one row each."""
    chunks = [ChunkEntry(1, size, {"a": "i"}, NOON + timedelta(seconds=number)) for number, size in enumerate(sizes)]
    return RunManifest(run, "rows", NOON, columns, 1, chunks, NOON if completed else None)


def put(store: FolderStore, name: str, body: bytes = b'{"a":1}\n') -> ObjectMeta:
    """An object of the batch."""
    return store.put(PREFIX + name, body, mode=CreateOnly())


def test_an_empty_batch_has_nothing(folder_store: FolderStore) -> None:
    """No object, no inventory."""
    inventory = take_inventory(folder_store, PREFIX)
    assert (inventory.merged, inventory.sources, inventory.manifests, inventory.others) == (None, (), (), ())


def test_every_object_is_told_from_the_others(folder_store: FolderStore) -> None:
    """Chunks, foreign files, manifests, the merged object, what lies in folders; other names are nobody's business."""
    save_manifest(folder_store, PREFIX, manifest("aaaaaa", 8, completed=True, columns=("a",)))
    for name in (
        "aaaaaa_chunk_00000.jsonl", "bbbbbb_chunk_00000.jsonl", "mine.jsonl", "merged.parquet", "manifest.yaml",
        "rejected/x.jsonl", "duplicates/y.jsonl", "notes.txt", ".hidden",
    ):  # fmt: skip
        put(folder_store, name)
    put(folder_store, "../b2/other.jsonl".replace("../b2", "deeper"))
    inventory = take_inventory(folder_store, PREFIX)
    assert [source.name for source in inventory.sources] == [
        "aaaaaa_chunk_00000.jsonl", "bbbbbb_chunk_00000.jsonl", "mine.jsonl",
    ]  # fmt: skip
    ours, lost, foreign = inventory.sources
    assert (ours.rows, ours.census, ours.deduplicate_on, ours.created_at) == (1, {"a": "i"}, ("a",), NOON)
    assert (lost.rows, lost.census, lost.deduplicate_on, lost.created_at) == (
        None, None, None, lost.meta.last_modified,
    )  # fmt: skip
    assert foreign.origin.chunk is None
    assert inventory.merged is not None
    assert {meta.key for meta in inventory.others} == {
        PREFIX + "rejected/x.jsonl", PREFIX + "duplicates/y.jsonl", PREFIX + "deeper/other.jsonl",
    }  # fmt: skip
    assert [(found.run, found.finished) for found in inventory.manifests] == [("aaaaaa", True)]


def test_files_are_taken_in_the_order_in_which_they_came(folder_store: FolderStore) -> None:
    """What was stored first comes first, whatever its name."""
    names = ["cccccc_chunk_00001.jsonl", "z.jsonl", "cccccc_chunk_00000.jsonl", "aaaaaa_chunk_00000.jsonl", "b.jsonl"]
    for name in names:
        put(folder_store, name)
    assert [source.name for source in take_inventory(folder_store, PREFIX).sources] == names


class CoarseStore(FaultyStore):
    """A store that, like S3, keeps whole seconds: here all objects have the same time."""

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        for meta in super().list(prefix):
            yield ObjectMeta(meta.key, meta.size, meta.etag, NOON)


def test_files_of_one_second_are_taken_as_they_were_sealed(folder_store: FolderStore) -> None:
    """The time of sealing decides, then run and number."""
    save_manifest(folder_store, PREFIX, manifest("bbbbbb", 8, 8, 8))
    for name in ("bbbbbb_chunk_00002.jsonl", "bbbbbb_chunk_00001.jsonl", "bbbbbb_chunk_00000.jsonl"):
        put(folder_store, name)
    put(folder_store, "aaaaaa_chunk_00003.jsonl")
    names = [source.name for source in take_inventory(CoarseStore(folder_store), PREFIX).sources]
    assert names == [
        "aaaaaa_chunk_00003.jsonl", "bbbbbb_chunk_00000.jsonl", "bbbbbb_chunk_00001.jsonl", "bbbbbb_chunk_00002.jsonl",
    ]  # fmt: skip


def test_a_manifest_that_speaks_of_another_chunk_is_not_believed(folder_store: FolderStore) -> None:
    """A chunk of another size, or one that the manifest does not know yet, is looked at; its run's list counts."""
    save_manifest(folder_store, PREFIX, manifest("aaaaaa", 9, columns=("a",)))
    put(folder_store, "aaaaaa_chunk_00000.jsonl")
    put(folder_store, "aaaaaa_chunk_00001.jsonl")
    for source in take_inventory(folder_store, PREFIX).sources:
        assert (source.census, source.rows, source.deduplicate_on) == (None, None, ("a",))


class LateManifestStore(FaultyStore):
    """A listing that began before a run was claimed, and went on after its first chunk was stored."""

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        return (meta for meta in super().list(prefix) if not meta.key.endswith("manifest.json"))


def test_a_manifest_is_found_even_if_the_listing_missed_it(folder_store: FolderStore) -> None:
    """Else a chunk would be merged without its run's dedup columns; but such a run is not known to be finished."""
    save_manifest(folder_store, PREFIX, manifest("aaaaaa", 8, completed=True, columns=("a",)))
    put(folder_store, "aaaaaa_chunk_00000.jsonl")
    inventory = take_inventory(LateManifestStore(folder_store), PREFIX)
    assert inventory.sources[0].deduplicate_on == ("a",)
    assert inventory.manifests == ()


class FinishingStore(FaultyStore):
    """A run that is finished between the listing and the reading of its manifest."""

    def list(self, prefix: str) -> Iterator[ObjectMeta]:
        listed = list(self.inner.list(prefix))
        self.inner.put(
            layout.run_manifest_key(PREFIX, "aaaaaa"), manifest("aaaaaa", 8, completed=True).to_json(), mode=Overwrite()
        )
        return iter(listed)


def test_a_run_is_finished_only_if_the_listing_saw_it_finished(folder_store: FolderStore) -> None:
    """Chunks stored after the listing would lose their manifest otherwise."""
    save_manifest(folder_store, PREFIX, manifest("aaaaaa"))
    (found,) = take_inventory(FinishingStore(folder_store), PREFIX).manifests
    assert not found.finished


def test_an_empty_list_of_columns_says_nothing(folder_store: FolderStore) -> None:
    """A run that names no column has no say."""
    save_manifest(folder_store, PREFIX, manifest("aaaaaa", 8, columns=()))
    put(folder_store, "aaaaaa_chunk_00000.jsonl")
    assert take_inventory(folder_store, PREFIX).sources[0].deduplicate_on is None


def test_a_damaged_manifest_is_an_error_that_names_it(folder_store: FolderStore) -> None:
    """Without it nobody knows what the run promised."""
    put(folder_store, "aaaaaa.manifest.json", b"{}")
    with pytest.raises(StoreError, match=r"d/b/aaaaaa\.manifest\.json is not a run manifest"):
        take_inventory(folder_store, PREFIX)
