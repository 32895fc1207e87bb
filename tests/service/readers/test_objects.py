from __future__ import annotations

import bz2
import gzip
import json
import random
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import RecordHintType, RecordParseHint
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError, StoreError
from datalake_service.readers.blocks import Position
from datalake_service.readers.objects import ObjectReader, RecordBatch
from datalake_service.readers.streams import READ_BYTES
from datalake_service.storage.base import Overwrite
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.s3 import S3Store
from tests.support.servers import S3Server

HINTS = (
    RecordParseHint(RecordHintType.PATTERN, b'{"ts"'),
    RecordParseHint(RecordHintType.PATTERN, b"}\n"),
)
PACKS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".zst": zstandard.compress,
    ".bz2": bz2.compress,
}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A folder of input files."""
    return FolderStore(tmp_path, durable=False)


def put(store: FolderStore, key: str, data: bytes) -> None:
    """Put an input file there."""
    store.put(key, data, mode=Overwrite())


def reader(store: FolderStore, key: str, position: Position | None = None) -> ObjectReader:
    """A reader of the current version."""
    return ObjectReader(store, store.head(key), HINTS, source=key, position=position)


class Read:
    """Everything that came out of an object."""

    def __init__(self, reader: ObjectReader) -> None:
        self.batches = list(reader.batches())
        self.records = [record for batch in self.batches for record in batch.records]
        self.rejections = [rejection for batch in self.batches for rejection in batch.rejections]
        self.notes = reader.notes
        self.skipped = reader.skipped
        assert reader.records == len(self.records) + len(self.rejections)


def log(seed: int, count: int) -> list[bytes]:
    """Records, with noise between them."""
    rng = random.Random(seed)
    return [
        (b"# noise\n" if rng.random() < 0.1 else b"")
        + json.dumps({"ts": i, "text": rng.randbytes(rng.randint(0, 120)).hex()}).encode()
        + b"\n"
        for i in range(count)
    ]


def expected(lines: list[bytes]) -> list[tuple[int, bytes]]:
    """Offsets and records of such a log."""
    records, offset = [], 0
    for line in lines:
        noise = line.index(b"{")
        records.append((offset + noise, line[noise:]))
        offset += len(line)
    return records


@pytest.mark.parametrize("suffix", PACKS)
def test_records_come_with_their_offsets(store: FolderStore, suffix: str) -> None:
    """Whatever the compression; offsets count decompressed bytes."""
    lines = log(1, 20_000)
    put(store, f"logs/a.log{suffix}", PACKS[suffix](b"".join(lines)))
    read = Read(reader(store, f"logs/a.log{suffix}"))
    assert read.records == expected(lines)
    assert (read.rejections, read.notes) == ([], [])
    assert read.skipped == 8 * sum(line.startswith(b"#") for line in lines)
    assert len(read.batches) > 1


def test_an_empty_file_has_no_records(store: FolderStore) -> None:
    """It is not an error, whatever its name says."""
    for key in ("a.log", "a.log.gz"):
        put(store, key, b"")
        read = Read(reader(store, key))
        assert (read.records, read.rejections, read.notes) == ([], [], [])


def test_a_file_without_any_record_says_so(store: FolderStore) -> None:
    """The wrong handler for a file must not look like success."""
    put(store, "a.log", b"no record here\n")
    read = Read(reader(store, "a.log"))
    assert (read.records, read.rejections) == ([], [])
    assert read.notes == ["a.log: no record in 15 bytes: the start pattern does not occur"]
    assert read.skipped == 15


def test_a_missing_object_is_a_clear_error(store: FolderStore) -> None:
    """The task that names it fails; the error has the key."""
    with pytest.raises(ObjectNotFoundError, match=r"none\.log"):
        reader(store, "none.log")


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_a_truncated_archive_yields_its_records_and_one_rejection(store: FolderStore, suffix: str) -> None:
    """The record that was cut is not passed off as a record: its bytes are in the rejection."""
    lines = log(2, 20_000)
    packed = PACKS[suffix](b"".join(lines))
    put(store, f"a.log{suffix}", packed[: len(packed) * 2 // 3])
    read = Read(reader(store, f"a.log{suffix}"))
    assert read.records == expected(lines)[: len(read.records)]
    assert len(read.records) > 5000
    (rejection,) = read.rejections
    assert rejection.kind is RejectionKind.READ
    assert "cut off" in rejection.message
    assert read.notes == [f"a.log{suffix}: {rejection.message}"]
    fragment = rejection.data or b""
    start = int(rejection.start_offset or -1)
    assert b"".join(lines)[start : start + len(fragment)] == fragment
    for batch in read.batches:
        rest = Read(reader(store, f"a.log{suffix}", batch.position))
        assert rest.records == read.records[len(read.records) - len(rest.records) :]
        assert [again.message for again in rest.rejections] == [rejection.message]
    # Nothing is lost between the last record and the fragment but what is outside records.
    assert b'{"ts"' not in b"".join(lines)[sum(map(len, read.records[-1][1:])) + read.records[-1][0] : start]


def test_a_file_cut_at_every_byte_loses_nothing_that_is_whole(store: FolderStore) -> None:
    """For each length of a small archive of three members: whole records in order, then at most one rejection."""
    lines = log(3, 12)
    packed = [PACKS[".gz"](b"".join(lines[i : i + 4])) for i in (0, 4, 8)]
    whole, wanted, longest = b"".join(packed), expected(lines), 0
    ends = {0, len(packed[0]), len(packed[0]) + len(packed[1]), len(whole)}
    for cut in range(len(whole) + 1):
        put(store, "a.gz", whole[:cut])
        read = Read(reader(store, "a.gz"))
        assert read.records == wanted[: len(read.records)]
        assert len(read.records) >= longest
        longest = len(read.records)
        assert len(read.rejections) == (0 if cut in ends else 1), cut
    assert longest == len(wanted)


def test_a_file_that_is_not_what_its_suffix_says(store: FolderStore) -> None:
    """Read as what it is, with a note; or, if it is nothing that can be read, rejected once."""
    lines = log(4, 10)
    put(store, "plain.gz", b"".join(lines))
    put(store, "packed.log", gzip.compress(b"".join(lines)))
    put(store, "binary.gz", bytes(range(256)) * 10)
    plain, packed, binary = (Read(reader(store, key)) for key in ("plain.gz", "packed.log", "binary.gz"))
    assert plain.records == packed.records == expected(lines)
    assert plain.notes == ["plain.gz: named .gz, but holds text; read as it is"]
    assert packed.notes == ["packed.log: its name does not say that it holds gzip data; decompressed"]
    assert (binary.records, len(binary.rejections)) == ([], 1)
    assert "neither gzip data nor text" in binary.rejections[0].message


def test_a_record_beyond_the_limit_is_rejected(store: FolderStore) -> None:
    """Its beginning is kept, and the records around it are read."""
    lines = [b'{"ts": 1}\n', b'{"ts": "' + b"x" * 5000 + b'"}\n', b'{"ts": 3}\n']
    put(store, "a.log", b"".join(lines))
    limited = ObjectReader(store, store.head("a.log"), HINTS, source="a.log", max_record_bytes=1000)
    read = Read(limited)
    assert [record for _, record in read.records] == [lines[0], lines[2]]
    (rejection,) = read.rejections
    assert (rejection.start_offset, rejection.end_offset) == ("10", str(10 + len(lines[1])))
    assert rejection.data == lines[1][:1000]
    assert [len(batch.records) for batch in read.batches] == [1, 0, 1]  # in the order of the file
    for number, batch in enumerate(read.batches):
        rest = ObjectReader(
            store, store.head("a.log"), HINTS, source="a.log", position=batch.position, max_record_bytes=1000
        )
        again = Read(rest)
        assert again.records == [record for later in read.batches[number + 1 :] for record in later.records]
        assert len(again.rejections) == (1 if number == 0 else 0)


def members(lines: list[bytes], cuts: list[int], suffix: str) -> bytes:
    """The log packed as several members, cut anywhere, in the middle of records too."""
    data = b"".join(lines)
    edges = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return b"".join(PACKS[suffix](data[a:b]) for a, b in pairwise(edges))


@pytest.fixture(scope="module")
def shared() -> Iterator[FolderStore]:
    """A folder for examples that Hypothesis draws."""
    with TemporaryDirectory() as folder:
        yield FolderStore(folder, durable=False)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(PACKS)), st.integers(0, 99), st.lists(st.integers(0, 2**30), max_size=8), st.data())
def test_reading_goes_on_after_any_record(
    shared: FolderStore, suffix: str, seed: int, cuts: list[int], data: st.DataObject
) -> None:
    """A position after each record of each batch, through its JSON form: the rest is read, nothing twice."""
    lines = log(seed, 9000)
    put(shared, f"a{suffix}", members(lines, cuts, suffix))
    wanted = expected(lines)
    batches = Read(reader(shared, f"a{suffix}")).batches
    batch = data.draw(st.sampled_from(batches))
    index = data.draw(st.integers(0, len(batch.records) - 1))
    done = wanted.index(batch.records[index]) + 1
    position = Position.from_json(json.loads(json.dumps(batch.position_after(index).to_json())))
    assert Read(reader(shared, f"a{suffix}", position)).records == wanted[done:]


def test_reading_goes_on_before_an_end_that_is_the_next_start(store: FolderStore) -> None:
    """For state-machine parsers: the end pattern is in both records, also in those that are too large."""
    hint = RecordParseHint(RecordHintType.PATTERN, b"HEAD\n")
    bodies = [b"a", b"bb", b"", b"c" * 50, b"d"]
    put(store, "a", b"".join(b"HEAD\n" + body for body in bodies))

    def read(position: Position | None) -> Read:
        meta = store.head("a")
        options: dict[str, Any] = {"end_is_next_start": True, "max_record_bytes": 40}
        return Read(ObjectReader(store, meta, (hint, hint), source="a", position=position, **options))

    whole = read(None)
    assert [record for _, record in whole.records] == [
        b"HEAD\naHEAD\n",
        b"HEAD\nbbHEAD\n",
        b"HEAD\nHEAD\n",
        b"HEAD\nd",
    ]
    assert len(whole.rejections) == 1
    for batch in whole.batches:
        positions = [batch.position_after(index) for index in range(len(batch.records))] or [batch.position]
        for index, position in enumerate(positions):
            done = whole.records.index(batch.records[index]) + 1 if batch.records else 3
            rest = read(position)
            assert rest.records == whole.records[done:]
            assert len(rest.rejections) == int(done <= 3 and bool(batch.records))


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ""])
def test_reading_goes_on_inside_the_file(store: FolderStore, suffix: str) -> None:
    """A position near the end begins near the end: in a plain file at it, else at the member before it."""
    lines = log(5, 40_000)
    packed = members(lines, list(range(0, sum(map(len, lines)), 300_000)), suffix)
    put(store, f"a{suffix}", packed)
    batch = Read(reader(store, f"a{suffix}")).batches[-2]
    assert batch.position.entry.at > len(packed) // 2
    assert batch.position.offset - batch.position.entry.offset < 800_000


def test_objects_are_read_from_a_bucket(s3_server: S3Server) -> None:
    """Streamed in several requests' worth, resumed at a member, and pinned to the version."""
    lines = log(11, 30_000)
    store = S3Store(s3_server.make_bucket(), **s3_server.options)
    packed = members(lines, list(range(0, sum(map(len, lines)), 400_000)), ".gz")
    assert len(packed) > 2 * READ_BYTES
    store.put("logs/a.gz", packed, mode=Overwrite())
    read = Read(ObjectReader(store, store.head("logs/a.gz"), HINTS, source="a"))
    assert read.records == expected(lines)
    batch = read.batches[len(read.batches) // 2]
    rest = Read(ObjectReader(store, store.head("logs/a.gz"), HINTS, source="a", position=batch.position))
    assert rest.records == read.records[read.records.index(batch.records[-1]) + 1 :]
    planned = store.head("logs/a.gz")
    store.put("logs/a.gz", packed[::-1], mode=Overwrite())
    with pytest.raises(PreconditionFailedError):
        list(ObjectReader(store, planned, HINTS, source="a").batches())


def test_an_object_that_changed_is_not_mixed_with_its_older_version(store: FolderStore) -> None:
    """Every request is pinned to the version that was planned with."""
    put(store, "a.log", b"".join(log(6, 10)))
    before = reader(store, "a.log")
    put(store, "a.log", b"".join(log(7, 10)))
    with pytest.raises(PreconditionFailedError):
        list(before.batches())


@pytest.mark.parametrize("data", [None, [], {}, {"offset": "1"}, {"offset": "x", "entryAt": "0", "entryOffset": "0"}])
def test_a_checkpoint_of_something_else_is_refused(data: object) -> None:
    """It says that it is none of a file, instead of reading from a wrong place."""
    with pytest.raises(StoreError, match="reset the task"):
        Position.from_json(data)


def test_leaving_early_closes_the_object(store: FolderStore) -> None:
    """A consumer that stops leaves no thread and no open file behind (warnings are errors here)."""
    put(store, "a.log", b"".join(log(8, 20_000)))
    batches = reader(store, "a.log").batches()
    assert next(batches).records
    assert isinstance(batches, Iterator)
    batches.close()  # type: ignore[attr-defined]  # it is a generator


class Broken(FolderStore):
    """A folder whose files cannot be read to their end."""

    def open(self, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None) -> Any:
        stream = super().open(key, start=start, end=end, etag=etag)
        real, reads = stream.read, iter(range(2))

        class Failing:
            def read(self, size: int) -> bytes:
                if next(reads, None) is None:
                    raise StoreError("the network is gone")
                return real(size)

            close = stream.close

        return Failing()


def test_an_error_of_the_store_is_no_bad_data(tmp_path: Path) -> None:
    """It is raised, so that the task is tried again; nothing is rejected because of it."""
    lines = log(9, 30_000)
    put(FolderStore(tmp_path, durable=False), "a.log", b"".join(lines))
    broken = reader(Broken(tmp_path, durable=False), "a.log")
    batches: list[RecordBatch] = []
    with pytest.raises(StoreError, match="network is gone"):
        batches.extend(broken.batches())
    assert [rejection for batch in batches for rejection in batch.rejections] == list[Rejection]()


def test_memory_stays_flat(store: FolderStore) -> None:
    """An object far larger than what is held: 120 MB out of a small archive."""
    record = b'{"ts": "' + random.Random(1).randbytes(10_000).hex().encode() + b'"}\n'
    count = 120_000_000 // len(record)
    with gzip.open(store.root / "a.gz", "wb", compresslevel=1) as file:
        for _ in range(count):
            file.write(record)
    tracemalloc.start()
    try:
        read = sum(len(batch.records) for batch in reader(store, "a.gz").batches())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert read == count
    assert peak < 12 << 20
