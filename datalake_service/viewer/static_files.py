"""The page itself: files of this package, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response

if TYPE_CHECKING:
    from starlette.requests import Request

STATIC: Final = Path(__file__).parent / "static"


async def index(request: Request) -> Response:
    """The page, for every path that the page itself takes apart.

    Raises:
        HTTPException: A path of the API that does not exist.
    """
    if request.url.path.startswith("/api"):
        raise HTTPException(404, "there is no such address")
    return FileResponse(STATIC / "index.html", media_type="text/html")
