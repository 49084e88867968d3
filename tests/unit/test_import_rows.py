"""How the import reads the lines of a file."""

import io
import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renewals.domain import subscription
from renewals.domain.errors import BadRow
from renewals.domain.subscription import Subscription
from scripts import ROOT
from scripts.subscriptions.rows import COLUMNS, BadFile, Line, from_csv, from_json_lines, judge

GOOD = {
    "subscription_id": "sub_1",
    "customer_id": "cus_1",
    "renewal_date": "2026-02-28",
    "amount": "29.99",
    "currency": "USD",
    "gateway_customer": "cus_gw",
    "payment_method": "pm_ok",
}
HEADER = ",".join(GOOD)


def read(text: bytes | str) -> list[Line]:
    """Return the lines of a CSV file with these bytes, opened as the command opens a file."""
    raw = text if isinstance(text, bytes) else text.encode()
    opened = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8-sig", errors="surrogateescape", newline="")
    return list(from_csv(opened))


def faults(line: Line) -> str:
    return "; ".join(line.faults)


def csv_of(**changes: str) -> str:
    return ",".join((GOOD | changes).values())


def json_of(**changes: Any) -> Line:
    fields = {name: value for name, value in (GOOD | changes).items() if value is not None}
    [line] = from_json_lines([json.dumps(fields)])
    return line


def test_a_status_that_is_none_is_named_with_those_that_are() -> None:
    """In CSV and JSON a misspelt status is refused, and the fault lists the known statuses."""
    known = "status is none of 'active', 'past_due', 'paused', 'canceled' or 'unpaid'"
    [line] = read(f"{HEADER},status\n{csv_of()},Active\n")
    assert (line.subscription, line.faults) == (None, (known,))
    assert json_of(status="cancelled").faults == (known,)
    assert json_of(status=1).faults == (known,)


def test_a_line_becomes_the_row_that_the_api_would_make() -> None:
    """A line becomes the row that the API would make: every column has its type, even for attributes unknown to the
    API, and absent columns have their defaults."""
    given = {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "renewal_date": "2026-02-28",
        "status": "paused",
        "cancel_at": "2026-03-28",
        "test_clock": "2026-01-01",
        "amount": "29.90",
        "currency": "USD",
        "interval": "year",
        "interval_count": "2",
        "anchor_day": "31",
        "catch_up": "each",
        "plan": "Größe, L",
        "customer_name": 'Zoë "Z" Å',
        "customer_email": "zoe@example.org",
        "locale": "pt-BR",
        "reminders": "required",
        "gateway_customer": "cus_gw",
        "payment_method": "pm_ok",
    }
    assert set(given) == set(COLUMNS)
    cells = ",".join('"' + value.replace('"', '""') + '"' for value in given.values())
    full, short = read(f"{','.join(given)}\n{cells}\n")[0], read(f"{HEADER}\n{csv_of()}\n")[0]
    numbers = {"amount": Decimal("29.90"), "interval_count": Decimal(2), "anchor_day": Decimal(31)}
    assert full.subscription is not None
    assert full.subscription.row == given | numbers
    assert short.subscription is not None
    assert (short.subscription.status, short.subscription.plan, short.subscription.catch_up) == (
        "active",
        "Subscription",
        "latest",
    )


@pytest.mark.parametrize(
    "raw",
    [
        f"\ufeff{HEADER}\r\n{csv_of()}\r\n",
        f"{HEADER}\r{csv_of()}\r",
        f"\n\n{HEADER}\n\n{csv_of()}\n,,,,,,\n\n",
        f"{HEADER},plan\n{csv_of()},\n",
    ],
)
def test_odd_but_readable_files(raw: str) -> None:
    """A byte order mark, any line ends, empty lines and empty cells are no faults."""
    [line] = read(raw)
    assert line.subscription is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"amount": '"29,99"'}, "amount is not a number such as 29.99"),
        ({"amount": "29.9900"}, "amount is not a number such as 29.99"),
        ({"amount": "1e3"}, "amount is not a number such as 29.99"),
        ({"amount": "29.999"}, "amount would need rounding"),
        ({"amount": "0.10"}, "amount is below the gateway's minimum"),
        ({"amount": "-5"}, "amount is not a number such as 29.99"),
        ({"currency": "XYZ"}, "currency is not a currency that the payment gateway charges in"),
        ({"currency": "usd"}, "currency is not an ISO 4217 code in capital letters"),
        ({"renewal_date": "2025-3-1"}, "renewal_date is not a date of the form YYYY-MM-DD"),
        ({"renewal_date": "2026-02-30"}, "renewal_date is not a date of the form YYYY-MM-DD"),
        ({"renewal_date": "9999-12-31"}, "renewal_date the next renewal date is past the year 9999"),
        ({"subscription_id": "sub 1"}, "subscription_id is not an id: 1 to 128 letters"),
        ({"customer_id": ""}, "customer_id is missing"),
        ({"customer_id": "cus\x00"}, "customer_id has a control character"),
        ({"payment_method": "pm ok"}, "payment_method is not an id of the gateway's"),
    ],
)
def test_bad_cells(changes: dict[str, str], said: str) -> None:
    """A cell is named with the reason when its value needs guessing or would be refused by a charge."""
    [line] = read(f"{HEADER}\n{csv_of(**changes)}\n")
    assert line.subscription is None
    assert said in faults(line)


