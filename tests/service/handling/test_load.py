from __future__ import annotations

import multiprocessing
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from datalake_interfaces import Annotator, Document, Generator, SingleFileParser, SkipDoc
from datalake_service.errors import HandlerLoadError
from datalake_service.handling.load import load_class, load_handler

PARSER = """
from datalake_interfaces import Document, RecordHintType, RecordParseHint, SingleFileParser

class Parser(SingleFileParser):
    def get_record_start_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.PATTERN, "<")
    def get_record_end_pattern(self, s3_file_type):
        return RecordParseHint(RecordHintType.PATTERN, ">")
    def parse_document(self, s3_file_type, s3_filename, offset_bytes, byte_arr, start_index, end_index):
        return Document({"name": NAME})
"""


def write(folder: Path, **files: str) -> Path:
    """A folder with modules: ``handler="..."`` makes handler.py, ``pkg__mod`` makes pkg/mod.py."""
    for name, source in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source), encoding="utf-8")
    return folder


def failure(folder: Path, reference: str, interface: type = SingleFileParser, **parameters: object) -> str:
    """What the user is told."""
    with pytest.raises(HandlerLoadError) as caught:
        load_handler(reference, folder=folder, interface=interface, parameters=parameters)
    message = str(caught.value)
    assert "\n" not in message
    assert "_datalake_folder_" not in message
    return message.replace(str(folder), "FOLDER")


def load(folder: Path, reference: str = "handler.Parser", **parameters: object) -> SingleFileParser:
    """A parser, loaded and constructed."""
    interface = SingleFileParser
    return load_handler(reference, folder=folder, interface=interface, parameters=parameters)


def name_of(folder: Path) -> object:
    """What the parser in a folder answers."""
    parser = load(folder)
    answer: Any = parser.parse_document("", "", 0, b"", 0, 0)
    return answer.document_key_values_map["name"]


def test_a_class_beside_the_dataset_file_is_found(tmp_path: Path) -> None:
    """Without touching ``sys.path``, and without writing anything beside it."""
    path = list(sys.path)
    assert name_of(write(tmp_path, handler="NAME = 'a'" + PARSER)) == "a"
    assert sys.path == path
    assert "handler" not in sys.modules
    assert [entry.name for entry in tmp_path.iterdir()] == ["handler.py"]


def test_modules_of_the_same_name_in_two_folders_do_not_meet(tmp_path: Path) -> None:
    """Nor do the helpers that they import under the same name, however they import them."""
    source = """
    import helpers
    import helpers as second
    import pkg.inner
    import pkg.inner as third, os
    from helpers import name as fourth
    from . import helpers as fifth
    def later():
        import helpers
        from pkg import inner
        return helpers.name + inner.name
    NAME = [helpers.name, second.name, pkg.inner.name, third.name, fourth, fifth.name, later(), os.sep]
    """
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        write(
            folder,
            handler=textwrap.dedent(source) + PARSER,
            helpers=f"name = {folder.name!r}",
            pkg__inner="import helpers\nname = helpers.name * 2",
        )
    for folder in [*folders, *folders]:
        name = folder.name
        assert name_of(folder) == [name, name, name * 2, name * 2, name, name, name * 3, "/"]
    assert "helpers" not in sys.modules


def test_a_folder_may_hold_names_of_the_standard_library(tmp_path: Path) -> None:
    """``import types`` means the standard library; so does the folder of a checkout not hide our interfaces."""
    write(tmp_path, handler="import types\nNAME = types.MappingProxyType.__name__" + PARSER, types="1 / 0")
    write(tmp_path, datalake_interfaces__documents="1 / 0")
    assert name_of(tmp_path) == "mappingproxy"


def test_an_edited_module_is_read_anew(tmp_path: Path) -> None:
    """In a process that lives on, such as a notebook; a helper counts as well."""
    write(tmp_path, handler="from helpers import NAME" + PARSER, helpers="NAME = 1")
    assert name_of(tmp_path) == 1
    write(tmp_path, helpers="NAME = 22")
    assert name_of(tmp_path) == 22


