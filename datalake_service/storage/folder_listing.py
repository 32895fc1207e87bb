"""Walk a folder in the order in which an object store lists keys.

It knows paths and prefixes; what a file means as an object is the caller's business.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from datalake_service.storage.files import in_words


def walk(root: str, prefix: str, *, hidden: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield key and status of every regular file below ``root/prefix``, in key order.

    Files that vanish meanwhile are left out. Links to files and folders are followed, but not in circles.

    Args:
        root: An absolute path; what is missing is empty.
        prefix: Empty, or ends in a slash.
        hidden: The name of a folder at the root that is left out.
    """
    return _walk(root, prefix, hidden, (os.path.realpath(root),))


def _walk(root: str, prefix: str, hidden: str, seen: tuple[str, ...]) -> Iterator[tuple[str, os.stat_result]]:
    for entry in _entries(root, prefix, hidden):
        key = prefix + entry.name
        if entry.is_dir():
            yield from _below(root, f"{key}/", hidden, seen, entry)
        else:
            with contextlib.suppress(FileNotFoundError):  # deleted since the folder was read
                found = entry.stat()
                if stat.S_ISREG(found.st_mode):
                    yield key, found


def _below(
    root: str, prefix: str, hidden: str, seen: tuple[str, ...], entry: os.DirEntry[str]
) -> Iterator[tuple[str, os.stat_result]]:
    """Walk a folder unless it is a link to where we came from. ``seen`` are the real paths of that."""
    if not entry.is_symlink():
        return _walk(root, prefix, hidden, seen)
    target = os.path.realpath(entry.path)
    if any(f"{place}/".startswith(f"{target}/") for place in seen):
        return iter(())
    return _walk(root, prefix, hidden, (*seen, target))


def folders_with_files(root: str, prefix: str, *, hidden: str) -> Iterator[str]:
    """Yield the names of the folders in ``root/prefix`` that hold a file at any depth, sorted."""
    seen = (os.path.realpath(root),)
    for entry in sorted(_entries(root, prefix, hidden), key=lambda entry: entry.name):
        if entry.is_dir() and next(_below(root, f"{prefix}{entry.name}/", hidden, seen, entry), None) is not None:
            yield entry.name


def _entries(root: str, prefix: str, hidden: str) -> list[os.DirEntry[str]]:
    """Return the entries of a folder in key order: a folder sorts as its name with the slash that follows it."""
    folder = f"{root}/{prefix}"
    try:
        with os.scandir(folder) as entries:
            found = [(f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise in_words(error, "list", folder) from error
    found.sort(key=lambda pair: pair[0])
    return [entry for _, entry in found if prefix or entry.name != hidden]
