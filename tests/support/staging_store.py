"""A store that ignores conditions and can hold back what it was asked to publish."""

from __future__ import annotations

import enum
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datalake_service.errors import OutcomeUnknownError, StoreError, StoreUnavailableError
from datalake_service.storage.base import CreateOnly, IfMatch, ObjectStore, Overwrite
from datalake_service.storage.keys import check_key
from datalake_service.storage.staged import Staged
from tests.support.careless_store import CarelessStore


class Publication(enum.Enum):
    """What becomes of a request to publish."""

    APPLIED = "applied and answered"
    LOST = "applied, and the answer never came"
    LATE = "not applied before deliver() is called, and never answered"
    REFUSED = "not applied, and said so"


@dataclass
class _Upload:
    store: StagingStore
    key: str
    name: str
    body: bytes

    def publish(self) -> None:
        self.store.before_publish(self.key)
        fate = self.store.fate
        if fate is Publication.REFUSED:
            raise StoreUnavailableError("planned: busy")
        if fate is Publication.LATE:
            self.store.held_back.append(self)
        else:
            self.store.join(self)
        if fate in {Publication.LATE, Publication.LOST}:
            raise OutcomeUnknownError("planned: no answer")

    def discard(self) -> bool:
        if self.store.unreachable:
            raise StoreUnavailableError("planned: unreachable")
        return self.store.forget(self)


class StagingStore(CarelessStore):
    """``inner`` without conditions, with uploads."""

    def __init__(self, inner: ObjectStore, *, uri: str = "s3://bucket/lake") -> None:
        super().__init__(inner, ignores=(CreateOnly, IfMatch), uri=uri)
        self.fate = Publication.APPLIED
        self.unreachable = False
        """Whether requests to discard fail."""
        self.held_back: list[_Upload] = []
        self.before_publish: Callable[[str], None] = lambda key: None
        self._uploads: dict[str, _Upload] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    @property
    def staged(self) -> list[str]:
        """The keys of bodies that were neither published nor discarded."""
        return [upload.key for upload in self._uploads.values()]

    def stage(self, key: str, body: bytes | Path) -> Staged:
        check_key(key)
        upload = _Upload(self, key, str(next(self._numbers)), body if isinstance(body, bytes) else _content(body))
        self._uploads[upload.name] = upload
        return upload

    def discard_staged(self, key: str, *, keep: Staged) -> None:
        for upload in list(self._uploads.values()):
            if upload.key == key and upload.name != keep.name:
                self.forget(upload)

    def deliver(self) -> None:
        """Apply, now, what was held back, as far as it was not discarded."""
        for upload in self.held_back:
            if upload.name in self._uploads:
                self.join(upload)
        self.held_back.clear()

    def join(self, upload: _Upload) -> None:
        if not self.forget(upload):
            raise StoreUnavailableError("no such upload")
        self.inner.put(upload.key, upload.body, mode=Overwrite())

    def forget(self, upload: _Upload) -> bool:
        with self._lock:
            return self._uploads.pop(upload.name, None) is not None

    def __getstate__(self) -> dict[str, object]:
        raise TypeError("its uploads are in this process")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
