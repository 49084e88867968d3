"""Paths of the emulator's own, /_local/..., beside those of AWS."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

type Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


def answer_at(path: str, answer: Callable[[str, str, bytes], Awaitable[Answer]]) -> None:
    """Has a request to a path, or to any below it where it ends with a slash, answered here. answer: to its method, the
    path itself, and its body."""
    from ministack import app

    shortcut = app._handle_post_body_shortcuts

    async def answered(method: str, asked: str, headers: Any, body: bytes, *more: Any) -> Answer | None:
        if asked == path or (path.endswith("/") and asked.startswith(path)):
            return await answer(method, asked, body)
        found: Answer | None = await shortcut(method, asked, headers, body, *more)
        return found

    app._handle_post_body_shortcuts = answered


def answer_in_json(document: Any) -> Answer:
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()
