"""Serves the console; see local.console."""

import argparse
import json
from socket import socket

import uvicorn

from local.console.look import Looks
from local.console.pages import application
from local.gateway.server import listen
from local.stack import Stack

_HIGHEST = 65_535
_NEAR = 10_000
"""The console of the stack on port 4566 is on 14566: an address that can be kept open, or in a bookmark."""


def _listen_near(port: int) -> tuple[socket, str]:
    """A socket on the port that goes with the stack's, or on a free one where that is taken or there is none."""
    near = port + _NEAR
    try:
        return listen(near if near <= _HIGHEST else 0)
    except OSError:
        return listen(0)


def main() -> None:
    parser = argparse.ArgumentParser(prog="local.console", description="A read-only web page of the local stack.")
    parser.add_argument("--port", type=int, required=True, help="the stack's")
    looks = Looks(Stack(parser.parse_args().port))
    listening, url = _listen_near(looks.stack.port)
    config = uvicorn.Config(
        application(looks.now, looks.stack.port), ws="none", lifespan="off", access_log=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    print(json.dumps({"url": url}), flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
