"""AWS clients that die on request, together with a store: what ``faulty_store.py`` is for the lake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from datalake_service.aws.clients import AwsClients
from tests.support.faulty_store import Crash, Fault, FaultyStore


class FaultyClients(AwsClients):
    """``inner`` with crashes; requests are numbered from 1. It dies together with a store, whichever is first."""

    def __init__(self, inner: AwsClients, plan: Mapping[int, Fault] | None = None, *, store: FaultyStore) -> None:
        super().__init__()
        self._inner = inner
        self._plan = plan or {}
        self._store = store
        self.operations: list[str] = []
        """What was asked, in order, up to the crash."""

    def client(self, service: str) -> Any:
        return _Client(self._inner.client(service), self._do)

    def _do(self, name: str, send: Callable[[], Any]) -> Any:
        if self._store.dead:
            raise Crash(f"dead before {name}")
        self.operations.append(name)
        fault = self._plan.get(len(self.operations))
        if fault is not None:
            self._store.dead = True
            if fault is Fault.CRASH_AFTER:
                send()
            raise Crash(f"{fault.name} {name}")
        return send()


class _Client:
    def __init__(self, inner: Any, do: Callable[[str, Callable[[], Any]], Any]) -> None:
        self._inner = inner
        self._do = do
        self.meta = inner.meta

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        return lambda **parameters: self._do(name, lambda: method(**parameters))
