"""The folder store dies between any two system calls; what counts is whole and nothing that counted is lost."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from datalake_service.storage import (
    CreateOnly,
    FolderStore,
    IfMatch,
    Overwrite,
    PutMode,
    clean_leftovers,
    files,
    folder,
    folder_own,
)
from tests.support.faulty_store import Crash

CALLS = frozenset({"close", "fstat", "fsync", "link", "lstat", "makedirs", "mkdir", "open", "replace", "rmdir", "stat",
                   "unlink", "utime", "write", "copy_file_range"})  # fmt: skip


class Kernel:
    """The module ``os``, but it notes every system call, and from the n-th on none returns."""

    def __init__(self, dies_at: int = 0) -> None:
        self.calls: list[tuple[str, str]] = []
        self._dies_at = dies_at
        self._names: dict[int, str] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._wrapped(name, real) if name in CALLS else real

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **keywords: Any) -> Any:
            if self._dies_at and len(self.calls) + 1 >= self._dies_at:
                self._bury()
                raise Crash(f"before {name}{args}")
            what = self._names.get(args[0], str(args[0])) if isinstance(args[0], int) else str(args[0])
            self.calls.append((name, what))
            result = real(*args, **keywords)
            if name == "open":
                self._names[result] = str(args[0])
            if name == "close":
                del self._names[args[0]]
            return result

        return call

    def name_of(self, fd: int) -> str:
        return self._names[fd]

    def _bury(self) -> None:
        """Close what the dead process had open, which frees its locks."""
        for fd in self._names:
            os.close(fd)
        self._names.clear()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Kernel]:
    """Let the store make its system calls through a kernel that dies at the n-th (0: never)."""

    def install(dies_at: int) -> Kernel:
        made = Kernel(dies_at)
        for module in (files, folder, folder_own):
            monkeypatch.setattr(module, "os", made)
        return made

    return install


def _mode(kind: str, store: FolderStore) -> PutMode:
    return IfMatch(store.head("d/a").etag) if kind == "replace" else CreateOnly() if kind == "create" else Overwrite()


@pytest.mark.parametrize("source", ["bytes", "file", "scratch"])
@pytest.mark.parametrize("kind", ["create", "replace", "overwrite"])
def test_a_write_is_whole_or_not_there(
    tmp_path: Path, kernel: Callable[[int], Kernel], monkeypatch: pytest.MonkeyPatch, kind: str, source: str
) -> None:
    """Wherever the process dies, the key holds the old content or the new, and the next process can go on."""
    outcomes = set()
    for dies_at in range(1, 60):
        root = tmp_path / f"lake-{dies_at}"
        before = FolderStore(root)
        if kind != "create":
            before.put("d/a", b"old", mode=CreateOnly())
        store = FolderStore(root)
        mode = _mode(kind, store)
        body: bytes | Path = b"new"
        if source != "bytes":
            place = tmp_path if source == "file" else root / ".tmp/scratch/x"
            place.mkdir(parents=True, exist_ok=True)
            body = place / "body"
            body.write_bytes(b"new")
        kernel(dies_at)
        try:
            store.put("d/a", body, mode=mode)
            died = False
        except Crash:
            died = True
        monkeypatch.undo()

        after = FolderStore(root)
        found = {meta.key: after.get(meta.key)[0] for meta in after.list("")}
        assert found in ({"d/a": b"old"}, {"d/a": b"new"}) if kind != "create" else found in ({}, {"d/a": b"new"})
        outcomes.add(found.get("d/a"))
        after.put("d/a", b"next", mode=Overwrite())
        assert after.get("d/a")[0] == b"next"
        assert clean_leftovers(after, older_than=timedelta(hours=1)) == 0
        clean_leftovers(after, older_than=timedelta(hours=-1))
        assert list((root / ".tmp/put").iterdir()) == []
        if not died:
            break
    else:
        pytest.fail("the write never got through")
    assert outcomes == {b"new", None if kind == "create" else b"old"}


def test_a_delete_is_whole(tmp_path: Path, kernel: Callable[[int], Kernel], monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the process dies in a delete, the other objects stay, and the delete can be repeated."""
    for dies_at in range(1, 60):
        store = FolderStore(tmp_path / f"lake-{dies_at}")
        for key in ("d/a", "d/b", "e/a"):
            store.put(key, b"", mode=CreateOnly())
        kernel(dies_at)
        try:
            store.delete_many(["d/a", "e/a"])
            died = False
        except Crash:
            died = True
        monkeypatch.undo()
        assert "d/b" in [meta.key for meta in store.list("")]
        store.delete_many(["d/a", "e/a"])
        assert [meta.key for meta in store.list("")] == ["d/b"]
        assert list(store.list_folders("")) == ["d"]
        if not died:
            return
    pytest.fail("the delete never got through")


