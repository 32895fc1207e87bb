from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.config.filters import RawDuckFilter
from datalake_service.errors import FilterError, UsageError
from datalake_service.pipeline.exports.export import export_file, export_lines, export_object
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.json_values import ROWS, as_read_back, canonical
from tests.support.lake import CREATED_AT, put_annotations, put_rows

COUNT = 1_000


@pytest.fixture
def view(folder_store: FolderStore) -> DatasetView:
    """A thousand rows and an annotation."""
    put_rows(folder_store, "posts", "b", ({"n": number, "j": {"k": [number]}} for number in range(COUNT)))
    put_annotations(folder_store, "posts", "lang", "b", {"3": {"score": math.inf}})
    return DatasetView(folder_store, ViewRequest(dataset="posts"))


def lines(data: bytes) -> list[dict[str, Any]]:
    """The objects of lines."""
    assert data.endswith(b"\n")
    return [json.loads(line) for line in data.splitlines()]


def check(rows: list[dict[str, Any]]) -> None:
    """They are those of the view, system columns included."""
    assert len(rows) == COUNT
    assert rows[3] == {
        "id": "3", "n": 3, "j": {"k": [3]}, "_batch": "b", "_created_at": CREATED_AT, "lang.score": math.inf,
    }  # fmt: skip
    assert rows[4]["lang.score"] is None


READERS: dict[str, Callable[[bytes], bytes]] = {
    "out.jsonl": lambda data: data,
    "out.jsonl.gz": gzip.decompress,
    "out.jsonl.zst": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("name", READERS)
def test_lines_are_written_to_a_file(view: DatasetView, tmp_path: Path, name: str) -> None:
    """Plain or compressed, by the name; rows and bytes are counted."""
    progress: list[int] = []
    result = export_file(view, tmp_path / name, progress=progress.append)
    data = (tmp_path / name).read_bytes()
    check(lines(READERS[name](data)))
    assert (result.target, result.rows, result.size) == (str(tmp_path / name), COUNT, len(data))
    assert sum(progress) == COUNT


def test_parquet_is_written_to_a_file(view: DatasetView, tmp_path: Path) -> None:
    """With the types of the view."""
    assert export_file(view, str(tmp_path / "out.parquet")).rows == COUNT
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column("n").to_pylist() == list(range(COUNT))
    assert table.column("j").to_pylist()[2] == '{"k":[2]}'


@pytest.mark.parametrize("name", [*READERS, "out.parquet"])
def test_an_object_of_the_lake_is_written(any_store: ObjectStore, view: DatasetView, name: str) -> None:
    """On a folder and in a bucket."""
    result = export_object(view, any_store, f"exports/{name}")
    data, meta = any_store.get(f"exports/{name}")
    assert (result.target, result.rows, result.size) == (f"exports/{name}", COUNT, meta.size)
    if name in READERS:
        check(lines(READERS[name](data)))
    else:
        assert pq.read_table(io.BytesIO(data)).num_rows == COUNT


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet"])
def test_a_failed_export_leaves_the_old_file(
    folder_store: FolderStore, view: DatasetView, tmp_path: Path, name: str
) -> None:
    """And nothing beside it."""
    target = tmp_path / "out" / name
    target.parent.mkdir()
    target.write_bytes(b"old")
    broken = RawDuckFilter(sql="CAST(if(n = 900, 'x', '1') AS INTEGER) = 1")
    with pytest.raises(FilterError):
        export_file(DatasetView(folder_store, ViewRequest(dataset="posts", filter=broken)), target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("name", ["out.tsv", "out", ".jsonl", "out.json", "out.jsonl.bz2"])
def test_a_name_without_a_format_is_refused(view: DatasetView, tmp_path: Path, name: str) -> None:
    """Before anything is read; the message lists the formats."""
    with pytest.raises(UsageError, match=r"\.jsonl\.zst"):
        export_file(view, tmp_path / name)
    assert not list(tmp_path.glob("*out*"))


def test_a_file_that_cannot_be_written(view: DatasetView, tmp_path: Path) -> None:
    """Is the caller's mistake, and named."""
    with pytest.raises(UsageError, match="nowhere"):
        export_file(view, tmp_path / "nowhere" / "out.jsonl")


@settings(max_examples=30)
@given(rows=st.lists(ROWS, max_size=5))
def test_lines_hold_exactly_what_went_in(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    """For every value and name that json writes; they are what json would read back."""
    store = FolderStore(tmp_path_factory.mktemp("lake"), durable=False)
    put_rows(store, "d", "b", rows)
    stream = io.BytesIO()
    with DatasetView(store, ViewRequest(dataset="d")) as view:
        assert export_lines(view, stream) == len(rows)
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    expected = [{**row, "id": str(number), "_batch": "b", "_created_at": CREATED_AT} for number, row in enumerate(rows)]
    assert [canonical(as_read_back(row)) for row in found] == [canonical(as_read_back(row)) for row in expected]
