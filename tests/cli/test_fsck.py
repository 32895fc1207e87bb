from __future__ import annotations

from pathlib import Path

import pytest

from datalake_service.storage.base import Overwrite
from datalake_service.storage.open import open_store
from tests.cli.commands import datalake, datalake_on_terminal
from tests.support.lake import put_annotations, put_rows


@pytest.fixture
def good(tmp_path: Path) -> None:
    """A dataset in good order."""
    put_rows(open_store(tmp_path / "lake"), "posts", "b1", [{"text": "a"}])


@pytest.mark.usefixtures("good")
def test_a_dataset_in_good_order(tmp_path: Path) -> None:
    """By its name as argument or as option, for programs and for people."""
    for which in (["posts"], ["--datasetName", "posts"]):
        done = datalake("fsck", *which, cwd=tmp_path)
        assert done.status == 0, done.err
        assert done.json == {"datasetName": "posts", "damage": 0, "unreferenced": 0, "leftovers": 0, "findings": []}
    assert datalake_on_terminal("fsck", "posts", cwd=tmp_path).out == "posts: no damage\n"


@pytest.mark.usefixtures("good")
def test_damage_is_told_and_fails(tmp_path: Path) -> None:
    """What is left over is told, and does not fail."""
    store = open_store(tmp_path / "lake")
    store.put("posts/b1/notes.txt", b"", mode=Overwrite())
    left_over = datalake("fsck", "posts", "--older-than", "0s", cwd=tmp_path)
    assert (left_over.status, left_over.json["unreferenced"]) == (0, 1)
    assert datalake("fsck", "posts", cwd=tmp_path).json["findings"] == []
    key = put_annotations(store, "posts", "lang", "b1", {"nobody": {"a": 1}}).key
    done = datalake("fsck", "posts", "--memory-limit", "64 MiB", cwd=tmp_path)
    assert (done.status, done.json["damage"]) == (1, 1)
    (finding,) = done.json["findings"]
    assert (finding["kind"], finding["key"], finding["damage"]) == ("noBaseRow", key, True)
    shown = datalake_on_terminal("fsck", "posts", cwd=tmp_path)
    assert shown.status == 1
    first, last = shown.out.splitlines()
    assert first == f"noBaseRow     {key}: 1 annotations belong to no row; among them 'nobody'"
    assert last == "posts: 1 damaged"


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name one dataset: datalake fsck DATASET"),
        (["posts", "--datasetName", "posts"], "name one dataset: datalake fsck DATASET"),
        (["none"], "no dataset 'none' in "),
        (["posts", "--memory-limit", "0"], "--memory-limit: give it some memory"),
    ],
)
def test_mistakes(tmp_path: Path, arguments: list[str], said: str) -> None:
    """One line, and the status of a wrong command."""
    done = datalake("fsck", *arguments, cwd=tmp_path)
    assert done.status == 2
    assert said in done.err
