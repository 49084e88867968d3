"""The pages of the console over tables, bucket and mails in memory, and mails of every kind as the console reads
them."""

import asyncio
import email.message
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from local.console import mails
from local.console.__main__ import _listen_near
from local.console.look import Look
from local.console.pages import application
from local.stack import StackError
from renewals.ledger.register import Register
from tests.fakes import World

HOSTILE = "<script>document.title = 'taken'</script>\"'&"
MAIL = "20260131T120000.000000Z-000001-ann-customer-example.eml"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class Browser:
    """Sends requests to the application as a web server does. now: the tables and mails that pages look at, or the
    error that looking raises."""

    def __init__(self, look: Look) -> None:
        self.now: Look | Exception = look
        self._app = application(self._looked, 4566)

    def __call__(self, target: str, *, method: str = "GET", host: str = "127.0.0.1:9") -> Answer:
        return asyncio.run(self._ask(target, method, host))

    def _looked(self) -> Look:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now

    async def _ask(self, target: str, method: str, host: str) -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "scheme": "http",
            "query_string": query.encode(),
            "headers": [(b"host", host.encode())],
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Answer(sent[0]["status"], headers, b"".join(part.get("body", b"") for part in sent[1:]))


class Elements(HTMLParser):
    """Parses a page into its elements and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def links(self) -> list[str]:
        return [str(attributes["href"]) for tag, attributes in self.found if tag == "a"]


@pytest.fixture
def shop() -> World:
    return World()


@pytest.fixture
def look(shop: World, tmp_path: Path) -> Look:
    client: Any = shop.dynamodb
    register = Register(client, subscriptions="subscriptions", renewals="renewals", changes="changes")
    return Look(
        register, client, cast("Any", shop.s3), renewals="renewals", bucket="receipts", environment="test", zone=UTC,
        mail_folder=tmp_path,
    )  # fmt: skip


@pytest.fixture
def browser(look: Look) -> Browser:
    return Browser(look)


def _deliver(shop: World, folder: Path) -> None:
    """Put the shop's mails into the folder as the mailbox keeps them."""
    for number, mail in enumerate(shop.mails()):
        (folder / MAIL.replace("000001", f"{number + 1:06}")).write_bytes(mail.as_bytes())


def test_an_empty_stack(browser: Browser) -> None:
    """On an empty stack every page says that no subscription, renewal or mail exists."""
    page = browser("/").text
    assert page.count("<b>0</b>") == 6
    assert "Nothing has been renewed today" in page
    assert "There are none." in browser("/subscriptions").text
    assert "No mail has been sent yet." in browser("/mails").text


def test_a_renewal_from_the_start_page_to_its_receipt_and_mail(shop: World, browser: Browser, tmp_path: Path) -> None:
    """Links lead from the start page to the subscription with its timeline, to the stored PDF, to the mail, and to the
    mail's PDF."""
    shop.subscribe(renewal_date=datetime.now(UTC).date().isoformat())
    shop.run(now=datetime.now(UTC))
    _deliver(shop, tmp_path)
    start = browser("/")
    assert "charged, receipted and mailed" in start.text
    (link,) = [link for link in Elements(start.text).links() if link.startswith("/subscription?")]
    page = browser(link).text
    for told in ("29.99 USD for Pro was charged to Visa ending in 4242", "Mailed the receipt to a***@c***.example"):
        assert told in page
    (receipt,) = [link for link in Elements(page).links() if link.startswith("/receipt?")]
    opened = browser(receipt)
    assert (opened.status, opened.headers["content-type"]) == (200, "application/pdf")
    assert [opened.body] == list(shop.receipts().values())
    (mail,) = [link for link in Elements(page).links() if link.startswith("/mail?")]
    (attachment,) = [link for link in Elements(browser(mail).text).links() if link.startswith("/mail/attachment?")]
    attached = browser(attachment)
    assert (attached.headers["content-type"], attached.body) == ("application/pdf", opened.body)
    assert attached.headers["content-disposition"].startswith("inline")
    assert "Thank you. We have received your payment" in browser(mail.replace("/mail?", "/mail/html?")).text


