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
"""The console of the stack on port 4566 listens on port 14566: the address stays valid in a bookmark or an open tab."""


def _listen_near(port: int) -> tuple[socket, str]:
    """Return a listening socket and its URL, on the stack's port plus 10,000, or on a free port if that port is
    unavailable.
    """
    near = port + _NEAR
    try:
        return listen(near if near <= _HIGHEST else 0)
    except OSError:
        return listen(0)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m local.console", description="Serves a read-only web page of a local stack."
    )
    parser.add_argument("--port", type=int, required=True, help="the port of the stack")
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
