from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from datalake_service.catalog import layout
from datalake_service.catalog.rejections import Rejection, RejectionKind
from datalake_service.catalog.tasks import TaskCounts, TaskState, TaskStatus, create_task
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.open import open_store
from tests.cli.commands import datalake, datalake_on_terminal
from tests.support.lake import MERGED_AT, put_annotations, put_rows

ROWS: list[dict[str, Any]] = [{"text": "a b", "n": 1}, {"text": "c", "n": 2.5, "tags": ["x"]}, {"text": None}]


@pytest.fixture
def lake(tmp_path: Path) -> ObjectStore:
    """A lake in the folder where commands run, with one dataset: two batches, an annotator, a task, two errors."""
    store = open_store(tmp_path / "lake")
    put_rows(store, "posts", "one", ROWS)
    put_rows(store, "posts", "two", ROWS[:1])
    put_annotations(store, "posts", "lang", "one", {"0": {"label": "en"}, "1": "skipped"})
    store.put("posts/two/foreign.jsonl", b'{"text": "new"}\n', mode=Overwrite())
    counts = TaskCounts(records=5, documents=3, rejections=2, size=100)
    create_task(
        store,
        "posts",
        TaskState(
            id="t1", item="in/a.log", batch="one", status=TaskStatus.COMPLETED, counts=counts, created_at=MERGED_AT,
            rejection_files=1, rejection_files_ever=2,
        ),
    )  # fmt: skip
    bad = Rejection(source="in/a.log", start_offset="7", kind=RejectionKind.PARSE, message="no date", data=b"x\ty")
    worse = Rejection(source="in/a.log", start_offset="9", kind=RejectionKind.READ, message="cut", data=b"\xff")
    prefix = layout.rejected_prefix("posts", "one")
    store.put(layout.task_rejections_key(prefix, "t1", 0), bad.to_json_line() + worse.to_json_line(), mode=Overwrite())
    store.put(layout.task_rejections_key(prefix, "t1", 1), bad.to_json_line(), mode=Overwrite())
    return store


@pytest.mark.usefixtures("lake")
def test_datasets_are_listed_with_what_is_in_them(tmp_path: Path) -> None:
    """As JSON in a pipe, on one line; indented when asked for; as a table on a terminal."""
    done = datalake("datasets", "list", cwd=tmp_path)
    assert done.json == {
        "uri": str(tmp_path / "lake"),
        "datasets": [
            {
                "datasetName": "posts",
                "status": None,
                "batches": 2,
                "annotators": 1,
                "createdAt": None,
                "deletedAt": None,
            }
        ],
    }
    assert len(done.out.splitlines()) == 1
    assert len(datalake("datasets", "list", "--prettyPrint", cwd=tmp_path).out.splitlines()) > 5
    shown = datalake_on_terminal("datasets", "list", cwd=tmp_path).out.splitlines()
    assert [line.split() for line in shown] == [
        ["DATASET", "STATUS", "BATCHES", "ANNOTATORS", "CREATED", "(UTC)"],
        ["posts", "-", "2", "1", "-"],
    ]


@pytest.mark.usefixtures("lake")
def test_a_dataset_is_shown_with_the_counts_of_its_records(tmp_path: Path) -> None:
    """From the footers of merged objects, chunks that wait, and tasks."""
    shown = datalake("datasets", "view", "--datasetName", "posts", cwd=tmp_path).json
    assert (shown["datasetName"], shown["rows"], shown["tasks"]) == ("posts", 4, {"COMPLETED": 1})
    one, two = shown["batches"]
    assert (one["batch"], one["rows"], one["waiting"]["chunks"], one["error"]) == ("one", 3, 0, None)
    assert one["columns"] == {
        "id": "string", "text": "string", "n": "number", "tags": "json", "_batch": "string", "_created_at": "string",
    }  # fmt: skip
    assert (two["batch"], two["rows"], two["waiting"]) == ("two", 1, {"chunks": 1, "rows": 0, "bytes": 16})
    (lang,) = shown["annotators"]
    assert (lang["annotatorName"], lang["rows"]) == ("lang", 2)
    assert {name: lang["coverage"][name] for name in ("rows", "done", "pending", "share")} == {
        "rows": 4, "done": 1, "pending": 2, "share": 0.5,
    }  # fmt: skip
    assert [(one["batch"], one["coverage"]["pending"]) for one in lang["batches"]] == [("one", 1), ("two", 1)]
    text = datalake_on_terminal("datasets", "view", "--dataset-name", "posts", cwd=tmp_path).out
    assert "tasks: 1 completed" in text
    assert "ANNOTATOR lang" in text


