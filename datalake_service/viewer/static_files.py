"""The page itself: files of this package, and nothing else.

They are at two addresses. One holds a digest of all of them, so what is there never changes and a browser keeps it: the
page names its files there, and what they import is beside them. At the other they are asked for anew each time.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

if TYPE_CHECKING:
    import os

    from starlette.requests import Request
    from starlette.types import Scope

STATIC: Final = Path(__file__).parent / "static"
_ADDRESS: Final = "/static"
_FOREVER: Final = "private, max-age=31536000, immutable"


def page_routes(folder: Path = STATIC) -> list[Route | Mount]:
    """The files, and the page for every other path: it takes them apart itself."""
    lasting = f"{_ADDRESS}/{digest_of(folder)}"
    text = (folder / "index.html").read_text(encoding="utf-8").replace(f'"{_ADDRESS}/', f'"{lasting}/')

    async def index(request: Request) -> Response:
        if request.url.path.startswith("/api"):
            raise HTTPException(404, "there is no such address")
        return HTMLResponse(text)

    return [
        Mount(lasting, _LastingFiles(directory=folder)),
        Mount(_ADDRESS, StaticFiles(directory=folder)),
        Route("/{path:path}", index, methods=["GET"]),
    ]


def digest_of(folder: Path) -> str:
    """What changes when any file below a folder does, or its name."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()}\n{len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


class _LastingFiles(StaticFiles):
    """Files that stay as they are."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["cache-control"] = _FOREVER
        return response
