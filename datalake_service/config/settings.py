"""What the environment and ``.env`` say: where the lake is, and its keys. No other module reads them.

Real environment variables win over ``.env``; what the caller passes (command line, dataset file) wins over both.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from datalake_service.config.location import DEFAULT_URI, join_s3, resolve_uri, without_credentials
from datalake_service.errors import ConfigError
from datalake_service.mutex.protocol import check_base_url
from datalake_utils.secret import Secret

ENV_FILE: Final = Path(".env")
"""Looked for in the current folder only."""

MUTEX_TOKEN: Final = "WSS_MUTEX_TOKEN"  # noqa: S105 - its name
"""The variable that the server of the mutex reads as well."""

VARIABLES: Final = {
    "DATALAKE_URI": "the lake: s3://bucket/prefix, or a folder",
    "S3_BUCKET": "the lake's bucket, for those who name the parts",
    "S3_PREFIX": "where in the bucket the lake is; default: at its root",
    "S3_ENDPOINT_URL": "the server of an S3-compatible store; default: AWS",
    "S3_ACCESS_KEY": "key of the store; default: what AWS tools use (profile, role, AWS_ variables)",
    "S3_SECRET_KEY": "belongs to S3_ACCESS_KEY",
    "WSS_MUTEX_BASE_URL": "the server of the mutex, for a store that ignores conditional writes",
    MUTEX_TOKEN: "what that server wants to be shown",
}
"""Every variable that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the lake is and how to get in."""

    uri: str = DEFAULT_URI
    """``s3://bucket/prefix``, or the path of a folder."""
    named_by: str = "default"
    """Who named it: a variable, ``argument``, or ``default``."""
    endpoint_url: str | None = None
    """The server of an S3-compatible store."""
    access_key: Secret | None = None
    """Key of the store; ``None``: what AWS tools use."""
    secret_key: Secret | None = None
    """Belongs to ``access_key``."""
    mutex_url: str | None = None
    """The server of the mutex, for a store that ignores conditional writes."""
    mutex_token: Secret | None = None
    """What that server wants to be shown."""

    @classmethod
    def load(
        cls,
        *,
        uri: str | None = None,
        endpoint_url: str | None = None,
        access_key: str | None = None,
        secret_key: str | None = None,
        mutex_url: str | None = None,
        mutex_token: str | None = None,
        environ: Mapping[str, str] | None = None,
        env_file: Path | None = ENV_FILE,
    ) -> Settings:
        """Put together arguments, environment and ``.env``, in this order of precedence.

        Args:
            uri: The lake, if the caller knows it; the environment's lake is not looked at then.
            endpoint_url: The server, if the caller knows it.
            access_key: Key, if the caller has one; then ``secret_key`` is needed too.
            secret_key: Belongs to ``access_key``.
            mutex_url: The server of the mutex, if the caller knows it.
            mutex_token: What that server wants to be shown, if the caller knows it.
            environ: Variables; default: those of this process.
            env_file: File with more variables; a missing one is no error. ``None``: there is none.

        Raises:
            ConfigError: Variables that contradict each other or cannot work; ``problems`` has a line for each.
        """
        values = read_variables(os.environ if environ is None else environ, env_file)
        problems: list[str] = []
        root, named_by = _root(uri, values, problems)
        endpoint = _endpoint(endpoint_url, values, problems)
        keys = _keys(access_key, secret_key, values, problems)
        mutex = _mutex(mutex_url, values, problems)
        token = mutex_token or values.get(MUTEX_TOKEN)
        if problems:
            raise ConfigError("the settings of the lake cannot work", tuple(problems))
        return cls(
            uri=root,
            named_by=named_by,
            endpoint_url=endpoint,
            access_key=keys[0],
            secret_key=keys[1],
            mutex_url=mutex,
            mutex_token=Secret(token) if token else None,
        )

    def store_options(self) -> dict[str, str | None]:
        """Keyword arguments for ``open_store``. Holds secrets in the clear: pass it on, never print it."""
        return {
            "endpoint_url": self.endpoint_url,
            "access_key": self.access_key.reveal() if self.access_key else None,
            "secret_key": self.secret_key.reveal() if self.secret_key else None,
            "mutex_url": self.mutex_url,
            "mutex_token": self.mutex_token.reveal() if self.mutex_token else None,
        }


def read_secret(name: str, *, environ: Mapping[str, str] | None = None, env_file: Path | None = ENV_FILE) -> Secret:
    """The value of a variable that holds a key, from the environment or ``.env``.

    Spaces and line ends around it, which come along from files that hold keys, are left out. Whatever cannot be sent in
    a header is refused here: clients quote the key when they refuse it.

    Raises:
        ConfigError: It is not set or holds no key, or ``.env`` cannot be read.
    """
    value = read_variables(os.environ if environ is None else environ, env_file).get(name, "").strip()
    if not value:
        raise ConfigError(f"the environment variable {name} is not set; the dataset file says that it holds a key")
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"the environment variable {name} holds characters that no key has, such as ends of lines; set it anew"
        )
    return Secret(value)


