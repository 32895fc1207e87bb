from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import checks

from datalake_service.viewer.app import make_app
from datalake_service.viewer.events import LOCAL_PACE, Watcher
from datalake_service.viewer.openapi import describe
from datalake_service.viewer.security import Access
from tests.support.live import looking, written

CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def app() -> Iterator[Any]:
    """A viewer over a dataset with a bit of everything."""
    with written() as lake:
        lake.write("b1", [{"n": number, "text": "a b", "meta": {"x": [1]}, "ok": True} for number in range(5)])
        lake.merge("b1")
        lake.write("b2", [{"n": 1.5, "text": None}], minutes=1)
        lake.annotate("lang", {key: {"label": "en"} for key in sorted(lake.merged)[:3]})
        lake.merge_annotations("lang")
        lake.annotate("lang", dict.fromkeys(sorted(lake.merged)[3:], "failed"))
        with looking(lake.store) as answers:
            access = Access.of("127.0.0.1", names=["testserver"], token=None)
            yield make_app(answers, Watcher(answers._lake, LOCAL_PACE), access)


PATHS = sorted(path for path in describe()["paths"] if path != "/api/events")
"""Events have no end."""
EXAMPLES = int(os.environ.get("DATALAKE_VIEWER_EXAMPLES", "4"))


@pytest.mark.parametrize("path", PATHS)
def test_answers_are_what_the_description_says(app: Any, path: str) -> None:
    """Whatever is asked, of a dataset that is there: status, type and shape are described, and none is 500."""
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    operation = schema[path]["POST" if path == "/api/filters" else "GET"]

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(case=operation.as_strategy())
    def asked(case: Any) -> None:
        if "{dataset}" in path:
            case.path_parameters["dataset"] = "posts"
        response = case.call()
        case.validate_response(response, checks=CHECKS)

    asked()


def test_every_route_is_described(app: Any) -> None:
    """No address of the API is left out."""
    routed = {route.path for route in app.routes if getattr(route, "path", "").startswith("/api/")}
    assert routed - {"/api/openapi.json"} == set(describe()["paths"])
