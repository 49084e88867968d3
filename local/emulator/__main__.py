"""Starts the emulator; see the package."""

import argparse
import os
import socket

from local.emulator import (
    concurrency,
    cuts,
    events,
    functions,
    limits,
    mail,
    mailed_links,
    metrics,
    passing_of_time,
    patching,
    queues,
    server,
    streams,
    transport,
    workflows,
)


def main() -> None:
    parser = argparse.ArgumentParser(description="The AWS emulator of the local stack.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--region", required=True)
    parser.add_argument("--smtp", required=True, help="host:port of the mailbox that mail is relayed to")
    parser.add_argument("--python", required=True, help="the interpreter that functions run on")
    arguments = parser.parse_args()

    traces = _trace_sink()
    # MiniStack reads its settings on import, and passes its environment on to the functions.
    os.environ.update(
        GATEWAY_PORT=str(arguments.port),
        MINISTACK_REGION=arguments.region,
        SMTP_HOST=arguments.smtp,
        AUTH="true",
        LAMBDA_ACCOUNT_CONCURRENCY=str(concurrency.EXECUTIONS),  # MiniStack's own limit depends on the machine
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        AWS_DISABLE_HOST_PREFIX_INJECTION="true",  # for synchronous workflows: `sync-127.0.0.1` is not an address
        DOCKER_HOST="unix:///nonexistent",  # no Docker, so that all machines behave alike
        AWS_XRAY_DAEMON_ADDRESS=f"127.0.0.1:{traces.getsockname()[1]}",
    )
    patching.check_version()
    functions.apply(arguments.python)
    concurrency.apply()  # before the modules that wrap the same functions
    changes = (workflows, metrics, mail, queues, streams, events, limits, transport, cuts, passing_of_time)
    for each in (*changes, mailed_links):
        each.apply()

    server.serve(arguments.port)


def _trace_sink() -> socket.socket:
    """Open a socket that swallows X-Ray segments. Otherwise a daemon on this machine could forward the segments to
    AWS.
    """
    sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sink.bind(("127.0.0.1", 0))
    return sink


if __name__ == "__main__":
    main()
