from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from datalake_service.catalog import layout
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.open import open_store
from tests.cli.commands import Done, datalake, datalake_on_terminal

ROW = b'{"text": "a"}\n{"text": "b"}\n'


@pytest.fixture
def lake(tmp_path: Path) -> ObjectStore:
    """Foreign rows that wait in two batches of one dataset and one batch of another."""
    store = open_store(tmp_path / "lake")
    for key in ("posts/one/x.jsonl", "posts/two/x.jsonl", "pages/one/x.jsonl"):
        store.put(key, ROW, mode=Overwrite())
    return store


def lines(done: Done) -> list[dict[str, object]]:
    """The answer in a pipe: one JSON object a line."""
    return [json.loads(line) for line in done.out.splitlines()]


def places(done: Done) -> list[tuple[object, object, object]]:
    """Dataset, batch and status of each line."""
    return [(line["dataset"], line.get("batch"), line["status"]) for line in lines(done)]


@pytest.mark.usefixtures("lake")
def test_everything_that_waits_is_merged(tmp_path: Path) -> None:
    """One line for each batch; the second time there is nothing to do."""
    done = datalake("clean-up", cwd=tmp_path)
    assert done.status == 0, done.err
    assert places(done) == [("pages", "one", "merged"), ("posts", "one", "merged"), ("posts", "two", "merged")]
    assert all((line["rows"], line["newRows"]) == (2, 2) for line in lines(done))
    again = datalake("clean-up", cwd=tmp_path)
    assert (again.status, again.out) == (0, "")


@pytest.mark.usefixtures("lake")
def test_a_person_reads_lines_and_a_program_may_want_one_document(tmp_path: Path) -> None:
    """The three forms of the same answer."""
    shown = datalake_on_terminal("clean-up", "--dataset", "pages", cwd=tmp_path)
    assert shown.out == "merged    pages/one: 2 rows, 2 new\n"
    assert datalake_on_terminal("clean-up", "--dataset", "pages", cwd=tmp_path).out == "nothing to do\n"
    pretty = datalake("clean-up", "--prettyPrint", cwd=tmp_path).json
    assert [result["batch"] for result in pretty["results"]] == ["one", "two"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--dataset", "pages"], [("pages", "one")]),
        (["--dataset", "posts:two"], [("posts", "two")]),
        (["--dataset", "posts:two", "--dataset", "pages:one"], [("posts", "two"), ("pages", "one")]),
        (["--dataset", "posts:two", "--dataset", "posts"], [("posts", "one"), ("posts", "two")]),
    ],
)
@pytest.mark.usefixtures("lake")
def test_a_choice_leaves_the_rest_alone(tmp_path: Path, options: list[str], expected: list[tuple[str, str]]) -> None:
    """Of datasets or of batches, as often as wanted."""
    done = datalake("clean-up", *options, "--memory-limit", "300 MiB", cwd=tmp_path)
    assert done.status == 0, done.err
    assert [(line["dataset"], line["batch"]) for line in lines(done)] == expected


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--dataset", "none"], "no dataset 'none' in "),
        (["--dataset", "posts:"], "--datasetName posts:: write DATASET or DATASET:BATCH"),
        (["--dataset", "a/b"], "dataset name 'a/b' is not allowed"),
        (["--annotator", "posts"], "--annotatorName posts: write DATASET:ANNOTATOR"),
        (["--annotator", "none:x"], "no dataset 'none' in "),
        (["--memory-limit", "1 MiB"], "at least 256 MiB"),
    ],
)
@pytest.mark.usefixtures("lake")
def test_a_wrong_choice_is_a_mistake(tmp_path: Path, options: list[str], said: str) -> None:
    """Before anything is merged."""
    done = datalake("clean-up", *options, cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert said in done.err
    assert len(lines(datalake("clean-up", cwd=tmp_path))) == 3


def test_a_bad_batch_does_not_stop_the_others(tmp_path: Path, lake: ObjectStore) -> None:
    """It has its line, the exit status says that there was one, and standard error hears of it."""
    lake.put("posts/one/merged.parquet", b"no parquet", mode=Overwrite())
    done = datalake("clean-up", cwd=tmp_path)
    assert done.status == 1
    assert places(done) == [("pages", "one", "merged"), ("posts", "one", "failed"), ("posts", "two", "merged")]
    assert "posts/one/merged.parquet" in str(lines(done)[1]["error"])
    assert done.err.startswith("warning: batch.failed dataset=posts batch=one ")
    shown = datalake_on_terminal("clean-up", cwd=tmp_path)
    assert shown.status == 1
    assert shown.out.startswith("failed    posts/one: ")
    assert len(shown.out.splitlines()) == 1


def test_a_batch_that_does_not_exist_is_a_failure(tmp_path: Path, lake: ObjectStore) -> None:
    """A name that a script has wrong must not look like success."""
    del lake
    done = datalake("clean-up", "--dataset", "posts:three", cwd=tmp_path)
    assert done.status == 1
    assert "no such batch" in str(lines(done)[0]["error"])


def test_deleted_datasets_are_removed_when_their_time_has_come(tmp_path: Path, lake: ObjectStore) -> None:
    """Not before, not if somebody wrote to them since, and never while others are chosen."""
    assert datalake("datasets", "delete", "--datasetName", "posts", "--yes", cwd=tmp_path).status == 0
    assert places(datalake("clean-up", cwd=tmp_path)) == [("pages", "one", "merged")]
    assert lake.head("posts/one/x.jsonl").size == len(ROW)
    assert datalake("clean-up", "--dataset", "pages", "--grace", "0s", cwd=tmp_path).out == ""
    purged = datalake("clean-up", "--grace", "0s", cwd=tmp_path)
    assert (purged.status, places(purged)) == (0, [("posts", None, "purged")])
    assert lines(purged)[0]["objects"] == 3
    assert list(lake.list("posts/")) == []


def test_a_deleted_dataset_that_is_written_to_stays(tmp_path: Path, lake: ObjectStore) -> None:
    """Rows that were acknowledged after the deletion are not thrown away with it."""
    assert datalake("datasets", "delete", "--datasetName", "posts", "--yes", cwd=tmp_path).status == 0
    lake.put("posts/one/y.jsonl", ROW, mode=Overwrite())
    later = lake.head(layout.deletion_key("posts")).last_modified.timestamp() + 1
    os.utime(tmp_path / "lake" / "posts" / "one" / "y.jsonl", (later, later))
    done = datalake("clean-up", "--grace", "0s", cwd=tmp_path)
    assert done.status == 1
    assert "posts/one/y.jsonl was written after that" in str(lines(done)[-1]["error"])
    assert lake.head("posts/one/x.jsonl").size == len(ROW)
