"""Routes of the viewer: what is asked for, who answers it. Questions run in threads; this only passes on."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from datalake_service.viewer.answering import Answers
from datalake_service.viewer.cells import dump
from datalake_service.viewer.problems import handlers
from datalake_service.viewer.static_files import STATIC, index


def json_response(value: object, status: int = 200) -> Response:
    """An answer."""
    return Response(dump(value), status, media_type="application/json")


def make_app(answers: Answers) -> Starlette:
    """The application over one lake."""

    async def lake(_: Request) -> Response:
        return json_response(await run_in_threadpool(answers.lake))

    async def dataset(request: Request) -> Response:
        return json_response(await run_in_threadpool(answers.dataset, request.path_params["dataset"]))

    async def rows(request: Request) -> Response:
        return json_response(await run_in_threadpool(answers.rows, request.path_params["dataset"], _query(request)))

    async def count(request: Request) -> Response:
        return json_response(await run_in_threadpool(answers.count, request.path_params["dataset"], _query(request)))

    async def row(request: Request) -> Response:
        return json_response(await run_in_threadpool(answers.row, request.path_params["dataset"], _query(request)))

    routes = [
        Route("/api/lake", lake),
        Route("/api/datasets/{dataset}", dataset),
        Route("/api/datasets/{dataset}/rows", rows),
        Route("/api/datasets/{dataset}/count", count),
        Route("/api/datasets/{dataset}/row", row),
        Mount("/static", StaticFiles(directory=STATIC)),
        Route("/{path:path}", index),
    ]
    return Starlette(routes=routes, exception_handlers=handlers())


def _query(request: Request) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in request.query_params.multi_items():
        found.setdefault(key, []).append(value)
    return found