def read_variable(name: str) -> str | None:
    """The value of a variable of the environment that another program sets for its children; empty: not set."""
    return os.environ.get(name) or None


def read_variables(environ: Mapping[str, str], env_file: Path | None = ENV_FILE) -> dict[str, str]:
    """The variables of the environment and of a ``.env`` file; the environment wins, empty ones do not count.

    Raises:
        ConfigError: The file cannot be read, or a line of it.
    """
    found = {} if env_file is None else read_env_file(env_file)
    found.update({name: value for name, value in environ.items() if value})
    return found


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a ``.env`` file: ``NAME=value`` or ``export NAME=value`` lines; ``${NAME}`` is filled in.

    A file that does not exist has none, nor has a folder of that name.

    Raises:
        ConfigError: It cannot be read, or a line of it; values are not shown.
    """
    if not path.is_file():
        return {}
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    lines = [line for line in parse_stream(io.StringIO(text)) if line.error or (line.key and line.value is None)]
    if lines:
        problems = tuple(f"{path}:{line.original.line}: write NAME=value" for line in lines)
        raise ConfigError(f"{path}: cannot be understood", problems)
    return {name: value for name, value in dotenv_values(stream=io.StringIO(text)).items() if value}


def _root(uri: str | None, values: Mapping[str, str], problems: list[str]) -> tuple[str, str]:
    """Where the lake is, and who said so."""
    if uri is not None:
        return _resolved(uri, "the lake", problems), "argument"
    bucket, prefix, whole = values.get("S3_BUCKET"), values.get("S3_PREFIX"), values.get("DATALAKE_URI")
    if bucket is None:
        if prefix is not None and whole is None:
            problems.append("S3_PREFIX: set without S3_BUCKET; set both, or DATALAKE_URI")
        if whole is None:
            return DEFAULT_URI, "default"
        root = _resolved(whole, "DATALAKE_URI", problems)
    else:
        root = _from_parts(bucket, prefix or "", problems)
        if whole is None:
            return root, "S3_BUCKET"
        if prefix is None and _bucket(whole) == bucket:  # the URI says where in the bucket
            return _resolved(whole, "DATALAKE_URI", problems), "DATALAKE_URI"
        if _resolved(whole, "DATALAKE_URI", problems) != root:
            shown = without_credentials(whole)
            problems.append(f"DATALAKE_URI: is {shown!r}, but S3_BUCKET and S3_PREFIX say {root!r}; unset one of them")
    return root, "DATALAKE_URI"


def _resolved(uri: str, name: str, problems: list[str]) -> str:
    try:
        return resolve_uri(uri)
    except ConfigError as error:
        problems.append(f"{name}: {without_credentials(uri)!r}: {error.message}")
        return uri


def _from_parts(bucket: str, prefix: str, problems: list[str]) -> str:
    if "/" in bucket:
        problems.append(f"S3_BUCKET: {without_credentials(bucket)!r} is no name of a bucket; no s3:// and no /")
        return bucket
    try:
        return join_s3(bucket, prefix)
    except ConfigError as error:
        problems.append(f"S3_PREFIX: {error.message}")
        return bucket


def _bucket(uri: str) -> str:
    return urlsplit(uri).netloc


def _endpoint(argument: str | None, values: Mapping[str, str], problems: list[str]) -> str | None:
    endpoint = argument or values.get("S3_ENDPOINT_URL")
    if endpoint is None:
        return None
    name = "endpoint URL" if argument else "S3_ENDPOINT_URL"
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        problems.append(f"{name}: {without_credentials(endpoint)!r}: write http://host:port or https://host")
    elif "@" in parts.netloc:
        problems.append(f"{name}: put the keys into S3_ACCESS_KEY and S3_SECRET_KEY, not into the URL")
    return endpoint


def _mutex(argument: str | None, values: Mapping[str, str], problems: list[str]) -> str | None:
    url = argument or values.get("WSS_MUTEX_BASE_URL")
    if url is None:
        return None
    try:
        return check_base_url(url, name="mutex URL" if argument else "WSS_MUTEX_BASE_URL")
    except ConfigError as error:
        problems.append(error.message)
        return None


def _keys(
    access: str | None, secret: str | None, values: Mapping[str, str], problems: list[str]
) -> tuple[Secret | None, Secret | None]:
    """A pair of keys that belong together: both arguments, or both variables, or none."""
    names = ("access key", "secret key")
    if access is None and secret is None:
        access, secret, names = (
            values.get("S3_ACCESS_KEY"),
            values.get("S3_SECRET_KEY"),
            ("S3_ACCESS_KEY", "S3_SECRET_KEY"),
        )
    if (access is None) != (secret is None):
        given, missing = names if secret is None else names[::-1]
        problems.append(f"{missing}: missing, but {given} is set; set both, or none to use what AWS tools use")
    return Secret(access) if access else None, Secret(secret) if secret else None
