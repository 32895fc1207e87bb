from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog.annotations import DONE, FAILED, SKIPPED
from datalake_service.errors import MergeError
from datalake_service.tables.verdicts.bits import Bits
from datalake_service.tables.verdicts.collisions import Collisions
from datalake_service.tables.verdicts.dedup import Dedup, MemoryDedup
from datalake_service.tables.verdicts.dedup_spooled import SpooledDedup
from datalake_service.tables.verdicts.digests import as_array, digest_texts
from datalake_service.tables.verdicts.spool import Spool, sorted_groups
from datalake_service.tables.verdicts.winners import Winners

IDS = st.sampled_from([f"id{number}" for number in range(8)])
KEYS = st.sampled_from([None, "a", "b", "c", 1, 1.0])
BLOCKS = st.lists(st.lists(st.tuples(IDS, KEYS, KEYS), max_size=6), max_size=8)

Rows = list[tuple[str, Any, Any]]


def model(rows: Rows, *, keyed: bool) -> tuple[list[str], int]:
    """What becomes of each row, and how many stay without a key."""
    ids, keys, fates, all_null = set(), set(), [], 0
    for row_id, *key in rows:
        if row_id in ids:
            fates.append("repeated")
            continue
        ids.add(row_id)
        if not keyed:
            fates.append("stays")
        elif key == [None, None]:
            fates.append("stays")
            all_null += 1
        elif tuple(key) in keys:
            fates.append("duplicate")
        else:
            keys.add(tuple(key))
            fates.append("stays")
    return fates, all_null


def judged(dedup: Dedup, blocks: list[Rows], *, keyed: bool) -> tuple[list[str], int, list[int], list[bool]]:
    """The verdicts on all blocks: fates, rows without a key, first positions, shared rows."""
    fates: list[str] = []
    shared: list[bool] = []
    first: list[int] = []
    all_null = start = 0
    for block in blocks:
        verdict = dedup.judge(start, [row[0] for row in block], columns(block) if keyed else None)
        for repeated, duplicate in zip(verdict.repeated, verdict.duplicate, strict=True):
            fates.append("repeated" if repeated else "duplicate" if duplicate else "stays")
        stays = [fate == "stays" for fate in fates[start:]]
        assert (verdict.keep.tolist() if verdict.keep is not None else [True] * len(block)) == stays
        shared += verdict.shared.tolist()
        first += verdict.first.tolist()
        all_null += verdict.all_null
        start += len(block)
    return fates, all_null, first, shared


def columns(block: Rows) -> Any:
    """The dedup columns of a block, on demand."""
    return lambda: [[row[1] for row in block], [row[2] for row in block]]


@given(BLOCKS, st.booleans(), st.integers(1, 200))
def test_both_ways_of_deciding_agree_with_the_model(
    blocks: list[Rows],
    keyed: bool,
    partition_bytes: int,
) -> None:
    """In memory or over local disk, however the rows are cut into blocks."""
    rows = [row for block in blocks for row in block]
    expected = model(rows, keyed=keyed)
    in_memory = judged(MemoryDedup(len(rows), keyed=keyed), blocks, keyed=keyed)
    assert in_memory[:2] == expected
    seen = dict[str, int]()
    firsts = [seen.setdefault(row[0], number) for number, row in enumerate(rows)]
    assert in_memory[2] == [first for number, first in enumerate(firsts) if first != number]
    assert in_memory[3] == [fate == "repeated" for fate in expected[0]]
    with TemporaryDirectory() as folder:
        spooled = SpooledDedup(Path(folder), len(rows), keyed=keyed, partition_bytes=partition_bytes)
        start = 0
        for block in blocks:
            spooled.add(start, [row[0] for row in block], columns(block) if keyed else None)
            start += len(block)
        spooled.decide(keyed=keyed)
        on_disk = judged(spooled, blocks, keyed=keyed)
    assert on_disk[:3] == (*expected, [])
    counts = {row[0]: sum(other[0] == row[0] for other in rows) for row in rows}
    assert on_disk[3] == [counts[row[0]] > 1 for row in rows]


def test_memory_is_asked_for_before_it_is_taken() -> None:
    """A batch that is too large for its budget goes to local disk."""
    assert MemoryDedup.fits(1_000_000, keyed=True, budget_bytes=70 << 20)
    assert not MemoryDedup.fits(1_000_000, keyed=True, budget_bytes=60 << 20)
    assert MemoryDedup.fits(1_000_000, keyed=False, budget_bytes=40 << 20)


