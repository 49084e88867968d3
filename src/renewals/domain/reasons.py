"""The reasons why nothing was charged: every spelling stored in the ledger or returned by the workflow, with its words.

A stored reason is either the spelling of a member; or `gateway: <code>`, perhaps followed by the attribute at fault; or
the spelling of a member followed by `, <code> at the gateway`; or a sentence for people. The stored reason of a mail is
`ses: <code>`, or the name of the error that broke the connection, or a sentence. `in_words` reads every form. Programs
compare the spellings; people read the words.
"""

from __future__ import annotations

import re

from renewals.domain import wording
from renewals.domain.worded import Worded


class Reason(Worded):
    """A reason and the words for it. The words are a clause for people who look after a subscription."""

    # The subscription no longer asks for the period's charge.
    PAUSED = "paused", "the subscription was paused"
    CANCELED = "canceled", "the subscription was canceled"
    UNPAID = "unpaid", "the subscription was suspended as unpaid"
    DELETED = "deleted", "the subscription was deleted"
    UNKNOWN_STATUS = "unknown_status", "the subscription's status is unknown"
    ENDS_BEFORE = "cancels_at_period_end", "the subscription ends before this period"
    MOVED = "moved", "the subscription's renewal date was changed"
    ANOTHER_CARD = "another_card", "the subscription's payment method was updated"
    ANOTHER_CUSTOMER = "another_customer", "the subscription's customer at the gateway was changed"
    PASSED_OVER = "passed_over", "a later period was billed instead"

    # The payment did not succeed.
    DUNNING_OVER = "dunning_over", "all attempts have failed"
    PICKED_UP_TOO_OFTEN = "picked_up_too_often", "ten tries in a row were interrupted"
    CANCELED_AT_THE_GATEWAY = "gateway: canceled", "somebody canceled the payment at the gateway"
    AMOUNT_DIFFERS = (
        "amount_differs: the payment is not of the amount that was claimed",
        "the payment at the gateway has a different amount than the claim",
    )

    # The renewal needs no work, or no work yet.
    NOT_DUE = "not_due", "the subscription is not due"
    RENEWED_ALREADY = "renewed_already", "the period is renewed already"
    ANOTHER_PERIOD = "another_period", "the requested period is not the due period"
    AMOUNT_CHANGED = (
        "amount_changed",
        "the subscription's amount was changed during the request; send the request again",
    )
    CAUGHT_UP_BY_THE_SWEEP = (
        "caught_up_by_the_sweep",
        "several periods are owed, and the sweep bills them one at a time",
    )
    ADDRESS_AT_FAULT = "address_at_fault", "the mail owed to the customer waits for a new address"
    CUSTOMER_NOT_TOLD = (
        "customer_not_told",
        "dunning waits for a new address, since the customer has not been told yet that dunning ends",
    )
    CHARGING_IS_OFF = "charging_is_off", "charging is turned off"
    GATEWAY_ACCOUNT = "gateway_account", "the gateway rejects our account or key"
    PROCESSING = "processing", "the bank has not decided about the payment yet"
    NOTHING_TO_CONFIRM = "nothing_to_confirm", "no confirmation of a change is owed to the customer"
    NOTHING_TO_REMIND_OF = "nothing_to_remind_of", "no reminder is owed to the customer"
    NOT_PAID = "not_paid", "the period is not paid, and therefore has no refunds"
    ONLY_BY_THE_PAGE = "only_by_the_page", "only the customer's page may make this request"
    REFUNDS_LOOKED_AT = "refunds_looked_at", "the period's refunds were checked, and no mail is owed"


_NOT_KNOWN_THERE = re.compile(r"(?P<reason>\w+), (?P<code>\w+) at the gateway", re.ASCII)
_ANSWER_OF_SES = re.compile(r"ses: (?P<code>\w+)", re.ASCII)
_ERROR_NAME = re.compile(r"[A-Z]\w+", re.ASCII)
_BARE_CODE = re.compile(r"[\w.:-]+", re.ASCII)


def in_words(stored: str | None) -> str:
    """Return a stored reason as a clause for people: "the subscription was paused".

    A spelling unknown to this version is quoted, and called unknown.
    """
    if not stored:
        return "no reason was recorded"
    if known := Reason.words_of(stored):
        return known
    if found := _NOT_KNOWN_THERE.fullmatch(stored):
        return f"{in_words(found['reason'])}; the gateway did not know the payment ({found['code']})"
    if found := _ANSWER_OF_SES.fullmatch(stored):
        return f"the mail service refused the mail ({found['code']})"
    if _ERROR_NAME.fullmatch(stored):
        return f"the connection to the mail service broke ({stored})"
    refused = wording.refused(stored)
    if refused:
        return refused
    return f'the reason "{stored}", which this version does not know' if _BARE_CODE.fullmatch(stored) else stored
