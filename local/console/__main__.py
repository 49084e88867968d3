"""Serves the console; see local.console."""

import argparse
import json

import uvicorn

from local.console.look import Looks
from local.console.pages import application
from local.gateway.server import listen
from local.stack import Stack


def main() -> None:
    parser = argparse.ArgumentParser(prog="local.console", description="A read-only web page of the local stack.")
    parser.add_argument("--port", type=int, required=True, help="the stack's")
    looks = Looks(Stack(parser.parse_args().port))
    listening, url = listen(0)
    config = uvicorn.Config(
        application(looks.now, looks.stack.port), ws="none", lifespan="off", access_log=False,
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    print(json.dumps({"url": url}), flush=True)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
