"""Versions of an annotator: what is asked again, by whom it counts as done, and what is shown until then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from datalake_interfaces import DataItem, SkipDoc
from datalake_service.catalog import layout
from datalake_service.catalog.generations import Company, begin
from datalake_service.catalog.makers import Maker
from datalake_service.errors import AnnotationLockError, LimitExceededError, UsageError
from datalake_service.pipeline.annotation.annotate import annotate
from datalake_service.pipeline.annotation.job import AnnotationJob, AnnotationOptions, AnnotationReport
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.base import CreateOnly, ObjectStore
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ANNOTATOR, DATASET, Asked, ListRows, one_batch
from tests.support.merging import read_merged, read_record
from tests.support.versions import stored_generations

KEY = layout.merged_key(layout.annotation_prefix(DATASET, ANNOTATOR, "b1"))
ROWS = ListRows({"b1": list("abcdef")})
NOW = datetime(2026, 11, 21, tzinfo=UTC)


async def start(
    store: ObjectStore,
    rule: Callable[[DataItem], object],
    version: str | None = None,
    code: str | None = "c",
    *,
    rows: ListRows = ROWS,
    **options: Any,
) -> tuple[list[str], AnnotationReport]:
    """One run; which rows it asked, and its report."""
    asked = Asked(rule)
    job = AnnotationJob(DATASET, ANNOTATOR, list(rows.batches), maker=Maker(version=version, code=code))
    report = await annotate(store, job, rows=rows, function=asked, options=AnnotationOptions(**options))
    return sorted(asked.ids), report


def run(store: ObjectStore, rule: Callable[[DataItem], object], *maker: str | None, **options: Any) -> str:
    """One run; the rows that it asked."""
    return "".join(asyncio.run(start(store, rule, *maker, **options))[0])


def says(value: int, *, fails: str = "", skips: str = "") -> Callable[[DataItem], object]:
    """An annotator that fails for some rows, and skips some."""

    def rule(item: DataItem) -> object:
        if item.id in fails:
            raise ValueError("no")
        return SkipDoc() if item.id in skips else {"n": value}

    return rule


def shown(store: ObjectStore) -> dict[str, object]:
    """What a reading shows of each row, merged."""
    merge_annotator(store, DATASET, ANNOTATOR)
    return {row["id"]: row.get("n", row["_status"]) for row in read_merged(store, KEY)}


@pytest.mark.parametrize("merged", [False, True])
def test_only_failed_rows_are_asked(folder_store: FolderStore, *, merged: bool) -> None:
    """Nothing new, nothing that is done; those that fail again, again."""
    few = ListRows({"b1": list("abcd")})
    assert run(folder_store, says(1, fails="ab", skips="c"), rows=few) == "abcd"
    if merged:
        merge_annotator(folder_store, DATASET, ANNOTATOR)
    assert run(folder_store, says(2, fails="b"), retry="failed") == "ab"
    assert run(folder_store, says(3), retry="failed") == "b"
    assert run(folder_store, says(4), retry="failed") == ""
    assert shown(folder_store) == {"a": 2, "b": 3, "c": "skipped", "d": 1}


@pytest.mark.parametrize("merged", [False, True])
def test_skipped_rows_are_asked_again(folder_store: FolderStore, *, merged: bool) -> None:
    """With what failed and what is new; what is skipped again is not asked a third time by the same campaign."""
    run(folder_store, says(1, fails="a", skips="bc"), rows=ListRows({"b1": list("abcd")}))
    if merged:
        merge_annotator(folder_store, DATASET, ANNOTATOR)
    rule, options = says(2, skips="c"), {"retry": "skipped", "campaign": "again"}
    assert run(folder_store, rule, **options) == "abcef"
    assert run(folder_store, rule, **options) == ""
    assert shown(folder_store) == {"a": 2, "b": 2, "c": "skipped", "d": 1, "e": 2, "f": 2}


def test_a_campaign_goes_on_where_it_was(folder_store: FolderStore) -> None:
    """It ends with a run that went through everything; the next one without a name begins anew."""
    run(folder_store, says(1))
    with pytest.raises(LimitExceededError):
        run(folder_store, says(2, fails="cdef"), retry="all", max_errors=2, max_concurrency=1)
    assert shown(folder_store) == {"a": 2, "b": 2, "c": 1, "d": 1, "e": 1, "f": 1}, "old ones are read until then"
    assert run(folder_store, says(3)) == "cde", "they have failed, whatever they had before"
    with pytest.raises(LimitExceededError):
        run(folder_store, says(4, fails="f"), retry="all", max_errors=0)
    assert run(folder_store, says(5), retry="all") == "f"
    assert shown(folder_store) == {"a": 2, "b": 2, "c": 3, "d": 3, "e": 3, "f": 5}
    assert run(folder_store, says(6), retry="all") == "abcdef"
    assert shown(folder_store) == dict.fromkeys("abcdef", 6)


def test_a_campaign_with_a_name_is_never_begun_anew(folder_store: FolderStore) -> None:
    """Whoever comes late finds everything done, also after others."""
    run(folder_store, says(1))
    assert run(folder_store, says(2), retry="all", campaign="job-1", max_batches=1) == "abcdef"
    assert run(folder_store, says(3), retry="all", campaign="job-2") == "abcdef"
    assert run(folder_store, says(4), retry="all", campaign="job-1") == ""
    assert run(folder_store, says(5), retry="all", campaign="job-2") == ""
    assert shown(folder_store) == dict.fromkeys("abcdef", 3)


def test_workers_share_a_campaign(folder_store: FolderStore) -> None:
    """Each row is asked once by all of them together; one that comes late asks nothing."""
    rows = ListRows({f"b{number}": [f"r{number}{row}" for row in range(5)] for number in range(6)})
    asyncio.run(start(folder_store, says(1), rows=rows))
    options: dict[str, Any] = {"rows": rows, "shared": True, "retry": "all", "campaign": "job", "lock_ttl_ms": 60_000}

    async def together() -> list[tuple[list[str], AnnotationReport]]:
        return await asyncio.gather(*(start(folder_store, says(2), **options) for _ in range(3)))

    outcomes = asyncio.run(together())
    assert sorted(row for asked, _ in outcomes for row in asked) == sorted(
        name for names in rows.batches.values() for name in names
    )
    assert asyncio.run(start(folder_store, says(3), **options))[0] == []


@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize(
    ("retry", "asked"), [(None, "abef"), ("failed", "ab"), ("skipped", "abcef"), ("all", "abcdef")]
)
def test_under_one_name_each_row_is_asked_once(
    folder_store: FolderStore, retry: str | None, asked: str, *, merged: bool
) -> None:
    """Also if it fails; under another name, or none, it is asked again."""
    run(folder_store, says(1, fails="ab", skips="c"), rows=ListRows({"b1": list("abcd")}))
    for campaign in ("first", "second"):
        assert run(folder_store, says(2, fails="b"), retry=retry, campaign=campaign) == (
            asked if campaign == "first" or retry == "all" else "b"
        )
        for _ in range(2):
            assert run(folder_store, says(3), retry=retry, campaign=campaign) == ""
            if merged:
                merge_annotator(folder_store, DATASET, ANNOTATOR)
    assert run(folder_store, says(4), retry="failed") == "b"


def test_workers_that_share_retry_failed_rows_once(folder_store: FolderStore) -> None:
    """Whoever comes while one of them is at work takes part; when all have ended, failed rows are asked anew."""
    rows = ListRows({f"b{number}": [f"r{number}{row}" for row in range(4)] for number in range(4)})
    names = sorted(name for batch in rows.batches.values() for name in batch)
    shared: dict[str, Any] = {"rows": rows, "shared": True, "retry": "failed", "lock_ttl_ms": 60_000}
    asyncio.run(start(folder_store, says(1, fails=" ".join(names)), rows=rows))

    async def one_after_the_other() -> list[str]:
        """The first one holds still at its last row until the second one is through with what is left to it."""
        first_asked, release, waits = [], asyncio.Event(), asyncio.Event()

        async def slow(item: DataItem) -> object:
            first_asked.append(item.id)
            if len(first_asked) == len(names) - 1:
                waits.set()
                await release.wait()
            raise ValueError("no")

        job = AnnotationJob(DATASET, ANNOTATOR, list(rows.batches), maker=Maker(code="c"))
        options = AnnotationOptions(
            shared=True, retry="failed", lock_ttl_ms=60_000, max_concurrency=1, chunk_size=1, max_chunk_seconds=0.05
        )
        first = asyncio.create_task(annotate(folder_store, job, rows=rows, function=slow, options=options))
        await waits.wait()
        second = asyncio.create_task(start(folder_store, says(1, fails=" ".join(names)), **shared))
        await asyncio.sleep(0.5)
        release.set()
        await first
        return sorted([*first_asked, *(await second)[0]])

    for _ in range(2):
        assert asyncio.run(one_after_the_other()) == names
    assert asyncio.run(start(folder_store, says(2), **shared))[0] == names


def test_what_a_dead_worker_began_is_begun_anew(folder_store: FolderStore) -> None:
    """Its lease is gone; two that come at once after it take part in one and the same."""
    company = Company("dead", dict)
    maker = Maker(code="c")
    dead = begin(folder_store, DATASET, ANNOTATOR, maker, now=NOW, again="failed", company=company)
    both = Company("a", lambda: {"b"}), Company("b", lambda: {"a"})
    found = [
        begin(folder_store, DATASET, ANNOTATOR, maker, now=NOW, again="failed", company=company)
        for company in (*both, both[0])
    ]
    assert [one.campaign and one.campaign.generation for one in (dead, *found)] == [1, 2, 2, 2]
    assert [one.joined for one in found] == [False, True, True]


def test_what_another_label_asks_again_is_other_work(
    folder_store: FolderStore, caplog: pytest.LogCaptureFixture
) -> None:
    """An unfinished one of the old label is not gone on with; one of the same is, with a word about it."""
    run(folder_store, says(1), "v1")
    for label in ("v1", "v2"):
        with pytest.raises(LimitExceededError):
            run(folder_store, says(2, fails="c"), label, retry="all", max_errors=0, max_concurrency=1)
        assert "annotation.campaign_joined" not in caplog.text
    assert run(folder_store, says(3), "v2", retry="all") == "cdef"
    assert "annotation.campaign_joined" in caplog.text
    assert shown(folder_store) == {"a": 2, "b": 2, "c": 3, "d": 3, "e": 3, "f": 3}


@pytest.mark.parametrize("merged", [False, True])
def test_what_another_label_made_is_made_anew(folder_store: FolderStore, *, merged: bool) -> None:
    """Only if asked for; row by row, and going back pays for nothing twice."""

    def merge() -> None:
        if merged:
            merge_annotator(folder_store, DATASET, ANNOTATOR)

    assert run(folder_store, says(1, fails="f"), "v1") == "abcdef"
    merge()
    assert run(folder_store, says(2, fails="f"), "v2") == "f", "anybody's count"
    merge()
    assert run(folder_store, says(3, fails="ab"), "v2", reuse="label") == "abcdef"
    merge()
    assert shown(folder_store) == {"a": 1, "b": 1, "c": 3, "d": 3, "e": 3, "f": 3}
    assert run(folder_store, says(4, fails="a"), "v2", reuse="label") == "ab"
    merge()
    assert run(folder_store, says(5), "v1", reuse="label") == "f", "what v1 made is there still"
    merge()
    assert run(folder_store, says(6), "v2", reuse="label", retry="failed") == "a"
    assert run(folder_store, says(7), "v2", reuse="label") == ""


def test_what_other_code_made_is_made_anew(folder_store: FolderStore) -> None:
    """The hash tells; labels do not matter."""
    run(folder_store, says(1), "v1", "c1")
    assert run(folder_store, says(2), "v2", "c1", reuse="code") == ""
    assert run(folder_store, says(3), "v2", "c2", reuse="code") == "abcdef"
    assert run(folder_store, says(4), "v3", "c2", reuse="code") == ""


def test_a_row_that_fails_anew_shows_what_it_had(folder_store: FolderStore) -> None:
    """And is asked again by the next run, because the newest that is known of it is a failure."""
    run(folder_store, says(1), "v1")
    run(folder_store, says(2, fails="a"), "v2", reuse="label")
    assert shown(folder_store)["a"] == 1
    assert run(folder_store, says(3, fails="a")) == "a"
    assert shown(folder_store)["a"] == 1
    assert run(folder_store, says(4), retry="failed") == "a"
    assert shown(folder_store)["a"] == 4


def test_old_lakes_have_no_versions(folder_store: FolderStore) -> None:
    """Their annotations count for anybody, and are made anew when a label or code is asked for."""
    prefix = layout.annotator_temp_prefix(DATASET, ANNOTATOR)
    old = b'{"id": "a", "_batch": "b1", "_status": "done", "_annotated_at": "2026-01-01T00:00:00.000000Z", "n": 0}\n'
    folder_store.put(f"{prefix}aaaaaa_chunk_00000.jsonl", old, mode=CreateOnly())
    for merged in (False, True):
        if merged:
            merge_annotator(folder_store, DATASET, ANNOTATOR)
        assert run(folder_store, says(1, fails="bcdef"), "v1") == "bcdef"
    assert run(folder_store, says(2), "v1", reuse="label") == "abcdef"
    assert shown(folder_store) == dict.fromkeys("abcdef", 2)


def test_each_row_says_who_made_it(folder_store: FolderStore) -> None:
    """The merged object has it, the chunks do not; the record says what was selected."""
    job = AnnotationJob(
        DATASET,
        ANNOTATOR,
        ["b1"],
        maker=Maker(version="v1", parameters={"p": 1}, filter={"type": "all", "filters": []}, fraction=0.5),
        bases={"b1": "etag"},
    )

    async def named(item: DataItem) -> dict[str, int]:
        return {"n": 1}

    asyncio.run(annotate(folder_store, job, rows=ROWS, function=named))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    rows = read_merged(folder_store, KEY)
    (made,) = read_record(folder_store, KEY)["made"]
    assert {(row["_version"], row["_code"], row["_generation"], row["_attempts"]) for row in rows} == {
        ("v1", made["code"], 1, 1)
    }
    assert len(made["code"]) == 12
    assert made["annotator"].endswith("test_each_row_says_who_made_it.<locals>.named")
    assert (made["base"], made["fraction"], made["parameters"], made["done"]) == ("etag", 0.5, {"p": 1}, 6)


def test_shared_workers_with_other_code_are_refused(folder_store: FolderStore) -> None:
    """While another one works; one line that names both. Later, it is the next generation."""

    async def both() -> object:
        began, release = asyncio.Event(), asyncio.Event()

        async def slow(item: DataItem) -> dict[str, int]:
            began.set()
            await release.wait()
            return {"n": 1}

        job = AnnotationJob(DATASET, ANNOTATOR, ["b1"], maker=Maker(version="v1", code="aaaaaaaaaaaa"))
        options = AnnotationOptions(shared=True, lock_ttl_ms=60_000)
        first = asyncio.create_task(annotate(folder_store, job, rows=ROWS, function=slow, options=options))
        await began.wait()
        try:
            other = start(folder_store, says(2), "v1", "bbbbbbbbbbbb", shared=True, lock_ttl_ms=60_000)
            with pytest.raises(AnnotationLockError) as caught:
                await asyncio.wait_for(other, 30)
        finally:
            release.set()
            await first
        return caught.value

    message = str(asyncio.run(both()))
    assert "label 'v1', code aaaaaaaaaaaa" in message
    assert "label 'v1', code bbbbbbbbbbbb" in message
    assert "\n" not in message
    assert run(folder_store, says(3), "v1", "bbbbbbbbbbbb", shared=True, reuse="code") == "abcdef"
    assert stored_generations(folder_store).generation == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry": "some"}, "retry must be one of failed, skipped, all"),
        ({"reuse": "any"}, "reuse must be one of label, code"),
        ({"campaign": "../c", "retry": "all"}, "campaign"),
        ({"shared": True, "retry": "all"}, "needs a campaign name"),
        ({"reuse": "label"}, "reuse='label' needs a version"),
    ],
)
def test_options_that_cannot_be_used(folder_store: FolderStore, options: dict[str, Any], message: str) -> None:
    """Refused before anything is asked or written."""
    with pytest.raises((UsageError, ValueError), match=message):
        run(folder_store, says(1), **options)
    assert list(folder_store.list("")) == []


def test_code_without_source_has_no_version(folder_store: FolderStore) -> None:
    """A lambda that was made from text; it can be used, but not be told apart from another."""
    function = eval("lambda item: {'n': 1}")
    job = AnnotationJob(DATASET, ANNOTATOR, ["b1"])
    with pytest.raises(UsageError, match="its source cannot be read"):
        asyncio.run(annotate(folder_store, job, rows=ROWS, function=function, options=AnnotationOptions(reuse="code")))
    assert asyncio.run(annotate(folder_store, job, rows=one_batch(3), function=function)).annotated == 3
