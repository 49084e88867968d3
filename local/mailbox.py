"""The customers' mailbox: an SMTP server that keeps each mail as a file to open or parse.

`python -m local.mailbox --folder FOLDER` prints one line, {"url": "smtp://127.0.0.1:PORT"}, and serves until it is
terminated. A file is named for the moment the mail came and for its first recipient, so that names sort by time;
it appears whole or not at all.
"""

import argparse
import asyncio
import itertools
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope

_LARGEST_MAIL = 40 * 1024 * 1024  # SES's own limit, https://docs.aws.amazon.com/ses/latest/dg/quotas.html


class Mailbox:
    """Handler of an aiosmtpd server that writes each mail into `folder`, to the byte as it came."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = itertools.count(1)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802  (aiosmtpd's name)
        moment = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        name = f"{moment}-{next(self._count):06}-{slug(envelope.rcpt_tos[0])}.eml"
        content = envelope.content or b""
        unfinished = self._folder / f".{name}"
        unfinished.write_bytes(content if isinstance(content, bytes) else content.encode())
        unfinished.rename(self._folder / name)
        return "250 kept"


def slug(address: str) -> str:
    """The address as the part of a file name: letters, digits and single hyphens, 60 characters at most."""
    return re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-")[:60] or "unknown"


async def serve(folder: Path) -> None:
    """Serves on a free loopback port, announced on standard output, until cancelled."""
    mailbox = Mailbox(folder)
    server = await asyncio.get_running_loop().create_server(
        lambda: SMTP(mailbox, hostname="localhost", enable_SMTPUTF8=True, data_size_limit=_LARGEST_MAIL),
        host="127.0.0.1",
        port=0,
    )
    port = server.sockets[0].getsockname()[1]
    print(json.dumps({"url": f"smtp://127.0.0.1:{port}"}), flush=True)
    async with server:
        await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="An SMTP server that keeps each mail as a file.")
    parser.add_argument("--folder", type=Path, required=True)
    asyncio.run(serve(parser.parse_args().folder))


if __name__ == "__main__":
    main()
