"""One session of Spark: found, started or reached at first use; jobs of ours on it; its errors in our words."""

from __future__ import annotations

import contextlib
import glob
import pickle
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import datalake_service
from datalake_service.config.compute import SparkEngine as Settings
from datalake_service.config.settings import read_variable
from datalake_service.engines.cluster import require_answer, require_installed
from datalake_service.engines.local import cores
from datalake_service.engines.ray_cluster import missing_project
from datalake_service.engines.spark_memory import driver_megabytes
from datalake_service.errors import DatalakeError, UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_HERE: Final = "127.0.0.1"
_JAVA_STACK: Final = re.compile(r"(?: This stopped SparkContext|\s+at [\w.$/]+\()")
"""Where a message begins to say what only Spark's developers need."""
_NO_PROGRAM: Final = re.compile(r"Cannot run program [^:]+: .*?(?=\s+at |\n|$)")
_CULPRIT: Final = re.compile(r"Task (\d+) in stage \S+ failed (\d+) times?")
_S3A: Final = "org.apache.hadoop.fs.s3a.S3AFileSystem"
"""The connector for buckets; it comes in jars of its own."""
_PACKAGE_ROOT: Final = Path(datalake_service.__file__).resolve().parents[1]

Work = Callable[[Sequence[bytes]], list[bytes]]


class SparkFailedError(Exception):
    """A job of Spark's failed. Never leaves this package."""

    def __init__(self, message: str, *, partition: int | None = None, times: int = 1) -> None:
        """Say why; ``partition``: in which part of it, so many ``times``, if that is known."""
        super().__init__(message)
        self.partition = partition
        self.times = times


