"""Rows of an iterator into chunks: what was yielded is safe, whatever ends the run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog.deletions import mark_deleted, restore
from datalake_service.catalog.manifests import RunManifest
from datalake_service.errors import (
    DatalakeError,
    DatasetNotFoundError,
    NameNotAllowedError,
    RowError,
    StoreError,
    UsageError,
)
from datalake_service.pipeline.ingest import IngestResult, ingest_iterator
from datalake_service.storage.folder import FolderStore


def ingest(root: Path, rows: Any, **options: Any) -> IngestResult:
    """Store rows in batch b1 of dataset posts."""
    return asyncio.run(ingest_iterator(FolderStore(root), rows, **{"dataset": "posts", "batch": "b1", **options}))


def stored(root: Path, batch: str = "b1") -> list[dict[str, Any]]:
    """All rows of a batch, read from the files themselves."""
    files = sorted((root / "posts" / batch).glob("*_chunk_*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


def manifest(root: Path, result_run: str) -> RunManifest:
    """The manifest of a run, read from its file."""
    key = root / "posts" / "b1" / f"{result_run}.manifest.json"
    return RunManifest.from_json(key.read_bytes(), key=key.name)


def rows_of(count: int) -> Iterator[dict[str, Any]]:
    """Distinct rows."""
    return ({"n": n, "text": f"row {n}"} for n in range(count))


def test_a_plain_iterator_becomes_chunks_and_a_complete_manifest(tmp_path: Path) -> None:
    """250 rows in chunks of 100 are three chunks, in order, described by the manifest."""
    result = ingest(tmp_path, rows_of(250), chunk_size=100, deduplicate_on=["text"])
    assert (result.rows, result.chunks) == (250, 3)
    assert stored(tmp_path) == list(rows_of(250))
    written = manifest(tmp_path, result.run)
    assert written.completed
    assert [chunk.rows for chunk in written.chunks] == [100, 100, 50]
    assert [dict(chunk.census) for chunk in written.chunks] == [{"n": "i", "text": "s"}] * 3
    assert sum(chunk.size for chunk in written.chunks) == result.size
    assert written.deduplicate_on == ("text",)


def test_an_async_iterator_is_closed_when_a_row_cannot_be_stored(tmp_path: Path) -> None:
    """The rows before the bad one are safe, the error names row and column, the generator's cleanup runs."""
    closed = []

    async def rows() -> AsyncIterator[dict[str, Any]]:
        try:
            for n in range(1000):
                yield {"n": n} if n != 150 else {"n": object()}
        finally:
            closed.append(True)

    with pytest.raises(RowError, match=r"row 150 .*'n'"):
        ingest(tmp_path, rows())
    assert [row["n"] for row in stored(tmp_path)] == list(range(150))
    assert closed == [True]


def test_an_iterator_that_raises_after_1050_rows_leaves_1050_rows(tmp_path: Path) -> None:
    """The iterator's own exception comes out, and every row before it is stored."""

    def rows() -> Iterator[dict[str, Any]]:
        yield from rows_of(1050)
        msg = "feed ended"
        raise ConnectionError(msg)

    with pytest.raises(ConnectionError, match="feed ended"):
        ingest(tmp_path, rows())
    assert stored(tmp_path) == list(rows_of(1050))


def test_cancellation_keeps_what_was_yielded(tmp_path: Path) -> None:
    """A cancelled run stores the rows it was given before it goes."""
    given = asyncio.Event()

    async def rows() -> AsyncIterator[dict[str, Any]]:
        for row in rows_of(7):
            yield row
        given.set()
        await asyncio.Event().wait()

    async def run() -> None:
        store = FolderStore(tmp_path)
        task = asyncio.create_task(ingest_iterator(store, rows(), dataset="posts", batch="b1"))
        await given.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert stored(tmp_path) == list(rows_of(7))


def test_zero_rows_are_a_completed_run(tmp_path: Path) -> None:
    """An empty iterator leaves a complete manifest and no chunk."""
    result = ingest(tmp_path, [])
    assert (result.rows, result.chunks, result.size) == (0, 0, 0)
    assert manifest(tmp_path, result.run).completed


def test_a_large_row_seals_its_chunk(tmp_path: Path) -> None:
    """Chunks are bounded by bytes as well as rows."""
    rows = [{"text": "x" * (40 << 20)} for _ in range(3)]
    assert ingest(tmp_path, rows).chunks == 2


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "annotations", "", "_x", ".x", "é", "a" * 129, None, 3])
@pytest.mark.parametrize("what", ["dataset", "batch"])
def test_names_are_checked_before_anything_is_written(tmp_path: Path, name: Any, what: str) -> None:
    """A name that is not portable is a ValueError that says what is allowed; the lake is untouched."""
    with pytest.raises(NameNotAllowedError, match="letter"):
        ingest(tmp_path / "lake", rows_of(1), **{what: name})
    assert not list(tmp_path.rglob("*.json*"))


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        ("text", {}),
        ({"a": 1}, {}),
        (3, {}),
        ([], {"chunk_size": 0}),
        ([], {"chunk_size": "9"}),
        ([], {"deduplicate_on": "a"}),
    ],
)
def test_wrong_arguments_are_usage_errors(tmp_path: Path, rows: Any, options: dict[str, Any]) -> None:
    """What cannot be rows, a chunk size or a list of columns is refused in one line."""
    with pytest.raises(UsageError):
        ingest(tmp_path, rows, **options)


def test_two_runs_never_share_a_name(tmp_path: Path) -> None:
    """A run whose drawn name is taken draws again."""
    names = iter(["aaaaaa", "aaaaaa", "bbbbbb"])
    assert ingest(tmp_path, rows_of(1), draw=lambda: next(names)).run == "aaaaaa"
    assert ingest(tmp_path, rows_of(1), draw=lambda: next(names)).run == "bbbbbb"
    with pytest.raises(StoreError, match="no free run name"):
        ingest(tmp_path, rows_of(1), draw=lambda: "aaaaaa")


def test_the_manifest_is_saved_while_a_long_run_goes_on(tmp_path: Path) -> None:
    """A reader of an unfinished run finds most of its chunks described."""
    seen: list[int] = []

    def rows() -> Iterator[dict[str, Any]]:
        for n in range(400):
            yield {"n": n}
        (path,) = (tmp_path / "posts" / "b1").glob("*.manifest.json")
        seen.append(len(RunManifest.from_json(path.read_bytes(), key="m").chunks))

    ingest(tmp_path, rows(), chunk_size=1)
    assert 0 < seen[0] <= 400


def test_a_manifest_of_a_newer_format_is_refused_politely() -> None:
    """A lake written by a newer version says so instead of being misread."""
    with pytest.raises(DatalakeError, match="upgrade"):
        RunManifest.from_json(b'{"format": 99}', key="d/b/aaaaaa.manifest.json")


def test_a_deleted_dataset_takes_no_rows(tmp_path: Path) -> None:
    """They would be thrown away with it; the message says how to get it back, and then it takes them."""
    ingest(tmp_path, rows_of(1))
    mark_deleted(FolderStore(tmp_path), "posts")
    with pytest.raises(DatasetNotFoundError, match="datalake datasets restore --datasetName posts"):
        ingest(tmp_path, rows_of(1))
    assert len(stored(tmp_path)) == 1
    restore(FolderStore(tmp_path), "posts")
    ingest(tmp_path, rows_of(1))
