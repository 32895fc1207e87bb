"""Failed annotations, for people and for filters: the newest that is known of each row."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalake_service.errors import UsageError
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.pipeline.reports.failed_annotations import find_failed, list_failed
from datalake_service.storage.folder import FolderStore
from tests.support.annotations import ANNOTATOR, DATASET
from tests.support.lake import put_rows
from tests.support.versions import Made, line, put_run, run_maker
from tests.support.views import dicts, sql, view

STATUSES = ("done", "skipped", "failed")


def names(store: FolderStore, **wanted: str) -> list[str]:
    """What is listed."""
    return [failed.name for failed in list_failed(store, DATASET, **wanted)]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2), st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(STATUSES)), max_size=4)
        ),
        max_size=5,
    ),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
@settings(max_examples=30)
def test_a_row_is_listed_as_long_as_its_newest_is_a_failure(
    runs: list[tuple[int, list[tuple[str, str]]]], merges: list[bool]
) -> None:
    """Of the newest generation; within one, an annotation is the newest. Whenever merges ran."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        put_rows(store, DATASET, "b1", [{"id": "a"}])
        generation, newest = 1, dict[str, tuple[int, bool, int]]()
        for number, ((step, rows), merge) in enumerate(zip(runs, merges, strict=False)):
            generation += step
            made = [
                Made(row_id, status, 10 * number + place, "v", "c", generation)
                for place, (row_id, status) in enumerate(rows)
            ]
            put_run(store, f"{number:06x}", map(line, made), run_maker("v", "c", generation))
            for one in made:
                newest[one.row_id] = max(
                    newest.get(one.row_id, (0, False, 0)), (generation, one.status != "failed", one.value)
                )
            if merge:
                merge_annotator(store, DATASET, ANNOTATOR)
        failed = {failed.row["id"]: failed.to_dict()["message"] for failed in list_failed(store, DATASET)}
        assert failed == {row_id: f"no {value}" for row_id, (_, final, value) in newest.items() if not final}, (
            "each once, the last one"
        )


def test_what_is_told(folder_store: FolderStore) -> None:
    """Kind, message, attempts, time, cost, who made it; chosen by annotator, batch and kind."""
    put_rows(folder_store, DATASET, "b1", [{"id": "a"}])
    usage = {"_kind": "ValueError", "_attempts": 3, "_seconds": 1.5, "_cost": 0.25, "_input_tokens": 7}
    rows = [line(Made("x/y", "failed", 1)) | usage, line(Made("b", "failed", 2), "b2")]
    put_run(folder_store, "aaaaaa", rows, run_maker("v1", "c1", 1))
    put_run(folder_store, "bbbbbb", [line(Made("a", "failed", 3))], None, annotator="other")
    for merged in (False, True):
        if merged:
            merge_annotator(folder_store, DATASET, ANNOTATOR)
        assert names(folder_store) == [
            "annotations/lang/b1/x/y", "annotations/lang/b2/b", "annotations/other/b1/a",
        ]  # fmt: skip
        assert names(folder_store, annotator="other") == ["annotations/other/b1/a"]
        assert names(folder_store, batch="b2") == ["annotations/lang/b2/b"]
        assert names(folder_store, kind="ValueError") == ["annotations/lang/b1/x/y"]
        assert names(folder_store, kind="unknown") == ["annotations/lang/b2/b", "annotations/other/b1/a"]
        told = find_failed(folder_store, DATASET, "annotations/lang/b1/x/y").to_dict()
        assert told == {
            "error": "annotations/lang/b1/x/y", "annotator": "lang", "batch": "b1", "id": "x/y", "kind": "ValueError",
            "message": "no 1", "attempts": 3, "seconds": 1.5, "cost": 0.25, "inputTokens": 7, "outputTokens": None,
            "version": "v1", "code": "c1", "failedAt": "2026-01-01T00:00:00.000000Z",
        }  # fmt: skip
    with pytest.raises(UsageError, match="the row has not failed"):
        find_failed(folder_store, DATASET, "annotations/lang/b1/a")
    with pytest.raises(UsageError, match="no annotator 'nobody'; there are: lang, other"):
        names(folder_store, annotator="nobody")


def test_filters_and_exports_see_failed_rows(folder_store: FolderStore) -> None:
    """Although the annotator's own columns are null for them."""
    put_rows(folder_store, DATASET, "b1", [{"id": name} for name in "abc"])
    usage = {"_kind": "Timeout", "_attempts": 3, "_cost": 0.25, "_input_tokens": 7, "_seconds": 2.0}
    rows = [line(Made("a", "done", 1)) | {"_cost": 0.5}, line(Made("b", "failed", 2)) | usage]
    put_run(folder_store, "aaaaaa", rows, run_maker("v1", "c1", 1))
    merge_annotator(folder_store, DATASET, ANNOTATOR)

    def selected(text: str) -> str:
        return "".join(row["id"] for row in dicts(view(folder_store, filter=sql(text))))

    assert selected("lang._status = 'failed'") == "b"
    assert selected("lang._kind = 'Timeout' AND lang._attempts >= 3 AND lang._error LIKE 'no%'") == "b"
    assert selected("lang._cost > 0.2 AND lang._version = 'v1' AND lang._code = 'c1'") == "ab"
    assert selected("lang._status IS NULL") == "c"
    assert selected("lang.n IS NULL") == "bc"
    columns = ["n", "_status", "_kind", "_input_tokens", "_seconds"]
    shown = dicts(view(folder_store, base_columns=["id"], annotator_columns={"lang": columns}))
    assert [tuple(row.values()) for row in shown] == [
        ("a", 1, "done", None, None, None), ("b", None, "failed", "Timeout", 7, 2.0), ("c", *[None] * 5),
    ]  # fmt: skip
