"""Sessions of the client library whose answers cost less to read.

A time in an answer is text or a number. The library's own parser makes it a local time, with a time zone written in
Python: nine of the 24 microseconds that the library needs for each record of a stream.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import boto3


def make_session() -> boto3.session.Session:
    """A session of its own, whose clients read numbers as times in UTC.

    Raises:
        BotoCoreError: The configuration of AWS cannot work.
    """
    import boto3
    import botocore.session

    core = botocore.session.get_session()
    core.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=moment, blob_parser=binascii.a2b_base64
    )
    return boto3.session.Session(botocore_session=core)


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