def test_a_helper_that_was_removed_is_missed(tmp_path: Path) -> None:
    """Its old code does not live on."""
    write(tmp_path, handler="from helpers import NAME" + PARSER, helpers="NAME = 1")
    assert name_of(tmp_path) == 1
    (tmp_path / "helpers.py").unlink()
    assert failure(tmp_path, "handler.Parser") == (
        "handler.Parser: importing handler failed: ModuleNotFoundError: No module named 'helpers' (handler.py:1)"
    )


def test_a_class_without_a_signature_is_called_as_it_is(tmp_path: Path) -> None:
    """Its own error is told."""
    source = PARSER + "    __signature__ = 'none'\n    def __init__(self):\n        pass\n"
    write(tmp_path, handler=source)
    assert failure(tmp_path, "handler.Parser", limit=1).startswith("handler.Parser: the constructor raised TypeError: ")


def test_an_installed_module_is_found(tmp_path: Path) -> None:
    """A reference may be dotted."""
    found = load_class("datalake_interfaces.documents.SkipDoc", folder=tmp_path, interface=Document)
    assert found is SkipDoc


def test_a_module_in_a_folder_below_is_found(tmp_path: Path) -> None:
    """With or without an ``__init__.py``."""
    write(tmp_path, deep__down__handler="NAME = 3" + PARSER)
    parser = load(tmp_path, "deep.down.handler.Parser")
    assert type(parser).__name__ == "Parser"


def test_parameters_go_to_the_constructor(tmp_path: Path) -> None:
    """The one rule: ``Class(**parameters)``."""
    source = PARSER + "    def __init__(self, *, limit, kind='x'):\n        self.got = (limit, kind)\n"
    write(tmp_path, handler=source)
    parser: Any = load(tmp_path, limit=3)
    assert parser.got == (3, "x")


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("Parser", "'Parser' does not name a class: write module.Class, for instance handler.LogParser"),
        ("handler.", "'handler.' does not name a class: write module.Class, for instance handler.LogParser"),
        ("a/b.Parser", "'a/b.Parser' does not name a class: write module.Class, for instance handler.LogParser"),
        ("none.Parser", "none.Parser: there is no module 'none': neither none.py in FOLDER nor an installed one"),
        (
            "handler.sub.Parser",
            (
                "handler.sub.Parser: there is no module 'handler.sub': "
                "neither handler/sub.py in FOLDER nor an installed one"
            ),
        ),
        ("handler.Parsr", "handler.Parsr: handler.py has no Parsr; did you mean Parser?"),
        ("handler.Xyz", "handler.Xyz: handler.py has no Xyz; it has Note, Parser"),
        ("empty.Xyz", "empty.Xyz: empty.py has no Xyz; write: class Xyz(SingleFileParser)"),
        ("handler.make", "handler.make is a function, and a class that implements SingleFileParser is needed"),
        (
            "handler.Note",
            (
                "handler.Note is an Annotator, but a SingleFileParser is needed: write class Note(SingleFileParser), "
                "with get_record_end_pattern, get_record_start_pattern, parse_document"
            ),
        ),
        (
            "plain.Plain",
            (
                "plain.Plain is no SingleFileParser: write class Plain(SingleFileParser), with get_record_end_pattern, "
                "get_record_start_pattern"
            ),
        ),
        (
            "plain.Half",
            "plain.Half lacks get_record_end_pattern, get_record_start_pattern, which a SingleFileParser has to have",
        ),
        ("raises.Parser", "raises.Parser: importing raises failed: KeyError: 'x y' (raises.py:2)"),
        ("exits.Parser", "exits.Parser: importing exits failed: SystemExit: 3 (exits.py:2)"),
        ("syntax.Parser", "syntax.Parser: importing syntax failed: SyntaxError: expected ':' (syntax.py:1)"),
        (
            "needs.Parser",
            "needs.Parser: importing needs failed: ModuleNotFoundError: No module named 'not_installed' (needs.py:1)",
        ),
        (
            "deeper.Parser",
            "deeper.Parser: importing deeper failed: KeyError: 'x y' (raises.py:2)",
        ),
        (
            "wants.Parser",
            (
                "wants.Parser: importing wants failed: ImportError: cannot import name 'nothing' from 'empty' "
                "(FOLDER/empty.py) (wants.py:1)"
            ),
        ),
        (
            "library.Parser",
            (
                "library.Parser: importing library failed: JSONDecodeError: Expecting value: line 1 column 1 (char 0) "
                "(library.py:2)"
            ),
        ),
    ],
)
def test_each_failure_says_what_to_change(tmp_path: Path, reference: str, words: str) -> None:
    """No module, an error inside it with its place, no such class, the wrong thing: each has its own line."""
    write(
        tmp_path,
        handler=PARSER + "from datalake_interfaces import Annotator\nclass Note(Annotator): ...\ndef make(): ...\n",
        empty="",
        plain="""
        from datalake_interfaces import SingleFileParser
        class Plain:
            def parse_document(self): ...
        class Half(SingleFileParser):
            def parse_document(self): ...
        """,
        raises="\n{}['x y']",
        exits="import sys\nsys.exit(3)",
        syntax="class Parser",
        needs="import not_installed",
        deeper="import raises",
        wants="from empty import nothing",
        library="import json\njson.loads('')",
    )
    assert failure(tmp_path, reference) == words


