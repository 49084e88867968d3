"""The mail that confirms a change, in the customer's language.

The texts stand in the catalogues renewals/language/catalogues/notices.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from renewals.domain.renewal import MailKind
from renewals.domain.subscription import SubscriptionStatus
from renewals.language import Words, words
from send_email.letter import PLAIN, Brand, Letter, Link, line, message

if TYPE_CHECKING:
    from datetime import date, tzinfo
    from email.message import EmailMessage

    from renewals.domain.confirmations import Confirmation
    from renewals.domain.known import Terms
    from renewals.domain.preview import NextCharge


_DECLARED = {
    MailKind.CANCELLATION_DECLARED: "notices.cancellation_declared_told",
    MailKind.WITHDRAWAL_DECLARED: "notices.withdrawal_declared_told",
}


@dataclass(frozen=True, slots=True)
class MailSeller:
    """The seller. page: the URL of the customer page; empty without a page. brand: the look of the mail."""

    name: str
    page: str
    brand: Brand = PLAIN


@dataclass(frozen=True, slots=True)
class Ahead:
    """The payments ahead.

    Attributes:
        charges: the next two payments, as far as the payments can be told.
        is_open: whether a payment that began before is not settled.
        today: the day of the subscription.
        zone: the business's time zone.
        are_known: whether the payments can be told; False if the row or the ledger has a fault.
    """

    charges: tuple[NextCharge, ...]
    is_open: bool
    today: date
    zone: tzinfo
    are_known: bool = True


def confirmation_mail(
    confirmation: Confirmation, ahead: Ahead, *, seller: MailSeller, sender: str, to: str
) -> EmailMessage:
    """Compose the mail.

    Args:
        confirmation: the change, and what can be read of the row.
        ahead: the payments ahead.
        seller: the seller at the end of the mail.
        sender, to: deliverable addresses.
    """
    writing = _Writing(words(confirmation.subscription.locale), confirmation, ahead, seller)
    return message(writing.letter(), sender, to)


@dataclass(frozen=True, slots=True)
class _Writing:
    """The writing of a mail."""

    say: Words
    confirmation: Confirmation
    ahead: Ahead
    seller: MailSeller

    def letter(self) -> Letter:
        subscription, kind = self.confirmation.subscription, self.confirmation.kind
        charges = self.ahead.charges
        paragraphs = {
            MailKind.SIGN_UP: self._signed_up,
            MailKind.CANCELLATION: self._canceled,
            MailKind.RESUMPTION: self._resumed,
            MailKind.CHANGED_TERMS: self._changed,
            MailKind.NEW_CARD: self._new_card,
            MailKind.ENDED_BY_DISPUTE: self._ended_by_dispute,
            MailKind.ACCOUNT_LINK: self._linked,
            MailKind.CANCELLATION_DECLARED: self._declared,
            MailKind.WITHDRAWAL_DECLARED: self._declared,
        }[kind](charges)
        page = self.seller.page
        return Letter(
            words=self.say,
            subject=self._said(f"notices.subject_{kind}", plan=self._plan),
            name=subscription.customer_name,
            paragraphs=paragraphs,
            action=Link(self._said("notices.link"), page) if page else None,
            facts=self._facts(charges),
            seller=line(self.seller.name),
            brand=self.seller.brand,
        )

    def _signed_up(self, charges: tuple[NextCharge, ...]) -> list[str]:
        return [
            self._said("notices.sign_up_told", plan=self._plan),
            *self._what_follows(charges),
            self._way_to_cancel(),
        ]

    def _linked(self, _charges: tuple[NextCharge, ...]) -> list[str]:
        return [self._said("notices.account_link_told", plan=self._plan), self._said("notices.account_link_ignored")]

    def _declared(self, _charges: tuple[NextCharge, ...]) -> list[str]:
        return [
            self._said(
                _DECLARED[self.confirmation.kind], moment=self._received, number=self._number or "", plan=self._plan
            ),
            self._said("notices.declared_next"),
            self._said("notices.declared_not_you"),
        ]

    def _resumed(self, charges: tuple[NextCharge, ...]) -> list[str]:
        return [
            self._said("notices.resumption_told", plan=self._plan),
            *self._what_follows(charges),
            self._way_to_cancel(),
        ]

    def _canceled(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say when the subscription ends, and whether money is still charged. A charge that began before the
        cancellation may still succeed at the bank."""
        if self._has_ended:
            told = self._said("notices.cancellation_now_told", plan=self._plan)
        else:
            told = self._said("notices.cancellation_told", plan=self._plan, day=self._last_day)
        rest = [self._said("notices.charge_open")] if self._may_be_charged(charges) else self._rest(charges)
        return [told, *rest, *self._not_you()]

    def _not_you(self) -> list[str]:
        """Say what to do if a stranger has sent the cancellation by the public form, which needs no session."""
        if self._number is None:
            return []
        can_resume = not self._is_canceled and self.seller.page
        return [self._said("notices.by_form_undo" if can_resume else "notices.by_form_contact")]

    def _new_card(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say when the payment method was updated, and the customer's next step if somebody else updated the payment
        method. The mail promises no attempt at a past due payment: the attempt may be over before the mail goes out,
        and the mail about the attempt tells the result."""
        told = [self._said("notices.new_card_told", plan=self._plan, moment=self._received)]
        if self._has_ended:
            told += [self._said("notices.charge_open")] if self._may_be_charged(charges) else self._rest(charges)
        elif self._is_live:
            told += self._what_follows(charges)
        elif self.confirmation.subscription.status is not None and not self.ahead.is_open:
            told.append(self._said("notices.new_card_not_charged"))
        # The page takes no payment method of a subscription with an unknown status.
        can_update = self.confirmation.subscription.status is not None and not self._has_ended and self.seller.page
        return [*told, self._said("notices.new_card_undo" if can_update else "notices.new_card_contact")]

    def _ended_by_dispute(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say when the subscription ends, whether money is still charged, and whom to ask. The mail says nothing about
        who is right: the bank decides. A payment that began before may still succeed at the bank: the subscription
        then ends with the days of the payment, unless the status is `canceled` already."""
        if self._has_ended:
            told = self._said("notices.ended_by_dispute_told", plan=self._plan)
        else:
            told = self._said("notices.ends_by_dispute_told", plan=self._plan, day=self._last_day)
        still = self._rest(charges)
        if self._may_be_charged(charges):
            still = [self._said("notices.charge_open" if self._is_canceled else "notices.charge_open_paid_days")]
        return [told, *still, self._said("notices.dispute_contact", seller=line(self.seller.name))]

    def _may_be_charged(self, charges: tuple[NextCharge, ...]) -> bool:
        return not charges and self.ahead.is_open

    def _rest(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say what is charged before the subscription ends. If the payments ahead are not known, the mail promises
        that nothing more is charged only if the subscription ends before its next payment."""
        if charges:
            return [self._charged("notices.charged_last", charges[0])]
        end, renews = self.confirmation.subscription.cancel_at, self.confirmation.subscription.renewal_date
        ends_before = end is not None and renews is not None and end <= renews
        is_sure = self.ahead.are_known or self._is_canceled or ends_before
        return [self._said("notices.charged_no_more")] if is_sure else []

    def _changed(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say what has changed. A new price counts from the first payment that has the new price: a price that a
        reminder named, or that a begun charge has, holds for its payment."""
        new, old = self.confirmation.subscription.terms, self.confirmation.before
        told = [self._said("notices.changed_terms_told", plan=self._plan)]
        if new is None or old is None:
            return [*told, self._way_to_cancel()]
        if old.plan != new.plan:
            told.append(self._said("notices.plan_changed", new=self._plan, old=line(old.plan)))
        if (old.amount, old.currency) != (new.amount, new.currency):
            told += self._new_price(charges, new, old)
        if (old.interval, old.count) != (new.interval, new.count):
            told.append(self._said("notices.interval_changed"))
        if self.confirmation.subscription.cancel_at is not None:
            told.append(self._said("notices.ends_on", day=self._last_day))
        return [*told, self._way_to_cancel()]

    def _new_price(self, charges: tuple[NextCharge, ...], new: Terms, old: Terms) -> list[str]:
        """Say from which payment on the price is the new price. If the payments ahead are not known, the list of both
        prices in the mail must do."""
        if not self.ahead.are_known:
            return []
        prices = {"new": self._price(new), "old": self._price(old)}
        begins = [each for each in charges if (each.amount, each.currency) == (new.amount, new.currency)]
        before = [each for each in charges if each not in begins and (not begins or each.start < begins[0].start)]
        if begins:
            told = [self._said("notices.price_from", day=self.say.day(begins[0].start), **prices)]
        elif self.confirmation.subscription.cancel_at is None:
            told = [self._said("notices.price_later", **prices)]
        else:
            told = []
        return told + [self._charged("notices.price_still", each) for each in before[:1]]

    def _what_follows(self, charges: tuple[NextCharge, ...]) -> list[str]:
        """Say when money is charged next, and when the subscription ends if its end is set."""
        subscription = self.confirmation.subscription
        told = []
        if subscription.status is SubscriptionStatus.PAST_DUE:
            told.append(self._said("notices.past_due"))
        elif charges:
            key = "notices.charged_on" if subscription.cancel_at is None or len(charges) > 1 else "notices.charged_last"
            told.append(self._charged(key, charges[0]))
        if subscription.cancel_at is not None:
            told.append(self._said("notices.ends_on", day=self._last_day))
        return told

    def _charged(self, key: str, charge: NextCharge) -> str:
        return self._said(key, price=self._price(charge), day=self.say.day(charge.on))

    def _way_to_cancel(self) -> str:
        if self.seller.page:
            return self._said("notices.cancel_page")
        return self._said("notices.cancel_contact", seller=line(self.seller.name))

    def _facts(self, charges: tuple[NextCharge, ...]) -> list[tuple[str, str]]:
        if self.confirmation.kind in _DECLARED:
            return [(self._said("notices.plan"), self._plan), *self._ids()]
        subscription = self.confirmation.subscription
        facts = [(self._said("notices.plan"), self._plan)]
        if subscription.terms is not None:
            facts += self._terms(subscription.terms, self.confirmation.before)
        if charges:
            facts.append((self._said("notices.next_payment"), self.say.day(charges[0].on)))
        if subscription.cancel_at is not None and not self._is_canceled:
            facts.append((self._said("notices.last_day"), self._last_day))
        card = self._card if self.confirmation.kind is MailKind.NEW_CARD else ""
        if card:
            facts.append((self._said("notices.new_card"), card))
        if self.confirmation.kind is MailKind.CANCELLATION:
            facts.append((self._said("notices.received"), self._received))
        return [*facts, *self._ids()]

    def _terms(self, new: Terms, old: Terms | None) -> list[tuple[str, str]]:
        """List the price, the earlier price if the price has changed, and the billing period."""
        facts = [(self._said("notices.price"), self._money(new))]
        if old is not None and (old.amount, old.currency) != (new.amount, new.currency):
            facts.append((self._said("notices.old_price"), self._money(old)))
        if new.count == 1:
            return [*facts, (self._said("notices.period"), self._said(f"notices.period_{new.interval}"))]
        return [*facts, (self._said(f"notices.periods_{new.interval}"), str(new.count))]

    def _ids(self) -> list[tuple[str, str]]:
        declared = [(self._said("notices.declaration"), self._number)] if self._number is not None else []
        return [*declared, (self._said("notices.subscription"), self.confirmation.subscription.subscription_id)]

    def _said(self, key: str, **values: str) -> str:
        return self.say.say(key, **values)

    def _price(self, of: Terms | NextCharge) -> str:
        return self.say.price(of.amount, of.currency)

    def _money(self, of: Terms) -> str:
        return self.say.money(of.amount, of.currency)

    @property
    def _is_canceled(self) -> bool:
        return self.confirmation.subscription.status is SubscriptionStatus.CANCELED

    @property
    def _has_ended(self) -> bool:
        """Whether the last day is over: the sweep cancels a subscription later than on the day of its end."""
        end = self.confirmation.subscription.cancel_at
        return self._is_canceled or (end is not None and end <= self.ahead.today)

    @property
    def _is_live(self) -> bool:
        status = self.confirmation.subscription.status
        return status is not None and status.is_live

    @property
    def _plan(self) -> str:
        return line(self.confirmation.subscription.plan)

    @property
    def _last_day(self) -> str:
        end = self.confirmation.subscription.cancel_at
        return self.say.day(_day_before(end)) if end is not None else ""

    @property
    def _card(self) -> str:
        """The brand and the last digits of the card; empty as long as the row does not name them."""
        from renewals.domain.reminders import known_card  # most mails name no card

        whole = self.confirmation.subscription.whole
        card = known_card(whole) if whole is not None else None
        return self.say.card(line(card.name)) if card is not None else ""

    @property
    def _number(self) -> str | None:
        """The number of the declaration that has caused the change; None without a declaration."""
        from renewals.domain.declaration_numbers import number_of  # most mails are about no declaration

        return number_of(self.confirmation.change.key)

    @property
    def _received(self) -> str:
        """The moment of the change. Of a declaration, the moment at which the form was sent counts."""
        from renewals.domain.declaration_numbers import declared_at

        at = declared_at(self._number or "") or self.confirmation.change.at
        at = at.astimezone(self.ahead.zone)
        offset = f"UTC{at:%:z}".removesuffix(":00")
        return self._said("notices.moment", day=self.say.day(at.date()), time=f"{at:%H:%M}", offset=offset)


def _day_before(day: date) -> date:
    return day - timedelta(days=1)
