from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import datalake_service
from datalake_service import (
    AllFilter,
    Annotation,
    AnnotationLockError,
    BooleanFilter,
    DataItem,
    DatasetNotMergedError,
    RawDuckFilter,
    S3DataTool,
    StreamingConfigs,
)
from datalake_service.errors import (
    ConfigError,
    DatasetNotFoundError,
    FilterError,
    NameNotAllowedError,
    RowError,
    StoreError,
    UsageError,
)
from tests.support.lake import put_annotations, put_rows
from tests.support.repository import ROOT
from tests.support.servers import S3Server


@pytest.fixture
def tool(tmp_path: Path) -> S3DataTool:
    """A lake in a folder."""
    return S3DataTool(tmp_path / "lake")


def some_rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of a text and a number."""
    return ({"text": f"text {number}", "n": number} for number in range(count))


# Where the lake is -----------------------------------------------------------------------------------


def test_a_folder_can_be_named(tmp_path: Path) -> None:
    """As text, as a path, as a URL; nothing is made before the first write."""
    for named in (tmp_path / "lake", str(tmp_path / "lake"), (tmp_path / "lake").as_uri()):
        assert S3DataTool(named).uri == str(tmp_path / "lake")
    assert not (tmp_path / "lake").exists()


def test_the_environment_names_the_lake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Or ``.env`` in the current folder; or it is ``./lake``."""
    monkeypatch.chdir(tmp_path)
    assert S3DataTool().uri == str(tmp_path / "lake")
    (tmp_path / ".env").write_text("DATALAKE_URI=./from-file\n")
    assert S3DataTool().uri == str(tmp_path / "from-file")
    monkeypatch.setenv("DATALAKE_URI", str(tmp_path / "from-environment"))
    assert S3DataTool().uri == str(tmp_path / "from-environment")
    monkeypatch.delenv("DATALAKE_URI")
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("S3_BUCKET", "some-bucket")
    monkeypatch.setenv("S3_PREFIX", "some/prefix/")
    assert S3DataTool().uri == "s3://some-bucket/some/prefix"


def test_a_bucket_can_be_named_by_its_parts() -> None:
    """As the environment has them."""
    assert S3DataTool(bucket="some-bucket").uri == "s3://some-bucket"
    assert S3DataTool(bucket="some-bucket", prefix="/a/b/").uri == "s3://some-bucket/a/b"
    assert S3DataTool("s3://some-bucket/a/b").uri == "s3://some-bucket/a/b"


@pytest.mark.parametrize(
    "arguments",
    [
        {"uri": "./lake", "bucket": "some-bucket"}, {"prefix": "a"}, {"uri": "gs://x/y"},
        {"uri": "s3://some-bucket", "access_key": "only-one"}, {"bucket": "some-bucket", "prefix": "a//b"},
    ],
)  # fmt: skip
def test_an_address_that_cannot_work_is_refused(arguments: dict[str, str]) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError):
        S3DataTool(**arguments)


