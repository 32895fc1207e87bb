"""Jobs on their way to a Lambda function, and what comes back: JSON, with the job as a pickle of our own types only.

Whoever may invoke a function can send it anything, so what is opened there may make values, and call nothing. No store
travels, and no key: an address does, which the function opens with what its own environment says.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import io
import json
import pickle
from dataclasses import dataclass
from typing import Any, Final

from datalake_service.aws.clients import AwsClients
from datalake_service.catalog.stops import StopRequests
from datalake_service.catalog.tasks import TaskCounts, TaskStatus
from datalake_service.engines.messages import Logged
from datalake_service.engines.parcels import Origin, origin
from datalake_service.errors import UsageError
from datalake_service.pipeline.jobs.engine import TaskJob, TaskResult
from datalake_service.storage.base import ObjectStore, OpenStore

KEY: Final = "datalakeTask"
"""What tells a task from a request of the bridge."""
_OURS: Final = ("datalake_interfaces.", "datalake_service.", "datalake_utils.")
_PLAIN: Final = {
    "builtins": {"frozenset", "set", "slice", "complex", "bytearray"},
    "collections": {"OrderedDict"},
    "datetime": {"date", "datetime", "time", "timedelta", "timezone"},
    "decimal": {"Decimal"},
    "pathlib": {"PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "pathlib._local": {"PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath"},
    "uuid": {"UUID"},
}
"""Classes of the standard library that configurations hold."""
_PLAIN_OF_OURS: Final = (AwsClients, StopRequests)


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """What a function is asked: to run a task."""

    job: bytes
    """From ``pack``."""
    sender: Origin
    run: str
    """What a request to stop calls the run."""
    region: str | None = None
    """Of buckets."""

    def to_json(self) -> bytes:
        """As it is sent."""
        said = {
            "job": base64.b64encode(self.job).decode("ascii"),
            "python": list(self.sender.python),
            "version": self.sender.version,
            "run": self.run,
            "region": self.region,
        }
        return json.dumps({KEY: said}).encode("ascii")

    @classmethod
    def from_json(cls, event: object) -> TaskRequest:
        """The request in an event of Lambda's.

        Raises:
            UsageError: It is none.
        """
        try:
            sent: Any = event
            said = sent[KEY]
            major, minor = said["python"]
            sender = Origin((int(major), int(minor)), str(said["version"]))
            region = said["region"]
            body = base64.b64decode(said["job"], validate=True)
            return cls(body, sender, str(said["run"]), None if region is None else str(region))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{KEY}: no request of a task ({type(error).__name__}: {error})") from error


@dataclass(frozen=True, slots=True)
class TaskAnswer:
    """What became of it."""

    result: TaskResult | None
    """``None``: nothing was tried."""
    again: bool = False
    """Whether the invocation's time is up, and not the task's work."""
    refusal: str | None = None
    """Why no task can run, in one line."""
    lines: tuple[Logged, ...] = ()
    """What its handler logged."""

    def to_json(self) -> dict[str, object]:
        """As Lambda sends it."""
        result = None if self.result is None else dataclasses.asdict(self.result)
        lines = [[line.logger, line.level, line.text] for line in self.lines]
        return {KEY: {"result": result, "again": self.again, "refusal": self.refusal, "lines": lines}}

    @classmethod
    def from_json(cls, body: bytes, *, task: str) -> TaskAnswer:
        """The answer in a body.

        Raises:
            ValueError: It is none.
        """
        try:
            said = json.loads(body)[KEY]
            result = said["result"]
            if result is not None:
                counts, status = TaskCounts(**result["counts"]), TaskStatus(result["status"])
                notes = tuple(map(str, result["notes"]))
                result = TaskResult(
                    str(result["task"]), status, counts, result["error"], notes, float(result["seconds"])
                )
            lines = tuple(Logged(str(logger), int(level), str(text), task) for logger, level, text in said["lines"])
            return cls(result, bool(said["again"]), said["refusal"], lines)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error


def request_of(job: TaskJob, *, run: str, region: str | None) -> TaskRequest:
    """The request to run a job."""
    return TaskRequest(pack(job), origin(), run, region)


def pack(job: TaskJob) -> bytes:
    """A job as bytes, with addresses in the place of stores."""
    body = io.BytesIO()
    _Pickler(body, protocol=pickle.HIGHEST_PROTOCOL).dump(job)
    return body.getvalue()


def unpack(body: bytes, *, open_store: OpenStore) -> TaskJob:
    """The job; ``open_store`` makes stores of addresses.

    Raises:
        UsageError: It holds anything but values.
    """
    try:
        job = _Unpickler(io.BytesIO(body), open_store).load()
    except (pickle.UnpicklingError, AttributeError, EOFError, ImportError, IndexError, TypeError, ValueError) as error:
        raise UsageError(f"{KEY}: no job can be made of it ({type(error).__name__}: {error})") from error
    if not isinstance(job, TaskJob):
        raise UsageError(f"{KEY}: it holds a {type(job).__name__}, and no job")
    return job


class _Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> str | None:
        """The address of a store; anything else is written as it is."""
        is_store = not isinstance(obj, type) and hasattr(obj, "delete_many") and hasattr(obj, "uri")
        return str(obj.uri) if is_store else None  # type: ignore[attr-defined]  # it was looked for


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: io.BytesIO, open_store: OpenStore) -> None:
        super().__init__(body)
        self._open_store = open_store

    def persistent_load(self, pid: object) -> ObjectStore:
        """Open the store at an address."""
        return self._open_store(str(pid))

    def find_class(self, module: str, name: str) -> object:
        """Hand out classes of values; nothing that does anything when it is made."""
        if name in _PLAIN.get(module, ()):
            return super().find_class(module, name)
        if module.startswith(_OURS):
            found = super().find_class(module, name)
            is_value = dataclasses.is_dataclass(found) or (isinstance(found, type) and issubclass(found, enum.Enum))
            if isinstance(found, type) and (is_value or found in _PLAIN_OF_OURS):
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is no value")
