from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import duckdb
import pytest

from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage.base import ObjectMeta, ObjectStore, Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.footers import column_ranges, read_footers
from datalake_service.tables.database.local import LocalFile
from tests.support.lake import put_rows
from tests.support.remote import RemoteStore

ROWS = [{"text": f"{number} " * 200, "n": number, "wide": f"{number * 7919:x}" * 50} for number in range(600)]


@pytest.fixture
def meta(folder_store: FolderStore) -> ObjectMeta:
    """A merged object of several row groups."""
    return put_rows(folder_store, "d", "b", ROWS, group_rows=200)


def sums(path: str, columns: str) -> tuple[object, ...] | None:
    """Read a file as the engine does."""
    with duckdb.connect() as connection:
        return connection.execute(f"SELECT {columns} FROM read_parquet('{path}')").fetchone()


def descriptors() -> int:
    """How many files this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_file_of_a_folder_stays_the_version_it_was(folder_store: FolderStore, meta: ObjectMeta) -> None:
    """Replaced and deleted in the middle: the old rows are read to the end."""
    file = LocalFile(folder_store, meta)
    put_rows(folder_store, "d", "b", [{"n": 1}])
    folder_store.delete(meta.key)
    assert file.is_whole
    assert sums(file.path, "count(*), sum(n)") == (600, sum(range(600)))
    file.close()


def test_another_version_is_not_opened(folder_store: FolderStore, meta: ObjectMeta) -> None:
    """The pin holds on a folder and across a network, and when the object is gone."""
    put_rows(folder_store, "d", "b", [{"n": 1}])
    for store in (folder_store, RemoteStore(folder_store)):
        with pytest.raises(PreconditionFailedError):
            LocalFile(store, meta)
    folder_store.delete(meta.key)
    for store in (folder_store, RemoteStore(folder_store)):
        with pytest.raises(ObjectNotFoundError):
            LocalFile(store, meta)


def test_of_a_remote_object_only_what_is_needed_is_fetched(folder_store: FolderStore, meta: ObjectMeta) -> None:
    """The bytes between are never looked at: they hold garbage here."""
    store = RemoteStore(folder_store)
    file = LocalFile(store, meta)
    assert file.tail is not None
    with Path(file.path).open("r+b") as hole:
        hole.write(b"\xaa" * (meta.size - len(file.tail)))
    with duckdb.connect() as connection:
        (footer,) = read_footers(connection, [(file.path, meta.key)])
        positions = {footer.columns[name].position for name in ("id", "n")}
        file.fetch(column_ranges(connection, file.path, key=meta.key, positions=positions))
    assert footer.rows == 600
    assert sums(file.path, "count(*), sum(n), min(id)") == (600, sum(range(600)), "0")
    file.close()


def test_wide_columns_that_nobody_asks_for_stay_where_they_are(folder_store: FolderStore) -> None:
    """A view of two small columns does not download the text."""
    big = [{"n": number, "wide": os.urandom(600).hex()} for number in range(3_000)]
    meta = put_rows(folder_store, "d", "b", big, group_rows=500)
    store = RemoteStore(folder_store)
    file = LocalFile(store, meta)
    with duckdb.connect() as connection:
        (footer,) = read_footers(connection, [(file.path, meta.key)])
        file.fetch(column_ranges(connection, file.path, key=meta.key, positions={footer.columns["n"].position}))
    assert sum(size for _, size in store.read) < meta.size / 5
    assert sums(file.path, "sum(n)") == (sum(range(3_000)),)
    file.close()


def test_a_known_footer_is_not_fetched_again(folder_store: FolderStore, meta: ObjectMeta) -> None:
    """It was read when the view was planned."""
    store = RemoteStore(folder_store)
    first = LocalFile(store, meta)
    requests = len(store.read)
    second = LocalFile(store, meta, tail=first.tail)
    assert len(store.read) == requests
    assert sums(second.path, "count(*)") == (600,)
    first.close()
    second.close()


def test_a_footer_longer_than_the_first_guess_is_fetched_whole(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch, meta: ObjectMeta
) -> None:
    """Wide tables have long footers."""
    monkeypatch.setattr("datalake_service.tables.database.local.TAIL_BYTES", 16)
    file = LocalFile(RemoteStore(folder_store), meta)
    assert sums(file.path, "count(*)") == (600,)
    file.close()


@pytest.mark.parametrize(
    "damage", [b"", b"PAR1", b"not a table at all", b"PAR1" + b"\xff\xff\xff\x7fPAR1", b"PAR1xxxx\0\0\0\0PAR1"]
)
@pytest.mark.parametrize("remote", [False, True])
def test_what_is_no_table_is_named(folder_store: FolderStore, damage: bytes, *, remote: bool) -> None:
    """The message has the key, not a number of an open file."""
    meta = folder_store.put("d/b/merged.parquet", damage, mode=Overwrite())
    store: ObjectStore = RemoteStore(folder_store) if remote else folder_store

    def read() -> None:
        file = LocalFile(store, meta)
        with closing(file), duckdb.connect() as connection:
            read_footers(connection, [(file.path, meta.key)])

    with pytest.raises(StoreError, match=r"^d/b/merged\.parquet is no complete Parquet file"):
        read()


def test_a_parquet_file_of_somebody_else_is_named(folder_store: FolderStore, tmp_path: Path) -> None:
    """A table without our record is not guessed at."""
    with duckdb.connect() as connection:
        connection.execute(f"COPY (SELECT 1 AS id) TO '{tmp_path}/x.parquet'")
        meta = folder_store.put("d/b/merged.parquet", tmp_path / "x.parquet", mode=Overwrite())
        file = LocalFile(folder_store, meta)
        with pytest.raises(StoreError, match=r"d/b/merged\.parquet was not written by a merge"):
            read_footers(connection, [(file.path, meta.key)])
        file.close()


def test_one_bad_footer_among_many_is_named(folder_store: FolderStore, meta: ObjectMeta) -> None:
    """They are read together; the message still says which."""
    bad = folder_store.put("d/bad/merged.parquet", b"PAR1 nothing PAR1", mode=Overwrite())
    files = [LocalFile(folder_store, one) for one in (meta, bad)]
    with duckdb.connect() as connection, pytest.raises(StoreError, match=r"^d/bad/merged\.parquet"):
        read_footers(connection, [(file.path, file.meta.key) for file in files])
    for file in files:
        file.close()


@pytest.mark.parametrize("remote", [False, True])
def test_without_a_folder_of_open_files_a_copy_is_read(
    folder_store: FolderStore, tmp_path: Path, meta: ObjectMeta, *, remote: bool
) -> None:
    """On systems that don't show a process its open files."""
    store: ObjectStore = RemoteStore(folder_store) if remote else folder_store
    file = LocalFile(store, meta, folder=tmp_path, descriptors=["/nowhere"])
    assert Path(file.path).parent == tmp_path
    assert sums(file.path, "count(*), sum(n)") == (600, sum(range(600)))
    file.close()
    assert not Path(file.path).exists()


@pytest.mark.parametrize("remote", [False, True])
def test_nothing_is_left_behind(folder_store: FolderStore, tmp_path: Path, meta: ObjectMeta, *, remote: bool) -> None:
    """No open file, no temporary file; closing twice is fine."""
    store: ObjectStore = RemoteStore(folder_store) if remote else folder_store
    folder = tmp_path / "temporary"
    folder.mkdir()
    before = descriptors()
    file = LocalFile(store, meta, folder=folder)
    assert not list(folder.iterdir())
    file.close()
    file.close()
    assert descriptors() == before
