"""Gives receipt links an address known before the API is deployed: /_local/receipts redirects to the API."""

from urllib.parse import quote

from local.emulator.paths import Answer, answer_at

_RECEIPTS = "/_local/receipts/"


def apply() -> None:
    answer_at(_RECEIPTS, _led_on)


async def _led_on(_method: str, path: str, _body: bytes) -> Answer:
    from ministack.services import apigateway_v1

    (api_id,) = {api_id for (_, _, api_id), _ in apigateway_v1._rest_apis.all_items()}
    token = quote(path.removeprefix(_RECEIPTS))
    return 307, {"Location": f"/_aws/execute-api/{api_id}/prod/receipts/{token}"}, b""
