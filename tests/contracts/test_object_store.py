"""What every object store promises, checked over all implementations and wrappers.

What a store did is checked through a side door, a plain file or a plain S3 client, and not by the store itself.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.storage import CreateOnly, FolderStore, ObjectStore, Overwrite
from datalake_service.storage.observed import ObservedStore
from tests.support.contract_lakes import Lake, together
from tests.support.faulty_store import FaultyStore
from tests.support.staging_store import StagingStore

KEYS = (
    "a",
    "dataset/batch/0a1b2c_chunk_00000.jsonl",
    "dataset/annotations/my-annotator/.temp/.lock",
    "with space/and+plus/and%20percent/and%2Fslash.txt",
    "ünï/cödé/文字/😀.json",
    "question?/hash#/amp&=;:@,$!*'()[]{}~^`|\\.txt",
    "dots/..a/b..c/...",
)


# Writing and reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_exact(lake: Lake, key: str) -> None:
    """A key is kept character by character, in every verb."""
    meta = lake.store.put(key, b"body", mode=CreateOnly())

    assert lake.side.keys() == {key}
    assert lake.side.read(key) == b"body"
    assert meta.key == key
    assert lake.store.get(key)[0] == b"body"
    assert [found.key for found in lake.store.list("")] == [key]
    with lake.store.open(key) as stream:
        assert stream.read() == b"body"
    lake.store.delete(key)
    assert lake.side.keys() == set()


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_what_goes_in_comes_out(lake: Lake, size: int, tmp_path: Path) -> None:
    """A body is kept byte by byte, given as bytes or as a file, which stays where it is."""
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    file = tmp_path / "body"
    file.write_bytes(body)

    lake.store.put("from/bytes", body, mode=CreateOnly())
    lake.store.put("from/file", file, mode=CreateOnly())

    assert lake.side.read("from/bytes") == body
    assert lake.side.read("from/file") == body
    assert file.read_bytes() == body
    assert lake.store.get("from/file")[0] == body


def test_meta_is_the_same_from_every_verb(lake: Lake) -> None:
    """Writing, looking, reading and listing agree on size, ETag and (to the second) on time."""
    before = datetime.now(UTC) - timedelta(seconds=2)
    put = lake.store.put("a/b", b"12345", mode=CreateOnly())
    head = lake.store.head("a/b")
    _, got = lake.store.get("a/b")
    [listed] = lake.store.list("a/")

    assert {meta.etag for meta in (put, head, got, listed)} == {put.etag}
    assert {meta.size for meta in (put, head, got, listed)} == {5}
    for meta in (put, head, got, listed):
        assert before <= meta.last_modified <= datetime.now(UTC) + timedelta(seconds=2)
        assert meta.last_modified.utcoffset() == timedelta(0)


def test_etags_are_not_quoted(lake: Lake) -> None:
    """An ETag carries no quotes, because some servers refuse them in a condition."""
    assert '"' not in lake.store.put("a", b"1", mode=CreateOnly()).etag
    assert '"' not in next(lake.store.list("")).etag


def test_missing_objects_are_an_error_of_their_own(lake: Lake) -> None:
    """Nothing under a key is an ``ObjectNotFoundError`` that names the key."""
    lake.store.put("a/b", b"", mode=CreateOnly())
    for key in ("nothing", "a", "a/b/c", "a/bb"):
        for read in (lake.store.get, lake.store.head, lake.store.open):
            with pytest.raises(ObjectNotFoundError, match=key):
                read(key)


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "nul\0", "half\ud800", "x" * 1025]
)
def test_what_is_no_key_is_refused(lake: Lake, key: str) -> None:
    """A key that could leave the root, or that some store cannot hold, is refused before anything is written."""
    with pytest.raises(ValueError, match="key"):
        lake.store.put(key, b"", mode=Overwrite())
    assert lake.side.keys() == set()


def test_an_unreadable_body_file_is_a_store_error(lake: Lake, tmp_path: Path) -> None:
    """A file to be written that does not exist is named in the error, and nothing is written."""
    with pytest.raises(StoreError, match="no-such-file"):
        lake.store.put("a", tmp_path / "no-such-file", mode=CreateOnly())
    assert lake.side.keys() == set()


# Deleting and listing --------------------------------------------------------------------------------


def test_deleting_what_is_not_there_is_no_error(lake: Lake) -> None:
    """A delete is about the result, not about what was there before."""
    lake.store.delete("nothing")
    lake.store.delete("no/such/folder/nothing")
    lake.store.delete_many([])
    lake.store.delete_many(["nothing", "else"])
    assert lake.side.keys() == set()


def test_delete_removes_only_its_key(lake: Lake) -> None:
    """Neighbours with a longer or shorter name stay."""
    for key in ("d/a", "d/ab", "d/a.b", "e"):
        lake.store.put(key, b"", mode=CreateOnly())
    lake.store.delete("d/a")
    assert lake.side.keys() == {"d/ab", "d/a.b", "e"}
    lake.store.delete("d")
    assert lake.side.keys() == {"d/ab", "d/a.b", "e"}


def test_only_the_version_that_is_meant_is_deleted(lake: Lake) -> None:
    """Another one stays; what is gone already is no error."""
    first = lake.store.put("d/a", b"1", mode=CreateOnly())
    second = lake.store.put("d/a", b"2", mode=Overwrite())
    with pytest.raises(PreconditionFailedError):
        lake.store.delete("d/a", etag=first.etag)
    assert lake.side.read("d/a") == b"2"
    lake.store.delete("d/a", etag=second.etag)
    lake.store.delete("d/a", etag=second.etag)
    assert lake.side.keys() == set()


def test_delete_many_removes_all_of_them(lake: Lake) -> None:
    """Many keys are removed at once, whether they are there or not."""
    keys = [f"d/{number} +%ü" for number in range(20)]
    for key in (*keys, "d/stays"):
        lake.store.put(key, b"", mode=CreateOnly())
    lake.store.delete_many(iter([*keys, "d/never-was"]))
    assert lake.side.keys() == {"d/stays"}


def test_lists_are_in_key_order(lake: Lake) -> None:
    """Keys come in the order of their UTF-8 bytes, across folders, each once."""
    keys = ["a", "a-b", "a.b/c", "a/b", "a/b.c", "a0", "b/x/y/z", "b/x-y", "ü", "z", "😀", "\uffee"]
    for key in keys:
        if key != "a":  # a folder cannot hold both a and a/b
            lake.store.put(key, b"", mode=CreateOnly())
    expected = sorted(set(keys) - {"a"}, key=lambda key: key.encode())
    assert [meta.key for meta in lake.store.list("")] == expected


def test_a_prefix_never_sees_its_neighbours(lake: Lake) -> None:
    """Batch ``b1`` does not see ``b10``, neither in a listing nor in the folders."""
    for key in ("d/b1/x", "d/b10/x", "d/b1.x", "d/b/x"):
        lake.store.put(key, b"", mode=CreateOnly())
    assert [meta.key for meta in lake.store.list("d/b1/")] == ["d/b1/x"]
    assert list(lake.store.list("d/b2/")) == []
    assert list(lake.store.list_folders("d/")) == ["b", "b1", "b10"]
    assert list(lake.store.list_folders("d/b1/")) == []
    assert list(lake.store.list_folders("")) == ["d"]


@pytest.mark.parametrize("prefix", ["b1", "d/b1", "/", "d//", "../", "/d/"])
def test_prefixes_end_in_a_slash(lake: Lake, prefix: str) -> None:
    """A prefix that could see neighbours, or leave the root, is refused at once and not at the first object."""
    with pytest.raises(ValueError, match=r"prefix|key"):
        lake.store.list(prefix)
    with pytest.raises(ValueError, match=r"prefix|key"):
        lake.store.list_folders(prefix)


def test_hidden_names_are_listed(lake: Lake) -> None:
    """Names with a dot in front are objects like others; of the store's own things nothing is to be seen."""
    lake.store.put("d/annotations/x/.temp/.lock", b"", mode=CreateOnly())
    lake.store.put("d/.state/dataset.json", b"", mode=Overwrite())
    lake.store.put("d/.tmp/x", b"", mode=Overwrite())
    assert [meta.key for meta in lake.store.list("")] == [
        "d/.state/dataset.json", "d/.tmp/x", "d/annotations/x/.temp/.lock",
    ]  # fmt: skip
    assert list(lake.store.list_folders("d/")) == [".state", ".tmp", "annotations"]
    assert list(lake.store.list_folders("")) == ["d"]


