"""The mailbox of the local stack, over a real connection."""

import json
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from local.mailbox import slug


@pytest.fixture
def address(tmp_path: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "local.mailbox", "--folder", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = urlsplit(json.loads(server.stdout.readline())["url"])
        yield str(url.hostname), int(url.port or 0)
        server.terminate()


def test_each_mail_is_kept_as_it_came(address: tuple[str, int], tmp_path: Path) -> None:
    """Two mails become two files in the order of arrival, with exactly the sent bytes and nothing half written."""
    mails = [b"Subject: first\r\n\r\n.starts with a dot\r\n", b"Subject: second\r\n\r\nlong\r\n" + b"x" * 900 + b"\r\n"]
    with smtplib.SMTP(*address, timeout=5) as client:
        for mail in mails:
            client.sendmail("from@example.com", ["Zoë+tag@example.com".encode("ascii", "ignore").decode()], mail)
    kept = sorted(tmp_path.iterdir())
    assert [file.read_bytes() for file in kept] == mails
    assert all(file.name.endswith("-zo-tag-example-com.eml") for file in kept)


@pytest.mark.parametrize("address", ["../../etc/passwd", "a/b@example.com", "\x00", "", "x" * 500, "名@例.jp"])
def test_no_recipient_escapes_the_folder(address: str) -> None:
    """Whatever the recipient, the file name has no separator, no control character, and a bounded length."""
    name = slug(address)
    assert name == Path(name).name
    assert name.isprintable()
    assert 0 < len(name) <= 60
