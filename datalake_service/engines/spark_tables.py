"""What mappers and reducers read and write tables with; offered to users as ``datalake_service.spark``.

Every file of every input is read, whatever its columns. Where Spark lacks the connector for ``s3a://`` and runs on this
machine, files pass through a folder of it: fetched before they are read, uploaded after they were written.
"""

from __future__ import annotations

import atexit
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from datalake_service.aws.clients import AwsClients
from datalake_service.config.compute import SparkEngine as Settings
from datalake_service.config.settings import Settings as LakeSettings
from datalake_service.engines.spark_session import SparkConnection
from datalake_service.errors import ConfigError, ObjectNotFoundError, UsageError
from datalake_service.storage.base import ObjectStore, Overwrite
from datalake_service.storage.open import open_store

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession

_S3: Final = ("s3a://", "s3://", "s3n://")
_FORMATS: Final = ("csv", "text", "json", "parquet")
_KEYS: Final = {
    "access_key": ("accessKeyId", "AccessKeyId", "aws_access_key_id", "AWS_ACCESS_KEY_ID"),
    "secret_key": ("secretAccessKey", "SecretAccessKey", "aws_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
    "session_token": ("sessionToken", "SessionToken", "aws_session_token", "AWS_SESSION_TOKEN"),
}
"""How the three values of a session are spelled."""


@dataclass(slots=True)
class Surroundings:
    """What a call of a mapper or a reducer finds."""

    session: SparkSession
    stores: Mapping[str, ObjectStore] = field(default_factory=dict)
    """The stores of the run, by the side that they are for."""
    stage: bool = False
    """Whether files of buckets pass through this machine."""
    kept: ExitStack = field(default_factory=ExitStack)
    """What lives as long as the call: Spark reads files when it needs them."""


_local = threading.local()


@contextmanager
def surrounded(by: Surroundings) -> Iterator[None]:
    """For calls of this thread."""
    _local.now = by
    try:
        with by.kept:
            yield
    finally:
        _local.now = None


def spark_session(app_name: str | None = None) -> SparkSession:
    """The session of the run; outside of one, a session on this machine, with half of its memory."""
    return _surroundings(app_name).session


def read_table(
    uris: str | Sequence[str],
    *,
    file_format: str,
    options: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
) -> DataFrame:
    """Read files or folders as one table: all of them, with the columns of all of them; what one lacks is null.

    Args:
        uris: As a mapper or a reducer is given them: ``s3a://bucket/key`` or ``file:///path``.
        file_format: ``csv``, ``text``, ``json`` or ``parquet``.
        options: Of Spark's reader, such as ``header`` and ``lineSep``.
        credentials: Of the bucket, as ``read_credentials`` returns them; default: those of the run.

    Raises:
        UsageError: There is nothing to read, or the format is none of these.
    """
    around, kind = _surroundings(), _checked(file_format)
    found = [uris] if isinstance(uris, str) else list(uris)
    if not found:
        raise UsageError("there is nothing to read: the list of URIs is empty")
    places = [_readable(uri, around, credentials) for uri in found]
    chosen = dict(options or {})
    if kind == "parquet":
        chosen = {"mergeSchema": "true"} | chosen
    if kind == "csv" and len(places) > 1:  # columns of csv are told by place: one header does not fit all files
        frames = [_reader(around, kind, chosen).load(place) for place in places]
        return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), frames)
    return _reader(around, kind, chosen).load(places)


def write_table(
    frame: DataFrame,
    uri: str,
    *,
    file_format: str,
    mode: str = "overwrite",
    options: Mapping[str, str] | None = None,
    credentials: Mapping[str, str] | None = None,
) -> None:
    """Write a table as files in a folder.

    Args:
        frame: The table.
        uri: As a mapper or a reducer is given it.
        file_format: ``csv``, ``text`` (one column of text), ``json`` or ``parquet``.
        mode: ``overwrite``, or another mode of Spark's writer.
        options: Of Spark's writer, such as ``compression``.
        credentials: Of the bucket, as ``read_credentials`` returns them; default: those of the run.

    Raises:
        UsageError: The format is none of these.
    """
    around, kind = _surroundings(), _checked(file_format)
    writer = frame.write.format(kind).options(**dict(options or {}))
    if not uri.startswith(_S3):
        writer.mode(mode).save(uri)
        return
    if not around.stage:
        _give_keys(around, uri, credentials)
        writer.mode(mode).save(uri)
        return
    if mode != "overwrite":
        raise UsageError(f"mode {mode!r} needs the connector for s3a://; without it there is only 'overwrite'")
    with tempfile.TemporaryDirectory(prefix="datalake-spark-") as scratch:
        folder = Path(scratch) / "out"
        writer.mode("overwrite").save(f"file://{folder}")
        _upload(folder, *_store_of(uri, around, "write", credentials))


