"""The command as a person runs it, against the deployed stack."""

import os
import signal
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from local.stack import ROOT
from tests.integration.shop import Shop, Subscriber, assert_untouched, today, wait_until

HEADER = "subscription_id,customer_id,renewal_date,amount,currency,gateway_customer,payment_method,customer_email"
LINES = 400
# This process may ignore interrupts, as a shell's background job does; the command must not.
COMMAND = ["env", "--default-signal=INT", sys.executable, "-m", "scripts.subscriptions"]


def environment(shop: Shop, **changes: str) -> dict[str, str]:
    reaches = {"AWS_CONFIG_FILE": str(shop.stack.aws_config_file), "AWS_PROFILE": "local", "NO_PROXY": "*"}
    nobodys = {"AWS_SHARED_CREDENTIALS_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    return {"PATH": os.environ["PATH"]} | nobodys | reaches | changes


def run(shop: Shop, *words: str, **changes: str) -> tuple[int, str]:
    """Run a command; return exit status and output, without the spaces and lines of a table."""
    done = subprocess.run(
        [*COMMAND, *words],
        cwd=ROOT,
        env=environment(shop, **changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


def written(folder: Path, lines: list[str]) -> str:
    file = folder / "subscriptions.csv"
    file.write_text("\n".join([HEADER, *lines]) + "\n")
    return str(file)


def rows_of(shop: Shop, mark: str) -> int:
    """Return the number of rows whose ids begin with the mark."""
    pages = shop.stack.client("dynamodb").get_paginator("scan").paginate(
        TableName=shop.subscriptions.name,
        Select="COUNT",
        FilterExpression="begins_with(subscription_id, :mark)",
        ExpressionAttributeValues={":mark": {"S": mark}},
    )  # fmt: skip
    return sum(page["Count"] for page in pages)


@pytest.mark.timeout(300)
def test_an_import_that_is_interrupted_is_run_again(shop: Shop, tmp_path: Path) -> None:
    """An import ended by Ctrl-C has written whole subscriptions; the same command then writes the rest, and a third
    time has nothing to do. Every creation is recorded once, and a bad line costs no good line."""
    mark, day = f"sub_{uuid.uuid4().hex[:8]}", (today() + timedelta(days=30)).isoformat()
    saved = shop.subscribe(renewal_date=day)  # every line names this subscriber's customer and card
    card = f"{saved.gateway_customer},{saved.payment_method}"
    lines = [f"{mark}_{n},cus_{n},{day},29.99,USD,{card},c{n}@example.org" for n in range(LINES)]
    lines.insert(7, f"{mark}_bad,cus_1,{day},29.999,usd,{card},nobody")
    file = written(tmp_path, lines)

    looked = run(shop, "import", file)
    assert looked[0] == 1
    assert f"{LINES} would be created" in looked[1]
    assert "line 9: amount is not a number" not in looked[1]
    assert "line 9: currency is not an ISO 4217 code in capital letters; customer_email is not a mail" in looked[1]
    assert rows_of(shop, mark) == 0

    importing = subprocess.Popen([*COMMAND, "import", "--apply", file], cwd=ROOT, env=environment(shop),
                                 stdout=subprocess.PIPE, text=True)  # fmt: skip
    wait_until(lambda: rows_of(shop, mark) > 10, seconds=60)
    importing.send_signal(signal.SIGINT)
    said, _ = importing.communicate(timeout=60)
    assert importing.returncode == 130, said
    assert "Interrupted. The subscriptions written so far are kept; run the same command again for the rest." in said
    cut_off = rows_of(shop, mark)
    assert 10 < cut_off < LINES

    status, said = run(shop, "import", "--apply", file)
    assert (status, rows_of(shop, mark)) == (1, LINES), said
    assert f"{LINES - cut_off} created {cut_off} existed already 1 bad" in said
    assert f"0 created {LINES} existed already 1 bad" in run(shop, "import", "--apply", file)[1]
    status, said = run(shop, "why", f"{mark}_{LINES - 1}")
    assert (status, said.count("root created the subscription.")) == (0, 1)


def test_a_subscription_from_its_line_to_its_receipt(shop: Shop, tmp_path: Path) -> None:
    """A due subscription is held back until `--charge-due`; then the subscription is imported, shown, renewed by hand
    once, and told in full."""
    card = shop.subscribe()  # for the customer and the card at the gateway; the row is deleted
    shop.subscriptions.delete_item(Key={"subscription_id": card.subscription_id, "customer_id": card.customer_id})
    row = f"{card.subscription_id},{card.customer_id},{today()},29.99,USD,{card.gateway_customer},{card.payment_method}"
    file = written(tmp_path, [f"{row},{card.email}"])
    assert "1 held back" in run(shop, "import", "--apply", file)[1]
    assert (
        "1 created Due at once: 1 subscription, 1 charge, 29.99 USD."
        in run(shop, "import", "--apply", "--charge-due", file)[1]
    )

    status, said = run(shop, "show", card.subscription_id)
    assert (status, "Next charge: 29.99 USD on" in said) == (0, True)
    status, said = run(shop, "renew-now", card.subscription_id)
    assert (status, "29.99 USD for Subscription was charged to Visa ending in 4242" in said) == (0, True), said
    assert run(shop, "renew-now", card.subscription_id) == (0, "Nothing was charged: the period is renewed already.")
    assert len(shop.charges(card, status="succeeded")) == 1
    status, said = run(shop, "why", card.subscription_id)
    assert said.index("root created the subscription.") < said.index("was charged to Visa")
    assert said.count("root asked for a renewal at once.") == 2
    assert "existed already, renewed since" in run(shop, "import", file)[1]


def test_what_is_not_due_is_not_charged(shop: Shop) -> None:
    """Asked for a renewal that is not due, the command says so and changes nothing."""
    subscriber = shop.subscribe(renewal_date=(today() + timedelta(days=3)).isoformat())
    assert run(shop, "renew-now", subscriber.subscription_id) == (
        0,
        "Nothing was charged: the subscription is not due.",
    )
    assert_untouched(shop, subscriber)


def test_a_mail_of_unknown_fate_is_sent_again_by_decision(shop: Shop) -> None:
    """A renewal that stands as mail_unknown gets its mail, and the timeline names who decided to send the mail."""
    subscriber = shop.subscribe()
    shop.renew(subscriber)
    [item] = shop.ledger(subscriber)
    mails = {"receipt_1": item["mails"]["receipt_1"] | {"state": "unknown", "reason": "interrupted while sending"}}
    shop.renewals.put_item(
        Item=item | {"status": "mail_unknown", "reason": "interrupted while sending", "mails": mails}
    )
    status, said = run(shop, "resend-mail", subscriber.subscription_id, item["renewal_date"])
    assert (status, "Mailed the receipt to" in said) == (0, True), said
    assert len(shop.mails(subscriber)) == 2
    assert shop.ledger(subscriber)[0]["status"] == "done"
    assert run(shop, "resend-mail", subscriber.subscription_id, item["renewal_date"])[0] == 1
    assert "root asked for the mail of the receipt to be sent again" in run(shop, "why", subscriber.subscription_id)[1]


def test_lists_on_the_deployed_stack(shop: Shop) -> None:
    """A subscription is listed by customer through the index, and by status through the table."""
    subscriber: Subscriber = shop.subscribe(status="unpaid", renewal_date=(today() + timedelta(days=9)).isoformat())
    for words in (("--customer", subscriber.customer_id), ("--status", "unpaid", "--limit", "1000")):
        status, said = run(shop, "list", *words)
        assert (status, subscriber.subscription_id in said) == (0, True)
    status, said = run(shop, "list", "--customer", subscriber.customer_id, "--due-before", today().isoformat())
    assert (status, subscriber.subscription_id in said) == (0, False)


def test_an_environment_that_reaches_nothing(shop: Shop, tmp_path: Path) -> None:
    """Without a profile, credentials, a stack or a network the real command ends with a single sentence."""
    config = tmp_path / "config"
    config.write_text("[profile empty]\nregion = us-west-2\n")
    show = ("show", "sub_1")
    for words, changes, sentence in (
        (show, {"AWS_PROFILE": "nobody"}, "There is no AWS profile nobody: set AWS_PROFILE."),
        (show, {"AWS_CONFIG_FILE": str(config), "AWS_PROFILE": "empty"}, "There are no AWS credentials: set"),
        (show, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, "Nothing answers at http://127.0.0.1:9"),
        (("--stack-name", "other", *show), {}, "There is no stack other in us-west-2"),
    ):
        status, told = run(shop, *words, **changes)
        assert (status, told.startswith(f"Error: {sentence}"), "Traceback" in told) == (1, True, False), told
