from __future__ import annotations

import errno
import threading

import pytest

from datalake_service.storage.group_sync import GroupSync

TIMEOUT = 30


class Disk:
    """Remembers what was there when a sync began; its first sync waits until it is told to go on."""

    def __init__(self, *, broken: int = 0) -> None:
        self.there: set[int] = set()
        self.durable: set[int] = set()
        self.syncs = 0
        self.began = threading.Event()
        self.go_on = threading.Event()
        self.broken = broken

    def sync(self) -> None:
        seen = set(self.there)
        self.syncs += 1
        if self.syncs == 1:
            self.began.set()
            assert self.go_on.wait(TIMEOUT)
        if self.syncs == self.broken:
            raise OSError(errno.EIO, "Input/output error")
        self.durable |= seen


def write(disk: Disk, group: GroupSync, number: int, failed: list[int]) -> None:
    """One writer: make a file, wait until it is durable, check it."""
    disk.there.add(number)
    try:
        group()
    except OSError:
        failed.append(number)
    else:
        assert number in disk.durable


def run_writers(disk: Disk, count: int) -> list[int]:
    """Start one writer, and the others while its sync runs; returns who was told of a failure."""
    group, failed = GroupSync(disk.sync), list[int]()
    threads = [threading.Thread(target=write, args=(disk, group, number, failed)) for number in range(count)]
    threads[0].start()
    assert disk.began.wait(TIMEOUT)
    for thread in threads[1:]:
        thread.start()
    while len(disk.there) < count:
        threads[0].join(0.001)
    disk.go_on.set()
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive()
    return failed


def test_who_comes_while_a_sync_runs_waits_for_the_next() -> None:
    """Everybody's file is durable in the end, with fewer syncs than writers."""
    disk = Disk()
    assert run_writers(disk, 20) == []
    assert disk.durable == set(range(20))
    assert disk.syncs < 20


def test_a_failure_reaches_all_who_shared_it() -> None:
    """Nobody is told that a file is durable when the sync that should have made it so failed."""
    disk = Disk(broken=2)
    failed = run_writers(disk, 5)
    assert failed
    assert disk.durable >= set(range(5)) - set(failed)


def test_each_call_alone_syncs() -> None:
    """Without company nothing is shared, and nothing left out."""
    disk = Disk()
    disk.go_on.set()
    group = GroupSync(disk.sync)
    for _ in range(3):
        group()
    assert disk.syncs == 3


def test_a_failure_is_not_remembered() -> None:
    """The next sync is a new one."""
    disk = Disk(broken=1)
    disk.go_on.set()
    group = GroupSync(disk.sync)
    with pytest.raises(OSError, match="Input/output"):
        group()
    group()
