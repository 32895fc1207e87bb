"""What every object store promises to readers: ranges, streams, one version."""

from __future__ import annotations

import pytest

from datalake_service.errors import PreconditionFailedError
from datalake_service.storage import CreateOnly, Overwrite
from tests.support.contract_lakes import Lake, together


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

    assert together(3, act) == [""] * 3
