"""Object keys: built and parsed in one module."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.catalog import layout

RUNS = st.from_regex(r"[0-9a-f]{6}", fullmatch=True)


@given(RUNS, st.integers(0, 10**7))
def test_a_chunk_key_parses_back(run: str, number: int) -> None:
    """What ``chunk_key`` builds ``parse_chunk`` reads, whatever the number."""
    key = layout.chunk_key("d/b/", run, number)
    assert layout.parse_chunk(key.removeprefix("d/b/")) == layout.ChunkName(run, number)


@given(RUNS)
def test_a_manifest_key_parses_back(run: str) -> None:
    """What ``run_manifest_key`` builds ``parse_run_manifest`` reads."""
    assert layout.parse_run_manifest(layout.run_manifest_key("d/b/", run).removeprefix("d/b/")) == run


@pytest.mark.parametrize(
    "name", ["data.jsonl", "a1b2c3_chunk_1.jsonl", "A1B2C3_chunk_00001.jsonl", "a1b2c3_chunk_00001.jsonl.gz"]
)
def test_foreign_files_are_no_chunks(name: str) -> None:
    """Only names that the writer builds are chunks of ours."""
    assert layout.parse_chunk(name) is None


def test_every_folder_below_a_dataset_is_told_apart() -> None:
    """Annotations and state are not batches."""
    assert [name for name in ("b1", "annotations", ".state", "2026") if layout.is_batch_folder(name)] == ["b1", "2026"]


def test_keys_stand_where_the_design_puts_them() -> None:
    """The layout of the lake, literally."""
    assert layout.merged_key(layout.batch_prefix("d", "b")) == "d/b/merged.parquet"
    assert layout.summary_key(layout.batch_prefix("d", "b")) == "d/b/manifest.yaml"
    assert layout.chunk_key("d/b/", "a1b2c3", 7) == "d/b/a1b2c3_chunk_00007.jsonl"
    assert layout.annotator_lease_key("d", "lang") == "d/annotations/lang/.temp/.lock"
    assert layout.merged_key(layout.annotation_prefix("d", "lang", "b")) == "d/annotations/lang/b/merged.parquet"
    assert layout.rejected_prefix("d", "b") == "d/b/rejected/"
    assert layout.dataset_state_key("d") == "d/.state/dataset.json"
    assert layout.task_key("d", "t1") == "d/.state/tasks/t1.json"