def test_an_empty_lake_is_empty(lake: Lake) -> None:
    """Before the first write there is nothing, and no error."""
    assert list(lake.store.list("")) == []
    assert list(lake.store.list("d/b/")) == []
    assert list(lake.store.list_folders("")) == []


def test_no_folder_without_objects(lake: Lake) -> None:
    """A folder exists as long as an object lies below it."""
    lake.store.put("d/b1/x/y", b"", mode=CreateOnly())
    lake.store.put("d/b2/x", b"", mode=CreateOnly())
    lake.store.delete("d/b1/x/y")
    assert list(lake.store.list_folders("d/")) == ["b2"]


def test_writes_and_deletes_in_one_folder_at_once(lake: Lake) -> None:
    """A folder that is emptied while others write into it loses nothing."""

    def act(index: int) -> str:
        for round_ in range(10):
            lake.store.put(f"d/e/{index}", str(round_).encode(), mode=CreateOnly())
            lake.store.delete(f"d/e/{index}")
        lake.store.put(f"d/e/{index}", b"end", mode=CreateOnly())
        return ""

    assert together(4, act) == [""] * 4
    assert lake.side.keys() == {f"d/e/{index}" for index in range(4)}


# The rest --------------------------------------------------------------------------------------------


def test_stores_can_be_sent_to_another_process(lake: Lake) -> None:
    """A store that was pickled and unpickled reaches the same objects."""
    if any(isinstance(store, (FaultyStore, ObservedStore, StagingStore)) for store in _layers(lake.store)):
        pytest.skip("wrappers of tests stay in their process")
    lake.store.put("a", b"1", mode=CreateOnly())
    other: ObjectStore = pickle.loads(pickle.dumps(lake.store))
    assert other.get("a")[0] == b"1"
    assert other.uri == lake.store.uri
    other.put("b", b"2", mode=CreateOnly())
    assert lake.side.read("b") == b"2"


def _layers(store: ObjectStore) -> Iterator[ObjectStore]:
    while True:
        yield store
        if not hasattr(store, "inner"):
            return
        store = store.inner


segments = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=12).filter(
    lambda text: text not in {".", "..", ".tmp"} and len(text.encode()) <= 255
)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(st.lists(segments, min_size=1, max_size=4).map("/".join), max_size=12))
def test_listing_is_what_was_written(folder_store: FolderStore, keys: set[str]) -> None:
    """Any keys that fit into a folder together are listed, once each, in the order of their bytes."""
    folders = {key[:position] for key in keys for position, character in enumerate(key) if character == "/"}
    folder_store.delete_many([meta.key for meta in folder_store.list("")])
    for key in keys - folders:
        folder_store.put(key, key.encode(), mode=CreateOnly())
    assert [meta.key for meta in folder_store.list("")] == sorted(keys - folders, key=lambda key: key.encode())
