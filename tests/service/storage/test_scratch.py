"""Room for large temporary files."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from datalake_service.storage import (
    CreateOnly,
    FolderStore,
    ObjectStore,
    Overwrite,
    RetryingStore,
    clean_leftovers,
    scratch_folder,
)
from datalake_service.storage.observed import ObservedStore, RequestCounts
from datalake_service.storage.s3 import S3Store
from datalake_utils.clock import ManualClock
from tests.support.servers import S3Server


def wrapped(store: ObjectStore) -> ObjectStore:
    """Wrap a store twice: scratch space must be found through wrappers."""
    return ObservedStore(RetryingStore(store), RequestCounts())


def test_a_scratch_file_is_linked_and_not_copied(folder_store: FolderStore) -> None:
    """A file made there becomes an object without its bytes being copied, and the object outlives it."""
    folder_store.put("a", b"", mode=CreateOnly())
    store = wrapped(folder_store)
    with scratch_folder(store) as scratch:
        file = scratch / "merged.parquet"
        file.write_bytes(b"body")
        meta = store.put("d/merged.parquet", file, mode=CreateOnly())
        assert (folder_store.root / "d/merged.parquet").samefile(file)
        assert [found.key for found in store.list("")] == ["a", "d/merged.parquet"]
    assert not scratch.exists()
    assert store.get("d/merged.parquet") == (b"body", meta)


def test_a_scratch_file_may_be_put_twice(folder_store: FolderStore) -> None:
    """The second object made of a file gets bytes of its own: the two must not share a date, hence an ETag."""
    folder_store.put("a", b"", mode=CreateOnly())
    with scratch_folder(folder_store) as scratch:
        (scratch / "x").write_bytes(b"body")
        first = folder_store.put("one", scratch / "x", mode=CreateOnly())
        folder_store.put("two", scratch / "x", mode=Overwrite())
    assert folder_store.head("one") == first
    assert folder_store.get("two")[0] == b"body"


def test_a_file_elsewhere_is_copied(folder_store: FolderStore, tmp_path: Path) -> None:
    """Any other file stays its owner's: changing it later does not change the object."""
    file = tmp_path / "x"
    file.write_bytes(b"body")
    folder_store.put("a", file, mode=CreateOnly())
    file.write_bytes(b"changed")
    assert folder_store.get("a")[0] == b"body"


def test_a_bucket_has_scratch_space_on_this_machine(s3_store: S3Store, tmp_path: Path) -> None:
    """For other stores the folder is made where the caller says, and removed."""
    with scratch_folder(wrapped(s3_store), fallback=tmp_path) as scratch:
        assert scratch.parent == tmp_path
        (scratch / "x").write_bytes(b"body")
        s3_store.put("a", scratch / "x", mode=CreateOnly())
    assert list(tmp_path.iterdir()) == []
    assert s3_store.get("a")[0] == b"body"


def test_a_lake_that_is_not_there_is_not_made(folder_store: FolderStore, tmp_path: Path) -> None:
    """Scratch space for a lake without a folder yet lies elsewhere."""
    with scratch_folder(folder_store, fallback=tmp_path) as scratch:
        assert scratch.parent == tmp_path
    assert not folder_store.root.exists()


def test_scratch_space_is_removed_after_an_error(folder_store: FolderStore) -> None:
    """However the block ends, the folder is gone."""
    folder_store.put("a", b"", mode=CreateOnly())

    def interrupted() -> None:
        with scratch_folder(folder_store) as scratch:
            (scratch / "x").write_bytes(b"")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list((folder_store.root / ".tmp/scratch").iterdir()) == []


def test_unfinished_uploads_are_cleaned_by_age(s3_server: S3Server) -> None:
    """Uploads of dead processes are aborted when they are old, in this lake and not in its neighbours."""
    bucket = s3_server.make_bucket()
    client = s3_server.client()
    for key in ("lake/a", "lake/b", "lake2/a"):
        client.create_multipart_upload(Bucket=bucket, Key=key)
    begun = {upload["Initiated"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]}
    clock = ManualClock(max(begun))  # moto says 2010, whenever it was
    store = wrapped(S3Store(bucket, "lake", clock=clock, **s3_server.options))
    clock.advance(3600)
    assert clean_leftovers(store, older_than=timedelta(hours=2)) == 0
    clock.advance(2 * 3600)
    assert clean_leftovers(store, older_than=timedelta(hours=2)) == 2
    assert [upload["Key"] for upload in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["lake2/a"]
