"""The hosts that the AWS clients call, checked in addresses signed by botocore."""

from collections.abc import Iterator

import pytest

from renewals.runtime import aws


@pytest.fixture(autouse=True)
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fresh clients with a function's credentials, and without a profile of this machine."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    _forget()
    yield
    _forget()


def _forget() -> None:
    for kept in (aws.s3, aws._session):
        kept.cache_clear()


def _link() -> str:
    return aws.s3().generate_presigned_url("get_object", Params={"Bucket": "receipts", "Key": "r.pdf"}, ExpiresIn=300)


@pytest.mark.parametrize("region", ["eu-south-1", "af-south-1", "us-west-2"])
def test_a_link_to_a_receipt_leads_to_the_buckets_own_region(region: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link to a receipt leads to the bucket's own region. S3's global host refuses buckets of regions newer than
    March 2019 with 400, and for hours redirects requests for new buckets of older regions, which a signature does not
    survive."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    assert _link().startswith(f"https://receipts.s3.{region}.amazonaws.com/r.pdf?")


def test_an_address_in_digits_has_no_names_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the local stack, whose address is in digits, the bucket stands in the path and not before the host."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert _link().startswith("http://127.0.0.1:4566/receipts/r.pdf?")
