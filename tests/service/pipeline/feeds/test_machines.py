from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.policy import OnError
from datalake_service.storage import FolderStore
from tests.support.machines import Make, in_order, pair, pairs, rejections
from tests.support.tasks import TickingClock, after, merged_rows, run_here, stored_rejections, stored_rows


def test_two_kinds_of_records_make_a_row(store: FolderStore, make: Make) -> None:
    """A body ends where its header says, whatever is in it; the reader is told of the step before."""
    content = pair("a", "@x 5\n@y") + b"noise\n" + pair("b", "") + pair("c", "long " * 1000)
    result = run_here(make(content, parameters={}))
    assert result.status is TaskStatus.FAILED  # a body without a byte cannot be an OFFSET
    assert result.error is not None
    assert "OFFSET of 0" in result.error
    result = run_here(make(pair("a", "@x 5\n@y") + b"noise\n" + pair("c", "long " * 1000)))
    assert (result.status, result.counts.records) == (TaskStatus.COMPLETED, 2)
    assert in_order(store) == [
        {"id": None, "key": "a", "body": "@x 5\n@y", "before": None, "last": None},
        {"id": None, "key": "c", "body": "long " * 1000, "before": "a", "last": "BODY"},
    ]


def test_ids_come_from_the_first_record_of_a_step(store: FolderStore, make: Make) -> None:
    """So they are the same whenever the file is read."""
    run_here(make(pairs(3)))
    first = len(pair("k0", "body 0"))
    assert [row_id.split("-")[1] for row_id in merged_rows(store)] == [f"{at:012x}" for at in (0, first, 2 * first)]


OUTCOMES = b"".join(
    [
        pair("a", "one"),
        pair("b", "bad body"),
        pair("c", "raise it"),
        pair("keep", "bad again"),
        pair("skip1", "two"),
        pair("d", "step"),
        pair("e", "odd"),
        pair("f", "set"),
        b"@nonsense\n@g 3\nend",
    ]
)


def test_every_step_is_accounted_for(store: FolderStore, make: Make) -> None:
    """Rows, skips and rejections of steps, and what parsers refused besides; each once, with its bytes and place."""
    result = run_here(make(OUTCOMES))
    assert result.status is TaskStatus.COMPLETED
    assert replace(result.counts, size=0) == TaskCounts(11, 3, 1, 7)
    assert [row["key"] for row in in_order(store)] == ["a", "keep", "g"]
    told = [(line["kind"], line["message"].partition(" (handler")[0], line.get("text")) for line in rejections(store)]
    assert told == [
        ("parse", "bad body", "bad body"),
        ("parse", "Sized.parse_document raised RuntimeError: raised body", "raise it"),
        ("parse", "bad body", "bad again"),
        ("parse", "Pairs.parse_document raised ValueError: raised step", "@d 4\nstep"),
        ("transform", "parse_document returned list; return a Document, an ErrorDoc or a SkipDoc", "@e 3\nodd"),
        ("write", "column 'key': a value of type ellipsis cannot be stored as JSON", "@f 3\nset"),
        (
            "parse",
            "Sized.parse_document raised ValueError: not enough values to unpack (expected 2, got 1)",
            "@nonsense\n",
        ),
    ]
    for line in rejections(store):
        begin, end = int(line["startOffset"]), int(line["endOffset"])
        assert OUTCOMES[begin:end].decode() == line["text"]


def test_a_header_that_cannot_be_read_is_followed_by_the_next_header(store: FolderStore, make: Make) -> None:
    """Nobody knows how long its body is: the cycle begins again."""
    result = run_here(make(pair("a", "one") + b"@nonsense\nabc" + pair("b", "two") + pair("c", "three")))
    assert replace(result.counts, size=0) == TaskCounts(4, 3, 0, 1)
    assert [row["key"] for row in in_order(store)] == ["a", "b", "c"]
    assert [line["text"] for line in rejections(store)] == ["@nonsense\n"]


def test_an_empty_file_completes(store: FolderStore, make: Make) -> None:
    """With nothing to show."""
    result = run_here(make(b""))
    assert (result.status, result.counts) == (TaskStatus.COMPLETED, TaskCounts())


def test_a_file_without_a_record_has_a_note(make: Make) -> None:
    """Most likely it is the wrong one."""
    result = run_here(make(b"nothing of the kind"))
    assert result.status is TaskStatus.COMPLETED
    assert result.notes == ("f: no record in 19 bytes: the start pattern does not occur",)


