from __future__ import annotations

import json

import pytest
from hypothesis import given, settings

from datalake_service.config.filters import FILTERS, FilterNode, parse_filter
from datalake_service.errors import FilterError
from datalake_service.viewer.filter_text import filter_given, from_python, to_python
from tests.service.viewer.test_rows_model import NODES


@given(node=NODES)
@settings(max_examples=60)
def test_a_filter_is_the_same_in_python_and_in_json(node: FilterNode) -> None:
    """There and back, and what is copied runs in a program that imports the classes."""
    text = to_python(node)
    assert from_python(text) == node
    assert from_python(f"filter={text},") == node
    assert eval(text, {one.__name__: one for one in FILTERS}) == node
    assert filter_given(json.dumps({"python": text}).encode()) == node
    assert filter_given(json.dumps({"json": json.loads(node.model_dump_json())}).encode()) == node
    assert parse_filter(json.loads(node.model_dump_json(exclude_none=True))) == node


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "EqualsFilter(field='n', value=open('/etc/passwd').read())",
        "EqualsFilter(**{'field': 'n', 'value': 1})",
        "EqualsFilter('n', 1)",
        "[AllFilter(filters=[]) for _ in range(9)]",
        "AllFilter(filters=[x := 1])",
        "(lambda: AllFilter(filters=[]))()",
        "AllFilter(filters=[]).model_dump()",
        "AllFilter(filters=[AllFilter])",
        "EqualsFilter(field=f'{1}', value=1)",
        "EqualsFilter(field=b'n', value=1)",
        "EqualsFilter(field='n', value=1j)",
        "EqualsFilter(field='n', value=9**9**9)",
        "EqualsFilter(field='n', value=-'a')",
        "EqualsFilter(type='equals', field='n', value=1)",
        "AllFilter(filters=[]); import os",
        "import os",
        "",
        "(" * 10_000,
        "-" * 5_000 + "1",
        "AllFilter(filters=[" * 500 + "])" * 500,
        "Nope(x=1)",
        "\x00",
    ],
)
def test_python_is_read_and_never_run(text: str) -> None:
    """Only calls of the classes with plain values are filters; anything else is one line of advice."""
    with pytest.raises(FilterError) as caught:
        from_python(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"sql": 1}', b'{"sql": "1", "json": {}}', b"\xff", b'{"python": 3}']
)
def test_what_holds_no_filter_is_refused(body: bytes) -> None:
    """With what is allowed."""
    with pytest.raises(FilterError, match="body"):
        filter_given(body)
