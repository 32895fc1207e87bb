"""Sessions of the client library that cost less: to make, and to read answers with.

A session reads a megabyte of JSON about each service, which takes 60 ms. Those of one process share what they have
read.

A time in an answer is text or a number. The library's own parser makes it a local time, with a time zone written in
Python: nine of the 24 microseconds that the library needs for each record of a stream.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3
    import botocore.loaders
    import botocore.session


def make_session() -> boto3.session.Session:
    """A session of its own, which shares what was read about services.

    Raises:
        BotoCoreError: The configuration of AWS cannot work.
    """
    return _around(_core())


def make_quick_session() -> boto3.session.Session:
    """The same; its clients read numbers as times in UTC.

    Raises:
        BotoCoreError: The configuration of AWS cannot work.
    """
    core = _core()
    core.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=moment, blob_parser=binascii.a2b_base64
    )
    return _around(core)


def _core() -> botocore.session.Session:
    import botocore.session

    core = botocore.session.get_session()
    core.register_component("data_loader", _loader(core.get_config_variable("data_path")))
    return core


def _around(core: botocore.session.Session) -> boto3.session.Session:
    import boto3

    return boto3.session.Session(botocore_session=core)


@cache
def _loader(data_path: str | None) -> botocore.loaders.Loader:
    """What knows what was read; it keeps it for as long as the process lives."""
    import botocore.loaders

    return botocore.loaders.create_loader(data_path)


def moment(value: object) -> datetime:
    """The moment that an answer tells: numbers, which most are, in UTC; anything else as the library has it.

    Raises:
        ValueError: It tells none.
    """
    if type(value) is float or type(value) is int:
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError, ValueError):
            pass  # in milliseconds, or far away: the library knows ways
    from botocore.utils import parse_timestamp

    found: datetime = parse_timestamp(value)
    return found
