"""Parts of batches: they cover every row once, whatever version of the batch a worker knows."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog import layout
from datalake_service.catalog.parts import Part, parts_of

ROWS = st.integers(min_value=0, max_value=20_000_000)


@given(ROWS)
def test_every_row_is_in_one_part(rows: int) -> None:
    """They follow each other from the first row on, and the last one is the first that reaches the end."""
    parts = parts_of("b", rows)
    assert parts[0].first == 0
    assert all(one.end == other.first for one, other in itertools.pairwise(parts))
    ends = [part.end or 0 for part in parts]
    assert ends[-1] >= rows
    assert all(end < rows for end in ends[:-1])
    assert [part.number for part in parts] == list(range(len(parts)))


@given(ROWS, ROWS)
def test_more_rows_change_nothing_about_the_parts_before(some: int, more: int) -> None:
    """A worker that planned with an older version claims no row of another part."""
    fewer, many = sorted((parts_of("b", some), parts_of("b", more)), key=len)
    assert many[: len(fewer)] == fewer


def test_small_batches_are_one_part_and_big_ones_are_balanced() -> None:
    """As the guide says."""
    assert [len(parts_of("b", rows)) for rows in (0, 1, 1_000, 1_001)] == [1, 1, 1, 2]
    for rows, count, share in ((100_000, 22, 0.07), (1_000_000, 100, 0.015), (10_000_000, 465, 0.0033)):
        parts = parts_of("b", rows)
        assert len(parts) == count
        assert max((part.end or 0) - part.first for part in parts) <= share * rows


def test_the_claim_of_a_part_has_a_key_of_its_own() -> None:
    """Beside that of its batch, which is that of the first part; a batch is never taken for a part of another one."""
    names = [part.name for part in (*parts_of("b", 5_000), *parts_of("b.1", 1), *parts_of("b-1", 1))]
    keys = [layout.claim_key("d", "a", name) for name in names]
    assert len(set(keys)) == len(keys)
    prefix = layout.claims_prefix("d", "a")
    assert [layout.parse_claim(key.removeprefix(prefix)) for key in keys] == names
    assert (Part("b").name, Part("b", 3).name) == ("b", "b/3")
