from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalake_service.config.settings import Settings
from datalake_service.runtime.environment import add_env_file
from datalake_service.runtime.lake import open_lake
from datalake_service.runtime.signals import Termination, TerminationRequested


@pytest.fixture
def _signals_as_they_were() -> Iterator[None]:
    """Put the handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_dot_env_file_fills_in_what_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For worker processes and for libraries that read the environment themselves."""
    path = tmp_path / ".env"
    path.write_text("AWS_PROFILE=mine\nDATALAKE_URI=of-file\nAWS_REGION=of-file\n", encoding="utf-8")
    monkeypatch.setenv("DATALAKE_URI", "of-environment")
    monkeypatch.setenv("AWS_REGION", "")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    add_env_file(path)
    assert {name: os.environ[name] for name in ("AWS_PROFILE", "DATALAKE_URI", "AWS_REGION")} == {
        "AWS_PROFILE": "mine",
        "DATALAKE_URI": "of-environment",
        "AWS_REGION": "of-file",
    }
    monkeypatch.delenv("AWS_PROFILE")


def test_a_lake_is_opened_where_the_settings_say(tmp_path: Path) -> None:
    """A folder or a bucket; nothing is asked of it yet."""
    folder = open_lake(Settings.load(uri=str(tmp_path / "lake"), environ={}, env_file=None))
    assert folder.uri == str(tmp_path / "lake")
    environ = {"S3_BUCKET": "bucket", "S3_PREFIX": "p", "S3_ACCESS_KEY": "k", "S3_SECRET_KEY": "s"}
    assert open_lake(Settings.load(environ=environ, env_file=None), region="eu-west-1").uri == "s3://bucket/p"
    assert not (tmp_path / "lake").exists()


@pytest.mark.usefixtures("_signals_as_they_were")
def test_a_request_to_terminate_is_an_interrupt_with_a_status_of_its_own() -> None:
    """It ends a command in order, and the scheduler sees why."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    termination = Termination()
    termination.handle()
    assert termination.exit_status == 130
    with pytest.raises(TerminationRequested):
        signal.raise_signal(signal.SIGTERM)
    assert termination.exit_status == 143


@pytest.mark.usefixtures("_signals_as_they_were")
def test_whoever_handles_interrupts_handles_it() -> None:
    """Who ends in order after an interrupt does so after a request to terminate, and is told which it was."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    termination = Termination()
    termination.handle()
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert termination.requested


@pytest.mark.usefixtures("_signals_as_they_were")
def test_when_it_is_settled_a_request_ends_the_process() -> None:
    """The work is done or given up; nothing is interrupted that only says so."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Termination(settled=True).handle()
    handler = signal.getsignal(signal.SIGTERM)
    assert callable(handler)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        handler(signal.SIGTERM, None)
        assert signal.sigpending() == {signal.SIGTERM}
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # nobody has to die of it
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("_signals_as_they_were")
def test_somebody_elses_handler_stays() -> None:
    """A program that uses the command line as a library knows better."""

    def theirs(_number: int, _frame: object) -> None:
        raise AssertionError("not in this test")

    signal.signal(signal.SIGTERM, theirs)
    Termination().handle()
    assert signal.getsignal(signal.SIGTERM) is theirs