def test_a_damaged_batch_does_not_hide_the_others(tmp_path: Path, lake: ObjectStore) -> None:
    """It is shown with what is wrong."""
    lake.put("posts/one/merged.parquet", b"no parquet", mode=Overwrite())
    one, two = datalake("datasets", "view", "--datasetName", "posts", cwd=tmp_path).json["batches"]
    assert "is no complete Parquet file" in one["error"]
    assert two["rows"] == 1


@pytest.mark.usefixtures("lake")
def test_tasks_are_listed_with_their_counts(tmp_path: Path) -> None:
    """What was read, what came of it, and what went wrong."""
    (task,) = datalake("tasks", "list", "--datasetName", "posts", cwd=tmp_path).json["tasks"]
    assert (task["id"], task["status"], task["item"]) == ("t1", "COMPLETED", "in/a.log")
    assert task["counts"] == {"records": 5, "documents": 3, "skips": 0, "rejections": 2, "bytes": 100}
    _, line = datalake_on_terminal("tasks", "list", "--datasetName", "posts", cwd=tmp_path).out.splitlines()
    assert line.split() == ["t1", "COMPLETED", "one", "5", "3", "0", "2", "-", "in/a.log", "-"]


@pytest.mark.usefixtures("lake")
def test_errors_are_listed_and_shown(tmp_path: Path) -> None:
    """Where each record came from and why it is not used; with the record itself on request."""
    listed = datalake("errors", "list", "--datasetName", "posts", cwd=tmp_path).json
    assert [(error["error"], error["kind"], error["startOffset"]) for error in listed["errors"]] == [
        ("one/task_t1_00000.jsonl:1", "parse", "7"),
        ("one/task_t1_00000.jsonl:2", "read", "9"),
    ]  # the file of an attempt that does not count is left out
    assert not any("text" in error or "base64" in error for error in listed["errors"])
    assert listed["more"] is False
    first = datalake("errors", "list", "--datasetName", "posts", "--limit", "1", cwd=tmp_path).json
    assert (len(first["errors"]), first["more"]) == (1, True)
    none = datalake("errors", "list", "--datasetName", "posts", "--batch", "two", cwd=tmp_path).json
    assert none["errors"] == []
    shown = datalake("errors", "view", "--datasetName", "posts", "--error", "one/task_t1_00000.jsonl:1", cwd=tmp_path)
    assert (shown.json["text"], shown.json["message"]) == ("x\ty", "no date")
    text = datalake_on_terminal(
        "errors", "view", "--datasetName", "posts", "--error", "one/task_t1_00000.jsonl:1", cwd=tmp_path
    ).out
    assert text.splitlines()[-1] == r"x\ty"


@pytest.mark.parametrize(
    "name", ["x", "one/none.jsonl:1", "one/task_t1_00000.jsonl:3", "one/task_t1_00000.jsonl:0", "../x:1"]
)
@pytest.mark.usefixtures("lake")
def test_an_error_that_does_not_exist_is_a_mistake(tmp_path: Path, name: str) -> None:
    """Names come from the list."""
    done = datalake("errors", "view", "--datasetName", "posts", "--error", name, cwd=tmp_path)
    assert done.status == 2
    assert len(done.err.splitlines()) == 1


@pytest.mark.usefixtures("lake")
def test_errors_of_a_batch_that_does_not_exist(tmp_path: Path) -> None:
    """The line says which there are."""
    done = datalake("errors", "list", "--datasetName", "posts", "--batch", "three", cwd=tmp_path)
    assert (done.status, done.err) == (2, "dataset 'posts' has no batch 'three'; there are: one, two\n")


@pytest.mark.usefixtures("lake")
def test_deleting_asks_and_can_be_undone(tmp_path: Path) -> None:
    """No removes nothing, yes hides the dataset, restore brings everything back."""
    refused = datalake("datasets", "delete", "--datasetName", "posts", cwd=tmp_path)
    assert refused.status == 2
    assert "give --yes" in refused.err
    said_no = datalake_on_terminal("datasets", "delete", "--datasetName", "posts", cwd=tmp_path, answer="n\n")
    assert said_no.status == 2
    assert "nothing was deleted" in said_no.out
    said_yes = datalake_on_terminal("datasets", "delete", "--datasetName", "posts", cwd=tmp_path, answer="y\n")
    assert said_yes.status == 0
    assert "undo with: datalake datasets restore --datasetName posts" in said_yes.out
    again = datalake("datasets", "delete", "--datasetName", "posts", "--yes", cwd=tmp_path)
    assert again.status == 0
    (listed,) = datalake("datasets", "list", cwd=tmp_path).json["datasets"]
    assert listed["deletedAt"] == again.json["deletedAt"]
    hidden = datalake("export", "--datasetName", "posts", "--output", "x.jsonl", cwd=tmp_path)
    assert hidden.status == 2
    assert "datalake datasets restore" in hidden.err
    restored = datalake("datasets", "restore", "--datasetName", "posts", cwd=tmp_path)
    assert restored.json == {"datasetName": "posts", "restored": True}
    assert datalake("datasets", "restore", "--datasetName", "posts", cwd=tmp_path).json["restored"] is False
    assert datalake("datasets", "view", "--datasetName", "posts", cwd=tmp_path).json["rows"] == 4


