"""Limit how often one source on the internet may send a form that anybody may send.

A count stands in the table of counters, one item for each source and hour. The item names the source by a keyed hash,
which differs from hour to hour, and is deleted two hours after its hour began. Each count is one conditional write: two
requests cannot both be the last.

The source is the address that API Gateway saw, from the request's context. A header such as X-Forwarded-For comes from
the client, and is not read.

If the count fails, the error passes through, and the caller must not act: whoever could disturb the counter would
otherwise be rid of the limit.

Decision: D290 (DECISIONS.md).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from renewals.runtime import dynamodb

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import UpdateTypeDef

_HOUR = timedelta(hours=1)
_OF_A_HOUSE = 64
"""The length of the prefix that one house or one telephone has of the addresses of IPv6, and may choose from freely."""


@dataclass(frozen=True, slots=True)
class SourceLimit:
    """A limit for one source. act: what is counted. most: how often in an hour."""

    act: str
    most: int


ADDRESS_FORM = SourceLimit("address-form", 10)
"""The mail addresses that one source may type in an hour. People in one office share a source, and the number."""

DECLARATIONS = SourceLimit("declaration", 10)
"""The declarations that one source may send by the public forms in an hour."""


ALL_LINKS = SourceLimit("all-links", 1000)
"""The links that all typed addresses together cause in an hour. Each link is mailed by an execution behind the queue of
renewals: a flood from very many sources must not fill the queue."""

EVERYBODY = "everybody"
"""The key and the source of a count of all sources together."""


def counted_as(source: str) -> str:
    """Return what a source is counted as: an address of IPv4, or the first 64 bits of an address of IPv6. All sources
    without a readable address are counted together."""
    try:
        address: IPv4Address | IPv6Address = ip_address(source.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((int(address), _OF_A_HOUSE), strict=False))


def count(client: DynamoDBClient, table: str, key: str, limit: SourceLimit, source: str, now: datetime) -> bool:
    """Count one more time. Returns False, and counts nothing, if the source has reached the limit in this hour.

    Args:
        table: The table of counters.
        key: The key of the hash.
        source: The address from the request's context.
        now: The real moment.
    """
    try:
        client.update_item(**one_more(table, key, limit, source, now))
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return False
    return True


def one_more(table: str, key: str, limit: SourceLimit, source: str, now: datetime) -> UpdateTypeDef:
    """Return the arguments of the update that counts one more time, and fails at the limit. Arguments as for count."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    counted = f"{limit.act}/{hour.isoformat()}/{counted_as(source)}"
    update, condition = (
        "SET #expires_at = :expires_at ADD #times :one",
        "attribute_not_exists(#times) OR #times < :most",
    )
    values = {":one": 1, ":most": limit.most, ":expires_at": int((hour + 2 * _HOUR).timestamp())}
    return {
        "TableName": table,
        "Key": dynamodb.attributes({"counter": hmac.digest(key.encode(), counted.encode(), sha256).hex()}),
        "UpdateExpression": update,
        "ConditionExpression": condition,
        "ExpressionAttributeNames": dynamodb.names(update, condition),
        "ExpressionAttributeValues": dynamodb.attributes(values),
    }
