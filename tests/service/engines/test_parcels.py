from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from datalake_service.engines import code, parcels
from datalake_service.engines.cluster import require_answer, require_installed
from datalake_service.engines.code import code_here, collect_code
from datalake_service.engines.parcels import Origin, check_origin, code_of, open_parcel, pack
from datalake_service.engines.spark_memory import available_bytes, driver_megabytes
from datalake_service.errors import HandlerLoadError, UsageError
from datalake_service.storage import FolderStore
from tests.support.tasks import generator_job, write_module

ROWS = "class Rows(Generator):\n    def generate(self):\n        yield {}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a class, a list of words, and what is not to be sent."""
    made = write_module(tmp_path / "code", ROWS)
    (made / "words.txt").write_text("a b", encoding="utf-8")
    (made / ".env").write_text("S3_SECRET_KEY=x", encoding="utf-8")
    (made / "data").mkdir()
    (made / "data" / "rows.csv").write_text("1", encoding="utf-8")
    (made / "big.bin").write_bytes(bytes(2 << 20))
    return made


def test_a_folder_travels(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its Python files and small files beside them, and neither secrets nor data; unpacked once."""
    sent = collect_code([folder])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "there"))
    (tmp_path / "there").mkdir()
    folder.rename(tmp_path / "gone")
    code._known.clear()
    here = code_here(folder, sent)
    assert sorted(path.name for path in here.rglob("*")) == ["handler.py", "words.txt"]
    code._known.clear()
    assert code_here(folder, sent) == here


def test_a_folder_that_is_the_same_here_is_used_as_it_is(folder: Path, tmp_path: Path) -> None:
    """On the same machine, or on a shared file system; not if it has changed."""
    sent = collect_code([folder])
    assert code_here(folder, sent) == folder
    (folder / "handler.py").write_text("other = 1\n", encoding="utf-8")
    code._known.clear()
    assert code_here(folder, sent) != folder


def test_a_folder_that_is_too_large(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data beside the classes stays behind first; only when the classes alone are too much is it said."""
    monkeypatch.setattr(code, "MOST_FILES", 1)
    sent = collect_code([folder])
    assert sent.folders[str(folder)].archive is not None
    (folder / "more.py").touch()
    sent = collect_code([folder])
    folder.rename(tmp_path / "gone")
    with pytest.raises(HandlerLoadError, match="too large to be sent"):
        code_here(folder, sent)


def test_a_job_travels(folder: Path, tmp_path: Path) -> None:
    """It is the same on the other side."""
    job = generator_job(FolderStore(tmp_path), folder)
    opened = open_parcel(pack(job), code_of([job]))
    assert (opened.task, opened.handler, opened.store.uri) == (job.task, job.handler, job.store.uri)


@pytest.mark.parametrize(
    ("sender", "told"),
    [
        (Origin((3, 9), parcels.origin().version), "and the run was started with Python 3.9; use the same one on both"),
        (replace(parcels.origin(), version="0.0"), "and the run was started with 0.0; install the same one on both"),
    ],
)
def test_another_interpreter_refuses(sender: Origin, told: str) -> None:
    """Before it unpickles anything."""
    with pytest.raises(UsageError, match=told):
        check_origin(sender)
    with pytest.raises(UsageError, match=told):
        open_parcel(pickle.dumps((sender, b"no pickle")), collect_code([]))


def test_a_lake_that_a_worker_does_not_see(folder: Path, tmp_path: Path) -> None:
    """A folder of another machine is no lake here."""
    job = generator_job(FolderStore(tmp_path / "lake"), folder)
    parcel = pack(job)
    (tmp_path / "lake").rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=r"does not see the lake, .*lake: a folder has to be on a file system"):
        open_parcel(parcel, code_of([job]))


def test_a_library_that_is_not_installed() -> None:
    """The command that installs it."""
    with pytest.raises(UsageError, match=r"computeEngineType RAY needs rays: pip install 'datalake\[ray\]'"):
        require_installed("rays", engine="RAY", extra="ray")


def test_nobody_answers() -> None:
    """Each place that was tried."""
    with pytest.raises(
        UsageError, match=r"computeEngine.master: no Spark answers at spark://127.0.0.1:9,.*127.0.0.1:9: "
    ):
        require_answer("spark://127.0.0.1:9,127.0.0.1:x", engine="Spark", key="master", default_port=1, seconds=1)


def test_the_memory_of_a_container_counts(tmp_path: Path) -> None:
    """Half of it, within reason; without a limit, of the machine."""
    limit = tmp_path / "memory.max"
    limit.write_text(f"{3 << 30}\n", encoding="ascii")
    assert driver_megabytes(limits=(str(limit), str(tmp_path / "none"))) == 1_536
    limit.write_text("1000\n", encoding="ascii")
    assert driver_megabytes(limits=(str(limit),)) == 512
    limit.write_text("max\n", encoding="ascii")
    assert available_bytes((str(limit),)) == available_bytes(())
