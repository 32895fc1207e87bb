"""Makes what the dataset file names: a stream with the records of ``input/``, and a queue.

In the account or emulator that AWS's own variables point to (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …). Run it in
this folder: ``python seed.py``.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import boto3

_INPUT = Path(__file__).with_name("input") / "articles.jsonl"


def seed() -> None:
    """Make stream and queue, and put the records as the Kinesis writer would."""
    boto3.client("sqs", region_name="eu-west-1").create_queue(QueueName="article-vectors")
    streams = boto3.client("kinesis", region_name="eu-west-1")
    streams.create_stream(StreamName="articles", ShardCount=1)
    streams.get_waiter("stream_exists").wait(StreamName="articles", WaiterConfig={"Delay": 1})
    for line in _INPUT.read_text(encoding="utf-8").splitlines():
        key = json.loads(line)["documentId"]
        streams.put_record(StreamName="articles", PartitionKey=key, Data=gzip.compress(line.encode()))


if __name__ == "__main__":
    seed()