class SparkConnection:
    """The Spark of one engine. Any thread may use it."""

    def __init__(self, settings: Settings) -> None:
        """Connect to nothing yet."""
        self._settings = settings
        self._lock = threading.Lock()
        self._session: SparkSession | None = None
        self._ours = False

    def session(self) -> SparkSession:
        """Return the session, of this process or through Spark Connect.

        Raises:
            UsageError: Spark or Java is not installed, or nobody answers.
        """
        require_installed("pyspark", engine="SPARK", extra="spark")
        with self._lock:
            if self._session is None:
                with _quiet():
                    self._session = self._connected()
        return self._session

    @property
    def is_remote(self) -> bool:
        """Whether it is behind Spark Connect."""
        return not hasattr(self.session(), "_jsparkSession")

    def slots(self) -> int:
        """How many tasks of Spark run at once, as far as that can be known."""
        if self._settings.concurrency is not None:
            return self._settings.concurrency
        return cores() if self.is_remote else int(self.session().sparkContext.defaultParallelism)

    def run(self, parts: Sequence[Sequence[bytes]], work: Work, *, tag: str) -> list[bytes]:
        """Give each part to ``work``, on the cluster; returns what all of them returned. Blocks.

        Raises:
            SparkFailedError: One of them failed, or all.
            UsageError: None can ever succeed.
        """
        run = _run_remote if self.is_remote else _run_classic
        try:
            with _quiet():
                return run(self.session(), parts, work, tag)
        except DatalakeError:
            raise
        except Exception as error:
            raise failure_of(error) from error

    def cancel(self, tag: str) -> None:
        """End the jobs of a tag at once."""
        session = self._session
        if session is None:
            return
        with contextlib.suppress(Exception):  # the cluster is gone, or there is no such job
            if self.is_remote:
                session.interruptTag(tag)
            else:
                session.sparkContext.cancelJobGroup(tag)

    def cancel_all(self) -> None:
        """End every job at once, whoever started it on this session."""
        session = self._session
        if session is None:
            return
        with contextlib.suppress(Exception):  # the cluster is gone
            if self.is_remote:
                session.interruptAll()
            else:
                session.sparkContext.cancelAllJobs()

    def stages_files(self) -> bool:
        """Whether files of buckets pass through this machine: Spark runs here, and lacks the connector."""
        session = self.session()
        if self.is_remote:
            return False
        hadoop = session._jvm.org.apache.hadoop.conf.Configuration()  # noqa: SLF001 - there is no other way
        if hadoop.getClassByNameOrNull(_S3A) is not None:
            return False
        return bool(session.sparkContext.master.startswith("local"))

    def close(self) -> None:
        """Part with the session, and end it if it was started for us."""
        with self._lock:
            if self._ours and self._session is not None:
                with _quiet():
                    self._session.stop()
            self._session, self._ours = None, False

    def _connected(self) -> SparkSession:
        from pyspark.sql import SparkSession

        settings, seconds = self._settings, self._settings.connect_timeout_in_seconds
        jars = jar_files(settings.jars)
        existing = SparkSession.getActiveSession()
        if existing is not None and settings.remote is None and settings.master is None:
            return existing
        builder: Any = SparkSession.builder
        if settings.remote is not None:
            require_answer(settings.remote, engine="Spark", key="remote", default_port=15_002, seconds=seconds)
            _require_connect(settings.remote, seconds=seconds)
            builder = builder.remote(settings.remote)
            options = dict(settings.spark_conf)
        else:
            submitted = settings.master is None and read_variable("PYSPARK_GATEWAY_PORT") is not None
            master = None if submitted else settings.master or "local[*]"
            if master is not None:
                if master.startswith("spark://"):
                    require_answer(master, engine="Spark", key="master", default_port=7_077, seconds=seconds)
                builder = builder.master(master)
            options = self._options(master or "", jars)
        for name, value in options.items():
            builder = builder.config(name, value)
        try:
            session = builder.getOrCreate()
            str(session.version)  # asks the server, if there is one: only now it is known to be Spark
        except Exception as error:
            raise _not_started(error, settings.remote or settings.master) from error
        self._ours = existing is None
        if settings.remote is None:
            _prepare(session)
        return session

    def _options(self, master: str, jars: Sequence[str]) -> dict[str, str]:
        """What is set before Spark starts; the dataset file's own settings win."""
        memory = self._settings.driver_memory_in_megabytes or driver_megabytes()
        options = {
            "spark.app.name": "datalake",
            "spark.driver.memory": f"{memory}m",
            "spark.speculation": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        if master.startswith("local"):
            options |= {
                "spark.driver.bindAddress": _HERE,
                "spark.driver.host": _HERE,
                "spark.ui.enabled": "false",
                "spark.sql.shuffle.partitions": str(2 * cores()),
                "spark.executorEnv.PYTHONPATH": str(_PACKAGE_ROOT),
            }
        if jars:
            options["spark.jars"] = ",".join(jars)
        return options | dict(self._settings.spark_conf)


def jar_files(patterns: Sequence[str]) -> list[str]:
    """The jars that the settings name.

    Raises:
        UsageError: There is none of a name.
    """
    found: list[str] = []
    for pattern in patterns:
        if "://" in pattern:
            found.append(pattern)  # the cluster's to find
            continue
        files = sorted(glob.glob(pattern))  # noqa: PTH207 - the pattern may be absolute
        if not files:
            raise UsageError(f"computeEngine.jars: there is no file {pattern}")
        found += [str(Path(file).resolve()) for file in files]
    return found


def failure_of(error: BaseException) -> SparkFailedError | UsageError:
    """An error of Spark's, in our words: what the user can change, or a job that failed."""
    text = str(error)
    if (missing := missing_project(text)) is not None:
        return missing
    if "PYTHON_VERSION_MISMATCH" in text:
        mismatch = _line_with(text, "PYTHON_VERSION").rpartition("] ")[2].partition(", PySpark")[0]
        return UsageError(f"Spark's workers have another Python than this run: {mismatch}; set PYSPARK_PYTHON")
    if "ModuleNotFoundError" in text and "datalake" in text:
        missing_module = _line_with(text, "ModuleNotFoundError")
        return UsageError(
            f"Spark's workers lack a module: {missing_module}; set PYSPARK_PYTHON to a Python that has datalake"
        )
    if (program := _NO_PROGRAM.search(text)) is not None:
        return UsageError(
            f"Spark's workers cannot start Python: {program[0]}; set PYSPARK_PYTHON to one that they have"
        )
    culprit = _CULPRIT.search(text)
    reason = _reason(text)
    if culprit is None:
        return SparkFailedError(reason)
    return SparkFailedError(reason, partition=int(culprit[1]), times=int(culprit[2]))


def _reason(text: str) -> str:
    """The first sentence that says what happened."""
    if "Python worker exited unexpectedly" in text:
        return "Spark's Python worker died; often that means: out of memory"
    if "ExecutorLostFailure" in text:
        return "a machine of Spark's was lost"
    if "PYTHON_EXCEPTION" in text or "Traceback" in text:
        lines = [line.strip() for line in text.splitlines()]
        errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)]
        if errors:
            return f"Spark's Python worker failed: {errors[0]}"[:500]
    return f"Spark: {' '.join(text.split())}"[:500]


