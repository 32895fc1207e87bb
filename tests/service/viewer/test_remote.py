from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from datalake_service.errors import DatasetNotFoundError
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.live import DATASET, Written, keys, looking, pages
from tests.support.remote import RemoteStore

ROWS = [{"n": number, "text": f"text {number}" * 50} for number in range(300)]


def fill(lake: Written) -> None:
    """Two merged batches with annotations, and a chunk that waits."""
    lake.write("b1", ROWS[:200])
    lake.merge("b1")
    lake.write("b2", ROWS[200:], minutes=1)
    lake.merge("b2")
    lake.annotate(
        "lang", {key: {"label": "en" if index % 3 else "de"} for index, key in enumerate(sorted(lake.merged))}
    )
    lake.merge_annotations("lang")
    lake.write("b2", [{"n": -1}], minutes=2)


def test_a_bucket_shows_what_a_folder_shows(any_store: ObjectStore) -> None:
    """Pages, filters, one row, charts: over a folder and over an S3 server."""
    lake = Written(any_store)
    fill(lake)
    with looking(any_store) as answers:
        assert keys(pages(answers, {"limit": ["120"]})) == lake.ordered("_created_at", descending=True)
        node = '{"type": "equals", "field": "lang.label", "value": "de"}'
        assert answers.count(DATASET, {"filter": [node]})["rows"] == 100
        assert answers.count(DATASET, {"where": ["n < 0"]})["rows"] == 1
        key = lake.ordered("n", descending=True)[0]
        one = answers.row(DATASET, {"batch": [key[0]], "id": [key[1]]})
        assert one["fields"]["n"] == 299
        assert one["annotations"][0]["annotator"] == "lang"
        profile = answers.profile(DATASET, {"column": ["n"], "buckets": ["3"]})
        assert (profile["rows"], profile["min"], profile["max"]) == (301, -1, 299)
        assert sum(bar["rows"] for bar in profile["histogram"]) == 301
        trend = answers.trend(DATASET, {"column": ["lang.label"], "bucket": ["minute"]})
        assert [one["value"] for one in trend["series"]] == ["en", "de"]
        assert [sum(one["rows"]) for one in trend["series"]] == [200, 100]
        assert sum(trend["other"]) == 1
        week = answers.trend(DATASET, {"bucket": ["week"]})
        assert (week["times"], week["series"][0]["rows"]) == (["2026-11-16T00:00:00Z"], [301])
        cross = answers.crosstab(DATASET, {"a": ["lang.label"], "b": ["_batch"]})
        assert sum(map(sum, cross["cells"])) + cross["otherA"] + cross["otherB"] == 301
        with pytest.raises(DatasetNotFoundError, match="did you mean 'posts'"):
            answers.dataset("post")


def test_of_a_bucket_only_what_is_needed_is_read(tmp_path: Any) -> None:
    """A page reads the newest batch, and its texts of one row group; the next look reads nothing that was read."""
    lake = Written(FolderStore(tmp_path, durable=False))
    for number in range(12):
        lake.write(f"b{number:02}", ROWS[:100], minutes=number)
        lake.merge(f"b{number:02}")
    remote = RemoteStore(lake.store)
    with looking(remote) as answers:
        answers.rows(DATASET, {"limit": ["10"]})
        remote.read.clear()
        answers.rows(DATASET, {"limit": ["10"]})
        assert {key.split("/")[1] for key, _ in remote.read} <= {"b11", "b10"}
        remote.read.clear()
        answers.dataset(DATASET)
        answers.lake()
        answers.operations()
        assert remote.read == []


def test_a_damaged_batch_does_not_hide_the_others(tmp_path: Any) -> None:
    """What cannot be read is said, and the rest is shown."""
    lake = Written(FolderStore(tmp_path, durable=False))
    fill(lake)
    (tmp_path / DATASET / "b1" / "merged.parquet").write_bytes(b"no Parquet at all")
    with looking(lake.store) as answers:
        assert {key[0] for key in keys(pages(answers, {}))} == {"b2"}
        (problem,) = answers.dataset(DATASET)["problems"]
        assert problem["key"] == "posts/b1/merged.parquet"


def test_nothing_is_written_to_the_lake(tmp_path: Any) -> None:
    """Not even to ask for the time."""
    lake = Written(FolderStore(tmp_path, durable=False))
    fill(lake)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    with looking(lake.store) as answers:
        for ask in (answers.lake, answers.operations):
            ask()
        answers.dataset(DATASET)
        pages(answers, {"where": ["n > 3"]})
        answers.failures(DATASET, {})
        b"".join(answers.export(DATASET, {"format": ["parquet"]})[0])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_batches_that_are_joined_one_by_one_say_the_same(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large datasets are joined part by part: pages, counts and charts do not change by it."""
    lake = Written(FolderStore(tmp_path, durable=False))
    fill(lake)
    node = ['{"type": "equals", "field": "lang.label", "value": "de"}']

    def told() -> list[Any]:
        with looking(lake.store) as answers:
            return [
                keys(pages(answers, {"filter": node, "limit": ["30"]})),
                answers.count(DATASET, {"filter": node})["rows"],
                answers.profile(DATASET, {"column": ["lang.label"]}),
                answers.trend(DATASET, {"column": ["lang.label"], "bucket": ["minute"]}),
                answers.crosstab(DATASET, {"a": ["lang.label"], "b": ["_batch"]}),
            ]

    together = told()
    monkeypatch.setattr("datalake_service.pipeline.live.asking.JOINED_FILES", 1)
    assert told() == together


def test_a_link_may_lead_out_of_the_lake(tmp_path: Path) -> None:
    """Databases that are kept read the lake's folder alone; rows behind a link are shown all the same."""
    lake = Written(FolderStore(tmp_path / "lake", durable=False))
    for batch in ("b1", "b2"):
        lake.write(batch, ROWS[:5])
        lake.merge(batch)
    link = tmp_path / "lake" / DATASET / "b1"
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with looking(lake.store) as answers:
        assert answers.count(DATASET, {"filter": ['{"type": "range", "field": "n", "lt": 4}']})["rows"] == 8
        assert keys(pages(answers, {"limit": ["3"]})) == lake.ordered("_created_at", descending=True)
