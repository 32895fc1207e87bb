from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalake_interfaces import RecordHintType, RecordParseHint
from datalake_service.readers.framing import Framer, Oversize
from datalake_service.readers.needle import Needle


def pattern(text: bytes | str, encoding: str = "utf-8") -> RecordParseHint:
    """A hint that goes by a pattern."""
    return RecordParseHint(RecordHintType.PATTERN, text, encoding=encoding)


def offset(count: int) -> RecordParseHint:
    """A hint that goes by a number of bytes."""
    return RecordParseHint(RecordHintType.OFFSET, offset=count)


@dataclass
class Read:
    """What came out of some input."""

    records: list[tuple[int, bytes]] = field(default_factory=list)
    oversize: list[tuple[int, int]] = field(default_factory=list)
    skipped: int = 0


def framed(framer: Framer, blocks: list[bytes]) -> Read:
    """Feed blocks as a reader does."""
    read = Read()
    for block in blocks:
        framer.push(block)
        read.records += framer.take()
    last = framer.finish()
    read.records += [last] if last else []
    read.oversize = [(item.start, item.end) for item in framer.oversize]
    read.skipped = framer.skipped
    return read


def first(data: bytes, wanted: bytes, at: int) -> int | None:
    """Where ``wanted`` begins, by looking at every place; no code of the product's."""
    for place in range(at, len(data) - len(wanted) + 1):
        if all(data[place + i] == wanted[i] for i in range(len(wanted))):
            return place
    return None


def oracle(data: bytes, start: RecordParseHint, end: RecordParseHint, *, overlap: bool, limit: int) -> Read:
    """The rules of record extraction, word for word, over the whole input at once."""
    read, inside, position = Read(), set[int](), 0
    while True:
        if start.pattern is None:
            begin = position + (start.offset or 0)
            behind_start = begin + (1 if overlap and start.offset == 0 else 0)
        else:
            place = first(data, start.pattern_bytes, position)
            begin = len(data) if place is None else place
            behind_start = begin + len(start.pattern_bytes)
        if begin >= len(data):
            break
        if end.pattern is None:
            stop: int | None = begin + (end.offset or 0)
            goes_on = stop
            stop = stop if stop is not None and stop <= len(data) else None
        else:
            goes_on = first(data, end.pattern_bytes, behind_start)
            stop = None if goes_on is None else goes_on + len(end.pattern_bytes)
        last = len(data) if stop is None else stop
        inside |= set(range(begin, last))
        if last - begin > limit:
            read.oversize.append((begin, last))
        else:
            read.records.append((begin, data[begin:last]))
        if stop is None or goes_on is None:
            break
        position = goes_on if overlap and end.pattern is not None else stop
    read.skipped = len(data) - len(inside)
    return read


