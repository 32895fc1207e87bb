"""The user's classes on other machines: the Python files beside a dataset file travel with the tasks.

A class is named, never pickled: ``module.Class`` is looked up on the worker, in the folder as it was sent or among what
is installed there. A folder that is the same on the worker (the same machine, a shared file system) is used as it is.
"""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from datalake_service.errors import HandlerLoadError

MOST_BYTES: Final = 16 << 20
"""Of all files of a folder; larger things are installed on the workers, or read by the handler from a bucket."""
MOST_FILES: Final = 2_000
_MOST_BYTES_BESIDE: Final = 1 << 20
"""Of a file beside Python files that is none: a list of words, a template."""
_MOST_SEEN: Final = 20_000
_NEVER: Final = frozenset({"__pycache__", "node_modules", "site-packages"})
_TIME: Final = (1980, 1, 1, 0, 0, 0)
_known: dict[tuple[str, str], Path] = {}
"""Folders that were looked for: by path and digest."""


@dataclass(frozen=True, slots=True)
class Folder:
    """One folder, to be sent."""

    digest: str
    archive: bytes | None
    """``None``: it is too large."""


@dataclass(frozen=True, slots=True)
class Code:
    """Folders by their paths on the machine that sent them."""

    folders: Mapping[str, Folder]


def collect_code(folders: Iterable[Path]) -> Code:
    """Collect what is to be sent of some folders."""
    return Code({str(folder): _collected(folder) for folder in folders})


def code_here(folder: Path, code: Code) -> Path:
    """Where the files of a folder of the sender are on this machine.

    Raises:
        HandlerLoadError: Nowhere.
    """
    sent = code.folders.get(str(folder))
    if sent is None:
        return folder
    known = _known.get((str(folder), sent.digest))
    if known is None or not known.is_dir():
        known = _known[str(folder), sent.digest] = _found(folder, sent)
    return known


def _found(folder: Path, sent: Folder) -> Path:
    if folder.is_dir() and _collected(folder).digest == sent.digest:
        return folder
    if sent.archive is None:
        raise HandlerLoadError(
            f"the worker on {socket.gethostname()} does not have {folder}, and it is too large to be sent (more than"
            f" {MOST_FILES} files or {MOST_BYTES >> 20} MiB): put the dataset file and its classes into a folder of"
            " their own, or install them on the workers"
        )
    return _unpacked(sent)


def _collected(folder: Path) -> Folder:
    files = list(_files(folder))
    if _is_too_much(files):
        files = [(path, size) for path, size in files if path.suffix == ".py"]
    if _is_too_much(files):
        listing = "\n".join(f"{path.relative_to(folder)} {size}" for path, size in files[: MOST_FILES + 1])
        return Folder(hashlib.blake2b(listing.encode(), digest_size=16).hexdigest(), None)
    archive = io.BytesIO()
    digest = hashlib.blake2b(digest_size=16)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for path, _ in files:
            name, content = path.relative_to(folder).as_posix(), path.read_bytes()
            out.writestr(zipfile.ZipInfo(name, _TIME), content)
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape"))
            digest.update(content)
    return Folder(digest.hexdigest(), archive.getvalue())


def _is_too_much(files: Sequence[tuple[Path, int]]) -> bool:
    return len(files) > MOST_FILES or sum(size for _, size in files) > MOST_BYTES


def _files(folder: Path) -> Iterator[tuple[Path, int]]:
    """The Python files below a folder, and small files beside them, in one order everywhere."""
    seen = 0
    for here, below, names in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith(".") and name not in _NEVER)
        below[:] = [name for name in below if not (Path(here) / name / "pyvenv.cfg").exists()]
        seen += len(names)
        python = Path(here) == folder or any(name.endswith(".py") for name in names)
        for name in sorted(names) if python else ():
            path = Path(here) / name
            if name.startswith(".") or not path.is_file():
                continue
            size = path.stat().st_size
            if name.endswith(".py") or size <= _MOST_BYTES_BESIDE:
                yield path, size
        if seen > _MOST_SEEN:
            return


def _unpacked(sent: Folder) -> Path:
    """The folder of an archive, unpacked once for this machine and user."""
    home = Path(tempfile.gettempdir()) / f"datalake-code-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    if home.is_symlink() or home.stat().st_uid != os.getuid():
        raise HandlerLoadError(f"{home} belongs to somebody else; remove it, or set TMPDIR on the workers")
    target = home / sent.digest
    if not target.is_dir():
        made = Path(tempfile.mkdtemp(dir=home))
        assert sent.archive is not None  # the caller has looked
        with zipfile.ZipFile(io.BytesIO(sent.archive)) as archive:
            archive.extractall(made)
        try:
            made.rename(target)
        except OSError:  # another worker of this machine was faster
            if not target.is_dir():
                raise
    return target
