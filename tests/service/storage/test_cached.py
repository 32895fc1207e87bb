from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.errors import PreconditionFailedError
from datalake_service.storage.base import CreateOnly, Overwrite
from datalake_service.storage.cached import CachedStore
from datalake_service.storage.folder import FolderStore
from tests.support.remote import RemoteStore


def made(tmp_path: Path, *, max_bytes: int = 1000) -> tuple[CachedStore, RemoteStore, Path]:
    """A remote store, and one before it that remembers."""
    remote = RemoteStore(FolderStore(tmp_path / "lake", durable=False))
    folder = tmp_path / "cache"
    folder.mkdir()
    return CachedStore(remote, folder, max_bytes=max_bytes), remote, folder


def read(store: CachedStore, key: str, start: int, end: int, etag: str) -> bytes:
    """One range of one version."""
    with store.open(key, start=start, end=end, etag=etag) as stream:
        return stream.read()


def test_a_range_of_a_version_is_fetched_once(tmp_path: Path) -> None:
    """Whatever happens to the object; another range, and another version, are fetched."""
    store, remote, _ = made(tmp_path)
    old = store.put("a/b", b"0123456789", mode=CreateOnly())
    assert [read(store, "a/b", 2, 5, old.etag) for _ in range(3)] == [b"234"] * 3
    assert len(remote.read) == 1
    new = store.put("a/b", b"abcdefghij", mode=Overwrite())
    assert read(store, "a/b", 2, 5, old.etag) == b"234"
    assert read(store, "a/b", 2, 5, new.etag) == b"cde"
    assert read(store, "a/b", 2, 6, new.etag) == b"cdef"
    assert len(remote.read) == 3
    with pytest.raises(PreconditionFailedError):
        read(store, "a/b", 0, 5, old.etag)


def test_so_many_bytes_are_kept_and_not_more(tmp_path: Path) -> None:
    """What was asked for longest ago is forgotten, and fetched again."""
    store, remote, folder = made(tmp_path, max_bytes=250)
    meta = store.put("a", bytes(range(250)) * 4, mode=CreateOnly())
    for start in (0, 100, 0, 200):
        read(store, "a", start, start + 100, meta.etag)
    assert sum(path.stat().st_size for path in folder.iterdir()) == 200
    before = len(remote.read)
    read(store, "a", 0, 100, meta.etag)
    assert len(remote.read) == before
    read(store, "a", 100, 200, meta.etag)
    assert len(remote.read) == before + 1
    for path in folder.iterdir():
        path.unlink()
    assert read(store, "a", 100, 200, meta.etag) == (bytes(range(250)) * 4)[100:200]


def test_reads_of_whatever_is_there_now_are_passed_on(tmp_path: Path) -> None:
    """Only a version is remembered."""
    store, remote, folder = made(tmp_path)
    store.put("a", b"one", mode=CreateOnly())
    with store.open("a", start=0, end=3) as stream:
        assert stream.read() == b"one"
    store.put("a", b"two", mode=Overwrite())
    with store.open("a", start=0, end=3) as stream:
        assert stream.read() == b"two"
    assert len(remote.read) == 2
    assert list(folder.iterdir()) == []
    assert store.get("a")[0] == b"two"
    assert [meta.key for meta in store.list("")] == ["a"]
