"""Reading a stream a page ahead: a thread asks for the next records while the ones before are handled."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from datalake_service.readers.shards import Page, Stream


class PageAhead:
    """The pages of one shard. One thread calls it; a page that was asked for and not taken counts for nothing."""

    def __init__(self, stream: Stream) -> None:
        """Read ``stream``; the thread starts with the first page that is asked for ahead."""
        self._stream = stream
        self._pool: ThreadPoolExecutor | None = None
        self._asked: tuple[str, Future[Page]] | None = None

    def ask(self, iterator: str) -> None:
        """Begin to get the page of an iterator; what goes wrong is raised when it is read."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(1, thread_name_prefix="page-ahead")
        self._asked = iterator, self._pool.submit(self._stream.read, iterator)

    def read(self, iterator: str) -> Page:
        """Return the page of an iterator, the one asked for ahead if it is that; see ``Stream.read``."""
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == iterator:
            return asked[1].result()
        return self._stream.read(iterator)

    def close(self) -> None:
        """End the thread; waits for a request that is under way."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = self._asked = None
