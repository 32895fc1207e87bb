"""Where a lake is: ``s3://bucket/prefix``, or a folder. Pure; storage opens it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from datalake_service.errors import ConfigError

DEFAULT_URI: Final = "./lake"
"""The lake of a machine where nothing is configured: a folder below the current one."""

_SCHEME: Final = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)", re.DOTALL)
_S3: Final = re.compile(r"(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{1,254})(?:/(?P<prefix>.*))?", re.DOTALL)
_CREDENTIALS: Final = re.compile(r"(?<=://)[^/\s@]*@")


def resolve_uri(text: str, *, folder: Path | None = None) -> str:
    """The root of a lake in its one form: ``s3://bucket/prefix`` without a slash at the end, or a path.

    A relative path is taken below ``folder`` (default: left as it is, relative to the current one).

    Raises:
        ConfigError: Another scheme, credentials inside, or a prefix that keys cannot have.
    """
    match = _SCHEME.fullmatch(text)
    if match is None or match["scheme"].lower() == "file":
        try:
            path = Path(text if match is None else match["rest"]).expanduser()
        except RuntimeError:
            raise ConfigError("~ names nobody on this machine who has a home; write the whole path") from None
        return str(path if folder is None else folder / path)
    if match["scheme"].lower() != "s3" or (parts := _S3.fullmatch(match["rest"])) is None:
        raise ConfigError("allowed: s3://bucket/prefix, or the path of a folder")
    return join_s3(parts["bucket"], parts["prefix"] or "")


def resolve_object(text: str, *, folder: Path | None = None) -> str:
    """One object: ``s3://bucket/key``, or the path of a file, relative to ``folder``.

    Raises:
        ConfigError: Another scheme, or no key.
    """
    match = _SCHEME.fullmatch(text)
    if match is None or match["scheme"].lower() == "file":
        return resolve_uri(text, folder=folder)
    if match["scheme"].lower() != "s3" or not (_S3.fullmatch(match["rest"]) and match["rest"].partition("/")[2]):
        raise ConfigError("allowed: s3://bucket/key, or the path of a file")
    return f"s3://{match['rest']}"


def join_s3(bucket: str, prefix: str) -> str:
    """``s3://bucket/prefix`` from its parts; slashes around the prefix do not count.

    Raises:
        ConfigError: The prefix has empty, ``.`` or ``..`` segments or control characters.
    """
    clean = prefix.strip("/")
    segments = clean.split("/") if clean else []
    if any(segment in {"", ".", ".."} for segment in segments) or not clean.isprintable():
        raise ConfigError(f"prefix {prefix!r} is not allowed: no empty, '.' or '..' segments, no control characters")
    return "/".join([f"s3://{bucket}", *segments])


def without_credentials(uri: str) -> str:
    """A URI as it may be shown: ``user:password@`` taken out."""
    return _CREDENTIALS.sub("…@", uri)
