from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from datalake_service.config.filters import RawDuckFilter
from datalake_service.errors import UsageError
from datalake_service.pipeline.exports.folder import FolderKind, FolderResult, export_folder
from datalake_service.pipeline.views.plan import ViewRequest
from datalake_service.pipeline.views.views import DatasetView
from datalake_service.storage import FolderStore
from tests.support.lake import put_annotations, put_rows

ROWS = 120_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FolderStore:
    """A lake with a batch of several row groups."""
    found = FolderStore(tmp_path_factory.mktemp("lake"), durable=False)
    put_rows(found, "posts", "b1", [{"text": f"text {number}", "tags": [number]} for number in range(ROWS)])
    put_annotations(found, "posts", "lang", "b1", {"0": {"label": "en"}})
    return found


def view(store: FolderStore, **fields: object) -> DatasetView:
    """All rows, or some."""
    return DatasetView(store, ViewRequest(dataset="posts", **fields))  # type: ignore[arg-type]  # of the caller


def test_a_folder_for_hugging_face(store: FolderStore, tmp_path: Path) -> None:
    """Files that have all rows in order, a card that names them, and what they come from."""
    told: list[int] = []
    with view(store) as rows:
        done = export_folder(rows, tmp_path / "hf", FolderKind.HF, shard_bytes=1_000_000, progress=told.append)
    files = sorted((tmp_path / "hf" / "data").iterdir())
    assert [path.name for path in files] == [f"train-{number:05d}.parquet" for number in range(len(files))]
    assert len(files) == done.shards == len(told) > 1
    tables = [pq.read_table(path) for path in files]
    assert [text for table in tables for text in table["text"].to_pylist()] == [f"text {n}" for n in range(ROWS)]
    assert tables[0]["lang.label"].to_pylist()[:2] == ["en", None]
    assert done.rows == sum(told) == ROWS
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["data_files"] == [
        {"split": "train", "path": "data/*.parquet"}
    ]
    lineage = json.loads((tmp_path / "hf" / "lineage.json").read_text(encoding="utf-8"))
    assert (lineage["rows"], lineage["shards"], lineage["dataset"]) == (ROWS, len(files), "posts")


def test_a_folder_for_webdataset(store: FolderStore, tmp_path: Path) -> None:
    """Each row is a file; the same rows make the same bytes."""

    def shards_of(folder: Path) -> FolderResult:
        with view(store, fraction=0.02) as rows:
            return export_folder(rows, folder, FolderKind.WEBDATASET, shard_bytes=300_000)

    done = shards_of(tmp_path / "one")
    assert shards_of(tmp_path / "two").rows == done.rows
    shards = sorted((tmp_path / "one").glob("posts-*.tar"))
    assert len(shards) == done.shards > 1
    assert [path.read_bytes() for path in shards] == [(tmp_path / "two" / path.name).read_bytes() for path in shards]
    found = []
    for path in shards:
        with tarfile.open(path) as tar:
            for member in tar:
                content = tar.extractfile(member)
                assert content is not None
                found.append((member.name, json.loads(content.read())))
    with view(store, fraction=0.02) as rows:
        expected = [dict(row) for row in rows]
    assert [name for name, _ in found] == [f"{number:012d}.json" for number in range(done.rows)]
    assert [row["text"] for _, row in found] == [row["text"] for row in expected]
    assert found[0][1]["tags"] == expected[0]["tags"]


def test_no_rows_are_a_folder_too(store: FolderStore, tmp_path: Path) -> None:
    """With a file that has the columns."""
    with view(store, filter=RawDuckFilter(sql="false")) as rows:
        done = export_folder(rows, tmp_path / "hf", FolderKind.HF)
    assert (done.rows, done.shards) == (0, 1)
    assert pq.read_table(tmp_path / "hf" / "data" / "train-00000.parquet").column_names[:2] == ["id", "text"]


def test_a_folder_with_something_in_it_is_left_alone(store: FolderStore, tmp_path: Path) -> None:
    """An empty one is taken."""
    (tmp_path / "mine").mkdir()
    with view(store, fraction=0.001) as rows:
        export_folder(rows, tmp_path / "mine", FolderKind.WEBDATASET)
        with pytest.raises(UsageError, match="is there already"):
            export_folder(rows, tmp_path / "mine", FolderKind.WEBDATASET)


def test_an_export_that_breaks_off_leaves_nothing(store: FolderStore, tmp_path: Path) -> None:
    """Neither the folder nor what was to become it."""

    def fail(_rows: int) -> None:
        raise KeyboardInterrupt

    with view(store) as rows, pytest.raises(KeyboardInterrupt):
        export_folder(rows, tmp_path / "hf", FolderKind.HF, progress=fail)
    assert list(tmp_path.iterdir()) == []
