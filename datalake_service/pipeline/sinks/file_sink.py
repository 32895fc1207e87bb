"""Rows to files below the root of a store that is no lake; see ``writers/files.py``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from datalake_service.catalog.tasks import load_task
from datalake_service.chunks.convert import convert
from datalake_service.errors import StoreError
from datalake_service.jsontext import loads
from datalake_service.pipeline.jobs.engine import TaskJob
from datalake_service.pipeline.jobs.outputs import FileKind, FilesOutput
from datalake_service.pipeline.sinks.delivery_sink import outgoing
from datalake_service.pipeline.sinks.sink import Origin, Refusal, of_values
from datalake_service.writers.files import FileNames, FileWriter, Format, write_jsonl, write_jsonl_gzip
from datalake_service.writers.records import RecordText


class FileSink:
    """The files of one attempt of a task; see ``Sink``. The attempt has begun when this is made."""

    needs_origins = False
    run: str | None = None

    def __init__(self, job: TaskJob, output: FilesOutput) -> None:
        """Ask where the task goes on: files behind that were written by an attempt that does not count.

        Raises:
            StoreError: The task cannot be read.
        """
        state = load_task(job.store, job.dataset, job.task).state
        self._job = job
        self._text = RecordText(convert)
        self._attempt = state.attempt
        self._first = state.counts.documents
        self._writer = FileWriter(
            output.store,
            FileNames(
                f"{job.dataset}/{job.batch}/{job.task}/", f".{output.kind}", first=self._first, attempt=state.attempt
            ),
            write=_FORMATS[output.kind],
            rows_per_file=output.rows_per_file,
        )

    @property
    def saturated(self) -> bool:
        """Whether too many files are on their way."""
        return self._writer.saturated

    @property
    def rows_buffered(self) -> int:
        """Rows of the file that is not ended."""
        return self._writer.rows_buffered

    def add(self, row: dict[str, Any], origin: Origin | None) -> None:  # noqa: ARG002 - files refuse at once
        """Put a row into the file; see ``Sink.add``."""
        self._writer.add(of_values(self._text.encode, outgoing(row, None).record))

    def wait_for_room(self) -> None:
        """Block while too many files are on their way."""
        self._writer.wait_for_room()

    def flush(self) -> None:
        """End the file, and block until it is stored. A worker that was taken over writes none."""
        self._check_owner()
        self._writer.flush()

    def refused(self) -> Sequence[Refusal]:
        """Nothing: what a file cannot hold is refused by ``add``."""
        return ()

    def close(self) -> None:
        """Flush, and remove the files of attempts that do not count."""
        try:
            self.flush()
            self._writer.finish()
        finally:
            self._writer.close()

    def _check_owner(self) -> None:
        state = load_task(self._job.store, self._job.dataset, self._job.task).state
        if state.attempt != self._attempt:
            raise StoreError(f"task {self._job.task}: another worker has taken it over; no more files are written")


def _write_parquet(lines: Sequence[bytes], path: Path) -> None:
    """Arrow is loaded by whoever writes Parquet only."""
    from datalake_service.tables.formats.plain import write_plain_parquet

    write_plain_parquet([loads(line) for line in lines], path)


_FORMATS: Final[dict[FileKind, Format]] = {
    FileKind.JSONL: write_jsonl,
    FileKind.JSONL_GZIP: write_jsonl_gzip,
    FileKind.PARQUET: _write_parquet,
}
