"""The hash of an annotator's code: another when what it does may be another, the same otherwise."""

from __future__ import annotations

import functools
import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from datalake_service.annotating import code_hash as under_test
from datalake_service.annotating.code_hash import code_hash, json_hash, name_of

Load = Callable[..., ModuleType]

TEXT = '''
"""About."""
import json
PROMPT = 'say'

class Label:
    """A class."""
    def annotate(self, item):
        # a comment
        return {"a": PROMPT}

def label(item):
    return {"a": 1}
'''


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write a module, and import it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(text: str, name: str = "hashed_handler") -> ModuleType:
        (tmp_path / f"{name}.py").write_text(text)
        under_test._file_tree.cache_clear()
        for known in [one for one in sys.modules if one.startswith("hashed_")]:
            del sys.modules[known]
        importlib.invalidate_caches()
        return importlib.import_module("hashed_handler") if name == "hashed_handler" else sys

    yield written
    for known in [one for one in sys.modules if one.startswith("hashed_")]:
        del sys.modules[known]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("# a comment", "# another, longer one\n", True),
        ('"""A class."""', '"""Another text."""', True),
        ("'say'", '"say"', True),
        ("\n\ndef label", "\n\n\n\n\ndef label", True),
        ("'say'", "'tell'", False),
        ('{"a": PROMPT}', '{"b": PROMPT}', False),
        ("import json", "import csv", False),
        ('{"a": 1}', '{"a": 2}', False),
    ],
)
def test_what_changes_it(load: Load, old: str, new: str, *, same: bool) -> None:
    """The syntax of the whole module, and nothing that has no effect."""
    before = code_hash(load(TEXT).Label)
    assert before is not None
    assert len(before) == 12
    assert (code_hash(load(TEXT.replace(old, new)).Label) == before) is same


def test_what_it_is_given(load: Load) -> None:
    """An object is its class, a method too; parameters count, in any order; what is bound counts."""
    module = load(TEXT)
    one = code_hash(module.Label)
    assert code_hash(module.Label()) == one
    assert code_hash(module.Label().annotate) == one
    assert code_hash(module.label) != one
    assert code_hash(module.Label, {"a": 1, "b": [2]}) == code_hash(module.Label, {"b": [2], "a": 1}) != one
    assert code_hash(functools.partial(module.label, 1)) != code_hash(functools.partial(module.label, 2))


def test_modules_beside_it_count(load: Load) -> None:
    """Those that it imports from its own folder, and what those import; not those of others."""
    load("VALUE = 1\n", "hashed_deep")
    load("from hashed_deep import VALUE\n", "hashed_helper")
    text = "import hashed_helper, json\ndef label(item):\n    return hashed_helper.VALUE\n"
    before = code_hash(load(text).label)
    assert code_hash(load(text).label) == before
    load("VALUE = 2\n", "hashed_deep")
    assert code_hash(load(text).label) != before


def test_no_source_no_hash() -> None:
    """Lambdas, functions of C, what was made from text, and what is bound to no JSON."""
    made: dict[str, Any] = {}
    exec("def made(item): return {}", made)  # there is no other way to have no source
    assert code_hash(lambda item: {}) is None
    assert code_hash(made["made"]) is None
    assert code_hash(len) is None
    assert code_hash(functools.partial(json_hash, object())) is None


def test_functions_in_functions_have_their_own_source() -> None:
    """What stands around them does not count."""

    def one(item: object) -> int:
        return 1

    def other(item: object) -> int:
        return 2

    assert code_hash(one) is not None
    assert code_hash(one) != code_hash(other)


def test_names() -> None:
    """As people call them."""
    assert name_of(functools.partial(json_hash)) == "datalake_service.annotating.code_hash.json_hash"
    assert name_of(Path("x")) in {"pathlib.PosixPath", "pathlib._local.PosixPath"}


def test_it_is_the_same_in_every_process(load: Load, tmp_path: Path) -> None:
    """Hashes of texts differ from process to process; this one must not."""
    here = code_hash(load(TEXT).Label, {"p": 1})
    script = (
        "import hashed_handler\nfrom datalake_service.annotating.code_hash import code_hash\n"
        "print(code_hash(hashed_handler.Label, {'p': 1}))"
    )
    root = Path(under_test.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{root}"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == here
    assert json_hash({"b": 1, "a": "é"}) == json_hash({"a": "é", "b": 1})
