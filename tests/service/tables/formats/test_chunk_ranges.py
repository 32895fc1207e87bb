from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.layout import ChunkName
from datalake_service.tables.formats.chunk_ranges import holds, with_chunks

NUMBERS = st.sets(st.integers(0, 40))


@given(first=NUMBERS, second=NUMBERS)
def test_what_was_merged_is_held_and_nothing_else(first: set[int], second: set[int]) -> None:
    """In two merges, in any order of numbers; ranges have gaps between them."""
    known = with_chunks({}, [ChunkName("aaaaaa", number) for number in first], runs={"aaaaaa", "bbbbbb"})
    known = with_chunks(known, [ChunkName("aaaaaa", number) for number in second], runs={"aaaaaa"})
    assert {number for number in range(42) if holds(known, ChunkName("aaaaaa", number))} == first | second
    ranges = known.get("aaaaaa", ())
    assert all(end + 1 < start for (_, end), (start, _) in itertools.pairwise(ranges))


def test_runs_without_a_manifest_are_forgotten() -> None:
    """Nobody asks for their chunks any more."""
    known = with_chunks({"aaaaaa": ((0, 3),)}, [ChunkName("bbbbbb", 1)], runs={"bbbbbb"})
    assert known == {"bbbbbb": ((1, 1),)}
