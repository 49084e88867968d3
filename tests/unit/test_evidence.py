"""The evidence about a disputed payment: everything that the stack knows is in the folder, and nothing is replaced."""

import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from renewals.domain import disputes
from renewals.domain.disputes import DisputeStatus
from renewals.ledger.dispute_steps import record_dispute
from tests.fakes import LATER, NOON
from tests.unit.test_mail_feedback import bounce
from tests.unit.test_receipt_pdf import text_of
from tests.unit.test_subscriptions_command import Account, account, command, squeezed

__all__ = ["account", "command"]
PERIOD = "2026-01-31"

type Command = Callable[..., Result]


def _disputed(account: Account) -> None:
    """Let a period be paid, receipted, mailed, refunded in part and disputed."""
    shop = account.shop
    shop.subscribe()
    shop.run()
    shop.gateway.refund_elsewhere("pi_1", 500)
    shop.settle_refunds("run-2", NOON + LATER)
    shop.gateway.contest("pi_1")
    shop.gateway.withdraw("dp_1")
    for status in (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW):
        shop.gateway.dispute_becomes("dp_1", status)
        period = shop.ledger.get("sub_1", PERIOD)
        assert period is not None
        record = disputes.with_new_step(period, shop.gateway.disputes["dp_1"], NOON + LATER)
        assert record is not None
        shop.ledger.apply(record_dispute(period, "dp_1", record))


def test_everything_known_is_in_the_folder(account: Account, command: Command, tmp_path: Path) -> None:
    """The folder has the facts with the deadline, the timeline, the mails, and the same receipts that the customer got;
    only the owner can open the folder."""
    _disputed(account)
    folder = tmp_path / "a" / "evidence"
    result = command("evidence", "sub_1", PERIOD, "--into", folder)
    assert result.exit_code == 0, result.output
    number = account.shop.items()[PERIOD]["receipt_number"]
    receipts = {f"receipt-{number}.pdf", f"receipt-{number}-R1.pdf"}
    assert {each.name for each in folder.iterdir()} == {"facts.txt", "timeline.txt", "mails.txt", *receipts}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    facts = (folder / "facts.txt").read_text()
    for fact in (
        "Customer: Ann Lee, ann@customer.example (cus_1)",
        "Billing period: 31 January 2026 to 27 February 2026",
        "Amount: 29.99 USD",
        "Transaction: pi_1",
        "29.99 USD, reason subscription_canceled; is with the bank, which looks at the evidence",
        "Evidence can be sent until 2026-02-09 12:02:00 UTC",
        "Withdrawn: 29.99, reinstated: 0 USD",
    ):
        assert fact in facts
    assert "29.99 USD for Pro was charged to Visa ending in 4242" in (folder / "timeline.txt").read_text()
    mails = (folder / "mails.txt").read_text()
    assert "receipt_1 (the receipt) was sent to ann@customer.example, message" in mails
    assert "refunded_1 (the receipt of the refund) was sent to ann@customer.example" in mails
    stored = account.shop.receipts()
    assert {(folder / name).read_bytes() for name in receipts} == set(stored.values())
    assert "REFUNDED" in text_of((folder / f"receipt-{number}-R1.pdf").read_bytes())


def test_a_mail_that_came_back_stands_among_the_mails(account: Account, command: Command, tmp_path: Path) -> None:
    """A mail that bounced is no proof that the customer was told: the list says that the mail came back."""
    _disputed(account)
    bounce(account.shop, 0)
    command("evidence", "sub_1", PERIOD, "--into", tmp_path / "evidence")
    assert "The mail receipt_1 to ann@customer.example came back" in (tmp_path / "evidence/mails.txt").read_text()


def test_a_receipt_that_is_gone_is_named(account: Account, command: Command, tmp_path: Path) -> None:
    """The receipt was deleted from the bucket: the command says how the receipt is brought back, and gathers the
    rest."""
    _disputed(account)
    key = account.shop.items()[PERIOD]["receipt_key"]
    del account.shop.s3.objects[key]
    result = command("evidence", "sub_1", PERIOD, "--into", tmp_path / "evidence")
    assert result.exit_code == 0
    assert f"`oncall restore-receipt {key}` brings the receipt back" in squeezed(result)
    assert (tmp_path / "evidence/mails.txt").exists()


@pytest.mark.parametrize("state", ["a file in the folder", "a file in its place", "not paid", "no such period"])
def test_no_evidence_is_gathered(account: Account, command: Command, tmp_path: Path, state: str) -> None:
    """The command replaces no file, and gathers nothing for a period that was never paid."""
    folder, period = tmp_path / "evidence", PERIOD
    if state == "not paid":
        account.shop.subscribe(payment_method="pm_declined")
        account.shop.run()
    else:
        _disputed(account)
    if state == "a file in the folder":
        folder.mkdir()
        (folder / "facts.txt").write_text("of another dispute")
    if state == "a file in its place":
        folder.write_text("of another dispute")
    if state == "no such period":
        period = "2026-03-31"
    result = command("evidence", "sub_1", period, "--into", folder)
    assert result.exit_code != 0
    unpaid = state in ("not paid", "no such period")
    assert ("The ledger has no paid period" if unpaid else "name a new folder") in squeezed(result)
    kept = folder / "facts.txt" if folder.is_dir() else folder
    assert not kept.exists() or kept.read_text() == "of another dispute"


def test_the_folder_is_named_by_the_period(
    account: Account, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a named folder, the evidence is in a folder with the subscription's id and the period."""
    _disputed(account)
    monkeypatch.chdir(tmp_path)
    assert command("evidence", "sub_1", PERIOD).exit_code == 0
    assert (tmp_path / "evidence-sub_1-2026-01-31" / "facts.txt").exists()
