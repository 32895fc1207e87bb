from __future__ import annotations

import logging
import os
import signal
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.s3 import S3Store
from tests.support import servers
from tests.support.aws import Aws, ministack
from tests.support.s3_server import strict_s3

# A shell starts what runs in the background with interrupts ignored, and children inherit that: the commands that
# tests interrupt must behave as they do on a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Every Java of a test lives for seconds: compiling quickly and collecting garbage in one thread, it starts a Spark in
# 9 s of processor time instead of 16.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")

SETTINGS = ("AWS_", "S3_", "DATALAKE_", "WSS_MUTEX_")

# A slow machine is no failure: what must be fast is measured in benchmarks/.
settings.register_profile(
    "datalake",
    max_examples=int(os.environ.get("DATALAKE_EXAMPLES", "40")),  # of tests that name no number of their own
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("datalake")


# A worker begins at one end of these, others take from the other end. So what takes long begins early, what is left for
# the last moments is short, and Ray and Spark start in one worker as a rule.
FIRST = ("tests/engines/", "tests/processes/", "tests/examples/", "tests/conformance/", "tests/crash/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put what takes long first; for the rest the order is that of pytest-randomly."""
    items.sort(
        key=lambda item: next((n for n, folder in enumerate(FIRST) if item.nodeid.startswith(folder)), len(FIRST))
    )


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no lake, no credentials and no AWS configuration but their own."""
    for name in [name for name in os.environ if name.startswith(SETTINGS)]:
        monkeypatch.delenv(name)
    nowhere = Path(tempfile.gettempdir()) / "datalake-tests-have-no-aws-configuration"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Commands that a test runs in its own process say where events go, and which."""
    root, names = logging.getLogger(), ("datalake", "datalake_service", "datalake_interfaces")
    handlers, level, shown = root.handlers[:], root.level, warnings.formatwarning
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    if root.handlers == handlers:
        return
    logging.captureWarnings(capture=False)
    root.handlers[:], warnings.formatwarning = handlers, shown
    root.setLevel(level)
    for name in names:
        logging.getLogger(name).setLevel(levels[name])


@pytest.fixture(scope="session")
def s3_server() -> Iterator[servers.S3Server]:
    """One S3 server for all tests; each makes its own bucket (``s3_server.make_bucket()``).

    It is ours, which answers ten times as fast as moto. What it says is compared in ``tests/contracts``, which ask moto
    the same, and in ``tests/conformance``.
    """
    if "TEST_S3_ENDPOINT" in os.environ:
        with servers.s3_server() as server:
            yield server
    else:
        with strict_s3() as strict:
            yield strict.server


@pytest.fixture(scope="session")
def other_s3_server() -> Iterator[servers.S3Server]:
    """A server that others made."""
    with servers.s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """One emulator of AWS for all tests; each makes its own queues, streams and tables (``fresh_name()``)."""
    with ministack(tmp_path_factory.mktemp("aws")) as emulator:
        yield emulator


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    """A lake in a folder that does not exist yet."""
    return FolderStore(tmp_path / "lake", durable=False)


@pytest.fixture
def store(folder_store: FolderStore) -> FolderStore:
    """The lake of tests to which it does not matter where it is."""
    return folder_store


@pytest.fixture
def s3_store(s3_server: servers.S3Server) -> S3Store:
    """A lake in a bucket of its own."""
    return s3_server.make_store()


@pytest.fixture(params=["folder", "s3"])
def any_store(request: pytest.FixtureRequest) -> ObjectStore:
    """A lake of each kind, one after the other."""
    store: ObjectStore = request.getfixturevalue(f"{request.param}_store")
    return store
