"""Makes what the dataset file names: a table with a stream, changed as ``input/`` says.

The name of a stream ends in the time at which it was made, so the dataset file is written anew, as ``seeded.json``.

In the account or emulator that AWS's own variables point to (``AWS_ENDPOINT_URL``, ``AWS_ACCESS_KEY_ID``, …). Run it in
this folder: ``python seed.py``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import boto3

_HERE = Path(__file__).parent


def seed(target: Path) -> None:
    """Make the table, make the changes, and write the dataset file with the name of the stream to ``target``."""
    client = boto3.client("dynamodb", region_name="eu-west-1")
    client.create_table(
        TableName="tickets",
        KeySchema=[{"AttributeName": "ticket", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "ticket", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"},
    )
    client.get_waiter("table_exists").wait(TableName="tickets", WaiterConfig={"Delay": 1})
    for line in (_HERE / "input" / "changes.jsonl").read_text(encoding="utf-8").splitlines():
        change = json.loads(line)
        if "put" in change:
            client.put_item(TableName="tickets", Item=change["put"])
        else:
            client.delete_item(TableName="tickets", Key=change["delete"])
    document = json.loads((_HERE / "dataset.json").read_text(encoding="utf-8"))
    document["readConnector"]["streamArn"] = client.describe_table(TableName="tickets")["Table"]["LatestStreamArn"]
    target.write_text(json.dumps(document, indent=2), encoding="utf-8")


if __name__ == "__main__":
    seed(Path(sys.argv[1]) if len(sys.argv) > 1 else _HERE / "seeded.json")
