from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_interfaces import RecordHintType, RecordParseHint
from datalake_service.catalog.rejections import Rejection
from datalake_service.errors import ObjectNotFoundError, PreconditionFailedError
from datalake_service.readers.blocks import Position
from datalake_service.readers.records import ObjectRecords
from datalake_service.storage import FolderStore, Overwrite

Hints = tuple[RecordParseHint, RecordParseHint]

KINDS: dict[str, Hints] = {
    "word": (RecordParseHint(RecordHintType.PATTERN, "<"), RecordParseHint(RecordHintType.PATTERN, ">")),
    "tag": (RecordParseHint(RecordHintType.PATTERN, "ab"), RecordParseHint(RecordHintType.PATTERN, "ba")),
    "three": (RecordParseHint(RecordHintType.OFFSET, offset=0), RecordParseHint(RecordHintType.OFFSET, offset=3)),
    "late": (RecordParseHint(RecordHintType.OFFSET, offset=2), RecordParseHint(RecordHintType.PATTERN, "a")),
}


def oracle(data: bytes, kinds: list[str], *, shared: bool) -> list[tuple[int, bytes, int]]:
    """The rules of 003, said plainly over a whole: offset, bytes, and where the search goes on."""
    found, at = [], 0
    for kind in kinds:
        start, end = KINDS[kind]
        by_pattern = start.pattern is not None
        begin = data.find(start.pattern_bytes, at) if by_pattern else at + (start.offset or 0)
        if begin < 0 or begin >= len(data):
            break
        lead = len(start.pattern_bytes) if by_pattern else int(shared and not start.offset)
        if end.pattern is None:
            stop = after = min(len(data), begin + (end.offset or 0))
        else:
            hit = data.find(end.pattern_bytes, begin + lead)
            stop = hit + len(end.pattern_bytes) if hit >= 0 else len(data)
            after = hit if shared and hit >= 0 else stop
        found.append((begin, data[begin:stop], after))
        at = after
    return found


def open_records(
    folder: Path, content: bytes, *, shared: bool, position: Position | None = None, most: int = 1 << 20
) -> ObjectRecords:
    """A reader for a file with the content."""
    store = FolderStore(folder, durable=False)
    if not (folder / "f").exists():
        (folder / "f").write_bytes(content)
    return ObjectRecords(
        store, store.head("f"), source="f", position=position, end_is_next_start=shared, max_record_bytes=most
    )


texts = st.text(alphabet="ab<>x", max_size=60).map(str.encode)
cycles = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(texts, cycles, st.booleans(), st.integers(1, 20), st.integers(0, 12))
def test_each_record_is_found_as_its_kind_says(
    data: bytes, kinds: list[str], shared: object, member: int, resumed_after: int
) -> None:
    """Whatever the kinds, however the file is cut into members, and wherever reading goes on."""
    packed = b"".join(gzip.compress(data[at : at + member], 1) for at in range(0, len(data), member))
    shared = shared is True
    expected = oracle(data, kinds, shared=shared)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        reader = open_records(folder, packed, shared=shared)
        for number, kind in enumerate(kinds):
            if number == resumed_after:
                position = reader.position(reader.offset)
                position = position and Position.from_json(position.to_json())
                reader.close()
                reader = open_records(folder, packed, shared=shared, position=position)
            found = reader.next(*KINDS[kind])
            assert not isinstance(found, Rejection)
            if number >= len(expected):
                assert found is None
                break
            assert (*(found or ()), reader.offset) == expected[number]
        reader.close()


def test_the_same_hints_may_come_again_as_other_objects(tmp_path: Path) -> None:
    """Parsers make new ones for each record."""
    reader = open_records(tmp_path, b"<a><b>" * 500, shared=False)
    hints = KINDS["word"]
    for number in range(1000):
        hints = (
            RecordParseHint(RecordHintType.PATTERN, b"<"),
            RecordParseHint(RecordHintType.PATTERN, f"{'ab'[number % 2]}>"),
        )
        assert reader.next(*hints) == (3 * number, b"<a>" if number % 2 == 0 else b"<b>")
    assert reader.next(*hints) is None


def test_hints_that_cannot_work_leave_no_trace(tmp_path: Path) -> None:
    """What is asked for next is looked for."""
    reader = open_records(tmp_path, b"<a><b>", shared=False)
    start, end = KINDS["word"]
    assert reader.next(start, end) == (0, b"<a>")
    other = RecordParseHint(RecordHintType.PATTERN, "<")
    with pytest.raises(ValueError, match="OFFSET of 0"):
        reader.next(other, RecordParseHint(RecordHintType.OFFSET, offset=0))
    assert reader.next(other, end) == (3, b"<b>")


def test_a_record_that_is_too_large_is_told_once(tmp_path: Path) -> None:
    """And what follows is found."""
    content = b"<" + b"x" * 300_000 + b"><b>" + b"<" + b"y" * 300_000
    reader = open_records(tmp_path, content, shared=False, most=1000)
    first = reader.next(*KINDS["word"])
    assert isinstance(first, Rejection)
    assert (first.start_offset, first.end_offset, reader.damaged) == ("0", "300002", False)
    assert reader.next(*KINDS["word"]) == (300_002, b"<b>")
    last = reader.next(*KINDS["word"])
    assert isinstance(last, Rejection)
    assert last.start_offset == "300005"
    assert reader.next(*KINDS["word"]) is None
    assert reader.notes == []


@pytest.mark.parametrize("cut", [12, 40, 60])
def test_damage_comes_once_and_is_the_end(tmp_path: Path, cut: int) -> None:
    """With the fragment of the record that was open."""
    packed = gzip.compress(b"<one>", 1) + gzip.compress(b"<two><three>" + bytes(range(97, 123)), 1)
    reader = open_records(tmp_path, packed[:cut], shared=False)
    found = []
    while not isinstance(item := reader.next(*KINDS["word"]), Rejection):
        found.append(item)
        assert len(found) < 5
    assert reader.damaged
    assert item.message.startswith("cut off: the gzip data ends at byte ")
    assert reader.notes == ["f: its name does not say that it holds gzip data; decompressed", f"f: {item.message}"]
    assert reader.next(*KINDS["word"]) is None
    assert reader.next(*KINDS["word"]) is None


def test_a_note_says_that_there_was_no_record(tmp_path: Path) -> None:
    """Once, however often is asked."""
    reader = open_records(tmp_path, b"nothing", shared=False)
    assert reader.next(*KINDS["word"]) is None
    assert reader.next(*KINDS["word"]) is None
    assert reader.notes == ["f: no record in 7 bytes: the start pattern does not occur"]


def test_another_version_is_not_read(tmp_path: Path) -> None:
    """Reading is pinned to the version that was looked at."""
    reader = open_records(tmp_path, b"<a>", shared=False)
    store = FolderStore(tmp_path, durable=False)
    store.put("f", b"<b>", mode=Overwrite())
    with pytest.raises(PreconditionFailedError):
        reader.next(*KINDS["word"])
    gone = open_records(tmp_path, b"", shared=False)
    store.delete("f")
    with pytest.raises((ObjectNotFoundError, PreconditionFailedError)):
        gone.next(*KINDS["word"])
