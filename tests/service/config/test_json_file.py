from __future__ import annotations

import codecs
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.config.jsonfile import parse_json, read_json_file
from datalake_service.config.load import load_dataset_file
from datalake_service.errors import ConfigError

GOOD = (
    b'{"datasetName": "d", '
    b'"readConnector": {"connectorDestination": "GENERATOR", "generatorImplementationClassName": "a.B"}}'
)


def message(data: bytes) -> str:
    """What a file with this content is answered with."""
    with pytest.raises(ConfigError) as caught:
        parse_json(data, name="f.json")
    return str(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "f.json: is empty; expected a JSON object"),
        (b" \n", "f.json: is empty; expected a JSON object"),
        (b'{"a": 1,}', "f.json:1:8: a comma before the closing bracket; remove it"),
        (b'{\n "a": [1,\n 2 ,\n ]\n}', "f.json:3:4: a comma before the closing bracket; remove it"),
        (b"[1,,]", "f.json:1:4: a comma before the closing bracket; remove it"),
        (b'{\n  // why\n "a": 1}', "f.json:2:3: JSON has no comments; remove it"),
        (b'{"a": 1} # why', "f.json:1:10: JSON has no comments; remove it"),
        (b"{'a': 1}", 'f.json:1:2: text stands in straight double quotes: "'),
        ('{"a": “b”}'.encode(), 'f.json:1:7: text stands in straight double quotes: "'),
        (b'{"a": ', "f.json:1:7: the file ends in the middle"),
        (b'{"a" 1}', "f.json:1:6: not JSON: expecting ':' delimiter"),
        (b'{"a": NaN}', "f.json: NaN is not JSON"),
        (b'{"a": -Infinity}', "f.json: -Infinity is not JSON"),
        (b'{\n"a": "\xff"}', "f.json:2:7: not UTF-8 (byte 0xff)"),
        (codecs.BOM_UTF16_LE + '{"a": 1}'.encode("utf-16-le"), "f.json: is UTF-16; save it as UTF-8"),
        (b"[" * 100_000, "f.json: nested too deeply"),
        (b'{"a": ' + b"1" * 5000 + b"}", "f.json: Exceeds the limit"),
    ],
)
def test_what_is_no_json_is_told_where_and_why(data: bytes, said: str) -> None:
    """One line with the place, in words that name the usual causes."""
    found = message(data)
    assert said in found
    assert "\n" not in found


def test_keys_given_twice_are_all_named() -> None:
    """The standard library keeps the last one without a word."""
    found = message(b'{"a": 1, "b": {"c": 1, "c": 2}, "a": 2, "l": [0, {"x y": 1, "x y": 1, "x y": 1}]}')
    assert found.splitlines() == [
        "f.json: 3 problems",
        "  a: given twice; keep one",
        "  b.c: given twice; keep one",
        "  l[1].x y: given twice; keep one",
    ]


def test_a_byte_order_mark_is_ignored(tmp_path: Path) -> None:
    """Some editors write one; there is nothing to mistake it for."""
    path = tmp_path / "dataset.json"
    path.write_bytes(codecs.BOM_UTF8 + GOOD)
    assert load_dataset_file(path).dataset_name == "d"


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """Missing, a folder, below a file: each says which it is."""
    (tmp_path / "file").write_bytes(GOOD)
    for path, said in (
        (tmp_path / "none.json", "no such file"),
        (tmp_path, "is a folder; name the file in it"),
        (tmp_path / "file" / "x.json", "cannot be read: Not a directory"),
    ):
        with pytest.raises(ConfigError) as caught:
            read_json_file(path)
        assert str(caught.value) == f"{path}: {said}"


@pytest.mark.parametrize("data", [b"[]", b"3", b"null", b'"x"'])
def test_a_dataset_file_is_an_object(tmp_path: Path, data: bytes) -> None:
    """Valid JSON of another kind is told apart from mistakes in it."""
    path = tmp_path / "dataset.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="expected a JSON object"):
        load_dataset_file(path)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_what_json_writes_is_read_back(value: object) -> None:
    """Being strict about files costs nothing of what JSON can say."""
    assert parse_json(json.dumps(value, ensure_ascii=True).encode(), name="f") == value


@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_config_error(data: bytes) -> None:
    """No other error leaves the reader, whatever the file holds."""
    with suppress(ConfigError):
        parse_json(data, name="f")
