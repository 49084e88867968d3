"""`python -m local.gateway --port 12111 --api-key sk_test_...` runs the gateway until terminated.

The first line on stdout is JSON, {"url": "http://127.0.0.1:12111"}. From the first line on, the gateway accepts
connections.
"""

import argparse
import contextlib
import json

from local.gateway.server import DEFAULT_API_KEY, listen, server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m local.gateway", description="Serves a sandbox payment gateway.")
    parser.add_argument("--port", type=int, default=0, help="the port to listen on (0: a free port)")
    parser.add_argument("--api-key", default=DEFAULT_API_KEY, help="the only accepted API key (%(default)s)")
    arguments = parser.parse_args()
    listening, url = listen(arguments.port)
    print(json.dumps({"url": url}), flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server(arguments.api_key).run(sockets=[listening])


if __name__ == "__main__":
    main()
