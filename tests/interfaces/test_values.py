from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

import datalake_interfaces
from datalake_interfaces import (
    Annotation,
    DataItem,
    Document,
    ErrorDoc,
    HandlerContext,
    ParseDocumentResult,
    ParseDocumentResultStatus,
    RecordHintType,
    RecordParseHint,
    SkipDoc,
)


def test_only_the_standard_library_is_loaded() -> None:
    """What a handler author imports needs nothing installed, and pulls nothing of the service in."""
    program = (
        "import sys; before = set(sys.modules); import datalake_interfaces, datalake_interfaces.testing; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["datalake_interfaces"]


def test_the_public_surface_is_listed() -> None:
    """Every name of the modules that an author needs, and no other."""
    assert datalake_interfaces.__all__ == sorted(datalake_interfaces.__all__)
    classes = {name for name in vars(datalake_interfaces) if name[0].isupper()}
    functions = {name for name, value in vars(datalake_interfaces).items() if inspect.isfunction(value)}
    assert classes | functions == set(datalake_interfaces.__all__)


def test_a_document_takes_its_payload_by_position_and_the_rest_by_name() -> None:
    """So that the original's two orders of arguments cannot be mixed up."""
    document = Document({"a": 1}, document_id="d", record_type="r", partition_key="p", document_metadata={})
    assert document.document_key_values_map == {"a": 1}
    assert document == Document({"a": 1}, document_id="d", record_type="r", partition_key="p", document_metadata={})
    wrong: Any = Document
    with pytest.raises(TypeError, match="positional"):
        wrong({}, "d")
    with pytest.raises(TypeError, match="document_key_values_map"):
        wrong()


@pytest.mark.parametrize("kind", [ErrorDoc, SkipDoc])
def test_errors_and_skips_need_nothing(kind: type[Document]) -> None:
    """The framework fills in what they leave out; each has a payload of its own."""
    one, other = kind(), kind()  # type: ignore[call-arg]  # mypy sees the base class
    assert one == other
    assert one.document_key_values_map == {}
    assert one.document_key_values_map is not other.document_key_values_map
    assert isinstance(one, Document)


def test_documents_say_what_they_are() -> None:
    """The original's names."""
    assert [kind.document_type for kind in (Document, ErrorDoc, SkipDoc)] == ["Document", "ErrorDoc", "SkipDoc"]


@pytest.mark.parametrize(
    "value",
    [
        Document({"a": 1}),
        ErrorDoc(error_message="m", error_start_offset_map={"F": "1"}),
        SkipDoc(skip_message="s"),
        ParseDocumentResult(None, Document({})),
        RecordParseHint(RecordHintType.PATTERN, b"x"),
        Annotation({"a": 1}, {"m": 2}),
        DataItem({"a": 1}, "id", "batch"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_travel_between_processes(value: object) -> None:
    """They are equal on the other side, and carry no room for surprises."""
    assert pickle.loads(pickle.dumps(value)) == value
    assert not hasattr(value, "__dict__")


def test_enumerations_are_strings() -> None:
    """As in the original: plain strings compare equal."""
    assert RecordHintType.PATTERN == "PATTERN"
    assert ParseDocumentResultStatus("SKIP") is ParseDocumentResultStatus.SKIP


@pytest.mark.parametrize("kind", ["PATTERN", "pattern", RecordHintType.PATTERN], ids=range(3))
def test_a_hint_by_pattern(kind: Any) -> None:
    """Bytes as they are, text in its encoding; the original's -1 stands for no offset."""
    assert RecordParseHint(kind, b"\xff").pattern_bytes == b"\xff"
    assert RecordParseHint(kind, "ä", -1).pattern_bytes == b"\xc3\xa4"
    assert RecordParseHint(kind, "ä", encoding="utf-16-le").pattern_bytes == b"\xe4\x00"


def test_a_hint_by_offset() -> None:
    """It has no pattern."""
    hint = RecordParseHint(RecordHintType.OFFSET, offset=0)
    assert (hint.offset, hint.pattern_bytes) == (0, b"")


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("PATTERN",), TypeError, "needs a pattern of bytes or str, not NoneType"),
        (("PATTERN", 3), TypeError, "needs a pattern of bytes or str, not int"),
        (("PATTERN", b""), ValueError, "not empty"),
        (("PATTERN", "x", 3), ValueError, "takes no offset"),
        (("OFFSET",), TypeError, "needs a number of bytes, not NoneType"),
        (("OFFSET", None, True), TypeError, "needs a number of bytes, not bool"),
        (("OFFSET", None, -1), ValueError, "0 or more, not -1"),
        (("OFFSET", "x", 1), ValueError, "takes no pattern"),
        (("REGEX", "x"), ValueError, "REGEX"),
    ],
)
def test_a_hint_that_cannot_work_is_refused(arguments: Any, error: type[Exception], words: str) -> None:
    """At the line that makes it, not somewhere in a task."""
    with pytest.raises(error, match=words):
        RecordParseHint(*arguments)


def test_a_context_can_be_made_in_a_test() -> None:
    """Everything has a default, and parameters are read-only."""
    context = HandlerContext()
    assert (context.dataset, context.task, dict(context.parameters)) == ("", "", {})
    assert context.logger.name == "datalake.handler"
    changing: Any = context.parameters
    with pytest.raises(TypeError):
        changing["a"] = 1
