"""The emulator's HTTP server: uvicorn with httptools, which reads requests in C.

MiniStack's own server reads each request in Python. That took nearly half of the emulator's processor time, which the
renewals on the local stack then lacked.
"""

import resource

import uvicorn

_KEPT_ALIVE = 75
"""Seconds for which an idle connection stays open."""


def serve(port: int) -> None:
    """Serve MiniStack on a port of this machine until a signal ends the process."""
    from ministack import app

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    # No proxy stands before the emulator: a source address that a request claims is never the real one.
    uvicorn.run(
        app.app, host="127.0.0.1", port=port, loop="asyncio", http="httptools", ws="none", lifespan="on",
        log_config=None, access_log=False, proxy_headers=False, server_header=False, date_header=False,
        timeout_keep_alive=_KEPT_ALIVE, timeout_graceful_shutdown=1,
    )  # fmt: skip
