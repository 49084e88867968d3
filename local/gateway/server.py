"""The HTTP server: loopback only, in memory, with a single event loop."""

import asyncio
import secrets
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.gateway import control, pages
from local.gateway.api import TRANSPORT, Api
from local.gateway.client import Sandbox
from local.gateway.errors import GatewayError
from local.gateway.operations import OPERATIONS, Operation

DEFAULT_API_KEY = "sk_test_sandbox"
_STARTUP = 10.0


@dataclass(frozen=True)
class Gateway:
    """A running gateway: the URL, the accepted key, and the controls."""

    url: str
    api_key: str
    sandbox: Sandbox


class _Connection(H11Protocol):
    """Passes its transport to the application, which can then close the connection without a response."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        application: Callable[[Any, Any, Any], Awaitable[None]] = self.app

        async def with_transport(scope: Scope, receive: Receive, send: Send) -> None:
            scope[TRANSPORT] = transport
            await application(scope, receive, send)

        self.app = with_transport


def application(api: Api) -> Starlette:
    def endpoint(operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def serve(request: Request) -> Response:
            return await api.serve(operation, request)

        return serve

    served = [Route(each.path, endpoint(each), methods=[each.method]) for each in OPERATIONS]
    return Starlette(
        routes=[*served, *control.routes(api), *pages.routes(api)],
        exception_handlers={404: _unrecognized, 405: _unrecognized},
    )


async def _unrecognized(request: Request, _error: Exception) -> Response:
    message = (
        f"Unrecognized request URL ({request.method}: {request.url.path}). Please see https://stripe.com/docs or we can"
        " help at https://support.stripe.com/."
    )
    headers = {"Request-Id": f"req_{secrets.token_hex(7)}"}
    return JSONResponse(GatewayError(404, "invalid_request_error", message, kept=False).body, 404, headers)


def listen(port: int) -> tuple[socket.socket, str]:
    """Return a socket that accepts connections from now on (port 0: a free port), and the gateway's URL."""
    listening = socket.create_server(("127.0.0.1", port), backlog=1024)
    # asyncio sets TCP_NODELAY only on sockets that asyncio opened. Without the option, every answer waits 40 ms.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}"


class _Server(uvicorn.Server):
    """A server that says when its start is over: `started` then tells whether the server has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.start_is_over = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.start_is_over.set()


def server(api_key: str) -> _Server:
    # An idle connection stays open. A closed connection would look to the client like an unrequested hostile mode.
    config = uvicorn.Config(
        application(Api(api_key)), http=_Connection, ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_keep_alive=600, timeout_graceful_shutdown=1,
    )  # fmt: skip
    return _Server(config)


@contextmanager
def serving(api_key: str = DEFAULT_API_KEY) -> Iterator[Gateway]:
    """Run a gateway on a free port, in a thread of this process, until the block ends."""
    listening, url = listen(0)
    running = server(api_key)
    thread = threading.Thread(target=running.run, args=([listening],), name="gateway", daemon=True)
    thread.start()
    try:
        if not running.start_is_over.wait(_STARTUP) or not running.started:
            raise RuntimeError("the sandbox gateway did not start")
        yield Gateway(url, api_key, Sandbox(url))
    finally:
        running.should_exit = True
        thread.join(_STARTUP)
