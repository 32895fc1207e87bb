"""A Ceph cluster of one machine, with its S3 gateway: the real server of the conformance run.

A monitor, one object daemon that keeps everything in memory, and radosgw; no manager. Needs root, no systemd. The
settings that look odd were each found the hard way: without ``mode = crc`` the gateway never gets past the handshake,
without ``tcp_nodelay`` every small write takes 40 ms, and the daemon comes up only if ``--osd-uuid`` is the one that
the monitor was given.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.conformance.processes import free_ports, is_listening, started
from tests.support.servers import ACCESS_KEY, SECRET_KEY, S3Server

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "monmaptool", "radosgw-admin")
INSTALL = "apt-get install --no-install-recommends ceph-mon ceph-osd radosgw ceph-common  (then run as root)"
_START_SECONDS = 120.0
_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms cluster mode = crc
ms service mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 0
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd memory target = 1073741824
osd class load list = *
osd class default list = *
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/log/$name.log
crash dir = {folder}/run
setuser match path =
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw thread pool size = 64
rgw enable usage log = false
debug rgw = 0
"""


def missing() -> str:
    """How to install what is not there; empty if it can be started."""
    able = all(shutil.which(program) for program in PROGRAMS) and os.geteuid() == 0
    return "" if able else INSTALL


def version() -> str:
    """What the gateway says it is, such as ``Ceph 16.2.15``."""
    said = subprocess.run(["radosgw", "--version"], capture_output=True, text=True, check=True).stdout.split()
    return f"Ceph {said[2]}"


@contextmanager
def radosgw(folder: Path) -> Iterator[S3Server]:
    """Run the cluster; everything of it lies in ``folder``, which can be thrown away."""
    cluster = _Cluster(folder)
    with ExitStack() as stack:
        cluster.start_monitor(stack)
        cluster.start_daemon(stack)
        yield cluster.start_gateway(stack)


class _Cluster:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for name in ("mon", "osd", "rgw", "run", "log"):
            (folder / name).mkdir()
        self._fsid = str(uuid.uuid4())
        first, second, self._port = free_ports(3)
        self._monitor = f"[v2:127.0.0.1:{first}/0,v1:127.0.0.1:{second}/0]"
        text = _CONFIGURATION.format(fsid=self._fsid, monitor=self._monitor, folder=folder, port=self._port)
        (folder / "ceph.conf").write_text(text, encoding="ascii")
        self._environment = {**os.environ, "CEPH_CONF": str(folder / "ceph.conf")}

    def start_monitor(self, stack: ExitStack) -> None:
        monmap = str(self._folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", self._fsid, "--addv", "a", self._monitor, monmap)
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self._start(stack, "ceph-mon", "-i", "a", "-f")
        self._wait(lambda: self._ask("ceph", "--connect-timeout", "5", "mon", "stat") is not None, "ceph-mon")

    def start_daemon(self, stack: ExitStack) -> None:
        name = str(uuid.uuid4())
        self._run("ceph", "osd", "new", name)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", name)
        self._start(stack, "ceph-osd", "-i", "0", "-f")
        self._wait(lambda: "1 up" in (self._ask("ceph", "osd", "stat") or ""), "ceph-osd")

    def start_gateway(self, stack: ExitStack) -> S3Server:
        self._start(stack, "radosgw", "-n", "client.rgw", "-f")
        self._wait(lambda: is_listening(self._port), "radosgw")
        self._run("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=test", "--display-name=test",
                  "--max-buckets=0", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")  # fmt: skip
        return S3Server(f"http://127.0.0.1:{self._port}")

    def _start(self, stack: ExitStack, *command: str) -> None:
        log = self._folder / "log" / f"{command[0]}.out"
        stack.enter_context(started(command, log=log, environment=self._environment))

    def _run(self, *command: str) -> None:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")

    def _ask(self, *command: str) -> str | None:
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + _START_SECONDS
        while not condition():
            if time.monotonic() > end:
                raise RuntimeError(f"{what} did not come up in {_START_SECONDS:.0f} s; see {self._folder}/log")
            time.sleep(0.3)
