"""Makes what the dataset file names: a bucket with the files of ``input/``, and a stream.

In the account or emulator that AWS's own variables point to (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …). Run it in
this folder: ``python seed.py``.
"""

from __future__ import annotations

from pathlib import Path

import boto3

_INPUT = Path(__file__).with_name("input")


def seed() -> None:
    """Make bucket and stream, and upload."""
    bucket = boto3.client("s3", region_name="eu-west-1")
    bucket.create_bucket(Bucket="observations", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for path in sorted(_INPUT.iterdir()):
        bucket.upload_file(str(path), "observations", path.name)
    streams = boto3.client("kinesis", region_name="eu-west-1")
    streams.create_stream(StreamName="observations", ShardCount=1)
    streams.get_waiter("stream_exists").wait(StreamName="observations", WaiterConfig={"Delay": 1})


if __name__ == "__main__":
    seed()