def test_a_reader_that_has_seen_enough_ends_the_task(store: FolderStore, make: Make) -> None:
    """What follows is not read."""
    result = run_here(make(pairs(3) + pair("last", "stop") + pairs(100)))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 4)
    assert result.notes == ()


LAZY = """
class Lazy(Pairs):
    def parse_document(self, s3_file_type, last_processed_record_type, last_processed_doc, file_reader):
        if self.how == "peeks":
            file_reader.next_record(peek=True)
        if self.how == "raises":
            raise KeyError("x")
        return SkipDoc()

    def __init__(self, *, how):
        self.how = how
"""


@pytest.mark.parametrize("how", ["sleeps", "peeks", "raises"])
def test_a_machine_that_takes_no_record_is_refused(make: Make, how: str) -> None:
    """It would be called for ever."""
    result = run_here(make(pairs(3), code=LAZY, reader="handler.Lazy", parameters={"how": how}))
    assert result.status is TaskStatus.FAILED
    assert result.error is not None
    if how == "raises":
        assert result.error.startswith("Lazy.parse_document raised KeyError: 'x' (handler.py:")
    else:
        assert result.error.startswith("Lazy.parse_document took no record at SIZED:0; ")
    assert "each call has to take a record with next_record()" in result.error


SWALLOWING = """
class Swallowing(Pairs):
    def parse_document(self, *arguments):
        try:
            return super().parse_document(*arguments)
        except BaseException:
            return Document({"key": "swallowed"})

class Silent(Sized):
    def get_next_record_end_pattern(self, s3_file_type, next_expected_record_type, last_processed_doc):
        return None
"""


def test_a_reader_cannot_swallow_that_its_parser_is_broken(store: FolderStore, make: Make) -> None:
    """However it catches what it does not understand."""
    job = make(pairs(3), code=SWALLOWING, reader="handler.Swallowing", parser="handler.Silent")
    result = run_here(job)
    assert result.status is TaskStatus.FAILED
    assert result.error == "Silent.get_next_record_end_pattern returned NoneType; return a RecordParseHint"
    assert stored_rows(store) == []


PEEKING = """
class Peeking(Pairs):
    def parse_document(self, s3_file_type, last_processed_record_type, last_processed_doc, file_reader):
        first = file_reader.next_record(peek=True)
        at = file_reader.get_offset_bytes()
        states = [str(file_reader.get_state()), file_reader.get_last_record_type()]
        assert file_reader.next_record(peek=True) is first
        assert file_reader.get_offset_bytes() == at
        assert file_reader.next_record() is first
        file_reader.next_record()
        assert file_reader.get_offset_bytes() > at
        following = file_reader.next_record(peek=True)
        return Document({
            "key": first.document.document_key_values_map["key"], "states": states,
            "next": None if following is None else following.document.document_key_values_map["key"],
            "names": [file_reader.get_file_type(), file_reader.get_file_name()],
        })
"""


@pytest.mark.parametrize("looks", [1, 2, 100])
def test_a_reader_can_look_ahead(store: FolderStore, make: Make, looks: int) -> None:
    """What it peeked at is there in the next step, also when that is made by another attempt."""
    job = make(pairs(5), code=PEEKING, reader="handler.Peeking")
    run_here(job, stop=after(looks), clock=TickingClock())
    assert run_here(job).status is TaskStatus.COMPLETED
    rows = in_order(store)
    assert [(row["key"], row.get("next")) for row in rows] == [
        ("k0", "k1"),
        ("k1", "k2"),
        ("k2", "k3"),
        ("k3", "k4"),
        ("k4", None),
    ]
    assert rows[0]["states"] == ["CREATED", None]
    assert rows[4]["states"] == ["PROCESSING", "BODY"]
    assert rows[0]["names"] == ["SIZED", "f"]
    assert rejections(store) == []


EXPECTING = """
class Headers(Sized):
    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, *rest):
        return Document({"key": byte_arr.split()[0].decode()})
class Expecting(Pairs):
    def get_next_expected_record_type(self, s3_file_type, last_processed_record_type):
        return "HEADER"
    def parse_document(self, s3_file_type, last_processed_record_type, last_processed_doc, file_reader):
        return Document({"key": file_reader.next_record().document.document_key_values_map["key"]})
"""


def test_a_reader_may_say_which_kind_a_step_begins_with(store: FolderStore, make: Make) -> None:
    """Over the parser, which would go on with the body."""
    run_here(make(pairs(3), code=EXPECTING, reader="handler.Expecting", parser="handler.Headers"))
    assert [row["key"] for row in in_order(store)] == ["@k0", "@k1", "@k2"]


