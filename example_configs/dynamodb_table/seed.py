"""Makes what the dataset file names: a table with the items of ``input/``.

In the account or emulator that AWS's own variables point to (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …). Run it in
this folder: ``python seed.py``.
"""

from __future__ import annotations

import json
from pathlib import Path

import boto3

_INPUT = Path(__file__).with_name("input") / "books.jsonl"


def seed() -> None:
    """Make the table, and put the items."""
    client = boto3.client("dynamodb", region_name="eu-west-1")
    client.create_table(
        TableName="books",
        KeySchema=[{"AttributeName": "isbn", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "isbn", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    client.get_waiter("table_exists").wait(TableName="books", WaiterConfig={"Delay": 1})
    for line in _INPUT.read_text(encoding="utf-8").splitlines():
        client.put_item(TableName="books", Item=json.loads(line))


if __name__ == "__main__":
    seed()
