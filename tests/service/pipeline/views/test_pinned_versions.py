"""Views of one version of an annotator: exactly what that version made, wherever it stands."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from datalake_service.errors import UsageError
from datalake_service.pipeline.merging.merge import merge_annotator
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.tables.database.engine import EngineLimits
from tests.service.pipeline.merging.test_versions import put, runs
from tests.support.annotations import ANNOTATOR, DATASET
from tests.support.lake import put_rows
from tests.support.remote import RemoteStore
from tests.support.versions import Made, line, put_run, run_maker
from tests.support.views import dicts, sql, view

STREAMS = EngineLimits(sort_bytes=0)
"""Nothing fits into memory."""


def values(store: ObjectStore, version: str, **request: Any) -> dict[str, int | None]:
    """The annotator's column in a view of one version; it may be that no row of any version has it."""
    return {row["id"]: row.get("lang.n") for row in dicts(view(store, versions={"lang": version}, **request))}


@given(runs())
@settings(max_examples=10)
def test_a_pin_shows_what_its_version_made(made: list[list[Made]]) -> None:
    """Of each row the newest done annotation of the label, or of the hash; joined in memory and streamed."""
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder), durable=False)
        put_rows(store, DATASET, "b1", [{"id": name} for name in "abc"])
        for number, rows in enumerate(made):
            put(store, number, rows)
            merge_annotator(store, DATASET, ANNOTATOR)
        rows = [row for run in made for row in run]
        for column, text in (("version", "v1"), ("version", "v2"), ("code", "c1"), ("code", "c2")):
            mine = [row for row in rows if getattr(row, column) == text]
            pin = text if column == "version" else f"code:{text}"
            if not any(row.status != "failed" for row in mine):
                continue  # failures of old versions need not be there
            expected: dict[str, int | None] = dict.fromkeys("abc")
            for name in "abc":
                # Of each version the first final row of its newest generation is kept.
                final = [row for row in mine if row.row_id == name and row.status != "failed"]
                best = [row for row in final if row.age == max(one.age for one in final)]
                if best:
                    expected[name] = best[0].value if best[0].status == "done" else None
            for limits in (None, STREAMS):
                shown = values(store, pin, limits=limits)
                skipped = {name for name in "abc" if expected[name] is None}
                assert {name: shown[name] for name in "abc" if name not in skipped} == {
                    name: expected[name] for name in "abc" if name not in skipped
                }


@pytest.mark.parametrize("remote", [False, True])
def test_filters_and_tables_see_the_pinned_version(folder_store: FolderStore, *, remote: bool) -> None:
    """Its values, its status; other annotators are not touched; ranges of remote objects are fetched for it."""
    put_rows(folder_store, DATASET, "b1", [{"id": name} for name in "abc"])
    put_run(folder_store, "aaaaaa", [line(Made(name, "done", 1)) for name in "ab"], run_maker("v1", "c", 1))
    put_run(folder_store, "bbbbbb", [line(Made("a", "done", 2)), line(Made("b", "failed", 2))], run_maker("v2", "c", 2))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    store = RemoteStore(folder_store) if remote else folder_store
    assert values(store, "v1") == {"a": 1, "b": 1, "c": None}
    assert values(store, "v2") == {"a": 2, "b": None, "c": None}
    assert values(store, "code:c") == {"a": 2, "b": 1, "c": None}
    assert values(store, "v1", filter=sql("lang.n = 1 AND lang._version = 'v1'")) == {"a": 1, "b": 1}
    assert values(store, "v2", filter=sql("lang._status = 'failed'")) == {"b": None}
    with view(store, versions={"lang": "v1"}) as pinned:
        assert pinned.to_arrow().column("lang.n").to_pylist() == [1, 1, None]
        assert pinned.count() == 3


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({"lang": "v9"}, r"no annotation of 'lang' is of version 'v9'; there are: v1 \(code:c\)"),
        ({"land": "v1"}, "no annotator 'land'; did you mean 'lang'"),
        ({"lang": ""}, "must be a label, or code: and a code hash"),
    ],
)
def test_versions_that_are_not_there(folder_store: FolderStore, versions: dict[str, str], message: str) -> None:
    """One line that says which there are."""
    put_rows(folder_store, DATASET, "b1", [{"id": "a"}])
    put_run(folder_store, "aaaaaa", [line(Made("a", "done", 1))], run_maker("v1", "c", 1))
    merge_annotator(folder_store, DATASET, ANNOTATOR)
    with pytest.raises(UsageError, match=message):
        view(folder_store, versions=versions)
