"""Sessions of the client library that cost less: to make, and to read answers with.

A session reads a megabyte of JSON about each service, which takes 60 ms. Those of one process share what they have
read; and they are the library's core, because nothing that boto3 puts around it is used here.

A time in an answer is text or a number. The library's own parser makes it a local time, with a time zone written in
Python: nine of the 24 microseconds that the library needs for each record of a stream.
"""

from __future__ import annotations

import binascii
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import botocore.loaders
    import botocore.session


def make_session() -> botocore.session.Session:
    """A session of its own, which shares what was read about services.

    Raises:
        BotoCoreError: The configuration of AWS cannot work.
    """
    import botocore.session

    session = botocore.session.get_session()
    session.register_component("data_loader", _loader(session.get_config_variable("data_path")))
    return session


def make_quick_session() -> botocore.session.Session:
    """The same; its clients read numbers as times in UTC.

    Raises:
        BotoCoreError: The configuration of AWS cannot work.
    """
    session = make_session()
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=moment, blob_parser=binascii.a2b_base64
    )
    return session


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
