"""Makes what the dataset file names: a queue with the messages of ``input/``, and a stream.

In the account or emulator that AWS's own variables point to (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …). Run it in
this folder: ``python seed.py``.
"""

from __future__ import annotations

from pathlib import Path

import boto3

_INPUT = Path(__file__).with_name("input") / "messages.jsonl"


def seed() -> None:
    """Make queue and stream, and send."""
    queues = boto3.client("sqs", region_name="eu-west-1")
    url = queues.create_queue(QueueName="orders")["QueueUrl"]
    for body in _INPUT.read_text(encoding="utf-8").splitlines():
        queues.send_message(QueueUrl=url, MessageBody=body)
    streams = boto3.client("kinesis", region_name="eu-west-1")
    streams.create_stream(StreamName="orders", ShardCount=1)
    streams.get_waiter("stream_exists").wait(StreamName="orders", WaiterConfig={"Delay": 1})


if __name__ == "__main__":
    seed()