BROUGHT = """
class Bringing(Pairs):
    def __init__(self, *, word):
        self.word = word
    def get_reader_parser_interfaces_for_s3_file_type(self, s3_file_type):
        return Sized()

class Named(Sized):
    def __init__(self, *, word="", other=""):
        self.word = word
"""


def test_a_reader_may_bring_its_parser(store: FolderStore, make: Make) -> None:
    """Then the dataset file need not name one."""
    job = make(pairs(3), code=BROUGHT, reader="handler.Bringing", parser=None, parameters={"word": "x"})
    assert run_here(job).counts.documents == 3


def test_parameters_go_to_those_that_name_them(make: Make) -> None:
    """One that nobody names is a mistake."""
    fields: dict[str, Any] = {"code": BROUGHT, "reader": "handler.Bringing", "parser": "handler.Named"}
    with pytest.raises(HandlerLoadError, match=r"no constructor of handler.Bringing, handler.Named takes .* 'wodr'"):
        run_here(make(pairs(3), parameters={"word": "x", "wodr": "y"}, **fields))
    assert run_here(make(pairs(3), parameters={"word": "x", "other": "y"}, **fields)).counts.documents == 3


def test_a_task_without_a_parser_fails(make: Make) -> None:
    """And says what is missing."""
    result = run_here(make(pairs(3), parser=None))
    assert result.error is not None
    assert result.error.startswith("no parser for files of the type SIZED: name its class in the dataset file")


# Going on ----------------------------------------------------------------------------------------------------------


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "members": lambda data: b"".join(gzip.compress(data[at : at + 9]) for at in range(0, len(data), 9)),
}


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("looks", [0, 1, 2, 5])
def test_a_stopped_task_goes_on_where_it_was(store: FolderStore, make: Make, packed: str, looks: int) -> None:
    """Rows, rejections and counts are those of one attempt, and rows know the step before them."""
    content = OUTCOMES + pairs(20)
    expected = run_here(make(PACKED[packed](content)))
    rows, rejected = merged_rows(store), rejections(store)
    for meta in list(store.list("")):
        store.delete(meta.key)
    job = make(PACKED[packed](content))
    attempts = 1
    while (result := run_here(job, stop=after(looks), clock=TickingClock())).status is TaskStatus.STOPPED:
        attempts += 1
    assert attempts > 4
    assert result.status is TaskStatus.COMPLETED
    assert replace(result.counts, size=0) == replace(expected.counts, size=0)
    assert merged_rows(store) == rows
    assert rejections(store) == rejected


def test_a_file_that_changed_between_attempts_is_read_anew(store: FolderStore, make: Make) -> None:
    """The checkpoint belongs to another file."""
    assert run_here(make(pairs(50)), stop=after(20), clock=TickingClock()).status is TaskStatus.STOPPED
    result = run_here(make(pairs(52, begin=50)))
    assert (result.status, result.counts.documents) == (TaskStatus.COMPLETED, 2)


def test_the_policy_fail_stops_before_the_step(store: FolderStore, make: Make) -> None:
    """A better handler goes on with that step."""
    content = pairs(5) + pair("keep", "bad") + pairs(8)
    strict = OnError("fail")
    result = run_here(make(content, on_error=strict))
    assert (result.status, result.counts.documents, result.counts.rejections) == (TaskStatus.FAILED, 5, 0)
    assert result.error is not None
    assert result.error.startswith("bad body (f at ")
    better = make(content, on_error=strict, code="""
class Better(Sized):
    def parse_document(self, *arguments):
        answer = super().parse_document(*arguments)
        return Document({"body": "good"}) if isinstance(answer, ErrorDoc) else answer
""", parser="handler.Better")  # fmt: skip
    again = run_here(better)
    assert (again.status, again.counts.documents) == (TaskStatus.COMPLETED, 14)
    assert [row.get("body") for row in merged_rows(store).values() if row["key"] == "keep"] == ["good"]
    assert stored_rejections(store) == {}


def test_what_close_raises_is_a_note(make: Make) -> None:
    """The rows are safe."""
    code = """
class Closing(Pairs):
    def close(self):
        raise OSError("late")
class AlsoClosing(Sized):
    def close(self):
        raise OSError("later")
"""
    result = run_here(make(pairs(3), code=code, reader="handler.Closing", parser="handler.AlsoClosing"))
    assert result.status is TaskStatus.COMPLETED
    assert [note.partition(" (")[0] for note in result.notes] == [
        "AlsoClosing.close raised OSError: later",
        "Closing.close raised OSError: late",
    ]
