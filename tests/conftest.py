from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

SETTINGS = ("AWS_", "S3_", "DATALAKE_", "WSS_MUTEX_")

# A slow machine is no failure: what must be fast is measured in benchmarks/.
settings.register_profile("datalake", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("datalake")


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no lake, no credentials and no AWS configuration but their own."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)
    nowhere = Path(tempfile.gettempdir()) / "datalake-tests-have-no-aws-configuration"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
