"""The examples of the Python surface, as the design shows them, on a folder and in a bucket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from datalake_service import (
    AllFilter,
    Annotation,
    AnnotationLockError,
    AnyFilter,
    BooleanFilter,
    DataItem,
    DatasetNotMergedError,
    FilterNode,
    RawDuckFilter,
    S3DataTool,
    StreamingConfigs,
)
from tests.support.servers import S3Server

TEXTS = ["a short one", "this text is certainly long enough", "dieser Text ist auch lang genug", "tiny"]


@pytest.fixture(params=["folder", "environment", "bucket"])
def tool(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> S3DataTool:
    """Each way to name a lake."""
    if request.param == "folder":
        monkeypatch.chdir(tmp_path)
        return S3DataTool("./lake")
    server: S3Server = request.getfixturevalue("s3_server")
    bucket = server.make_bucket()
    if request.param == "bucket":
        return S3DataTool(f"s3://{bucket}/prefix", **server.options)
    monkeypatch.setenv("S3_BUCKET", bucket)
    monkeypatch.setenv("S3_PREFIX", "prefix")
    monkeypatch.setenv("S3_ENDPOINT_URL", server.endpoint_url)
    monkeypatch.setenv("S3_ACCESS_KEY", server.access_key)
    monkeypatch.setenv("S3_SECRET_KEY", server.secret_key)
    return S3DataTool()


async def rows() -> AsyncIterator[dict[str, Any]]:
    """What somebody might collect."""
    for number in range(150):
        yield {"text": TEXTS[number % 4], "source_id": number // 4, "when": f"2026-11-20T13:{number % 60:02}:00Z"}


async def ingest(tool: S3DataTool) -> None:
    """Rows into a batch."""
    async with tool.dataset_generator as generator:
        await generator.from_async_iterator(
            rows(),
            name="posts",
            batch="20261120-13",
            streaming_configs=S3DataTool.StreamingConfigs(chunk_size=100),
            deduplicate_on=["text", "source_id"],
        )


async def language(item: DataItem) -> Annotation:
    """The first layer."""
    english = "Text" not in item.data["text"]
    return Annotation(data={"is_english": english, "label": "en" if english else "de"}, metadata={"model": "none"})


async def annotate(item: DataItem) -> Annotation:
    """The second layer, which sees the first."""
    assert item.data["lang.label"] == "en"
    return Annotation(data={"summary": item.data["text"].split()[-1]})


async def main(tool: S3DataTool, folder: Path) -> None:
    """All of it, from top to bottom."""
    await ingest(tool)
    with pytest.raises(DatasetNotMergedError):
        async with tool.filter_for_export(name="posts"):
            pass
    await tool.clean_up()
    async with tool.filter_for_annotation(name="posts", annotator_name="lang", base_columns=["text"]) as view:
        await view.annotate(language)
    await tool.clean_up()

    node: FilterNode = AllFilter(
        filters=[BooleanFilter(field="lang.is_english", value=True), RawDuckFilter(sql="length(text) > 20")]
    )
    async with tool.filter_for_annotation(
        name="posts",
        annotator_name="custom_search",
        base_columns=["text"],
        annotator_columns={"lang": ["label"]},
        filter=node,
        fraction=1.0,
        lock_ttl_ms=3_600_000,
    ) as view:
        report = await view.annotate(
            annotate,
            max_concurrency=16,
            batch=None,
            batches=None,
            max_batches=None,
            streaming_configs=StreamingConfigs(chunk_size=10),
        )
    assert (report.annotated, report.failed, report.remaining) == (38, 0, 0)
    await tool.clean_up()

    async with tool.filter_for_export(name="posts", filter=node) as view:
        found = [(row["text"], row["custom_search.summary"]) for row in view]
        assert found == [(TEXTS[1], "enough")] * 38
        assert [(row["text"], row["custom_search.summary"]) async for row in view] == found
        async for row in view:
            assert row.batch == "20261120-13"
            break
        assert view.to_arrow().num_rows == 38
        assert view.to_pandas()["custom_search.summary"].tolist() == ["enough"] * 38
        assert view.to_polars()["lang.label"].to_list() == ["en"] * 38
        view.to_parquet(folder / "posts.parquet")
    assert pq.read_metadata(folder / "posts.parquet").num_rows == 38

    async with tool.filter_for_export(
        name="posts",
        base_columns=["text"],
        annotator_columns={"lang": ["label"]},
        filter=AnyFilter(filters=[RawDuckFilter(sql="lang.label = 'de'"), RawDuckFilter(sql="text = 'tiny'")]),
        base_filter=RawDuckFilter(sql="source_id < 10"),
        annotator_filters={"lang": RawDuckFilter(sql="label IS NOT NULL")},
        fraction=1.0,
        batches=["20261120-13"],
    ) as view:
        assert {(row["text"], row["lang.label"]) for row in view} == {(TEXTS[2], "de"), (TEXTS[3], "en")}
        assert view.count() == 20


def test_the_examples_of_the_design(tool: S3DataTool, tmp_path: Path) -> None:
    """Generate, annotate in layers, filter, export: on a folder, in a bucket, named by the environment."""
    asyncio.run(main(tool, tmp_path))


def test_the_lock_of_the_design(tool: S3DataTool) -> None:
    """Taking an annotation view whose annotator is held by a live worker raises; iterating takes no lock."""

    async def held() -> None:
        await ingest(tool)
        await tool.clean_up()
        working, done = asyncio.Event(), asyncio.Event()

        async def wait(item: DataItem) -> Annotation:
            working.set()
            await done.wait()
            return Annotation(data={"ok": True})

        async with tool.filter_for_annotation(name="posts", annotator_name="slow", base_columns=["text"]) as view:
            assert len([item async for item in view]) == 150
            task = asyncio.create_task(view.annotate(wait))
            await working.wait()
            with pytest.raises(AnnotationLockError):
                async with tool.filter_for_annotation(name="posts", annotator_name="slow", base_columns=["text"]):
                    pass
            done.set()
            assert (await task).annotated == 150

    asyncio.run(held())
