"""Reading ahead: a thread fetches the next bytes of a slow stream while the ones before are worked on."""

from __future__ import annotations

import io
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO, Final

_CHUNK_BYTES: Final = 1 << 20
_CHUNKS_AHEAD: Final = 4


class ReadAhead(io.RawIOBase, BinaryIO):
    """A stream that is read by a thread, a few megabytes ahead. Closing it stops the thread and closes the stream."""

    def __init__(self, stream: BinaryIO) -> None:
        """Take over ``stream``: it is closed with this one."""
        super().__init__()
        self._stream = stream
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._chunks: deque[Future[bytes]] = deque()
        for _ in range(_CHUNKS_AHEAD):
            self._fetch()

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def read(self, size: int = -1, /) -> bytes:  # noqa: ARG002 - chunks come as they were fetched
        """Return the next bytes, as many as were fetched at once; empty at the end. ``size`` does not matter.

        Raises:
            StoreError: What reading the stream raised.
        """
        if not self._chunks:
            return b""
        try:
            chunk = self._chunks.popleft().result()
        except BaseException:
            self._chunks.clear()
            raise
        if chunk:
            self._fetch()
        else:
            self._chunks.clear()
        return chunk

    def close(self) -> None:
        """Stop reading ahead; waits for the request that is under way."""
        if not self.closed:
            self._pool.shutdown(cancel_futures=True)
            self._stream.close()
        super().close()

    def _fetch(self) -> None:
        self._chunks.append(self._pool.submit(self._stream.read, _CHUNK_BYTES))
