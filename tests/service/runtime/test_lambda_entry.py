"""The Lambda function: how it finds its handlers, and what importing it costs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datalake_service.errors import ConfigError
from datalake_service.runtime import lambda_entry
from tests.support.bridge import record, request
from tests.support.repository import ROOT


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The environment of a function, which starts afresh."""
    lambda_entry.bridge.cache_clear()
    yield monkeypatch
    lambda_entry.bridge.cache_clear()


class _Invocation:
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


def test_the_function_finds_its_handlers(environment: pytest.MonkeyPatch, folder: Path) -> None:
    """By the variables, or under the fixed names in the folder that Lambda unpacks to."""
    environment.setenv("LAMBDA_TASK_ROOT", str(folder))
    answer: Any = lambda_entry.handler(request("SingleFileParser", "getS3FileType"), _Invocation())
    assert answer["body"]["data"] == "LOG"
    lambda_entry.bridge.cache_clear()
    environment.setenv("DATALAKE_HANDLER_FOLDER", str(folder))
    environment.setenv("LAMBDA_TASK_ROOT", "/nowhere")
    said = {"singlefileparser": {"class": "handler.SingleFileParser", "parameters": {"word": "y"}}}
    environment.setenv("DATALAKE_HANDLERS", json.dumps(said))
    answer = lambda_entry.handler(request("SingleFileParser", "parseDocument", record("values")), _Invocation())
    assert answer["body"]["data"]["document"]["documentMetadata"]["opened"] == {"word": "y"}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "DATALAKE_HANDLERS is no JSON"),
        ("[]", "has to be an object"),
        ('{"SingleFileParsr": "a.B"}', "there is no interface 'SingleFileParsr'"),
        ('{"SingleFileParser": 7}', 'SingleFileParser: has to be "module.Class", or'),
        ('{"SingleFileParser": {"class": "a.B", "parameters": []}}', "SingleFileParser: has to be"),
    ],
)
def test_a_wrong_variable_is_told(text: str, told: str) -> None:
    """Before anything is called."""
    with pytest.raises(ConfigError) as caught:
        lambda_entry.handler_classes(text)
    assert told in str(caught.value)


def test_the_function_starts_light() -> None:
    """A cold start is mostly imports: none of the large libraries is among them."""
    code = (
        "import sys, datalake_service.runtime.lambda_entry\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:])))"
    )
    heavy = [
        "boto3",
        "botocore",
        "pydantic",
        "pyarrow",
        "duckdb",
        "numpy",
        "orjson",
        "click",
        "isal",
        "structlog",
        "asyncio",
    ]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