def test_today_is_the_business_s_and_nothing_older(shop: World, browser: Browser) -> None:
    """Today's renewals include a decline of today with its reason, but neither a renewal of yesterday nor a period
    passed over."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    shop.subscribe(renewal_date=(yesterday - timedelta(days=40)).date().isoformat())
    shop.run(now=yesterday)
    assert "Nothing has been renewed today" in browser("/live").text
    shop.subscribe(subscription_id="sub_2", payment_method="pm_declined")
    (item,) = [item for item in shop.items().values() if item["status"] == "done"]
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    declined = {"status": "declined", "decline_code": "insufficient_funds", "touched_at": now}
    shop.dynamodb.put("renewals", item | {"subscription_id": "sub_2"} | declined)
    shop.dynamodb.put("renewals", item | {"subscription_id": "sub_3", "status": "skipped", "touched_at": now})
    page = browser("/live").text
    assert "the card has insufficient funds" in page
    assert [link for link in Elements(page).links() if "/subscription?" in link] == ["/subscription?id=sub_2"]


def test_hundreds_are_counted_and_listed_in_pages(shop: World, browser: Browser) -> None:
    """Of 240 subscriptions every subscription is counted under its status, and appears exactly once in the pages of a
    list."""
    for number in range(240):
        status = ("active", "paused", "past_due")[number % 3]
        shop.subscribe(subscription_id=f"sub_{number:03}", status=status)
    assert browser("/").text.count("<b>80</b>") == 3
    seen = _linked_by_all_pages(browser, "/subscriptions?status=paused", "/subscription?")
    assert len(seen) == len(set(seen)) == 80


def test_bad_rows_and_mails_are_listed_in_pages(shop: World, browser: Browser, tmp_path: Path) -> None:
    """Of 120 rows that cannot be charged, and of 120 mails, the pages of the list show every entry exactly once."""
    for number in range(120):
        shop.subscribe(subscription_id=f"sub_{number:03}", amount=None)
        (tmp_path / MAIL.replace("000001", f"{number:06}")).write_bytes(b"Subject: x\n\n")
    for first, kind in (("/subscriptions?status=bad", "/subscription?"), ("/mails", "/mail?")):
        seen = _linked_by_all_pages(browser, first, kind)
        assert len(seen) == len(set(seen)) == 120


def _linked_by_all_pages(browser: Browser, target: str, kind: str) -> list[str]:
    """Return the links of a kind on the first page of a list and on all pages after."""
    seen: list[str] = []
    for _ in range(10):
        links = Elements(browser(target).text).links()
        seen += [link for link in links if link.startswith(kind)]
        following = [link for link in links if "after=" in link or "before=" in link]
        if not following:
            break
        (target,) = following
    return seen


def test_bad_rows_are_shown_with_what_is_wrong(shop: World, browser: Browser) -> None:
    """Rows with values of any type, without values or with a second customer break no page, and are shown with their
    fault."""
    shop.subscribe()
    shop.subscribe(subscription_id="no_amount", amount=None)
    shop.subscribe(subscription_id="odd", amount=["x"], renewal_date=Decimal(3), status={"a": 1}, currency=None,
                   customer_name=Decimal("1e99"), customer_email=Decimal(1), known_card="none", plan=None)  # fmt: skip
    shop.subscribe(subscription_id="twice")
    shop.subscribe(subscription_id="twice", customer_id="cus_2")
    page = browser("/subscriptions?status=bad").text
    assert "amount: is missing" in page
    assert "renewal_date: is not a string" in page
    assert "sub_1" not in page
    assert "<b>2</b> cannot be charged" in browser("/").text
    assert "amount: is missing" in browser("/subscription?id=no_amount").text
    assert browser("/subscription?id=odd").status == 200
    assert "more than one customer" in browser("/subscription?id=twice").text


def test_a_deleted_subscription_keeps_its_history(shop: World, browser: Browser) -> None:
    """For a deleted row the page shows the history from the ledger."""
    shop.subscribe()
    shop.run()
    shop.delete_row()
    page = browser("/subscription?id=sub_1").text
    assert "was deleted" in page
    assert "was charged" in page


@pytest.mark.parametrize(
    "subscription_id", [HOSTILE, "../../etc/passwd", "..", "a b&c=d?e#f%2e", "名前\u202e", "a'b\"c"]
)
def test_hostile_words_stay_words(shop: World, browser: Browser, tmp_path: Path, subscription_id: str) -> None:
    """Whatever an id, a name, a status or a mail holds, pages have no elements but the console's own, and links lead to
    the right subscription."""
    shop.subscribe(renewal_date=datetime.now(UTC).date().isoformat())
    shop.run(now=datetime.now(UTC))
    row = shop.row() | {"customer_name": HOSTILE, "plan": HOSTILE, "status": HOSTILE, HOSTILE: HOSTILE}
    shop.dynamodb.put("subscriptions", row | {"subscription_id": subscription_id, "customer_id": HOSTILE})
    for item in shop.items().values():
        hostile = {"subscription_id": subscription_id, "customer_name": HOSTILE, "plan": HOSTILE, "reason": HOSTILE}
        shop.dynamodb.put("renewals", {**item, **hostile, "status": "failed"})
    mail = email.message.EmailMessage()
    mail["Subject"], mail["To"] = HOSTILE, "ann@customer.example"
    mail.set_content(HOSTILE)
    mail.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename=HOSTILE)
    (tmp_path / MAIL).write_bytes(mail.as_bytes())
    link = f"/subscription?id={quote(subscription_id)}"
    links = Elements(browser("/subscriptions").text).links()
    (own,) = [each for each in links if each.startswith("/subscription?") and each != "/subscription?id=sub_1"]
    for target in ("/", "/live", "/subscriptions", link, own, "/mails", f"/mail?name={MAIL}"):
        answer = browser(target)
        assert answer.status == 200
        found = Elements(answer.text).found
        assert [attributes for tag, attributes in found if tag == "script"] in (
            [],
            [{"src": "/static/live.js", "defer": None}],
        )
        assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
        assert not [tag for tag, attributes in found if "javascript:" in str(attributes)]
    assert "customer_name" in browser(own).text


def test_every_answer_forbids_what_it_does_not_need(browser: Browser, tmp_path: Path) -> None:
    """The security policy of every page allows only the console's own files; the policy of a mail's HTML lets nothing
    run."""
    mail = email.message.EmailMessage()
    mail.set_content("<script>top.location = '//evil.example'</script>", subtype="html")
    (tmp_path / MAIL).write_bytes(mail.as_bytes())
    for target in ("/", "/nothing", "/static/live.js", "/subscriptions"):
        policy = browser(target).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
    policy = browser(f"/mail/html?name={MAIL}").headers["content-security-policy"]
    assert policy.startswith("sandbox")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    (frame,) = [each for tag, each in Elements(browser(f"/mail?name={MAIL}").text).found if tag == "iframe"]
    assert frame["sandbox"] == "allow-popups allow-popups-to-escape-sandbox"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", ""])
def test_only_this_machine_s_names_are_answered(browser: Browser, host: str) -> None:
    """A hostile page whose domain name points to this machine reads nothing, since only local host names are
    answered."""
    assert browser("/", host="localhost:9").status == 200
    assert browser("/", host=host).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(browser: Browser, method: str) -> None:
    """Every page refuses any method but GET."""
    assert [browser(target, method=method).status for target in ("/", "/subscription", "/mail")] == [405] * 3


@pytest.mark.parametrize(
    "target",
    ["/nothing", "/subscription", "/subscription?id=nobody", "/subscriptions?status=odd", "/receipt?id=sub_1",
     "/receipt?id=sub_1&period=2026-01-31&refund=refund_1", "/receipt?id=sub_1&period=x", "/mail", "/mail?name=no.eml",
     "/mail/html?name=..%2Fx.eml", f"/mail/attachment?name={MAIL}", f"/mail/attachment?name={MAIL}&number=-1",
     f"/mail/attachment?name={MAIL}&number=1", "/static/..%2Flook.py", "/static/../look.py"],
)  # fmt: skip
def test_what_is_not_there_is_a_page_that_says_so(shop: World, browser: Browser, tmp_path: Path, target: str) -> None:
    """A page, subscription, receipt, mail or attachment that does not exist is answered with 404."""
    shop.subscribe()
    shop.run()
    _deliver(shop, tmp_path)
    assert browser(target).status == 404


@pytest.mark.parametrize(
    "trouble", [StackError("nothing is deployed"), EndpointConnectionError(endpoint_url="http://127.0.0.1:1")]
)
def test_a_stack_that_is_gone_is_told(browser: Browser, trouble: Exception) -> None:
    """Where nothing is deployed or nothing answers, the page says so and reloads by itself."""
    browser.now = trouble
    answer = browser("/")
    assert answer.status == 503
    assert "does not answer" in answer.text
    assert ("meta", {"http-equiv": "refresh", "content": "3"}) in Elements(answer.text).found


@pytest.mark.parametrize(
    "name",
    ["../secret.eml", "..", ".", "", "/etc/passwd", "sub/x.eml", ".x.eml", "x.txt", "link.eml", "folder.eml", "x.eml\n",
     "x\x00.eml", "..\\secret.eml", "x.eml/"],
)  # fmt: skip
def test_no_name_leaves_the_mail_folder(tmp_path: Path, name: str) -> None:
    """Only a mail file directly in the mail folder is opened, whatever name is asked for."""
    folder = tmp_path / "mail"
    (folder / "sub").mkdir(parents=True)
    (folder / "folder.eml").mkdir()
    for file in (tmp_path / "secret.eml", folder / "x.eml", folder / "sub/x.eml", folder / ".x.eml", folder / "x.txt"):
        file.write_bytes(b"secret")
    (folder / "link.eml").symlink_to(tmp_path / "secret.eml")
    assert mails.file_named(folder, "x.eml") == folder / "x.eml"
    assert mails.file_named(folder, name) is None


def test_mails_to_an_address_are_those_and_no_other(tmp_path: Path) -> None:
    """Two addresses whose file names look alike are told apart by the mail's own header."""
    for number, to in enumerate(["Ann <a.b@example.com>", "a-b@example.com", '"a.b@example.com" <x@example.com>']):
        (tmp_path / f"2026-00000{number}-a-b-example-com.eml").write_bytes(f"To: {to}\r\n\r\n".encode())
    assert mails.names_to(tmp_path, "a.b@example.com") == ["2026-000000-a-b-example-com.eml"]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", ""),
        (b"Subject: =?utf-8?b?w6QhIQ=?=\r\n\r\nwords", "words"),
        (b"Content-Type: text/plain; charset=nobody-knows\r\n\r\nwords", "words"),
        (b"Content-Transfer-Encoding: base64\r\n\r\n!!d29yZHM=", "words"),
        (b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\nwords", "words"),
        (b"Content-Type: text/plain\r\n\r\nw\xe4rds", "w\ufffdrds"),
    ],
)
def test_broken_mails_are_read_as_well_as_it_goes(content: bytes, text: str) -> None:
    """Mails with unknown charsets, broken encodings or unclosed multiparts show as many words as can be decoded."""
    assert mails.read("x.eml", content).text == text


