"""From what a user writes to a store: ``s3://bucket/prefix``, ``file:///path`` or a path.

Reads no environment: the caller passes what it found there. The libraries of S3 are loaded only for S3.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from datalake_service.errors import ConfigError
from datalake_service.storage.base import ObjectStore
from datalake_service.storage.folder import FolderStore
from datalake_service.storage.retrying import RetryingStore

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,62}")


def open_store(
    uri: str | Path,
    *,
    endpoint_url: str | None = None,
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    region: str | None = None,
    mutex_url: str | None = None,
    mutex_token: str | None = None,
) -> ObjectStore:
    """Return the store at ``uri``, with retries. Asks nothing of it yet: a wrong address shows at first use.

    Args:
        uri: ``s3://bucket`` or ``s3://bucket/prefix``; ``file:///path`` or a path for a plain folder.
        endpoint_url: Server of an S3-compatible store (path-style addresses); none means AWS.
        access_key: Credentials for S3; none means the default chain of AWS. Ignored for a folder, as are the
            rest.
        secret_key: Belongs to ``access_key``.
        session_token: Belongs to temporary credentials.
        region: Of the bucket; none means what the AWS configuration says.
        mutex_url: Server of the mutex, used if the store turns out to ignore conditions; not needed for others.
        mutex_token: What that server wants to be shown.

    Raises:
        ConfigError: The address or the combination cannot work.
    """
    match = None if isinstance(uri, Path) else _SCHEME.fullmatch(uri)
    if match is None:
        return RetryingStore(FolderStore(_folder(str(uri))))
    scheme = match["scheme"].lower()
    if scheme == "file":
        parts = urlsplit(str(uri))
        if parts.netloc not in {"", "localhost"}:
            raise ConfigError(f"{uri!r} names another machine; write file:///absolute/path")
        return RetryingStore(FolderStore(_folder(unquote(parts.path))))
    if scheme != "s3":
        raise ConfigError(f"{uri!r} has the unknown scheme {scheme!r}; use s3://bucket/prefix, file:///path or a path")
    bucket, _, prefix = match["rest"].partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"{uri!r} has no usable bucket name; write s3://bucket/prefix")
    _check_credentials(endpoint_url, access_key, secret_key, session_token)
    from datalake_service.storage.s3 import S3Store

    store = S3Store(
        bucket,
        prefix.strip("/"),
        endpoint_url=endpoint_url or None,
        access_key=access_key or None,
        secret_key=secret_key or None,
        session_token=session_token or None,
        region=region or None,
    )
    if not mutex_url:
        return RetryingStore(store)
    from datalake_service.storage.mutexed import MutexedStore

    return RetryingStore(MutexedStore(store, mutex_url, token=mutex_token or None))


def _folder(path: str) -> Path:
    if not path:
        raise ConfigError("the path of the lake is empty; write a folder or s3://bucket/prefix")
    try:
        folder = Path(path).expanduser()
        is_file = folder.exists() and not folder.is_dir()
    except (OSError, RuntimeError) as error:  # no permission, a name that is too long; nobody has this home
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{path!r} cannot be the folder of a lake: {reason}") from None
    if is_file:
        raise ConfigError(f"{path} is a file; the lake needs a folder (or s3://bucket/prefix)")
    return folder


def _check_credentials(
    endpoint_url: str | None, access_key: str | None, secret_key: str | None, session_token: str | None
) -> None:
    if endpoint_url and urlsplit(endpoint_url).scheme not in {"http", "https"}:
        raise ConfigError(f"the endpoint {endpoint_url!r} must start with http:// or https://")
    if bool(access_key) != bool(secret_key):
        missing = "secret key" if access_key else "access key"
        raise ConfigError(f"the {missing} is missing: give both keys, or none for the default chain of AWS")
    if session_token and not access_key:
        raise ConfigError("a session token needs the access key and the secret key it was issued with")
