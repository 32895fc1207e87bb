"""Files of a batch to blocks of lines, in order; small remote files are fetched ahead, in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from datalake_service.chunks.inventory import Source
from datalake_service.chunks.reader import BLOCK_BYTES, MAX_LINE_BYTES, Lines, parse_lines, read_lines
from datalake_service.storage.base import ObjectStore

_THREADS = 8
_WHOLE_BYTES = 4 << 20
"""A larger file is read as a stream."""


class LineFetcher:
    """Reads files of one store. Each read is pinned to the version that was listed.

    A remote store answers late, so files are fetched ahead by a few threads; in a folder that would only make
    threads wait for each other.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        window_bytes: int,
        block_bytes: int = BLOCK_BYTES,
        max_line_bytes: int = MAX_LINE_BYTES,
        threads: int = _THREADS,
    ) -> None:
        """Hold about ``window_bytes`` of files that nobody asked for yet."""
        self._store = store
        self._window = window_bytes
        self._block_bytes = block_bytes
        self._max_line = max_line_bytes
        self._threads = threads if "://" in store.uri else 0

    def read(self, sources: Sequence[Source]) -> Iterator[tuple[int, Lines]]:
        """The blocks of all files in order, each with the index of its file; an empty file has none.

        Raises:
            ObjectNotFoundError: A file is gone.
            PreconditionFailedError: A file was replaced.
        """
        if not self._threads:
            for index, source in enumerate(sources):
                yield from self._blocks(index, source, None)
            return
        with ThreadPoolExecutor(self._threads, thread_name_prefix="fetch") as pool:
            ahead: deque[Future[bytes]] = deque()
            held = taken = 0
            try:
                for index, source in enumerate(sources):
                    while taken < len(sources) and (taken <= index or held < self._window):
                        if self._is_whole(sources[taken]):
                            ahead.append(pool.submit(self._get, sources[taken]))
                            held += sources[taken].meta.size
                        taken += 1
                    whole = ahead.popleft().result() if self._is_whole(source) else None
                    held -= len(whole or b"")
                    yield from self._blocks(index, source, whole)
            finally:
                pool.shutdown(cancel_futures=True)

    def _is_whole(self, source: Source) -> bool:
        return source.meta.size <= min(_WHOLE_BYTES, self._max_line)

    def _get(self, source: Source) -> bytes:
        return self._store.get(source.meta.key, etag=source.meta.etag)[0]

    def _blocks(self, index: int, source: Source, whole: bytes | None) -> Iterator[tuple[int, Lines]]:
        if self._is_whole(source):
            data = self._get(source) if whole is None else whole
            if data:
                yield index, parse_lines(data, vouched_rows=source.vouched_rows, max_line_bytes=self._max_line)
            return
        with self._store.open(source.meta.key, etag=source.meta.etag) as stream:
            for lines in read_lines(stream, block_bytes=self._block_bytes, max_line_bytes=self._max_line):
                yield index, lines
