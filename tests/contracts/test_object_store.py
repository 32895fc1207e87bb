"""What every object store promises, checked over all implementations and wrappers.

What a store did is checked through a side door, a plain file or a plain S3 client, and not by the store itself.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Protocol

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalake_service.errors import (
    AlreadyExistsError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
)
from datalake_service.storage import CreateOnly, FolderStore, IfMatch, ObjectStore, Overwrite, RetryingStore, open_store
from datalake_service.storage.mutexed import MutexedStore
from datalake_service.storage.observed import ObservedStore, RequestCounts
from datalake_utils.ids import random_hex
from tests.support.faulty_store import FaultyStore
from tests.support.mutex_server import mutex_server
from tests.support.servers import S3Server
from tests.support.staging_store import StagingStore

PREFIX = "some/prefix"
KEYS = (
    "a",
    "dataset/batch/0a1b2c_chunk_00000.jsonl",
    "dataset/annotations/my-annotator/.temp/.lock",
    "with space/and+plus/and%20percent/and%2Fslash.txt",
    "ünï/cödé/文字/😀.json",
    "question?/hash#/amp&=;:@,$!*'()[]{}~^`|\\.txt",
    "dots/..a/b..c/...",
)


class SideDoor(Protocol):
    """The same objects, without the code under test."""

    def read(self, key: str) -> bytes | None: ...

    def write(self, key: str, body: bytes) -> None: ...

    def keys(self) -> set[str]: ...


@dataclass(frozen=True)
class Files:
    """A folder as files."""

    root: Path

    def read(self, key: str) -> bytes | None:
        path = self.root / key
        return path.read_bytes() if path.is_file() else None

    def write(self, key: str, body: bytes) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_bytes(body)

    def keys(self) -> set[str]:
        own = self.root / ".tmp"
        files = (path for path in self.root.rglob("*") if path.is_file() and own not in path.parents)
        return {path.relative_to(self.root).as_posix() for path in files}


@dataclass(frozen=True)
class Bucket:
    """A bucket through a plain client."""

    server: S3Server
    name: str

    def read(self, key: str) -> bytes | None:
        try:
            answer = self.server.client().get_object(Bucket=self.name, Key=f"{PREFIX}/{key}")
        except ClientError:
            return None
        body: bytes = answer["Body"].read()
        return body

    def write(self, key: str, body: bytes) -> None:
        self.server.client().put_object(Bucket=self.name, Key=f"{PREFIX}/{key}", Body=body)

    def keys(self) -> set[str]:
        answer = self.server.client().list_objects_v2(Bucket=self.name)
        return {entry["Key"].removeprefix(f"{PREFIX}/") for entry in answer.get("Contents", ())}


@dataclass(frozen=True)
class Lake:
    """A store, and the side door to what it holds."""

    store: ObjectStore
    side: SideDoor


WRAPPERS: dict[str, Callable[[ObjectStore], ObjectStore]] = {
    "plain": lambda store: store,
    "retrying": RetryingStore,
    "observed": lambda store: ObservedStore(store, RequestCounts()),
    "faulty": FaultyStore,
    "all": lambda store: ObservedStore(RetryingStore(FaultyStore(store)), RequestCounts()),
}
KINDS = [
    *(f"folder-{wrapper}" for wrapper in WRAPPERS),
    "folder-durable",
    "folder-opened",
    "s3-plain",  # of another server than the next one
    "s3-opened",  # with the wrappers of the product; each alone, and all together, are tried on a folder
    "folder-mutexed",
    *(["s3-mutexed"] if "TEST_S3_ENDPOINT" in os.environ else []),  # test_mutexed.py has what is special about it
]


@pytest.fixture(params=KINDS)
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    """A new lake of each kind."""
    kind, _, wrapper = request.param.partition("-")
    if wrapper == "mutexed":
        return _mutexed(kind, tmp_path / "lake", request)
    if kind == "folder":
        root = tmp_path / "lake"
        if wrapper == "opened":
            return Lake(open_store(root.as_uri()), Files(root))
        folder = FolderStore(root, durable=wrapper == "durable")
        return Lake(WRAPPERS[wrapper](folder) if wrapper in WRAPPERS else folder, Files(root))
    server: S3Server = request.getfixturevalue("other_s3_server" if wrapper == "plain" else "s3_server")
    bucket = server.make_bucket()
    side = Bucket(server, bucket)
    if wrapper == "opened":
        return Lake(open_store(f"s3://{bucket}/{PREFIX}/", **server.options), side)
    return Lake(WRAPPERS[wrapper](server.store_in(bucket, PREFIX)), side)


def _mutexed(kind: str, root: Path, request: pytest.FixtureRequest) -> Lake:
    """A store that ignores conditions, or is taken for one, with the mutex."""
    mutex_url: str = request.getfixturevalue("mutex_url")
    if kind == "folder":
        careless = StagingStore(FolderStore(root, durable=False), uri=f"s3://bucket/{random_hex(8)}")
        return Lake(RetryingStore(MutexedStore(careless, mutex_url)), Files(root))
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.make_bucket()
    store = MutexedStore(server.store_in(bucket, PREFIX), mutex_url)
    store._needed = True
    return Lake(RetryingStore(store), Bucket(server, bucket))


@pytest.fixture(scope="session")
def mutex_url() -> Iterator[str]:
    """The server of the mutex."""
    with mutex_server() as url:
        yield url


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


# Conditions ------------------------------------------------------------------------------------------


def test_create_only_never_replaces(lake: Lake) -> None:
    """Create-if-absent takes effect once; the loser is told so, and changes nothing."""
    lake.store.put("a", b"first", mode=CreateOnly())
    with pytest.raises(AlreadyExistsError, match="a"):
        lake.store.put("a", b"second", mode=CreateOnly())
    assert lake.side.read("a") == b"first"


def test_create_only_sees_what_others_wrote(lake: Lake) -> None:
    """An object that another program put there counts."""
    lake.side.write("a", b"foreign")
    with pytest.raises(AlreadyExistsError):
        lake.store.put("a", b"ours", mode=CreateOnly())
    assert lake.side.read("a") == b"foreign"


def test_create_again_after_delete(lake: Lake) -> None:
    """What was deleted may be created again."""
    lake.store.put("d/a", b"1", mode=CreateOnly())
    lake.store.delete("d/a")
    lake.store.put("d/a", b"2", mode=CreateOnly())
    assert lake.side.read("d/a") == b"2"


def test_if_match_replaces_the_version_that_was_read(lake: Lake) -> None:
    """Replace-if-ETag succeeds against the current version and yields a new ETag."""
    first = lake.store.put("a", b"1", mode=CreateOnly())
    second = lake.store.put("a", b"2", mode=IfMatch(first.etag))
    third = lake.store.put("a", b"3", mode=IfMatch(second.etag))
    assert len({first.etag, second.etag, third.etag}) == 3
    assert lake.side.read("a") == b"3"


def test_if_match_refuses_another_version(lake: Lake) -> None:
    """Replace-if-ETag fails against a version that was replaced, and changes nothing."""
    first = lake.store.put("a", b"1", mode=CreateOnly())
    lake.store.put("a", b"2", mode=Overwrite())
    with pytest.raises(PreconditionFailedError, match="a"):
        lake.store.put("a", b"3", mode=IfMatch(first.etag))
    assert lake.side.read("a") == b"2"


def test_if_match_needs_an_object(lake: Lake) -> None:
    """Replace-if-ETag of nothing fails, and creates nothing."""
    gone = lake.store.put("a", b"1", mode=CreateOnly())
    lake.store.delete("a")
    with pytest.raises(PreconditionFailedError):
        lake.store.put("a", b"2", mode=IfMatch(gone.etag))
    assert lake.side.keys() == set()


def test_overwrite_takes_whatever_stands_there(lake: Lake) -> None:
    """Overwriting works with and without an object."""
    lake.store.put("a", b"1", mode=Overwrite())
    lake.store.put("a", b"22", mode=Overwrite())
    assert lake.side.read("a") == b"22"


def _together(number: int, action: Callable[[int], str]) -> list[str]:
    """Run ``action`` in that many threads at once; returns the kinds of error, '' for success."""
    barrier = Barrier(number)

    def run(index: int) -> str:
        barrier.wait()
        try:
            return action(index)
        except StoreError as error:
            return error.kind

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


def test_a_race_to_create_has_one_winner(lake: Lake) -> None:
    """Of many writers that create the same object at once, one succeeds, and its bytes stand there."""
    for round_ in range(5):
        key = f"race/{round_}"

        def create(index: int, key: str = key) -> str:
            lake.store.put(key, f"writer {index}".encode(), mode=CreateOnly())
            return ""

        results = _together(6, create)
        assert results.count("") == 1
        assert results.count("already_exists") == 5
        assert lake.side.read(key) == f"writer {results.index('')}".encode()


def test_a_race_to_replace_has_one_winner(lake: Lake) -> None:
    """Of many writers that replace the same version at once, one succeeds, and its bytes stand there."""
    etag = lake.store.put("race", b"start", mode=CreateOnly()).etag
    for _ in range(5):

        def replace(index: int, etag: str = etag) -> str:
            lake.store.put("race", f"writer {index} after {etag}".encode(), mode=IfMatch(etag))
            return ""

        results = _together(6, replace)
        assert results.count("") == 1
        assert results.count("precondition_failed") == 5
        assert lake.side.read("race") == f"writer {results.index('')} after {etag}".encode()
        etag = lake.store.head("race").etag


def test_no_increment_is_lost(lake: Lake) -> None:
    """A counter that is read and replaced under its ETag by many writers counts every one of them."""
    lake.store.put("counter", b"0", mode=CreateOnly())

    def increment(_: int) -> str:
        while True:
            body, meta = lake.store.get("counter")
            try:
                lake.store.put("counter", str(int(body) + 1).encode(), mode=IfMatch(meta.etag))
            except PreconditionFailedError:
                continue
            return ""

    assert _together(4, lambda index: "".join(increment(index) for _ in range(3))) == [""] * 4
    assert lake.side.read("counter") == b"12"


# Reading one version ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, None, b"0123456789"), (3, None, b"3456789"), (3, 5, b"34"), (8, 99, b"89"), (0, 0, b""), (5, 5, b""),
     (7, 3, b""), (10, None, b""), (12, 20, b""), (0, 1, b"0"), (9, 10, b"9")],
)  # fmt: skip
def test_ranges(lake: Lake, start: int, end: int | None, expected: bytes) -> None:
    """A stream holds the bytes from start to before end, cut at the end of the object."""
    lake.store.put("a", b"0123456789", mode=CreateOnly())
    with lake.store.open("a", start=start, end=end) as stream:
        assert stream.read() == expected


def test_an_empty_object_can_be_read(lake: Lake) -> None:
    """Nothing is read from an empty object, whole or by range."""
    lake.store.put("empty", b"", mode=CreateOnly())
    assert lake.store.get("empty")[0] == b""
    for start in (0, 3):
        with lake.store.open("empty", start=start) as stream:
            assert stream.read() == b""


def test_streams_are_read_in_any_steps(lake: Lake) -> None:
    """A stream can be read by lines, by steps and to the end, and is at its end then."""
    body = b"".join(b"line %d\n" % number for number in range(100_000))
    lake.store.put("lines", body, mode=CreateOnly())
    with lake.store.open("lines") as stream:
        first = stream.readline()
        step = stream.read(1_000)
        rest = stream.read()
        assert first + step + rest == body
        assert stream.read(10) == b""
    with lake.store.open("lines", start=7) as stream:
        assert sum(1 for _ in stream) == 99_999  # the first line, which is 7 bytes long, was left out


def test_reads_can_be_pinned(lake: Lake) -> None:
    """A read that names an ETag gets that version or fails."""
    old = lake.store.put("a", b"old", mode=CreateOnly())
    new = lake.store.put("a", b"new", mode=Overwrite())
    assert lake.store.get("a", etag=new.etag) == (b"new", lake.store.get("a")[1])
    with lake.store.open("a", etag=new.etag, start=1) as stream:
        assert stream.read() == b"ew"
    for read in (lake.store.get, lake.store.open):
        with pytest.raises(PreconditionFailedError):
            read("a", etag=old.etag)
    with pytest.raises(PreconditionFailedError):
        lake.store.open("a", etag=old.etag, start=5, end=5)
    with pytest.raises(PreconditionFailedError):
        lake.store.open("a", etag=old.etag, start=50)


def test_a_stream_never_mixes_versions(lake: Lake) -> None:
    """An object that is replaced while it is being read comes from the version it was opened with, or fails."""
    lake.store.put("big", b"a" * 2_000_000, mode=CreateOnly())
    with lake.store.open("big") as stream:
        read = stream.read(10)
        lake.store.put("big", b"b" * 2_000_000, mode=Overwrite())
        try:
            read += stream.read()
        except PreconditionFailedError:
            pass
        else:
            assert len(read) == 2_000_000
        assert set(read) == {ord("a")}


def test_readers_see_whole_versions_only(lake: Lake) -> None:
    """While an object is replaced again and again, each read sees one version from front to back."""
    lake.store.put("whole", b"0" * 50_000, mode=CreateOnly())

    def act(index: int) -> str:
        for round_ in range(8):
            if index == 0:
                lake.store.put("whole", str(round_ % 10).encode() * 50_000, mode=Overwrite())
            else:
                body, meta = lake.store.get("whole")
                assert len(body) == meta.size == 50_000
                assert len(set(body)) == 1
        return ""

    assert _together(3, act) == [""] * 3


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

    assert _together(4, act) == [""] * 4
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