def oracle_of_kinds(data: bytes, kinds: list[tuple[RecordParseHint, RecordParseHint]]) -> list[tuple[int, bytes]]:
    """State-machine reading: kinds of records take turns, and each search begins before the consumed end pattern."""
    records: list[tuple[int, bytes]] = []
    position = 0
    while True:
        start, end = kinds[len(records) % len(kinds)]
        begin: int | None = position + (start.offset or 0)
        behind = (begin or 0) + (1 if start.offset == 0 else 0)
        if start.pattern is not None:
            begin = first(data, start.pattern_bytes, position)
            behind = (begin or 0) + len(start.pattern_bytes)
        if begin is None or begin >= len(data):
            return records
        stop = None
        if end.pattern is None:
            position = begin + (end.offset or 0)
            stop = position if position <= len(data) else None
        else:
            found = first(data, end.pattern_bytes, behind)
            if found is not None:
                position, stop = found, found + len(end.pattern_bytes)
        records.append((begin, data[begin:stop]))
        if stop is None:
            return records


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in blocks, cut at some places."""
    edges = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(edges)] or [b""]


BYTES = st.lists(st.sampled_from([b"a", b"b", b"ab", b"ba", b"aab", b"\n", b"abb", b"a\n"]), max_size=30).map(b"".join)
PATTERNS = st.text("ab\n", min_size=1, max_size=4).map(lambda text: pattern(text.encode()))
STARTS = PATTERNS | st.integers(0, 5).map(offset)
ENDS = PATTERNS | st.integers(1, 7).map(offset)


@settings(max_examples=500, deadline=None)
@given(BYTES, STARTS, ENDS, st.booleans(), st.sampled_from([3, 6, 1000]), st.lists(st.integers(0, 80), max_size=40))
@example(b"abab", pattern(b"ab"), pattern(b"ab"), True, 1000, [1, 2, 3])
@example(b"aaaa", offset(0), pattern(b"a"), True, 1000, [1])
def test_records_are_those_of_the_rules_however_the_input_is_cut(
    data: bytes,
    start: RecordParseHint,
    end: RecordParseHint,
    overlap: bool,
    limit: int,
    places: list[int],
) -> None:
    """Any input, any hints, any block boundaries: records, offsets, skipped bytes and oversize records agree."""
    framer = Framer(start, end, end_is_next_start=overlap, max_record_bytes=limit)
    assert framed(framer, cut(data, places)) == oracle(data, start, end, overlap=overlap, limit=limit)


@settings(max_examples=500, deadline=None)
@given(BYTES, STARTS, ENDS, st.booleans(), st.lists(st.integers(0, 80), max_size=20), st.data())
def test_a_framer_resumes_where_another_left_off(
    data: bytes,
    start: RecordParseHint,
    end: RecordParseHint,
    overlap: bool,
    places: list[int],
    draw: st.DataObject,
) -> None:
    """Reading on from ``resume`` yields exactly the records that were not taken yet."""
    wanted = oracle(data, start, end, overlap=overlap, limit=1000).records
    taken = draw.draw(st.integers(0, len(wanted)))
    framer = Framer(start, end, end_is_next_start=overlap)
    got: list[tuple[int, bytes]] = []
    for block in cut(data, places):
        framer.push(block)
        while len(got) < taken and (some := framer.take(1)):
            got += some
        if len(got) == taken:
            break
    else:
        last = framer.finish()
        got += [last] if last else []
    again = Framer(start, end, offset=framer.resume, end_is_next_start=overlap)
    assert got + framed(again, [data[framer.resume :]]).records == wanted


@settings(max_examples=500, deadline=None)
@given(BYTES, st.lists(st.tuples(STARTS, ENDS), min_size=1, max_size=3), st.lists(st.integers(0, 80), max_size=40))
def test_kinds_of_records_take_turns(
    data: bytes, kinds: list[tuple[RecordParseHint, RecordParseHint]], places: list[int]
) -> None:
    """What a state-machine parser needs: hints that change after each record, and ends that are starts."""
    framer = Framer(*kinds[0], end_is_next_start=True)
    got: list[tuple[int, bytes]] = []
    for block in cut(data, places):
        framer.push(block)
        while some := framer.take(1):
            got += some
            framer.expect(*kinds[len(got) % len(kinds)])
    last = framer.finish()
    got += [last] if last else []
    assert got == oracle_of_kinds(data, kinds)


@pytest.mark.parametrize("limit", [None, 1])
def test_records_hold_both_patterns(limit: int | None) -> None:
    """The rule of the original: a record includes its start and its end pattern; what lies between is skipped."""
    framer = Framer(pattern(b"<"), pattern(b">"))
    framer.push(b"noise<a>more<b>")
    records: list[tuple[int, bytes]] = []
    while some := framer.take(limit):
        records += some
    assert records == [(5, b"<a>"), (12, b"<b>")]
    assert framer.finish() is None
    assert framer.skipped == 9


def test_a_start_inside_a_record_does_not_start_another() -> None:
    """The search for the end goes over it."""
    assert framed(Framer(pattern(b"<"), pattern(b">")), [b"<a<b>c>"]).records == [(0, b"<a<b>")]


def test_the_end_of_the_input_closes_the_last_record() -> None:
    """A last record without its end pattern is a record."""
    assert framed(Framer(pattern(b"<"), pattern(b">")), [b"<a><b"]).records == [(0, b"<a>"), (3, b"<b")]


def test_equal_patterns_search_the_end_behind_the_start() -> None:
    """Else every record would be the pattern alone; plain reading goes on behind the end."""
    framer = Framer(pattern(b"--"), pattern(b"--"))
    assert framed(framer, [b"--a--b--c--"]).records == [(0, b"--a--"), (6, b"--c--")]


def test_an_end_can_be_the_next_start() -> None:
    """State-machine reading goes on before the end pattern, which is in both records."""
    framer = Framer(pattern(b"--"), pattern(b"--"), end_is_next_start=True)
    assert framed(framer, [b"--a--b", b"--c"]).records == [(0, b"--a--"), (3, b"--b--"), (6, b"--c")]


def test_offsets_make_fixed_records() -> None:
    """A start of N is N bytes behind the last end; an end of N is N bytes behind the record's own start."""
    assert framed(Framer(offset(0), offset(3)), [b"aaabb", b"bcc"]).records == [(0, b"aaa"), (3, b"bbb"), (6, b"cc")]
    assert framed(Framer(offset(2), offset(3)), [b"--aaa--bbb--"]).records == [(2, b"aaa"), (7, b"bbb")]


def test_an_empty_record_is_refused() -> None:
    """An end of 0 would yield records for ever."""
    with pytest.raises(ValueError, match="1 or more"):
        Framer(offset(0), offset(0))