@pytest.mark.usefixtures("lake")
def test_settings_say_where_the_lake_is(tmp_path: Path) -> None:
    """The command line over the environment over .env over ./lake."""
    other, third = tmp_path / "other", tmp_path / "third"
    put_rows(open_store(other), "elsewhere", "b", ROWS)
    put_rows(open_store(third), "third", "b", ROWS)
    work = tmp_path / "work"
    work.mkdir()
    (work / ".env").write_text(f"export DATALAKE_URI={other}\n", encoding="utf-8")

    def names(*arguments: str, **env: str) -> list[str]:
        found = datalake("datasets", "list", *arguments, cwd=work, **env).json["datasets"]
        return [dataset["datasetName"] for dataset in found]

    assert names() == ["elsewhere"]
    assert names(DATALAKE_URI=str(third)) == ["third"]
    assert names("--uri", "../lake", DATALAKE_URI=str(third)) == ["posts"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".parquet", "-"])
@pytest.mark.usefixtures("lake")
def test_export_writes_rows_with_their_annotations(tmp_path: Path, suffix: str) -> None:
    """Every format holds the same; the answer counts what was written."""
    output = suffix if suffix == "-" else f"out{suffix}"
    done = datalake("export", "--datasetName", "posts", "--output", output, cwd=tmp_path)
    assert done.status == 0, done.err
    rows = done.out.splitlines() if output == "-" else read_lines(tmp_path / output)
    assert [json.loads(line)["text"] for line in rows] == ["a b", "c", None, "a b"]
    assert [json.loads(line)["lang.label"] for line in rows] == ["en", None, None, None]
    if output != "-":
        told = done.json
        assert (told["rows"], told["output"], told["batches"]) == (4, output, ["one", "two"])
        assert told["bytes"] == (tmp_path / output).stat().st_size
    leftovers = {path.name for path in tmp_path.iterdir()} - {"lake", output, f"{output}.lineage.json"}
    assert leftovers == set()


def read_lines(path: Path) -> list[str]:
    """The rows of an exported file as JSON lines, read by another library than the one that wrote it."""
    import gzip

    import pyarrow.parquet as pq

    if path.suffix == ".parquet":
        return [json.dumps(row) for row in pq.read_table(path).to_pylist()]
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode().splitlines()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--columns", "text,n", "--no-annotators"], {"id": "1", "text": "c", "n": 2.5}),
        (["--columns", '["text"]', "--columns", "n", "--no-annotators"], {"id": "1", "text": "c", "n": 2.5}),
        (["--columns", "n", "--annotator-columns", "lang:label"], {"id": "1", "n": 2.5, "lang.label": None}),
        (["--columns", "n", "--annotatorColumns", "lang"], {"id": "1", "n": 2.5, "lang.label": None}),
    ],
)
@pytest.mark.usefixtures("lake")
def test_export_takes_columns_and_filters(tmp_path: Path, options: list[str], expected: dict[str, Any]) -> None:
    """The same words as in Python."""
    condition = {"type": "raw_duck", "sql": "text = 'c'"}
    (tmp_path / "filter.json").write_text(json.dumps(condition), encoding="utf-8")
    for given in (json.dumps(condition), "@filter.json"):
        done = datalake(
            "export", "--datasetName", "posts", "--output", "-", "--batch", "one", "--filter", given, *options,
            cwd=tmp_path,
        )  # fmt: skip
        (row,) = [json.loads(line) for line in done.out.splitlines()]
        assert {key: row.get(key) for key in expected} == expected
        assert row.keys() <= {*expected, "id", "_batch", "_created_at"}


@pytest.mark.usefixtures("lake")
def test_a_filter_that_sql_refuses_is_one_line(tmp_path: Path) -> None:
    """The file that was there stays as it was."""
    (tmp_path / "out.jsonl").write_text("old", encoding="utf-8")
    condition = json.dumps({"type": "raw_duck", "sql": "lenght(text) > 1"})
    done = datalake("export", "--datasetName", "posts", "--output", "out.jsonl", "--filter", condition, cwd=tmp_path)
    assert done.status == 2
    assert "Traceback" not in done.err
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8") == "old"