def read_credentials(secret_arn: str | None, *, program: str, side: str) -> dict[str, str] | None:
    """The credentials for one side of a mapper or a reducer, out of a secret of Secrets Manager.

    The secret is a JSON object: ``{"mapper": {"read": {"accessKeyId": …, "secretAccessKey": …, "sessionToken": …},
    "write": {…}}, "reducer": {…}}``.

    Args:
        secret_arn: The secret; ``None``: there is none, and neither are credentials.
        program: ``mapper`` or ``reducer``.
        side: ``read`` or ``write``.

    Raises:
        ConfigError: The secret does not hold them.
        StoreError: It cannot be read.
    """
    if secret_arn is None:
        return None
    parts = secret_arn.split(":")
    region = parts[3] if len(parts) > 3 else None  # noqa: PLR2004 - the place of the region in an ARN
    text = read_secret_text(AwsClients(region=region), secret_arn)
    try:
        found = json.loads(text)[program][side]
        return {name: next(found[key] for key in keys if key in found) for name, keys in _KEYS.items()}
    except (KeyError, TypeError, ValueError, StopIteration):
        raise ConfigError(
            f"the secret {secret_arn} does not hold {program}.{side} with accessKeyId, secretAccessKey and sessionToken"
        ) from None


def read_secret_text(clients: AwsClients, secret: str) -> str:
    """The text of a secret.

    Raises:
        StoreError: It cannot be read.
    """
    from datalake_service.aws.service import AwsService
    from datalake_utils.clock import SystemClock

    service = AwsService(
        clients,
        "secretsmanager",
        name=f"the secret {secret}",
        setting="computeEngine.sparkCredentialsSecretArn",
        clock=SystemClock(),
    )
    return str(
        service.call("get_secret_value", action="secretsmanager:GetSecretValue", SecretId=secret)["SecretString"]
    )


def _surroundings(app_name: str | None = None) -> Surroundings:
    now: Surroundings | None = getattr(_local, "now", None)
    if now is None:
        conf = {} if app_name is None else {"spark.app.name": app_name}
        connection = SparkConnection(Settings.model_validate({"computeEngineType": "SPARK", "sparkConf": conf}))
        session = connection.session()
        now = _local.now = Surroundings(session, stage=connection.stages_files())
        atexit.register(now.kept.close)
    return now


def _reader(around: Surroundings, kind: str, options: Mapping[str, str]) -> DataFrameReader:
    return around.session.read.format(kind).options(**dict(options))


def _checked(file_format: str) -> str:
    kind = file_format.lower()
    if kind not in _FORMATS:
        raise UsageError(f"{file_format!r} is no format of these: {', '.join(_FORMATS)}")
    return kind


def _readable(uri: str, around: Surroundings, credentials: Mapping[str, str] | None) -> str:
    """Where Spark finds what a URI names."""
    if not uri.startswith(_S3):
        return uri
    if not around.stage:
        _give_keys(around, uri, credentials)
        return uri
    folder = Path(around.kept.enter_context(tempfile.TemporaryDirectory(prefix="datalake-spark-")))
    store, key = _store_of(uri, around, "read", credentials)
    return f"file://{_fetch(store, key, folder)}"


def _fetch(store: ObjectStore, key: str, folder: Path) -> Path:
    """Fetch a file, or all files of a folder; returns where it is."""
    try:
        return _fetch_one(store, key, folder / Path(key).name)
    except ObjectNotFoundError:
        prefix = f"{key.rstrip('/')}/"
        names = [meta.key for meta in store.list(prefix)]
        if not names:
            raise
    for name in names:
        target = folder / name.removeprefix(prefix)
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_one(store, name, target)
    return folder


def _fetch_one(store: ObjectStore, key: str, target: Path) -> Path:
    with store.open(key) as source, target.open("wb") as file:
        while block := source.read(1 << 20):
            file.write(block)
    return target


def _upload(folder: Path, store: ObjectStore, key: str) -> None:
    """Replace what is below a key by the files of a folder; the mark that all is there comes last."""
    prefix = f"{key.rstrip('/')}/"
    old = {meta.key for meta in store.list(prefix)}
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    files.sort(key=lambda path: path.name == "_SUCCESS")
    for path in files:
        name = prefix + path.relative_to(folder).as_posix()
        store.put(name, path, mode=Overwrite())
        old.discard(name)
    for name in old:
        store.delete(name)


def _store_of(
    uri: str, around: Surroundings, side: str, credentials: Mapping[str, str] | None
) -> tuple[ObjectStore, str]:
    """The store that has a URI, and its key there."""
    place = uri.partition("://")[2]
    store = around.stores.get(side)
    if store is not None and credentials is None and store.uri.startswith("s3://"):
        root = f"{store.uri.removeprefix('s3://')}/"
        if place.startswith(root):
            return store, place.removeprefix(root)
    bucket, _, key = place.partition("/")
    options: dict[str, Any] = LakeSettings.load().store_options()
    if credentials is not None:
        options |= dict(credentials)
    return open_store(f"s3://{bucket}", **options), key


def _give_keys(around: Surroundings, uri: str, credentials: Mapping[str, str] | None) -> None:
    """Tell the connector which keys a bucket has; those of the writing side count where both are one bucket."""
    if credentials is None:
        return
    bucket = uri.partition("://")[2].partition("/")[0]
    configuration = around.session.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001 - there is no other way
    name = f"fs.s3a.bucket.{bucket}"
    configuration.set(f"{name}.aws.credentials.provider", "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider")
    configuration.set(f"{name}.access.key", credentials["access_key"])
    configuration.set(f"{name}.secret.key", credentials["secret_key"])
    configuration.set(f"{name}.session.token", credentials["session_token"])
