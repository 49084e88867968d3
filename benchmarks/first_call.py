"""Runs in place of a function: calls the handler, and ends the process with status 75 at the first look-up of an AWS
service's address.

`python first_call.py HANDLER EVENT_FILE`; with COUNT_FILES set, prints the number of opened files.
"""

import importlib
import json
import os
import socket
import sys

REACHED = 75
opened = 0


def count(event: str, _arguments: object) -> None:
    global opened
    opened += event == "open"


def end(host: str, *_: object, **__: object) -> None:
    if not str(host).endswith(".amazonaws.com"):
        raise AssertionError(host)
    if "COUNT_FILES" in os.environ:
        os.write(1, str(opened).encode())
    os._exit(REACHED)


class Context:
    """The parts of Lambda's context that the handlers use."""

    aws_request_id = "00000000-0000-0000-0000-000000000000"

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 20_000


if __name__ == "__main__":
    if "COUNT_FILES" in os.environ:
        sys.addaudithook(count)
    socket.getaddrinfo = end  # type: ignore[assignment]
    package, _, handler = sys.argv[1].rpartition(".")
    with open(sys.argv[2], encoding="utf-8") as file:  # noqa: PTH123  (pathlib would be measured as well)
        sample = json.load(file)
    getattr(importlib.import_module(package), handler)(sample, Context)
