from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.errors import UsageError
from datalake_service.plan.manifest import Plan, decode_lines, plan_globs, plan_lines, task_id, typed_files


def items(plan: Plan) -> list[str]:
    """What is read."""
    return [task.item for task in plan.tasks]


def test_each_line_is_a_task_in_order() -> None:
    """Empty lines, comments, space around a line, a byte order mark and any line end are nothing."""
    plan = plan_lines("\ufeffb.log\r\n\r\n  a.log  \n# old.log\n\t\nsub dir/c.log\rd\u2028e", batch="x")
    assert items(plan) == ["b.log", "a.log", "sub dir/c.log", "d\u2028e"]
    assert plan.notes == ()


def test_a_line_that_occurs_again_is_noted_and_read_once() -> None:
    """Reading it twice would only make duplicates."""
    plan = plan_lines("a.log\nb.log\na.log\n./a.log", batch="x", name="list.txt")
    assert items(plan) == ["a.log", "b.log"]
    assert plan.notes == ("list.txt: 'a.log' stands on the lines 1, 3, 4; it is read once",)


def test_a_key_that_looks_like_a_comment_can_be_written() -> None:
    """With ./ in front."""
    assert items(plan_lines("./#1.log", batch="x")) == ["#1.log"]


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing\n"])
def test_a_manifest_without_items_says_so(text: str) -> None:
    """It is most likely a mistake."""
    assert plan_lines(text, batch="x") == Plan((), ("the manifest names nothing to read",))


@given(st.text(), st.text())
def test_planning_again_gives_the_same_ids(item: str, batch: str) -> None:
    """An id depends on the item and the batch only, and fits into a key."""
    identity = task_id(item, batch=batch)
    assert identity == task_id(item, batch=batch)
    assert identity.isalnum()
    assert identity != task_id(f"{item}x", batch=batch)
    assert identity != task_id(item, batch=f"{batch}x")


def test_ids_are_part_of_the_format() -> None:
    """A release that planned other ids would read everything again."""
    assert task_id("logs/a.log", batch="b1") == "8706979081ecbcf87832"


def test_a_glob_plans_what_matches_in_key_order() -> None:
    """Each key once, however many patterns match it; a pattern that matches nothing is noted."""
    keys = ["logs/b.gz", "logs/a.gz", "logs/a.txt", "other/a.gz"]
    plan = plan_globs(["logs/*.gz", "**/a.gz", "none/*"], keys, batch="x")
    assert items(plan) == ["logs/a.gz", "logs/b.gz", "other/a.gz"]
    assert plan.notes == ("no file matches 'none/*'",)


def test_a_manifest_file_has_to_be_text() -> None:
    """Somebody may link the data instead of the list."""
    assert decode_lines(b"\xef\xbb\xbfa.log\n", name="list") == "a.log\n"
    with pytest.raises(UsageError, match=r"list\.gz is not UTF-8 \(byte 1\)"):
        decode_lines(b"\x1f\x8b\x08", name="list.gz")


def test_files_of_several_types_are_named_on_one_line() -> None:
    """The original's grammar; a key may hold colons."""
    assert typed_files("WARC:a:1.gz | WAT: b.gz") == {"WARC": "a:1.gz", "WAT": "b.gz"}


@pytest.mark.parametrize("item", ["a.log", "WARC:", ":a", "WARC:a|", "A:1|A:2"])
def test_another_grammar_is_refused(item: str) -> None:
    """The message shows the line."""
    with pytest.raises(UsageError, match=r"."):
        typed_files(item)
