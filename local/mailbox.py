"""The customers' mailbox: an SMTP server that stores every mail as a file, ready to open or parse.

`python -m local.mailbox --folder FOLDER` prints a line, {"url": "smtp://127.0.0.1:PORT"}, and serves until terminated.
The file name begins with the moment of arrival, followed by a counter and the first recipient; sorting by name
therefore sorts by time. A file appears complete or not at all.
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

_LARGEST_MAIL = 40 * 1024 * 1024  # the limit of SES, https://docs.aws.amazon.com/ses/latest/dg/quotas.html


class Mailbox:
    """The handler of an aiosmtpd server. Writes every mail unchanged, byte by byte, into `folder`."""

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
    """Return the address as a part of a file name: letters, digits and single hyphens, at most 60 characters."""
    return re.sub(r"[^a-z0-9]+", "-", address.lower()).strip("-")[:60] or "unknown"


async def serve(folder: Path) -> None:
    """Serve on a free loopback port until canceled. The port is announced on standard output."""
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
    parser = argparse.ArgumentParser(
        prog="python -m local.mailbox", description="Serves an SMTP server that stores every mail as a file."
    )
    parser.add_argument("--folder", type=Path, required=True, help="the folder for the mails")
    asyncio.run(serve(parser.parse_args().folder))


if __name__ == "__main__":
    main()