def test_other_interfaces_are_checked_the_same_way(tmp_path: Path) -> None:
    """A parser is no annotator, and no generator."""
    write(tmp_path, handler=PARSER)
    for article, interface, method in (("an", Annotator, "annotate"), ("a", Generator, "generate")):
        assert failure(tmp_path, "handler.Parser", interface) == (
            f"handler.Parser is a SingleFileParser, but {article} {interface.__name__} is needed: "
            f"write class Parser({interface.__name__}), with {method}"
        )


def test_a_constructor_that_raises_is_told_with_its_place(tmp_path: Path) -> None:
    """The user's line, not one of the library below it."""
    source = PARSER + "    def __init__(self):\n        import json\n        json.loads('')\n"
    line = len(source.splitlines())
    write(tmp_path, handler=source)
    assert failure(tmp_path, "handler.Parser") == (
        f"handler.Parser: the constructor raised JSONDecodeError: Expecting value: line 1 column 1 (char 0) "
        f"(handler.py:{line})"
    )


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "missing a required argument: 'limit'"),
        ({"limit": 1, "limt": 2}, "got an unexpected keyword argument 'limt'"),
    ],
)
def test_parameters_that_do_not_fit_are_told(tmp_path: Path, parameters: dict[str, object], words: str) -> None:
    """With what the constructor takes."""
    write(tmp_path, handler=PARSER + "    def __init__(self, limit: int, kind='x'):\n        pass\n")
    message = failure(tmp_path, "handler.Parser", SingleFileParser, **parameters)
    start = "handler.Parser: the dataset file's parameters do not fit the constructor: "
    assert message.startswith(start + words)
    assert message.endswith("it takes (limit: int, kind='x')")


def test_parameters_for_a_class_that_takes_none(tmp_path: Path) -> None:
    """A handler without a constructor cannot be configured."""
    write(tmp_path, handler=PARSER)
    assert failure(tmp_path, "handler.Parser", limit=1).endswith("unexpected keyword argument 'limit'; it takes none")


def in_process(folder: str, results: multiprocessing.SimpleQueue[object]) -> None:
    """Load a handler where nothing was loaded before."""
    results.put(name_of(Path(folder)))


def test_loading_works_in_a_spawned_process(tmp_path: Path) -> None:
    """Workers get the reference and the folder, nothing else."""
    write(tmp_path, handler="from helpers import NAME" + PARSER, helpers="NAME = 'spawned'")
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=in_process, args=(str(tmp_path), results))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert results.get() == "spawned"