def test_every_fault_of_a_line_is_named_and_good_lines_are_not_lost() -> None:
    """Bad lines among good lines are named with their number and all their faults, and the good lines are taken."""
    lines = [
        HEADER,
        csv_of(),
        csv_of(subscription_id="a b", amount="x", renewal_date="today"),
        csv_of(subscription_id="sub_4") + ",extra",
        '"sub_5,cus_1',
        csv_of(subscription_id="sub_6"),
        csv_of(),
        "",
        csv_of(subscription_id="sub_9"),
    ]
    raw = "\n".join(lines).encode().replace(b"sub_9", b"sub_9\xe9")
    found = {line.number: line for line in read(raw + b"\n" + csv_of(subscription_id="sub_10").encode())}
    assert [number for number, line in found.items() if line.subscription] == [2, 6, 10]
    assert len(found[3].faults) == 3
    assert "has 8 cells, and the header has 7" in faults(found[4])
    assert "cannot be parsed" in faults(found[5])
    assert faults(found[7]) == "subscription_id is already used in line 2"
    assert faults(found[9]) == "is not UTF-8 text"


def test_the_second_of_an_id_is_bad_even_where_the_first_is() -> None:
    """When two lines share an id and the first is bad, neither line is taken, since the importer does not guess which
    line was meant."""
    lines = read(f"{HEADER}\n{csv_of(amount='x')}\n{csv_of()}\n")
    assert [line.subscription for line in lines] == [None, None]


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (csv_of(), "missing attributes"),
        (HEADER.replace("amount", "amuont"), "'amuont'"),
        (f"{HEADER},amount", "twice"),
        (HEADER.replace(",", ";"), "semicolons"),
        (f"{HEADER}\n".encode("utf-16"), "not UTF-8"),
        (b"PK\x03\x04\x00\xff\xfe", "not UTF-8"),
    ],
)
def test_a_file_without_a_header_that_can_be_read(raw: str | bytes, said: str) -> None:
    """A file with unknown columns is refused whole, with the fault of the header."""
    with pytest.raises(BadFile, match=said):
        read(raw)


def test_an_empty_file_has_no_lines() -> None:
    """A file without a byte, or with a header alone, has no lines."""
    assert read("") == read(HEADER) == list(from_json_lines([])) == []


@pytest.mark.parametrize(
    ("amount", "kept"), [("29.99", "29.99"), (29, "29"), (1e3, "1000.0"), (0.1 + 0.2, None), (True, None), (None, None)]
)
def test_amounts_in_json(amount: Any, kept: str | None) -> None:
    """A JSON number is taken by its digits: 0.30000000000000004 does not become 0.30."""
    line = json_of(amount=amount)
    assert (line.subscription and f"{line.subscription.amount}") == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"amount": "1", "amount": "2"}', "gives a field more than once"),
        ("[1]", "is not a JSON object"),
        ("{", "is not JSON"),
        ('{"amount": NaN}', "is not JSON"),
        ('{"amount": 1e999999999999999999999}', "out of range"),
        ('{"amount": 1e99999999}', "amount is not a number"),
        ('{"amount": 1, "interval_count": 1.5}', "interval_count is not a whole number"),
        ('{"customer_name": "\\ud800"}', "customer_name has half a character"),
        ('{"customer_name": null}', "customer_name"),
        ('{"colour": "red"}', "'colour' is not an attribute of a subscription"),
        ("[" * 100_000, "is longer than"),
        ("[" * 50_000, "is not JSON"),
    ],
)
def test_bad_json_lines(text: str, said: str) -> None:
    """A line that is no JSON object of a subscription's fields is named with the reason, and the next line is taken."""
    bad, good = from_json_lines([text, json.dumps(GOOD)])
    assert (bad.number, bad.subscription) == (1, None)
    assert said in faults(bad)
    assert good.subscription is not None


TEXTS = st.text("aZé09._:-,@ \n\x00\ud800", max_size=12) | st.sampled_from(
    ["year", "each", "paused", "2026-02-28", "7"]
)


@given(st.dictionaries(st.sampled_from(COLUMNS), TEXTS | st.integers() | st.none() | st.booleans()))
def test_what_is_taken_can_be_charged(changes: dict[str, Any]) -> None:
    """Whatever the fields hold, a line either has faults or becomes a row readable for a charge and equal to the
    line."""
    judged = judge(GOOD | changes)
    if isinstance(judged, Subscription):
        assert subscription.parse(judged.row) == judged
        assert judged.subscription_id == (GOOD | changes)["subscription_id"]
    else:
        assert judged
        assert all(judged)


@given(st.fixed_dictionaries({"amount": st.decimals(-10, 10**7, places=2).map(str),
                              "renewal_date": st.dates(date(1990, 1, 1)).map(str),
                              "currency": st.sampled_from(["USD", "JPY", "KWD", "ISK", "QQQ"])}))  # fmt: skip
def test_a_line_is_refused_where_a_charge_would_be(changes: dict[str, str]) -> None:
    """For money and dates the import refuses a line exactly where the charge would call the row bad."""
    fields = GOOD | changes
    try:
        subscription.parse(fields | {"amount": Decimal(fields["amount"]), "status": "active"})
        chargeable = True
    except BadRow:
        chargeable = False
    assert isinstance(judge(fields), Subscription) is chargeable


def test_the_example_can_be_imported() -> None:
    """The example of an import, docs/subscriptions.csv, imports without a fault."""
    with (ROOT / "docs/subscriptions.csv").open(encoding="utf-8", newline="") as file:
        example = list(from_csv(file))
    assert len(example) == 3
    assert all(line.subscription for line in example)
