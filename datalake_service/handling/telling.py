"""An exception of the user's code, told in one line: its type, its message and the place in the user's file."""

from __future__ import annotations

import traceback
from pathlib import Path

from datalake_service.handling.folders import public_text

MAX_MESSAGE = 1_000
"""Characters of a message that are kept: some libraries put a whole document into theirs."""

_PACKAGE = Path(__file__).parents[1]


def told(error: BaseException, folder: Path | None) -> str:
    """Return the line. The place is the innermost line of the user's code in ``folder``, not one in a library below.

    Args:
        error: What was raised.
        folder: Where the user's code is (resolved); ``None``: not known, the innermost line of all is named.
    """
    message = one_line(str(error.msg if isinstance(error, SyntaxError) else _text(error)))
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    place = _place(error, folder)
    return f"{text} ({place})" if place else text


def one_line(message: str) -> str:
    """Return ``message`` on one line, cut if it is very long, with our private names taken out."""
    line = " ".join(public_text(message[: 2 * MAX_MESSAGE]).split())
    return line if len(line) <= MAX_MESSAGE else f"{line[:MAX_MESSAGE]}…"


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:  # the user's own exception class cannot be printed; what it stopped counts
        return f"(its message cannot be shown: {type(second).__name__})"


def _place(error: BaseException, folder: Path | None) -> str | None:
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(error.filename, folder)}:{error.lineno}"
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    frames = [(name, line) for name, line in frames if not name.startswith("<") and not _is_ours(name)]
    own = [(name, line) for name, line in frames if folder is not None and _is_own(Path(name), folder)]
    named = own or frames
    return f"{_short(named[-1][0], folder)}:{named[-1][1]}" if named else None


def _is_ours(name: str) -> bool:
    return Path(name).is_relative_to(_PACKAGE)


def _is_own(path: Path, folder: Path) -> bool:
    return path.is_relative_to(folder) and "site-packages" not in path.parts


def _short(name: str, folder: Path | None) -> str:
    path = Path(name)
    return str(path.relative_to(folder)) if folder is not None and path.is_relative_to(folder) else name
