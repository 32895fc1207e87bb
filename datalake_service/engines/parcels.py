"""Jobs on their way to workers of other machines: packed here, checked and opened there.

A parcel can be opened by any Python that has this project; what does not fit is said in one line, before anything is
read. A store has the keys in it that the user gave it, and nothing else: a worker without them finds its own.
"""

from __future__ import annotations

import pickle
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from datalake_service.config.version import VERSION
from datalake_service.engines.code import Code, code_here, collect_code
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import FileInput, MachineInput, TaskJob
from datalake_service.pipeline.jobs.outputs import FilesOutput, LocalModel, VectorStep
from datalake_service.storage.base import ObjectStore

_S3: Final = "s3://"


@dataclass(frozen=True, slots=True)
class Origin:
    """Who packed something. Plain values: the other side opens it before it knows whether it fits."""

    python: tuple[int, int]
    version: str


def origin() -> Origin:
    """This interpreter."""
    return Origin((sys.version_info.major, sys.version_info.minor), VERSION)


def check_origin(sender: Origin) -> None:
    """Refuse what another kind of interpreter has packed.

    Raises:
        UsageError: Python or this project differs.
    """
    here = origin()
    if sender.python != here.python:
        theirs, ours = (".".join(map(str, pair)) for pair in (sender.python, here.python))
        raise UsageError(
            f"the worker on {socket.gethostname()} has Python {ours}, and the run was started with Python {theirs};"
            " use the same one on both"
        )
    if sender.version != here.version:
        raise UsageError(
            f"the worker on {socket.gethostname()} has datalake {here.version}, and the run was started with"
            f" {sender.version}; install the same one on both"
        )


def folders_of(jobs: Iterable[TaskJob]) -> set[Path]:
    """Where the user's classes of some jobs are."""
    found: set[Path] = set()
    for job in jobs:
        found.add(job.handler.folder)
        if job.vectors is not None:
            found.add(job.vectors.folder)
            if isinstance(job.vectors.model, LocalModel):
                found.add(job.vectors.model.folder)
    return found


def code_of(jobs: Iterable[TaskJob]) -> Code:
    """What workers need of the user's code."""
    return collect_code(folders_of(jobs))


def pack(job: TaskJob) -> bytes:
    """A job as bytes."""
    return pickle.dumps((origin(), pickle.dumps(job)))


def open_parcel(parcel: bytes, code: Code) -> TaskJob:
    """The job of a parcel, with its folders as they are called here.

    Raises:
        UsageError: This worker cannot run it; one line says what to change.
    """
    sender, inner = pickle.loads(parcel)  # noqa: S301 - our own engine packed it
    check_origin(sender)
    job: TaskJob = pickle.loads(inner)  # noqa: S301 - as above
    check_places(job)
    handler = replace(job.handler, folder=code_here(job.handler.folder, code))
    return replace(job, handler=handler, vectors=None if job.vectors is None else _vectors_here(job.vectors, code))


def check_places(job: TaskJob) -> None:
    """Refuse folders that are not on this machine, whatever a job has them for.

    Raises:
        UsageError: One is not.
    """
    check_visible(job.store, "the lake")
    if isinstance(job.input, FileInput | MachineInput):
        check_visible(job.input.store, "the folder that is read")
    if isinstance(job.output, FilesOutput):
        check_visible(job.output.store, "the folder that is written to")
    if job.rejections is not None:
        check_visible(job.rejections.store, "the folder of the rejections")


def make_folders(jobs: Iterable[TaskJob]) -> None:
    """Make the folders that tasks write to, so that a worker can tell whether it sees them."""
    for job in jobs:
        stores = [job.output.store] if isinstance(job.output, FilesOutput) else []
        stores += [] if job.rejections is None else [job.rejections.store]
        for store in stores:
            if not store.uri.startswith(_S3):
                Path(store.uri).mkdir(parents=True, exist_ok=True)


def check_visible(store: ObjectStore, what: str) -> None:
    """Refuse a folder that is not on this machine.

    Raises:
        UsageError: It is not.
    """
    if not store.uri.startswith(_S3) and not Path(store.uri).is_dir():
        raise UsageError(
            f"the worker on {socket.gethostname()} does not see {what}, {store.uri}: a folder has to be on a file"
            " system that all machines share; or use a bucket"
        )


def _vectors_here(step: VectorStep, code: Code) -> VectorStep:
    model = step.model
    if isinstance(model, LocalModel):
        model = replace(model, folder=code_here(model.folder, code))
    return replace(step, folder=code_here(step.folder, code), model=model)
