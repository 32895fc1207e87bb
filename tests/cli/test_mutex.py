"""``datalake mutex serve`` as a process: its address, its signals, its death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from datalake_service.errors import AccessDeniedError
from datalake_service.mutex.client import Mutex
from datalake_service.storage import FolderStore
from datalake_service.storage.mutexed import MutexedStore
from datalake_service.storage.probe import require_conditions
from tests.cli.commands import command, datalake, datalake_on_terminal, environment
from tests.support.lake import put_rows
from tests.support.staging_store import StagingStore

TTL = timedelta(seconds=30)


@contextmanager
def serving(cwd: Path, *arguments: str, **env: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process and the address that it printed; killed in the end if it runs yet."""
    process = subprocess.Popen(
        command("mutex", "serve", *arguments),
        cwd=cwd,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield process, json.loads(line)["url"]
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status and standard error."""
    _, err = process.communicate(timeout=60)
    return process.returncode, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    """On a free port, with one line of the log for its start and one for its end."""
    with serving(tmp_path, "--port", "0", "--noWait", "--log-level", "info") as (process, url):
        lock = Mutex(url, "a", ttl=TTL)
        assert lock.acquire()
        os.kill(process.pid, number)
        status, err = ended(process)
        lock.release()
    assert status == 0
    told = [line.split()[1] for line in err.splitlines() if "mutex." in line]
    assert told == ["mutex.started", "mutex.stopped"]
    assert [line.split()[1] for line in err.splitlines()] == ["command.started", *told, "command.completed"]


def test_a_server_that_was_killed_forgets_nothing_that_counts(tmp_path: Path) -> None:
    """The next one, at the same address, grants nothing while locks of the first may be held."""
    with serving(tmp_path, "--port", "0", "--noWait") as (process, url):
        holder, other = Mutex(url, "a", ttl=TTL), Mutex(url, "a", ttl=TTL)
        assert holder.acquire()
        assert not other.acquire()
        process.kill()
        ended(process)
        assert holder.held
        with serving(tmp_path, "--port", str(urlsplit(url).port)):
            assert not other.acquire(wait=timedelta(seconds=2))
            assert holder.held
            holder.release()


def test_other_machines_need_a_token(tmp_path: Path) -> None:
    """Without one it does not start; with one, whoever does not show it is refused."""
    for host in ("0.0.0.0", "::"):
        done = datalake("mutex", "serve", "--host", host, "--port", "0", cwd=tmp_path)
        assert (done.status, done.out) == (2, "")
        assert done.err.startswith(f"{host} can be reached from other machines: set WSS_MUTEX_TOKEN")
    with serving(tmp_path, "--host", "0.0.0.0", "--port", "0", "--noWait", WSS_MUTEX_TOKEN="open sesame") as (_, url):
        reachable = url.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(AccessDeniedError):
            Mutex(reachable, "a", ttl=TTL).acquire()
        lock = Mutex(reachable, "a", ttl=TTL, token="open sesame")
        assert lock.acquire()
        lock.release()


def test_an_address_that_is_taken_is_said_in_one_line(tmp_path: Path) -> None:
    """Without a trace."""
    with serving(tmp_path, "--port", "0") as (_, url):
        port = str(urlsplit(url).port)
        done = datalake("mutex", "serve", "--port", port, cwd=tmp_path)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"cannot listen to 127.0.0.1, port {port}: Address already in use; choose another\n"


def test_a_host_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    """Also where names cannot be looked up."""
    done = datalake("mutex", "serve", "--host", "no.such.host.invalid", cwd=tmp_path, WSS_MUTEX_TOKEN="t")
    assert done.status == 2
    assert done.err.startswith("cannot listen to no.such.host.invalid, port 8790: ")
    assert len(done.err.splitlines()) == 1


def test_people_are_told_why_nothing_is_granted_at_first(tmp_path: Path) -> None:
    """And how to do without, when it is safe."""
    shown = datalake_on_terminal("mutex", "serve", "--help", cwd=tmp_path).out
    assert "--noWait" in shown
    with serving(tmp_path, "--port", "0") as (_, url):
        lock = Mutex(url, "a", ttl=TTL)
        assert not lock.acquire()
        assert lock.holder is not None
        assert "before the server was started" in lock.holder.in_words()


def test_commands_take_the_mutex_from_the_environment(tmp_path: Path) -> None:
    """A wrong one is a mistake in the settings, and a folder needs none."""
    put_rows(FolderStore(tmp_path / "lake", durable=False), "posts", "b1", [{"text": "a"}])
    wrong = datalake("clean-up", "--uri", "s3://bucket/p", cwd=tmp_path, WSS_MUTEX_BASE_URL="http://host")
    assert wrong.status == 2
    assert "WSS_MUTEX_BASE_URL: 'http://host': write ws://host:port or wss://host" in wrong.err
    right = datalake("clean-up", cwd=tmp_path, WSS_MUTEX_BASE_URL="ws://127.0.0.1:1")
    assert right.status == 0, right.err


def test_two_processes_guard_one_store(tmp_path: Path) -> None:
    """The server in its process, two clients here: the store is accepted, and one of two writers wins."""
    from datalake_service.errors import AlreadyExistsError
    from datalake_service.storage.base import CreateOnly

    careless = StagingStore(FolderStore(tmp_path / "lake", durable=False))
    with serving(tmp_path, "--port", "0", "--noWait") as (_, url):
        first, second = MutexedStore(careless, url), MutexedStore(careless, url)
        require_conditions(first)
        first.put("a", b"1", mode=CreateOnly())
        with pytest.raises(AlreadyExistsError):
            second.put("a", b"2", mode=CreateOnly())