def test_credentials_of_the_constructor_are_used_for_reads(
    s3_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything about the environment is wrong here."""
    monkeypatch.setenv("S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("S3_ACCESS_KEY", "wrong")
    monkeypatch.setenv("S3_SECRET_KEY", "wrong")
    bucket = s3_server.make_bucket()
    tool = S3DataTool(bucket=bucket, prefix="lake", **s3_server.options, region="us-east-1")
    put_rows(tool.store, "posts", "b", some_rows(3))
    with tool.filter_for_export("posts") as view:
        assert [row["n"] for row in view] == [0, 1, 2]
    assert s3_server.secret_key not in repr(tool)


# Writing ---------------------------------------------------------------------------------------------


def test_rows_are_written_merged_and_read(tool: S3DataTool) -> None:
    """From an asynchronous and from a plain iterator, with and without brackets."""

    async def numbers() -> AsyncIterator[dict[str, Any]]:
        for row in some_rows(250):
            await asyncio.sleep(0)
            yield row

    async def main() -> None:
        configs = S3DataTool.StreamingConfigs(chunk_size=100)
        async with tool.dataset_generator as generator:
            first = await generator.from_async_iterator(numbers(), name="posts", batch="b1", streaming_configs=configs)
        async with tool.dataset_generator() as generator:
            await generator.from_async_iterator(some_rows(2), name="posts", batch="b2", deduplicate_on=["text"])
            await generator.from_async_iterator(some_rows(3), name="posts", batch="b2", deduplicate_on=["text"])
        assert (first.rows, first.chunks) == (250, 3)
        results = await tool.clean_up()
        assert [(result.batch, result.error) for result in results] == [("b1", None), ("b2", None)]
        async with tool.filter_for_export("posts") as view:
            # Chunks that are stored at the same time are merged in the order in which they arrived.
            assert sorted([(row.batch, row["n"]) async for row in view]) == [
                *(("b1", number) for number in range(250)), *(("b2", number) for number in range(3)),
            ]  # fmt: skip

    asyncio.run(main())


def test_rows_before_a_bad_one_are_safe(tool: S3DataTool) -> None:
    """The error names the row and the column."""

    async def main() -> None:
        async with tool.dataset_generator as generator:
            with pytest.raises(RowError, match="row 2"):
                await generator.from_async_iterator(
                    [{"n": 0}, {"n": 1}, {"n": object()}, {"n": 3}], name="posts", batch="b"
                )
        await tool.clean_up(["posts"])
        async with tool.filter_for_export("posts") as view:
            assert [row["n"] for row in view] == [0, 1]

    asyncio.run(main())


def test_an_export_feeds_a_generator(tool: S3DataTool) -> None:
    """Rows, annotations and ids go into another dataset; system columns do not get in the way."""
    put_rows(tool.store, "posts", "b", some_rows(3))
    put_annotations(tool.store, "posts", "lang", "b", {"1": {"label": "en"}})

    async def main() -> None:
        async with tool.filter_for_export("posts") as view, tool.dataset_generator as generator:
            await generator.from_async_iterator(view, name="copy", batch="same")
            more = ({**row, "id": f"x{row.id}", "from": row["_batch"]} async for row in view)
            await generator.from_async_iterator(more, name="copy", batch="more")
        await tool.clean_up(["copy"])
        async with tool.filter_for_export("copy", batches=["same"]) as view:
            assert [dict(row) for row in view][1] == {"id": "1", "text": "text 1", "n": 1, "lang.label": "en"}
        async with tool.filter_for_export("copy", batches=["more"]) as view:
            assert [(row.id, row["from"]) for row in view] == [("x0", "b"), ("x1", "b"), ("x2", "b")]

    asyncio.run(main())


@pytest.mark.parametrize("chunk_size", [0, -1, "100", 1.5, None])
def test_streaming_configs_are_checked(chunk_size: object) -> None:
    """A chunk has at least one row."""
    with pytest.raises(ValidationError):
        StreamingConfigs(chunk_size=chunk_size)  # type: ignore[arg-type]  # wrong on purpose
    with pytest.raises(ValidationError):
        StreamingConfigs(chunksize=1)  # type: ignore[call-arg]  # wrong on purpose
    assert S3DataTool.StreamingConfigs is StreamingConfigs


# Annotating ------------------------------------------------------------------------------------------


async def shout(item: DataItem) -> Annotation:
    """Add a column."""
    return Annotation(data={"loud": item.data["text"].upper()})


def test_layers_of_annotators(tool: S3DataTool) -> None:
    """The second sees, and filters by, what the first made; both show in the export."""
    put_rows(tool.store, "posts", "b", some_rows(20))

    async def even(item: DataItem) -> Annotation:
        return Annotation(data={"even": item.data["n"] % 2 == 0})

    async def main() -> None:
        async with tool.filter_for_annotation("posts", "first", base_columns=["n"]) as view:
            report = await view.annotate(even, max_concurrency=4)
        assert report.annotated == 20
        await tool.clean_up(annotators=[("posts", "first")])
        only_even = BooleanFilter(field="first.even", value=True)
        async with tool.filter_for_annotation(
            "posts", "second", base_columns=["text"], annotator_columns={"first": ["even"]}, filter=only_even
        ) as view:
            assert [item.data["first.even"] for item in view] == [True] * 10
            report = await view.annotate(shout)
            assert (report.annotated, report.remaining) == (10, 0)
            assert (await view.annotate(shout)).annotated == 0
        await tool.clean_up()
        async with tool.filter_for_export("posts") as view:
            assert [row["second.loud"] for row in view] == [
                f"TEXT {number}" if number % 2 == 0 else None for number in range(20)
            ]

    asyncio.run(main())


def test_a_wider_fraction_annotates_the_rest(tool: S3DataTool) -> None:
    """No row twice."""
    put_rows(tool.store, "posts", "b", some_rows(200))
    seen: list[str] = []

    async def note(item: DataItem) -> Annotation:
        seen.append(item.id)
        return Annotation(data={"ok": True})

    async def main() -> None:
        for fraction in (0.1, 0.5, 1.0):
            async with tool.filter_for_annotation("posts", "a", fraction=fraction) as view:
                await view.annotate(note)

    asyncio.run(main())
    assert sorted(seen) == sorted(str(number) for number in range(200))


def test_batches_can_be_chosen(tool: S3DataTool) -> None:
    """One, some, or the first few; not one that is not in the view."""
    for batch in ("b1", "b2", "b3"):
        put_rows(tool.store, "posts", batch, some_rows(2))

    async def main() -> None:
        async with tool.filter_for_annotation("posts", "a", base_columns=["text"]) as view:
            assert (await view.annotate(shout, batch="b2")).annotated == 2
            assert (await view.annotate(shout, batches=["b2", "b1"])).annotated == 2
            assert (await view.annotate(shout, max_batches=1)).annotated == 2
            with pytest.raises(UsageError, match="'b9'"):
                await view.annotate(shout, batch="b9")
            with pytest.raises(UsageError, match="not both"):
                await view.annotate(shout, batch="b1", batches=["b1"])
            with pytest.raises(UsageError, match="list"):
                await view.annotate(shout, batches="b1")

    asyncio.run(main())


def test_a_live_worker_keeps_others_out(tool: S3DataTool) -> None:
    """Entering a view raises; a view that is only read takes no lock and lets others in."""
    put_rows(tool.store, "posts", "b", some_rows(3))

    async def main() -> None:
        started, finish = asyncio.Event(), asyncio.Event()

        async def slow(item: DataItem) -> Annotation:
            started.set()
            await finish.wait()
            return Annotation(data={"ok": True})

        async with tool.filter_for_annotation("posts", "a") as reading:
            assert len([item async for item in reading]) == 3
            async with tool.filter_for_annotation("posts", "a") as view:
                working = asyncio.create_task(view.annotate(slow))
                await started.wait()
                with pytest.raises(AnnotationLockError):
                    await tool.filter_for_annotation("posts", "a").__aenter__()
                with pytest.raises(AnnotationLockError):
                    await reading.annotate(shout)
                async with tool.filter_for_annotation("posts", "other"):
                    pass
                finish.set()
                assert (await working).annotated == 3
        async with tool.filter_for_annotation("posts", "a"):
            pass

    asyncio.run(main())


# Wrong input -----------------------------------------------------------------------------------------


def test_nothing_to_read(tool: S3DataTool) -> None:
    """No dataset, and a dataset that was never merged, are errors when a view is entered."""

    async def main() -> None:
        with pytest.raises(DatasetNotFoundError):
            await tool.filter_for_export("posts").__aenter__()
        async with tool.dataset_generator as generator:
            await generator.from_async_iterator(some_rows(1), name="posts", batch="b")
        with pytest.raises(DatasetNotMergedError):
            await tool.filter_for_export("posts").__aenter__()
        with pytest.raises(DatasetNotMergedError):
            await tool.filter_for_annotation("posts", "a").__aenter__()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"filter": {"type": "boolaen", "field": "x", "value": True}}, "unknown type 'boolaen'"),
        ({"filter": {"type": "all", "filters": [{"type": "raw_duck"}]}}, r"filters\[0\].sql: is missing"),
        ({"base_filter": "no json"}, "base_filter"),
        ({"annotator_filters": {"lang": 3}}, "annotator_filters"),
    ],
)
def test_a_filter_that_is_none(tool: S3DataTool, arguments: dict[str, Any], message: str) -> None:
    """Refused at once, in one line."""
    with pytest.raises(FilterError, match=message) as caught:
        tool.filter_for_export("posts", **arguments)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError):
        tool.filter_for_export("posts", annotator_filters=["lang"])  # type: ignore[arg-type]  # wrong on purpose


def test_filters_as_json(tool: S3DataTool) -> None:
    """The object, or its text: the same as the classes."""
    put_rows(tool.store, "posts", "b", some_rows(10))
    node = AllFilter(filters=[RawDuckFilter(sql="n > 3"), RawDuckFilter(sql="n < 6")])
    for given in (node, node.model_dump(), node.model_dump_json()):
        with tool.filter_for_export("posts", filter=given) as view:
            assert [row["n"] for row in view] == [4, 5]


def test_names_are_checked_before_anything_is_read(tool: S3DataTool) -> None:
    """Of datasets and annotators."""
    with pytest.raises(NameNotAllowedError):
        tool.filter_for_export("../x")
    with pytest.raises(NameNotAllowedError):
        tool.filter_for_annotation("posts", "a/b")


@pytest.mark.parametrize("options", [{"max_concurrency": 0}, {"timeout_seconds": 0}, {"max_errors": -1}])
def test_numbers_that_cannot_work(tool: S3DataTool, options: dict[str, Any]) -> None:
    """Named in the error."""
    put_rows(tool.store, "posts", "b", some_rows(1))

    async def main() -> None:
        async with tool.filter_for_annotation("posts", "a") as view:
            with pytest.raises(UsageError, match=next(iter(options))):
                await view.annotate(shout, **options)

    asyncio.run(main())
    with pytest.raises(UsageError, match="lock_ttl_ms"), tool.filter_for_annotation("posts", "a", lock_ttl_ms=0):
        pass


def test_a_bucket_that_is_missing(s3_server: S3Server) -> None:
    """Says so, and not that there is no such dataset."""
    tool = S3DataTool("s3://no-such-bucket/lake", **s3_server.options)
    with pytest.raises(StoreError, match="no-such-bucket"), tool.filter_for_export("posts"):
        pass


# The package -----------------------------------------------------------------------------------------


def test_importing_the_package_is_cheap() -> None:
    """Nothing is loaded before it is asked for; reading a folder loads neither AWS nor Arrow."""
    heavy = "{'pydantic', 'duckdb', 'pyarrow', 'boto3', 'numpy', 'asyncio'}"
    program = f"""
import sys
import datalake_service
assert not {heavy} & set(sys.modules)
from datalake_service import S3DataTool
S3DataTool("./lake")
assert not {heavy} & set(sys.modules), {heavy} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_reading_rows_of_a_folder_needs_no_arrow(tool: S3DataTool) -> None:
    """It would take longer to load than most exports take."""
    put_rows(tool.store, "posts", "b", some_rows(3))
    program = f"""
import sys
from datalake_service import S3DataTool
with S3DataTool({tool.uri!r}).filter_for_export("posts") as view:
    assert len(list(view)) == 3
assert not {{"pyarrow", "numpy", "boto3", "pydantic"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_unknown_names_are_attribute_errors() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="nothing"):
        datalake_service.nothing  # noqa: B018 - the error is what is tested
