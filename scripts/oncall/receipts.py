"""Restores a receipt from the versions that the bucket keeps."""

from collections.abc import Iterator
from hashlib import sha256

from renewals.domain import refunds
from renewals.domain.item_values import Item
from renewals.ledger.table import Ledger
from scripts.deployment import Deployment
from scripts.plainly import Trouble

_PAGE, _MOST_PAGES = 100, 100


def restore(deployment: Deployment, key: str) -> str:
    """Restore the version whose hash the ledger holds, and describe the result in words.

    Args:
        deployment: the deployed stack.
        key: the key as the audit reports the key, receipts/<customer>/<subscription>/<payment>.pdf.

    Raises:
        Trouble: the receipt cannot be restored.
    """
    digest = _hash_in_ledger(deployment.register.ledger, key)
    s3, bucket = deployment.client("s3"), deployment.output("ReceiptsBucketName")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
    versions = [each for page in pages for each in page.get("Versions", []) if each["Key"] == key]
    for version in sorted(versions, key=lambda each: each["LastModified"], reverse=True):
        receipt = s3.get_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])["Body"].read()
        if sha256(receipt).hexdigest() != digest:
            continue
        if version["IsLatest"]:
            return "nothing to do: the stored receipt is the ledger's receipt"
        source = {"Bucket": bucket, "Key": key, "VersionId": version["VersionId"]}
        s3.copy_object(Bucket=bucket, Key=key, CopySource=source, ChecksumAlgorithm="SHA256")
        return f"restored the version of {version['LastModified']:%Y-%m-%d %H:%M} UTC, which is the ledger's receipt"
    raise Trouble(f"None of the bucket's {len(versions)} versions of the receipt is the ledger's receipt.")


def _hash_in_ledger(ledger: Ledger, key: str) -> str:
    match key.split("/"):
        case ["receipts", _, subscription_id, _]:
            for item in _items(ledger, subscription_id):
                refunded = refunds.kept(item).values()
                if item.get("receipt_key") == key:
                    return str(item["receipt_sha256"])
                for refund in refunded:
                    if refund.get("receipt_key") == key:
                        return refund["receipt_sha256"]
            raise Trouble("The ledger has no receipt under this key.")
    raise Trouble("This is not the key of a receipt, such as receipts/<customer>/<subscription>/<payment>.pdf.")


def _items(ledger: Ledger, subscription_id: str) -> Iterator[Item]:
    before = None
    for _ in range(_MOST_PAGES):
        items, before = ledger.page(subscription_id, limit=_PAGE, before=before)
        yield from items
        if before is None:
            return
