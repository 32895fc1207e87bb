"""A manifest → tasks: one item, one task. Pure: text or a listing in, a plan out.

Whether an object exists is not asked here: a task that names a missing one fails by itself, with the key in its error,
and leaves the others alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from datalake_service.errors import UsageError
from datalake_service.plan.globs import Glob

_LINE_END = re.compile(r"\r\n|\n|\r")
"""``str.splitlines`` would also end a line at characters that a key may hold."""
_ID_BYTES = 10
"""Of a digest: a million tasks of one dataset meet by chance once in a trillion datasets."""


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One item of a manifest, to be read into one batch."""

    id: str
    """Names the task in its dataset. The same item and batch have the same id whenever they are planned."""
    item: str
    """The line, or the key that a glob matched."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a manifest, in its order."""

    tasks: tuple[PlannedTask, ...]
    notes: tuple[str, ...] = ()
    """What its user should know: lines that occur twice, globs that match nothing."""


def plan_lines(text: str, *, batch: str, name: str = "the manifest") -> Plan:
    """Return the tasks of a manifest that is text.

    Each line is an item; space around it, empty lines and lines that begin with ``#`` are nothing (a key that begins
    with ``#`` is written ``./#…``). A line that occurs again is noted and read once.

    Args:
        text: The lines.
        batch: Where they are read to.
        name: What notes call the manifest.
    """
    numbers: dict[str, list[int]] = {}
    for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            numbers.setdefault(stripped.removeprefix("./"), []).append(number)
    notes = [
        f"{name}: {item!r} stands on the lines {', '.join(map(str, found))}; it is read once"
        for item, found in numbers.items()
        if len(found) > 1
    ]
    if not numbers:
        notes.append(f"{name} names nothing to read")
    return Plan(tuple(PlannedTask(task_id(item, batch=batch), item) for item in numbers), tuple(notes))


def plan_globs(patterns: Sequence[str], keys: Iterable[str], *, batch: str) -> Plan:
    """Return a task for each key that one of the patterns matches, in key order. See ``globs.py`` for the patterns.

    Args:
        patterns: Relative to the root of the store.
        keys: What a listing of ``listing_prefixes`` returned.
        batch: Where they are read to.
    """
    globs = [Glob(pattern) for pattern in patterns]
    matched: set[str] = set()
    used: set[str] = set()
    for key in keys:
        fitting = [glob.pattern for glob in globs if glob.matches(key)]
        if fitting:
            matched.add(key)
            used.update(fitting)
    notes = [f"no file matches {pattern!r}" for pattern in dict.fromkeys(patterns) if pattern not in used]
    return Plan(tuple(PlannedTask(task_id(key, batch=batch), key) for key in sorted(matched)), tuple(notes))


def decode_lines(data: bytes, *, name: str) -> str:
    """Return the text of a manifest that is a file.

    Raises:
        UsageError: It is not UTF-8.
    """
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        msg = f"{name} is not UTF-8 (byte {error.start}); a manifest is a text file with one key on each line"
        raise UsageError(msg) from None


def task_id(item: str, *, batch: str) -> str:
    """Return the id of the task that reads ``item`` into ``batch``: lower-case letters and digits."""
    identity = f"{batch}\n{item}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(identity, digest_size=_ID_BYTES).hexdigest()


def typed_files(item: str) -> dict[str, str]:
    """Return the files of an item for readers of several files: ``TYPE:key`` pairs with ``|`` between.

    Raises:
        UsageError: The item is written otherwise.
    """
    files: dict[str, str] = {}
    for pair in item.split("|"):
        file_type, colon, key = (part.strip() for part in pair.partition(":"))
        if not (file_type and colon and key):
            raise UsageError(f"{item!r}: {pair.strip()!r} is not TYPE:key; pairs are separated by |")
        if file_type in files:
            raise UsageError(f"{item!r} names two files of type {file_type}")
        files[file_type] = key
    return files
