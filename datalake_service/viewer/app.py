"""The application: addresses, and how what is answered goes out. Questions run in threads; nothing here waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Mount, Route

from datalake_service.pipeline.live.asking import LEFT
from datalake_service.viewer.answering import Answers
from datalake_service.viewer.cells import dump
from datalake_service.viewer.events import Watcher
from datalake_service.viewer.filter_text import MAX_TEXT
from datalake_service.viewer.openapi import describe
from datalake_service.viewer.problems import handlers
from datalake_service.viewer.queries import EventsQuery, Parameters, Query, parse
from datalake_service.viewer.routes import ROUTES, ApiRoute
from datalake_service.viewer.security import Access, Guard
from datalake_service.viewer.static_files import page_routes

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(answers: Answers, watcher: Watcher, access: Access) -> Starlette:
    """The application over one lake."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        watcher.close()

    routes: list[Route | Mount] = [Route(route.path, _json(answers, route), methods=["GET"]) for route in ROUTES]
    routes += [
        Route("/api/datasets/{dataset}/cell", _cell(answers), methods=["GET"]),
        Route("/api/datasets/{dataset}/export", _export(answers), methods=["GET"]),
        Route("/api/events", _events(watcher), methods=["GET"]),
        Route("/api/filters", _filters(answers), methods=["POST"]),
        Route("/api/openapi.json", _description, methods=["GET"]),
        *page_routes(),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access)],
        exception_handlers=handlers(),
        lifespan=lifespan,
    )


def _json(answers: Answers, route: ApiRoute) -> Endpoint:
    answer: Callable[..., Any] = route.answer

    async def endpoint(request: Request) -> Response:
        def work() -> bytes:
            given = [request.path_params["dataset"]] if route.of_dataset else []
            if route.query is None and request.query_params:
                parse(Query, _query(request))
            return dump(answer(answers, *given, _query(request)))

        return Response(await _while_wanted(request, work), media_type="application/json")

    return endpoint


async def _while_wanted(request: Request, work: Callable[[], bytes]) -> bytes:
    """Answer in a thread; the question is given up when whoever asked hangs up."""
    left = threading.Event()

    def ask() -> bytes:
        LEFT.set(left)
        return work()

    waiting = asyncio.create_task(_hung_up(request, left))
    try:
        return await run_in_threadpool(ask)
    finally:
        waiting.cancel()


async def _hung_up(request: Request, left: threading.Event) -> None:
    """Tell when whoever asked does not wait any more."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    left.set()


def _cell(answers: Answers) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        dataset = request.path_params["dataset"]
        value = await run_in_threadpool(answers.cell, dataset, _query(request))
        headers = {"content-disposition": 'attachment; filename="cell.txt"'}
        return Response(value.encode("utf-8", "replace"), media_type="text/plain; charset=utf-8", headers=headers)

    return endpoint


def _export(answers: Answers) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        dataset = request.path_params["dataset"]
        pieces, media, name = await run_in_threadpool(answers.export, dataset, _query(request))
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_streamed(request, pieces), media_type=media, headers=headers)

    return endpoint


async def _streamed(request: Request, pieces: Generator[bytes, None, None]) -> AsyncIterator[bytes]:
    """Pieces that are made in threads, as long as somebody reads them."""
    left = threading.Event()

    def step() -> bytes | None:
        LEFT.set(left)
        return next(pieces, None)

    def end(made: asyncio.Future[bytes | None]) -> None:
        made.cancelled() or made.exception()  # nobody is left to be told
        pieces.close()

    waiting = asyncio.create_task(_hung_up(request, left))
    making = asyncio.ensure_future(run_in_threadpool(step))
    try:
        while (piece := await asyncio.shield(making)) is not None:
            making = asyncio.ensure_future(run_in_threadpool(step))
            yield piece
    finally:
        waiting.cancel()
        left.set()
        making.add_done_callback(end)  # it may still run


def _events(watcher: Watcher) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        query = parse(EventsQuery, _query(request))
        events = watcher.listen(query.dataset, request.headers.get("last-event-id"))
        return StreamingResponse(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})

    return endpoint


def _filters(answers: Answers) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        body = b""
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > MAX_TEXT:
                    raise HTTPException(413, f"more than {MAX_TEXT} bytes")
        except ClientDisconnect:
            return Response(status_code=400)
        return Response(dump(await run_in_threadpool(answers.convert, body)), media_type="application/json")

    return endpoint


async def _description(_: Request) -> Response:
    return Response(dump(describe()), media_type="application/json")


def _query(request: Request) -> Parameters:
    found: dict[str, list[str]] = {}
    for key, value in request.query_params.multi_items():
        found.setdefault(key, []).append(value)
    return found
