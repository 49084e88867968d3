"""The emulator's own paths, /_local/..., next to the paths of AWS."""

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlencode

type Answer = tuple[int, dict[str, str], bytes]
"""The status, the headers and the body."""


def answer_at(path: str, answer: Callable[[str, str, bytes], Awaitable[Answer]], *, with_query: bool = False) -> None:
    """Register a handler for requests to a path.

    Args:
        path: the path; if the path ends with a slash, the handler also receives the paths below.
        answer: returns the answer for the method, the requested path and the body.
        with_query: whether the requested path has the query behind it.
    """
    from ministack import app

    shortcut = app._handle_post_body_shortcuts

    async def answered(method: str, asked: str, headers: Any, body: bytes, *more: Any) -> Answer | None:
        if asked == path or (path.endswith("/") and asked.startswith(path)):
            query = urlencode(more[0], doseq=True) if with_query and more and more[0] else ""
            return await answer(method, f"{asked}?{query}" if query else asked, body)
        found: Answer | None = await shortcut(method, asked, headers, body, *more)
        return found

    app._handle_post_body_shortcuts = answered


def answer_in_json(document: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()
