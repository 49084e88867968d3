"""The supported part of Stripe's v1 API: a line for every operation.

A listed operation accepts the parameters declared for the operation and refuses all others. A path that is not listed
is an unrecognized URL.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from local.gateway import charges, checkout, disputes, events, fraud_warnings, intent_params, intents, params, wallet
from local.gateway.world import Call, Object, World


@dataclass(frozen=True)
class Operation:
    """An operation of the API.

    Attributes:
        path: the path, which may hold {id}.
        needs: the required parameters.
        locks: whether only a single request at a time may work on the intent in the URL.
    """

    name: str
    method: str
    path: str
    handle: Callable[[World, Call], Object]
    takes: params.Spec = field(default_factory=lambda: params.EXPAND)
    needs: tuple[str, ...] = ()
    locks: bool = False


OPERATIONS = (
    Operation("customers.create", "POST", "/v1/customers", wallet.create_customer, wallet.CUSTOMER_CREATE),
    Operation("customers.retrieve", "GET", "/v1/customers/{id}", wallet.retrieve_customer),
    Operation("customers.update", "POST", "/v1/customers/{id}", wallet.update_customer, wallet.CUSTOMER),
    Operation("customers.delete", "DELETE", "/v1/customers/{id}", wallet.delete_customer),
    Operation("customers.payment_methods.list", "GET", "/v1/customers/{id}/payment_methods",
              wallet.list_customers_methods, wallet.CUSTOMERS_METHODS),
    Operation("payment_methods.create", "POST", "/v1/payment_methods", wallet.create_method, wallet.METHOD_CREATE,
              ("type", "card")),
    Operation("payment_methods.retrieve", "GET", "/v1/payment_methods/{id}", wallet.retrieve_method),
    Operation("payment_methods.list", "GET", "/v1/payment_methods", wallet.list_methods, wallet.METHODS),
    Operation("payment_methods.attach", "POST", "/v1/payment_methods/{id}/attach", wallet.attach, wallet.ATTACH,
              ("customer",)),
    Operation("payment_methods.detach", "POST", "/v1/payment_methods/{id}/detach", wallet.detach),
    Operation("payment_intents.create", "POST", "/v1/payment_intents", intents.create, intent_params.CREATE,
              ("amount", "currency")),
    Operation("payment_intents.list", "GET", "/v1/payment_intents", intents.list_all, intent_params.LIST),
    Operation("payment_intents.retrieve", "GET", "/v1/payment_intents/{id}", intents.retrieve),
    Operation("payment_intents.update", "POST", "/v1/payment_intents/{id}", intents.update, intent_params.UPDATE,
              locks=True),
    Operation("payment_intents.confirm", "POST", "/v1/payment_intents/{id}/confirm", intents.confirm,
              intent_params.CONFIRM, locks=True),
    Operation("payment_intents.cancel", "POST", "/v1/payment_intents/{id}/cancel", intents.cancel, intent_params.CANCEL,
              locks=True),
    Operation("charges.retrieve", "GET", "/v1/charges/{id}", charges.retrieve),
    Operation("charges.list", "GET", "/v1/charges", charges.list_all, charges.LIST),
    Operation("disputes.retrieve", "GET", "/v1/disputes/{id}", disputes.retrieve),
    Operation("disputes.list", "GET", "/v1/disputes", disputes.list_all, disputes.LIST),
    Operation("radar.early_fraud_warnings.retrieve", "GET", "/v1/radar/early_fraud_warnings/{id}",
              fraud_warnings.retrieve),
    Operation("radar.early_fraud_warnings.list", "GET", "/v1/radar/early_fraud_warnings", fraud_warnings.list_all,
              fraud_warnings.LIST),
    Operation("checkout.sessions.create", "POST", "/v1/checkout/sessions", checkout.create, checkout.CREATE, ("mode",)),
    Operation("checkout.sessions.retrieve", "GET", "/v1/checkout/sessions/{id}", checkout.retrieve),
    Operation("checkout.sessions.expire", "POST", "/v1/checkout/sessions/{id}/expire", checkout.expire),
    Operation("setup_intents.retrieve", "GET", "/v1/setup_intents/{id}", checkout.retrieve_intent),
    Operation("events.retrieve", "GET", "/v1/events/{id}", events.retrieve),
    Operation("events.list", "GET", "/v1/events", events.list_all, events.LIST),
    Operation("refunds.create", "POST", "/v1/refunds", charges.refund, charges.REFUND),
    Operation("refunds.retrieve", "GET", "/v1/refunds/{id}", charges.retrieve_refund),
    Operation("refunds.list", "GET", "/v1/refunds", charges.list_refunds, charges.REFUND_LIST),
)  # fmt: skip
