from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from datalake_service.aws.session import make_quick_session, make_session, moment
from tests.support.stream_server import ARN, STREAM, stream_server

SECONDS = st.integers(0, 4_000_000_000) | st.floats(0, 4e9)
TEXTS = st.sampled_from(["2026-11-20T13:00:00Z", "2026-11-20T13:00:00.25+01:00", "Fri, 20 Nov 2026 13:00:00 GMT"])


@given(value=SECONDS | TEXTS)
def test_times_are_the_moments_of_the_library(value: object) -> None:
    """Whatever an answer may tell them as; to the microsecond, which is what a float has room for."""
    assert abs(moment(value) - parse_timestamp(value)) <= timedelta(microseconds=1)


def test_numbers_are_read_as_utc() -> None:
    """Wherever this machine is."""
    assert moment(1_795_179_600.5) == datetime(2026, 11, 20, 13, 0, 0, 500_000, UTC)
    assert moment(1_795_179_600).tzinfo is UTC


@pytest.mark.parametrize("value", [1_795_179_600_000_000, True, "soon", None])
def test_what_is_odd_is_left_to_the_library(value: object) -> None:
    """It knows what it makes of them, or refuses them."""
    try:
        expected: object = parse_timestamp(value)
    except (ValueError, TypeError, RuntimeError) as error:
        with pytest.raises(type(error)):
            moment(value)
    else:
        assert moment(value) == expected


def test_records_of_a_stream_come_with_them() -> None:
    """Through a client: data as bytes, arrival in UTC."""
    with stream_server() as server:
        (shard,) = server.shards
        server.put_bytes(shard, b"\x00\xffdata")
        client = make_quick_session().client(
            "kinesis",
            region_name="eu-west-1",
            endpoint_url=server.environment["AWS_ENDPOINT_URL"],
            aws_access_key_id="key",
            aws_secret_access_key="secret",
        )
        begin = {"StreamName": STREAM, "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
        iterator = client.get_shard_iterator(**begin)["ShardIterator"]
        (record,) = client.get_records(StreamARN=ARN, ShardIterator=iterator)["Records"]
    assert record["Data"] == b"\x00\xffdata"
    assert record["ApproximateArrivalTimestamp"] == datetime.fromtimestamp(server.now, UTC)
    assert record["ApproximateArrivalTimestamp"].tzinfo is UTC


def test_sessions_share_what_they_read_about_services() -> None:
    """And nothing else: credentials and settings are each one's own."""
    first, second = (make_session()._session for _ in range(2))
    assert first.get_component("data_loader") is second.get_component("data_loader")
    assert first.get_component("credential_provider") is not second.get_component("credential_provider")
