from __future__ import annotations

import pytest

from datalake_service.pipeline.tasks.stopping import RunStops


@pytest.fixture(autouse=True)
def _nobody_asks_a_run_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run looks for requests every two seconds of real time: the operation at which it dies would depend on that."""
    monkeypatch.setattr(RunStops, "_look", lambda self: self._end.wait())