@given(
    st.binary(max_size=300), st.sampled_from([b"", b"Subject: ", b"To: ", b"Content-Type: ", b"Content-Disposition: "])
)
def test_no_bytes_are_too_odd_for_a_mail(content: bytes, header: bytes) -> None:
    """A mail of any bytes is read without an error."""
    mail = mails.read("x.eml", header + content)
    assert mail.name == "x.eml"
    assert all("/" not in attachment.name for attachment in mail.attachments)


def test_an_attachment_is_what_it_begins_as(tmp_path: Path) -> None:
    """HTML declared as a PDF is offered as a download of plain bytes, under its bare file name."""
    mail = email.message.EmailMessage()
    mail.add_attachment(b"<script>", maintype="application", subtype="pdf", filename="../../receipt.pdf")
    (attached,) = mails.read("x.eml", mail.as_bytes()).attachments
    assert (attached.name, attached.kind) == ("receipt.pdf", "application/octet-stream")


def test_a_mail_has_a_date_whatever_its_header_says(shop: World, browser: Browser, tmp_path: Path) -> None:
    """A mail shows the date of its header, or without a date the moment at which the mailbox stored the mail."""
    shop.subscribe()
    shop.run()
    _deliver(shop, tmp_path)
    assert "Sat, 31 Jan 2026 12:00:00 +0000" in browser("/mails").text
    (tmp_path / MAIL).write_bytes(b"Subject: x\r\nTo: ann@customer.example\r\n\r\nx")
    assert "Sat, 31 Jan 2026 12:00:00 +0000" in browser(f"/mail?name={MAIL}").text


def test_every_amount_has_the_decimals_of_its_currency(shop: World, browser: Browser) -> None:
    """Future and past amounts show as 19.90 EUR, though the table holds 19.9."""
    shop.subscribe(amount=Decimal("19.9"), currency="EUR", renewal_date=datetime.now(UTC).date().isoformat())
    page = browser("/subscription?id=sub_1").text
    assert "19.90 EUR" in page
    assert "19.9 EUR" not in page


def test_the_console_has_the_port_that_goes_with_its_stacks() -> None:
    """The console listens on the stack's port + 10000, so that bookmarks keep working, and on a free port where the
    usual port is taken or would be too high."""
    taken, url = _listen_near(4599)
    with taken:
        assert url == "http://127.0.0.1:14599"
        other, elsewhere = _listen_near(4599)
        other.close()
    free, highest = _listen_near(60_000)
    free.close()
    assert elsewhere not in (url, highest)
