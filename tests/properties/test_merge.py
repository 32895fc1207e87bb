"""Any rows, in any chunks, merged at any times, with any dedup columns: always what brute force says."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.pipeline.ingest import ingest_iterator
from datalake_service.pipeline.merging.merge import merge_batch
from datalake_service.pipeline.merging.result import MergeLimits
from datalake_service.storage.base import CreateOnly
from datalake_service.storage.folder import FolderStore
from tests.crash.deaths import examples
from tests.support.json_values import ROWS, TEXT, VALUES
from tests.support.merging import File, TinyLimits, check, files_of, read_duplicates

Row = dict[str, Any]
PREFIX = "d/b/"

# Few different keys and ids, so that rows meet again; anything else in the other columns.
NAN = float("nan")
SMALL = st.sampled_from([None, 0, 1, 1.0, -0.0, True, "1", [1], {"a": 1, "b": None}, {"b": None, "a": 1.0}, NAN, 2**70])
KEYED = st.fixed_dictionaries({}, optional={"k1": SMALL, "k2": st.one_of(st.sampled_from([None, 0]), SMALL)})
OTHER = st.one_of(
    st.just({}), st.just({}), ROWS, st.dictionaries(st.sampled_from(["k1", "k2", "x"]), VALUES, max_size=2)
)
OWN_IDS = st.sampled_from([None, "x", "y", 1, "1", "a1b2c0-00000-0", ""])
IDENTIFIED: st.SearchStrategy[Row] = st.one_of(
    st.just({}), st.just({}), st.just({}), st.fixed_dictionaries({"id": OWN_IDS})
)
ANY_ROW: st.SearchStrategy[Row] = st.builds(
    lambda *parts: {k: v for part in parts for k, v in part.items()}, OTHER, KEYED, IDENTIFIED
)
LISTS = st.sampled_from([None, ["k1"], ["k1"], ["k2"], ["k1", "k2"], ["k2", "k1"], ["k1", "nobody"], ["id"]])
LINES = st.one_of(
    ANY_ROW.map(lambda row: json.dumps(row).encode()),
    ANY_ROW.map(lambda row: json.dumps(row).encode()),
    st.binary(max_size=8).map(lambda line: line.replace(b"\n", b"")),
    st.builds(lambda row_id: json.dumps({"id": row_id}).encode(), st.one_of(VALUES, TEXT)),
    st.sampled_from([b"", b" \r", b"[]", b'{"_batch":"b"}', b'{"_created_at":null,"a":1}', b'{"a":1}\r', b'{"a":1']),
)
SOURCES = st.one_of(
    st.tuples(st.just("run"), st.lists(ANY_ROW, max_size=6), st.integers(1, 3), LISTS),
    st.tuples(st.just("run"), st.lists(ANY_ROW, min_size=3, max_size=6), st.integers(1, 3), LISTS),
    st.tuples(st.just("foreign"), st.lists(LINES, max_size=5), st.booleans()),
)
ROUNDS = st.lists(st.lists(SOURCES, min_size=1, max_size=3), min_size=1, max_size=3)
"""What comes in between merges."""


@pytest.mark.parametrize("limits", [MergeLimits(), TinyLimits()], ids=["in memory", "on disk"])
@settings(max_examples=examples(60))
@given(rounds=ROUNDS)
def test_a_merge_does_what_brute_force_does(limits: MergeLimits, rounds: list[list[Any]]) -> None:
    """Rows, duplicates, rejections and counts; whenever merges ran, and with next to no memory."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        files: list[File] = []
        numbers = itertools.count()
        aside = 0
        for sources in rounds:
            for source in sources:
                arrive(store, source, number=next(numbers))
                files += files_of(store, PREFIX, files)
            result = merge_batch(store, "d", "b", limits=limits)
            assert len(read_duplicates(store, PREFIX)) == aside - result.restored + result.duplicates
            assert result.new_rows <= result.rows
            aside += result.duplicates - result.restored
            left = [meta.key.removeprefix(PREFIX) for meta in store.list(PREFIX)]
            assert {name for name in left if "/" not in name} == {"merged.parquet", "manifest.yaml"}
            check(store, PREFIX, files)


def arrive(store: FolderStore, source: Any, *, number: int) -> None:
    """Rows of an iterator, or a file that somebody put there."""
    if source[0] == "run":
        _, rows, chunk_size, columns = source
        run = ingest_iterator(
            store, rows, dataset="d", batch="b", chunk_size=chunk_size, deduplicate_on=columns,
            draw=partial(str, f"{0xA1B2C0 + number:06x}"),
        )  # fmt: skip
        asyncio.run(run)
    else:
        _, lines, ends = source
        store.put(f"{PREFIX}foreign {number}.jsonl", b"\n".join(lines) + b"\n" * ends, mode=CreateOnly())
