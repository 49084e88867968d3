"""The sample subscription of a fresh local stack, used by `events/*.json` and `python -m local.webhook`."""

from local.stack import Stack
from local.subscribe import customer_with_card

SUBSCRIPTION_ID = "sub_sample"
CUSTOMER_ID = "cus_sample"
AMOUNT = "120.00"


def add_sample(stack: Stack) -> None:
    """Add the sample customer to the sandbox gateway and the sample subscription to the table, unless already added.

    The subscription renews every ten years: the billing period in the events, 2026-01-31, therefore stays due.
    """
    dynamodb, table = stack.client("dynamodb"), stack.outputs["SubscriptionsTableName"]
    key = {"subscription_id": {"S": SUBSCRIPTION_ID}, "customer_id": {"S": CUSTOMER_ID}}
    if "Item" in dynamodb.get_item(TableName=table, Key=key):
        return
    customer, card = customer_with_card(stack, "Sam Sample", "sam@example.com", "pm_card_visa")
    row = {
        "renewal_date": "2026-01-31",
        "status": "active",
        "currency": "USD",
        "interval": "year",
        "plan": "Domain example.com, ten years",
        "customer_name": "Sam Sample",
        "customer_email": "sam@example.com",
        "locale": "en",
        "gateway_customer": customer,
        "payment_method": card,
    }
    numbers = {"amount": AMOUNT, "interval_count": "10"}
    dynamodb.put_item(
        TableName=table,
        Item=key
        | {name: {"S": value} for name, value in row.items()}
        | {name: {"N": value} for name, value in numbers.items()},
    )
