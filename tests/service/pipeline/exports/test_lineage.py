"""Every exported file says what its rows come from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service.config.filters import RawDuckFilter
from datalake_service.pipeline.exports.export import export_file, export_object
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.folder import FolderStore
from datalake_utils.clock import ManualClock
from tests.support.annotations import ANNOTATOR, DATASET
from tests.support.lake import put_rows
from tests.support.versions import Made, line, put_run, run_maker
from tests.support.views import view


@pytest.fixture
def lake(folder_store: FolderStore) -> FolderStore:
    """Two batches, one of them annotated by two versions."""
    put_rows(folder_store, DATASET, "b1", [{"id": name} for name in "abc"])
    put_rows(folder_store, DATASET, "b2", [{"id": "d"}])
    put_run(folder_store, "aaaaaa", [line(Made("a", "done", 1))], run_maker("v1", "c", 1))
    put_run(folder_store, "bbbbbb", [line(Made("a", "done", 2))], run_maker("v2", "c", 2))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    return folder_store


def etag(store: FolderStore, key: str) -> str:
    """Of an object as it is."""
    return store.head(key).etag


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet"])
def test_the_file_beside_an_export(lake: FolderStore, tmp_path: Path, name: str) -> None:
    """Objects and their ETags, versions, filter, columns, rows, time."""
    clock = ManualClock()
    shown = view(
        lake,
        base_columns=["id"],
        annotator_columns={"lang": ["n"]},
        filter=RawDuckFilter(sql="id < 'c'"),
        fraction=1.0,
        versions={"lang": "v1"},
    )
    with shown:
        done = export_file(shown, tmp_path / name, clock=clock)
    said: dict[str, Any] = json.loads((tmp_path / f"{name}.lineage.json").read_text())
    assert (said["output"], said["rows"], said["bytes"]) == (name, 2, done.size)
    assert (said["format"], said["dataset"], said["uri"], said["fraction"]) == (1, DATASET, lake.uri, 1.0)
    assert said["exportedAt"].startswith(f"{clock.now():%Y-%m-%dT%H:%M}")
    assert said["filters"] == {"filter": {"type": "raw_duck", "sql": "id < 'c'"}}
    assert said["columns"] == ["id", "lang.n"]
    assert said["batches"] == [
        {"batch": batch, "key": key, "etag": etag(lake, key), "rows": rows}
        for batch, key, rows in (("b1", "posts/b1/merged.parquet", 3), ("b2", "posts/b2/merged.parquet", 1))
    ]
    (lang,) = said["annotators"]
    key = "posts/annotations/lang/b1/merged.parquet"
    (batch,) = lang["batches"]
    older = batch["older"]
    assert batch == {"batch": "b1", "key": key, "etag": etag(lake, key), "rows": 1, "older": older}
    assert older == {"key": older["key"], "etag": etag(lake, older["key"]), "rows": 1}
    assert (lang["annotator"], lang["pinned"]) == ("lang", "v1")
    assert lang["versions"] == [{"version": "v1", "code": "c"}, {"version": "v2", "code": "c"}]
    if name.endswith(".parquet"):
        inside = json.loads(pq.read_metadata(tmp_path / name).metadata[b"datalake.lineage"])
        assert inside == {name: said[name] for name in inside}
        assert {"batches", "annotators", "filters"} <= set(inside)


def test_the_object_beside_an_export(lake: FolderStore) -> None:
    """The same in a store."""
    with view(lake) as shown:
        export_object(shown, lake, "exports/rows.jsonl")
    said = json.loads(lake.get("exports/rows.jsonl.lineage.json")[0])
    assert (said["output"], said["rows"]) == ("rows.jsonl", 4)


def test_what_was_read_is_named_not_what_was_planned(lake: FolderStore, tmp_path: Path) -> None:
    """A batch that was merged again in between is read as it is then."""
    with view(lake) as shown:
        put_rows(lake, DATASET, "b2", [{"id": "d"}, {"id": "e"}])
        assert export_file(shown, tmp_path / "rows.jsonl").rows == 5
    said = json.loads((tmp_path / "rows.jsonl.lineage.json").read_text())
    assert said["batches"][1]["etag"] == etag(lake, "posts/b2/merged.parquet")


def test_the_same_objects_make_the_same_file(lake: FolderStore, tmp_path: Path) -> None:
    """Byte for byte."""
    for name in ("one.jsonl", "two.jsonl"):
        with view(lake) as shown:
            export_file(shown, tmp_path / name)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