@given(st.lists(st.tuples(IDS, st.sampled_from([DONE, SKIPPED, FAILED])), max_size=30), st.integers(1, 200))
def test_the_annotation_that_counts(rows: list[tuple[str, str]], partition_bytes: int) -> None:
    """The first that is done or skipped, else the last that failed."""
    expected = set()
    for row_id in {row[0] for row in rows}:
        final = [number for number, row in enumerate(rows) if row in ((row_id, DONE), (row_id, SKIPPED))]
        failed = [number for number, row in enumerate(rows) if row == (row_id, FAILED)]
        expected.add(final[0] if final else failed[-1])
    with TemporaryDirectory() as folder:
        winners = Winners(Path(folder), len(rows), partition_bytes=partition_bytes)
        for start in range(0, len(rows), 4):
            block = rows[start : start + 4]
            winners.add(start, [row[0] for row in block], [row[1] for row in block])
        winners.decide()
        found = {start + index for start in range(0, len(rows), 4)
                 for index in np.flatnonzero(winners.among(start, min(4, len(rows) - start)))}  # fmt: skip
    assert found == expected


@given(st.lists(st.tuples(IDS, st.integers(0, 2)), max_size=30), st.integers(1, 200), st.randoms())
def test_conflicts_are_rows_that_differ_from_the_first(
    rows: list[tuple[str, int]], partition_bytes: int, random: Any
) -> None:
    """In whatever order they are noted."""
    first: dict[str, int] = {}
    expected = [number for number, (row_id, value) in enumerate(rows) if first.setdefault(row_id, value) != value]
    noted = list(enumerate(rows))
    random.shuffle(noted)
    with TemporaryDirectory() as folder:
        collisions = Collisions(Path(folder), rows=len(rows), partition_bytes=partition_bytes)
        for number, (row_id, value) in noted:
            collisions.note([row_id], [{"value": value}], np.array([number]))
        assert len(collisions) == len(rows)
        assert collisions.conflicts().tolist() == expected


@given(st.sets(st.integers(0, 99)), st.integers(0, 99), st.integers(0, 99))
def test_bits(positions: set[int], one: int, other: int) -> None:
    """What was set is set, everything else is not."""
    bits = Bits(100)
    bits.set(np.array(sorted(positions), np.int64))
    bits.set(np.array([*positions][:3], np.int64))
    start, end = sorted((one, other))
    assert bits.between(start, end).tolist() == [number in positions for number in range(start, end)]
    assert bits.at(np.arange(100)).tolist() == [number in positions for number in range(100)]


RECORD = np.dtype([("a", np.uint64), ("b", np.uint64), ("n", np.int64)])


@pytest.mark.parametrize("rows", [10, 20_000])
def test_a_spool_keeps_equal_digests_together_and_in_order(tmp_path: Path, rows: int) -> None:
    """Over many partitions and many trips to the disk; no file is left."""
    spool = Spool(tmp_path / "s", RECORD, rows=rows, partition_bytes=rows, buffer_bytes=50_000)
    expected: dict[int, list[int]] = {}
    for start in range(0, rows, 1000):
        numbers = np.arange(start, min(rows, start + 1000))
        spool.add(as_array(digest_texts([str(number % 997) for number in numbers])), n=numbers)
        for number in numbers.tolist():
            expected.setdefault(number % 997, []).append(number)
    assert len(spool) == rows
    assert any(tmp_path.iterdir()) == (rows > 10)
    groups: dict[tuple[int, int], list[int]] = {}
    for records in spool.partitions():
        inside = {(int(a), int(b)) for a, b, _ in records}
        assert not inside & groups.keys()
        ordered, begins = sorted_groups(records, order="n")
        assert int(begins.sum()) == len(inside)
        for a, b, number in ordered.tolist():
            groups.setdefault((a, b), []).append(number)
    assert sorted(groups.values()) == sorted(expected.values())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_with_a_name(tmp_path: Path) -> None:
    """The message names the file that could not be written."""
    (tmp_path / "s-0000").symlink_to("/dev/full")
    spool = Spool(tmp_path / "s", RECORD, rows=1, partition_bytes=1 << 30, buffer_bytes=1)
    with pytest.raises(MergeError, match=r"s-0000: no space left on device"):
        spool.add(as_array(digest_texts(["a"])), n=np.arange(1))
