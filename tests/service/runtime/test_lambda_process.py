from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.smoke.canned import HANDLERS, REQUESTS, expected, request, without_places
from tests.support.lambda_runtime import RuntimeApi, runtime_api
from tests.support.repository import ROOT

ENTRY = [sys.executable, "-m", "awslambdaric", "datalake_service.runtime.lambda_entry.handler"]


@contextmanager
def function(folder: Path, **environment: str) -> Iterator[RuntimeApi]:
    """A function's process, started as Lambda starts it."""
    with runtime_api() as api:
        settings = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "AWS_LAMBDA_RUNTIME_API": api.url,
            "AWS_LAMBDA_FUNCTION_NAME": "datalake",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "LAMBDA_TASK_ROOT": str(folder),
            **environment,
        }
        process = subprocess.Popen(
            ENTRY, cwd=folder, env=settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            assert api.wait_until_asked()
            yield api
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def api() -> Iterator[RuntimeApi]:
    """The function with the handlers of the smoke test."""
    with function(HANDLERS) as found:
        yield found


@pytest.mark.parametrize("name", REQUESTS)
def test_canned_requests_are_answered_by_the_real_runtime(api: RuntimeApi, name: str) -> None:
    """The same requests and answers as those that ``./build.sh smoke`` asks of an image."""
    answer = api.invoke(request(name))
    assert not answer.failed
    assert without_places(answer.body) == expected(name)


def test_an_image_without_the_handler_says_so(tmp_path: Path) -> None:
    """One line names the module that was looked for."""
    with function(tmp_path) as found:
        body = found.invoke(request("parse-document")).body["body"]
    assert body["statusCode"] == "EXCEPTION"
    assert body["exception"]["errorType"] == "HandlerLoadError"
    assert "handler" in body["errorMessage"]
    assert "\n" not in body["errorMessage"]


def test_a_wrong_variable_is_answered_not_died_of(tmp_path: Path) -> None:
    """``DATALAKE_HANDLERS`` that is no JSON fails the request with its name."""
    with function(tmp_path, DATALAKE_HANDLERS="{") as found:
        answer = found.invoke(request("parse-document"))
    assert "DATALAKE_HANDLERS" in str(answer.body)
