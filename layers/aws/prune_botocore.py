"""Leave of botocore's data what the functions call: `python prune_botocore.py DATA_FOLDER`.

botocore reads a service's whole description to make a client, and the endpoints of all 400 services besides. Less of it
is a fifth of a function's start. A call that is not named here is an AttributeError in a built function; the tests look
for calls in the sources that are not.

Decision: D174 (DECISIONS.md).
"""

import gzip
import json
import shutil
import sys
from pathlib import Path
from typing import Any

CALLS = {
    "dynamodb": {
        "BatchGetItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "Scan",
        "TransactWriteItems",
        "UpdateItem",
    },
    "events": {"PutEvents"},
    "lambda": {"Invoke"},
    "s3": {"GetObject", "HeadObject", "PutObject"},
    "secretsmanager": {"GetSecretValue"},
    "ses": {"SendRawEmail"},
    "sqs": {"ChangeMessageVisibility", "GetQueueAttributes", "SendMessage", "SendMessageBatch"},
    "stepfunctions": {"StartExecution", "StartSyncExecution"},
    # botocore's own, for the credentials of people who run a function elsewhere
    "sts": {"AssumeRole", "AssumeRoleWithWebIdentity"},
}


def main(data: Path) -> None:
    endpoints_of = {prune_service(data / service, calls) for service, calls in CALLS.items()}
    for folder in data.iterdir():
        if folder.is_dir() and folder.name not in CALLS:
            shutil.rmtree(folder)
    file = data / "endpoints.json"
    endpoints = json.loads(file.read_text())
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in services if name in endpoints_of}
    file.write_text(_short(endpoints))


def prune_service(folder: Path, calls: set[str]) -> str:
    """Leave a service's newest description, with these calls and what they are made of. Returns its name in
    endpoints.json."""
    *older, newest = sorted(folder.iterdir())
    for version in older:
        shutil.rmtree(version)
    (newest / "examples-1.json").unlink(missing_ok=True)  # for documentation
    file = newest / "service-2.json.gz"
    service = json.loads(gzip.decompress(file.read_bytes()))
    service["operations"] = {call: service["operations"][call] for call in calls}
    used: set[str] = set()
    _find_shapes(service["operations"], service["shapes"], used)
    service["shapes"] = {name: shape for name, shape in service["shapes"].items() if name in used}
    file.write_bytes(gzip.compress(_short(service).encode(), mtime=0))
    prefix: str = service["metadata"]["endpointPrefix"]
    return prefix


def _find_shapes(node: Any, shapes: dict[str, Any], used: set[str]) -> None:
    """Add to `used` the names of all shapes that `node` refers to, and of those that they refer to."""
    if isinstance(node, list):
        for each in node:
            _find_shapes(each, shapes, used)
    elif isinstance(node, dict):
        name = node.get("shape")
        if isinstance(name, str) and name not in used:
            used.add(name)
            _find_shapes(shapes[name], shapes, used)
        for each in node.values():
            _find_shapes(each, shapes, used)


def _short(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