def _line_with(text: str, part: str) -> str:
    return next(line.strip() for line in text.splitlines() if part in line)[:500]


def _not_started(error: BaseException, place: str | None) -> UsageError:
    text = _JAVA_STACK.split(" ".join(str(error).split()))[0]
    if "JAVA_GATEWAY_EXITED" in text or "JAVA_HOME" in text:
        return UsageError("Spark needs Java 17 or newer (on Debian: apt-get install openjdk-17-jre-headless)")
    if "stopped SparkContext" in text:
        return UsageError(
            f"computeEngine.master: what listens at {place} did not accept this run within a minute; is that a Spark"
            " master, of the version that is installed here, with workers?"
        )
    return UsageError(
        f"computeEngine: Spark at {place or 'this machine'} could not be reached or started: {text[:400]}"
    )


def _require_connect(remote: str, *, seconds: float) -> None:
    """Refuse a server that takes connections and says nothing: the library would ask again for many minutes.

    Raises:
        UsageError: It does not speak the protocol of Spark Connect.
    """
    from pyspark.sql.connect.client import DefaultChannelBuilder

    try:
        channel = DefaultChannelBuilder(remote).toChannel()
    except Exception as error:
        raise _not_started(error, remote) from error
    ready = threading.Event()
    try:
        channel.subscribe(lambda state: ready.set() if state.name == "READY" else None, try_to_connect=True)
        if not ready.wait(seconds):
            silence = f"what listens at {remote} says nothing within {seconds:g} s"
            raise UsageError(f"computeEngine.remote: {silence}; is that Spark Connect?")
    finally:
        channel.close()


def _prepare(session: SparkSession) -> None:
    context = session.sparkContext
    context.setLogLevel("FATAL")  # it logs every failure with its Java stack; we tell what matters
    if context.master.startswith("local") and context.pythonExec == "python3":
        import sys

        context.pythonExec = sys.executable


def _run_classic(session: SparkSession, parts: Sequence[Sequence[bytes]], work: Work, tag: str) -> list[bytes]:
    context = session.sparkContext
    context.setJobGroup(tag, "datalake", interruptOnCancel=False)
    found: list[bytes] = context.parallelize([tuple(part) for part in parts], len(parts)).flatMap(work).collect()
    return found


def _run_remote(session: SparkSession, parts: Sequence[Sequence[bytes]], work: Work, tag: str) -> list[bytes]:
    from pyspark.sql.functions import udf
    from pyspark.sql.types import BinaryType, StructField, StructType

    session.addTag(tag)
    schema = StructType([StructField("part", BinaryType())])
    # From one partition, rows are dealt out one by one: each gets a partition of its own.
    frame = session.createDataFrame([(bytearray(pickle.dumps(tuple(part))),) for part in parts], schema)
    call = udf(partial(_packed, work=work), BinaryType()).asNondeterministic()
    rows = frame.coalesce(1).repartition(len(parts)).select(call("part")).collect()
    return [outcome for row in rows for outcome in pickle.loads(bytes(row[0]))]  # noqa: S301 - our own worker packed it


def _packed(part: bytes, *, work: Work) -> bytes:
    return pickle.dumps(work(pickle.loads(bytes(part))))  # noqa: S301 - we packed it


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what Spark's Python side warns its own developers of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