@pytest.mark.parametrize("kind", ["create", "replace", "overwrite"])
def test_what_counts_is_on_disk_first(tmp_path: Path, kernel: Callable[[int], Kernel], kind: str) -> None:
    """The bytes and their date are brought to disk before the key names them, the name before the write returns."""
    store = FolderStore(tmp_path / "lake")
    if kind != "create":
        store.put("d/b/a", b"old", mode=CreateOnly())
        store = FolderStore(tmp_path / "lake")
    mode = IfMatch(store.head("d/b/a").etag) if kind == "replace" else _mode(kind, store)
    seen = kernel(0)
    store.put("d/b/a", b"new", mode=mode)

    names = [name for name, _ in seen.calls]
    temp = next(what for name, what in seen.calls if name == "write")
    publish = names.index("link" if kind == "create" else "replace")
    synced = [number for number, call in enumerate(seen.calls) if call == ("fsync", temp)]
    assert synced
    assert (
        max(number for number, (name, _) in enumerate(seen.calls) if name in {"write", "utime"}) < synced[-1] < publish
    )
    last = len(seen.calls) - 1 - seen.calls[::-1].index(("fsync", str(tmp_path / "lake/d/b")))
    assert last > publish
    for folder_ in ("lake", "lake/d"):
        assert seen.calls.index(("fsync", str(tmp_path / folder_))) < publish


@pytest.mark.parametrize("kind", ["replace", "overwrite", "delete"])
def test_replacing_and_removing_hold_the_lock_of_the_key(
    tmp_path: Path, kernel: Callable[[int], Kernel], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """What could come between the comparison and the rename of another writer waits for the same lock."""
    store = FolderStore(tmp_path / "lake")
    store.put("d/a", b"old", mode=CreateOnly())
    mode = _mode(kind, store)
    seen = kernel(0)
    monkeypatch.setattr(folder_own, "fcntl", _Locks(seen))
    if kind == "delete":
        store.delete("d/a")
    else:
        store.put("d/a", b"new", mode=mode)

    [locked] = [number for number, (name, _) in enumerate(seen.calls) if name == "flock"]
    lock_file = seen.calls[locked][1]
    released = seen.calls.index(("close", lock_file))
    path = str(tmp_path / "lake/d/a")
    calls = [(name, what) for name, what in seen.calls[locked:released]]
    if kind == "delete":
        assert ("unlink", path) in calls
    else:
        assert [name for name, _ in calls if name in {"stat", "replace"}] == ["stat", "replace"]
    assert lock_file.startswith(str(tmp_path / "lake/.tmp/locks/"))
    assert lock_file == f"{tmp_path}/lake/.tmp/locks/{zlib.crc32(path.encode()) % 64:02x}"


class _Locks:
    """The module ``fcntl``, which notes the locks among the system calls."""

    LOCK_EX = fcntl.LOCK_EX

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def flock(self, fd: int, how: int) -> None:
        self._kernel.calls.append(("flock", self._kernel.name_of(fd)))
        fcntl.flock(fd, how)


def test_known_folders_are_not_synced_again(tmp_path: Path, kernel: Callable[[int], Kernel]) -> None:
    """The second write into a folder waits for the disk twice (bytes and name), and looks at nothing else."""
    store = FolderStore(tmp_path / "lake")
    store.put("d/b/1", b"", mode=CreateOnly())
    seen = kernel(0)
    store.put("d/b/2", b"x", mode=CreateOnly())
    assert [name for name, _ in seen.calls] == [
        "open", "write", "utime", "fsync", "fstat", "close", "link", "unlink", "open", "fsync", "close",
    ]  # fmt: skip


@pytest.mark.parametrize("moment", ["mkdir", "link", "replace"])
def test_a_folder_that_is_pruned_at_the_worst_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """A write whose folder is removed by a delete, right before it is used, makes it again."""
    folders = (tmp_path / "lake/d/b", tmp_path / "lake/d")
    pruned: list[Path] = []

    class Pruning(Kernel):
        def __getattr__(self, name: str) -> Any:
            real = super().__getattr__(name)
            return self._pruned(real) if name == moment else real

        def _pruned(self, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **keywords: Any) -> Any:
                if moment == "mkdir" and str(args[0]) == str(folders[0]) and not pruned:
                    pruned.append(folders[0])
                    raise FileExistsError  # another writer made it, and a delete removed it again
                if moment != "mkdir" and not pruned:
                    pruned.extend(folders)
                    for folder_ in folders:
                        folder_.rmdir()
                return real(*args, **keywords)

            return call

    monkeypatch.setattr(folder, "os", Pruning())
    store = FolderStore(tmp_path / "lake")
    store.put("d/b/a", b"body", mode=Overwrite() if moment == "replace" else CreateOnly())
    assert pruned
    assert store.get("d/b/a")[0] == b"body"


def test_leftovers_of_the_living_stay(tmp_path: Path) -> None:
    """Cleaning removes what is old and nobody's: not a scratch folder that is in use, not a young file."""
    store = FolderStore(tmp_path / "lake")
    store.put("a", b"", mode=CreateOnly())
    old = datetime.now(UTC) - timedelta(days=3)
    dead_file, dead_folder = store.root / ".tmp/put/dead", store.root / ".tmp/scratch/dead"
    dead_folder.mkdir(parents=True)
    for file in (dead_file, dead_folder / "part", store.root / ".tmp/put/young"):
        file.write_bytes(b"x")
    with store.scratch() as alive:
        (alive / "part").write_bytes(b"x")
        for path in (dead_file, dead_folder / "part", dead_folder, alive / "part", alive):
            os.utime(path, (old.timestamp(), old.timestamp()))
        assert clean_leftovers(store, older_than=timedelta(days=1)) == 2
        assert (alive / "part").exists()
    assert not alive.exists()
    assert not dead_file.exists()
    assert not dead_folder.exists()
    assert (store.root / ".tmp/put/young").exists()
    assert [meta.key for meta in store.list("")] == ["a"]