def test_records_are_bytes_of_any_encoding() -> None:
    """Patterns in the file's encoding, contents untouched."""
    text = "\n{größe: 1}\n{größe: 2}\n".encode("utf-16-le")
    framer = Framer(pattern("{", "utf-16-le"), pattern("}\n", "utf-16-le"))
    assert [record.decode("utf-16-le") for _, record in framed(framer, cut(text, list(range(0, 60, 3)))).records] == [
        "{größe: 1}\n",
        "{größe: 2}\n",
    ]


def test_another_kind_of_record_can_be_expected_next() -> None:
    """What a state-machine parser needs: hints that depend on the record before."""
    framer = Framer(pattern(b"H"), pattern(b"\n"))
    framer.push(b"H1\nB2;H3\nB4;")
    records: list[tuple[int, bytes]] = []
    hints = [(pattern(b"B"), pattern(b";")), (pattern(b"H"), pattern(b"\n"))]
    while some := framer.take(1):
        framer.expect(*hints[len(records) % 2])
        records += some
    assert [record for _, record in records] == [b"H1\n", b"B2;", b"H3\n", b"B4;"]


def test_an_endless_record_does_not_eat_the_memory() -> None:
    """A record beyond the limit is dropped as it comes in, reported with its offsets, and reading goes on behind it."""
    framer = Framer(pattern(b"<"), pattern(b">"), max_record_bytes=1000)
    framer.push(b"<first>")
    records = framer.take()
    framer.push(b"-<" + b"x" * 500)
    for _ in range(10_000):
        assert framer.take() == []
        framer.push(b"y" * 1000)
    assert sum(len(piece) for piece in framer._pieces or []) <= 2000
    framer.push(b"") if framer.take() else None
    framer.push(b">-<last>")
    assert [*records, *framer.take()] == [(0, b"<first>"), (8 + 1 + 500 + 10_000_000 + 2, b"<last>")]
    assert [(item.start, item.end) for item in framer.oversize] == [(8, 8 + 1 + 500 + 10_000_000 + 1)]
    assert framer.oversize[0].head == b"<" + b"x" * 500 + b"y" * 499


def test_an_endless_last_record_is_reported_at_the_end() -> None:
    """The end of the input closes it, and it is still too large."""
    framer = Framer(pattern(b"<"), pattern(b">"), max_record_bytes=4)
    framer.push(b"<12345")
    assert framer.take() == []
    assert framer.finish() is None
    assert framer.oversize == [Oversize(0, 6, b"<123")]


@pytest.mark.parametrize("block", [b"noise", b"<<open", b"a part of a start <", b"<<a part of an end>"])
def test_taking_again_takes_nothing(block: bytes) -> None:
    """Whatever it waits for, and without losing it."""
    framer = Framer(pattern(b"<<"), pattern(b">>"))
    framer.push(block)
    assert framer.take() == framer.take() == []
    framer.push(b"<<b>>")
    assert len(framer.take()) == 1
    assert framer.take() == []


def test_a_block_has_to_be_used_up() -> None:
    """A caller that would lose bytes is stopped."""
    framer = Framer(pattern(b"<"), pattern(b">"))
    framer.push(b"<a><b>")
    framer.take(1)
    with pytest.raises(RuntimeError, match="not used up"):
        framer.push(b"<c>")


class Counting(bytes):
    """A block that counts the bytes that are searched in it."""

    searched = 0

    def find(self, *arguments: Any) -> int:
        found = super().find(*arguments)
        at = arguments[1] if len(arguments) > 1 else 0
        assert isinstance(at, int)
        Counting.searched += (len(self) if found < 0 else found) - at
        return found


def test_every_byte_is_searched_about_once() -> None:
    """A record over many blocks costs as much for each byte as one in a single block: no search starts again."""
    blocks = [Counting(b"<" + b"x" * 999)] + [Counting(b"x" * 1000) for _ in range(999)] + [Counting(b"x" * 999 + b">")]
    Counting.searched = 0
    assert len(framed(Framer(pattern(b"<a"), pattern(b"xy>")), [Counting(b"<a" + b"x" * 998), *blocks]).records) == 1
    assert Counting.searched < 1.1 * 1_002_000


@given(st.binary(max_size=200), st.binary(min_size=1, max_size=3), st.integers(0, 220))
def test_a_needle_finds_what_bytes_find_finds(data: bytes, wanted: bytes, at: int) -> None:
    """The rare byte is a way to be fast, never another result."""
    assert Needle(wanted).find(data, at) == data.find(wanted, at)


def test_a_needle_whose_rare_byte_turns_frequent_still_finds() -> None:
    """The guess was made on other data."""
    needle = Needle(b"ab")
    assert needle.find(b"b" * 100) == -1  # so "a" is the rare one
    assert needle.find(b"a" * 100 + b"b") == 99
