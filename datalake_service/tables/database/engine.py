"""DuckDB connections that can do no more than they were opened for, and DuckDB's errors in our words.

Knows nothing of datasets, views or columns.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from datalake_service.errors import DatalakeError, FilterError, StoreError
from datalake_service.tables.database.local import without_names
from datalake_utils.ids import random_hex

if TYPE_CHECKING:
    import duckdb

DEFAULT_MEMORY_BYTES = 512 << 20
_MAX_THREADS = 4
"""Rows leave in one thread, in order; more threads than this only help the join before it."""
_MAX_MESSAGE = 500
_ABOUT_VALUES = {"Conversion", "Out of Range", "Invalid Input"}
"""Errors that quote a value, which is a row's content."""
_ABOUT_SQL = {"Parser", "Syntax", "Binder", "Catalog", "Type", "Mismatch Type", "Not implemented", *_ABOUT_VALUES}
"""Errors that a user's SQL causes, and nothing else of ours."""


class OutOfMemoryError(StoreError):
    """A query needs more memory, or more room to spill, than it may use."""

    kind = "out_of_memory"


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one query may use of the machine."""

    memory_bytes: int = DEFAULT_MEMORY_BYTES
    """DuckDB spills to disk beyond it; the process needs about 100 MiB more."""
    sort_bytes: int = 64 << 20
    """A batch with annotations up to this size is joined and sorted as a whole; a larger one streams."""
    narrow_bytes: int | None = None
    """Bytes of large columns from which small ones choose the rows first; ``None``: what pays, for a file that is here
    and for one that is fetched."""
    large_value: int = 64
    """Bytes of a value, compressed, from which its column is large."""
    threads: int = field(default_factory=lambda: max(1, min(os.cpu_count() or 1, _MAX_THREADS)))
    spill_folder: Path | None = None
    """Where a private folder for spilling is made; ``None``: the system's temporary folder."""


class Engine:
    """One in-memory database with one connection; used by one thread at a time. ``close`` it."""

    def __init__(self, limits: EngineLimits) -> None:
        """Open a database that may read files until ``lock`` is called."""
        import duckdb

        # DuckDB makes the folder when it needs one: most queries leave no trace, even if the process is killed.
        self._spill = (limits.spill_folder or Path(tempfile.gettempdir())) / f"datalake-sql-{random_hex(12)}"
        self.connection: duckdb.DuckDBPyConnection = duckdb.connect(
            config={
                "threads": limits.threads,
                "memory_limit": f"{limits.memory_bytes}B",
                "temp_directory": str(self._spill),
                "preserve_insertion_order": "true",
                "autoinstall_known_extensions": "false",
                "autoload_known_extensions": "false",
                "python_enable_replacements": "false",
            }
        )
        # It would go to standard output, among the rows of an export.
        self.connection.execute("SET enable_progress_bar = false")
        self.confined = False
        """Whether ``confine`` was called."""
        self.locked = False
        """Whether ``lock`` was called."""

    def forget_files(self) -> None:
        """Keep nothing of what was read: what is called /proc/self/fd/7 is another file in the next question."""
        self.connection.execute("SET enable_external_file_cache = false")

    def lock(self, paths: Sequence[str] = ()) -> None:
        """From now on only ``paths`` can be read, nothing written, no extension loaded, no setting changed.

        What a user's SQL could reach is bounded by this, whatever it manages to say.
        """
        with in_our_words("open a database"), without_names(paths) as names:
            listed = ", ".join(quote_text(path) for path in [*paths, *names])
            self.connection.execute(
                f"SET allowed_paths = [{listed}]; SET enable_external_access = false; SET lock_configuration = true"
            )
        self.locked = True

    def confine(self, folders: Sequence[str]) -> None:
        """From now on only what is in ``folders`` can be read, whatever is opened there later; no setting is changed.

        For SQL of our own only: files in these folders could be written.
        """
        listed = ", ".join(quote_text(folder) for folder in folders)
        with in_our_words("open a database"):
            self.forget_files()
            self.connection.execute(
                f"SET allowed_directories = [{listed}]; "
                "SET enable_external_access = false; SET lock_configuration = true"
            )
        self.confined = True

    def interrupt(self) -> None:
        """Make a query that runs in another thread end with an error. Nothing happens if the database is closed."""
        import duckdb

        with contextlib.suppress(duckdb.ConnectionException):
            self.connection.interrupt()

    def close(self) -> None:
        """Free the database and its spill files. May be called again."""
        self.connection.close()
        if self._spill.exists():
            shutil.rmtree(self._spill, ignore_errors=True)


def quote_text(text: str) -> str:
    """An SQL literal."""
    return "'" + text.replace("'", "''") + "'"


@contextlib.contextmanager
def in_our_words(doing: str, *, names: Mapping[str, str] | None = None, user_sql: bool = False) -> Iterator[None]:
    """Raise what DuckDB raises as an error of ours, in one line.

    Args:
        doing: What fails, for the message: ``cannot {doing}: …``.
        names: What columns of the query are really called.
        user_sql: Whether a raw filter takes part: most errors are its own then.

    Raises:
        FilterError: The user's SQL cannot be used.
        StoreError: Anything else.
    """
    import duckdb

    try:
        yield
    except (duckdb.Error, OSError) as error:  # Arrow's readers hand DuckDB's errors on as OSError
        raise _translated(error, doing, names or {}, user_sql=user_sql) from error


def _translated(error: Exception, doing: str, names: Mapping[str, str], *, user_sql: bool) -> DatalakeError:
    kind = str(error).partition(" Error:")[0]
    if kind == "Out of Memory":
        return OutOfMemoryError(f"cannot {doing}: it needs more memory or disk than it may use: {_line(error, names)}")
    if kind == "INTERRUPT":
        return StoreError(f"cannot {doing}: it was interrupted")
    if user_sql and kind in _ABOUT_SQL:
        return FilterError(f"the filter cannot be used: {_line(error, names, hide_values=kind in _ABOUT_VALUES)}")
    return StoreError(f"cannot {doing}: {_line(error, names)}")


def _line(error: Exception, names: Mapping[str, str], *, hide_values: bool = False) -> str:
    """The message as one line, without the query, with real names."""
    text = re.split(r"\n\s*(?:LINE \d+:|Candidate functions:|Possible solutions:)", str(error))[0]
    if hide_values:
        text = re.sub(r"'.*'", "'…'", text, flags=re.DOTALL)
        text = re.sub(r'".*"', '"…"', text, flags=re.DOTALL)
        text = re.sub(r"(?<![\w.])-?\d[\w.+-]*", "…", text)
    text = " ".join(text.split())
    if names:
        text = re.sub("|".join(rf"\b{re.escape(name)}\b" for name in names), lambda match: names[match[0]], text)
    return text if len(text) <= _MAX_MESSAGE else text[:_MAX_MESSAGE] + "…"
