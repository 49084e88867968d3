"""Gives the links in mails addresses that are known before the APIs are deployed.

/_local/receipts/... leads to the API that opens receipts. /_local/account/... leads to the API of the customer page,
under a host name of that API's own, as on AWS: a browser keeps the cookies of the page apart from every other page of
the machine, and treats the name, which ends in localhost, like an https address.
"""

from urllib.parse import quote

from local.emulator.paths import Answer, answer_at

_LOCAL = "/_local"


def apply() -> None:
    answer_at(f"{_LOCAL}/receipts/", _led_to_receipt)
    # The gateway's pages lead back with the id of a session in the query.
    answer_at(f"{_LOCAL}/account", _led_to_account, with_query=True)
    answer_at(f"{_LOCAL}/account/", _led_to_account, with_query=True)


async def _led_to_receipt(_method: str, path: str, _body: bytes) -> Answer:
    return _led_to(f"/_aws/execute-api/{_api_with('/receipts/{token+}')}", path)


async def _led_to_account(_method: str, path: str, _body: bytes) -> Answer:
    from ministack import app

    host = f"{_api_with('/account/{path+}')}.execute-api.localhost:{app._MINISTACK_PORT}"
    return _led_to(f"http://{host}", path)


def _led_to(api: str, path: str) -> Answer:
    path, mark, query = path.removeprefix(_LOCAL).partition("?")
    return 307, {"Location": f"{api}/prod{quote(path)}{mark}{query}"}, b""


def _api_with(path: str) -> str:
    """Return the id of the API that has the path."""
    from ministack.services import apigateway_v1

    apis = apigateway_v1._resources.all_items()
    found: str = next(api for (_, _, api), paths in apis if any(each["path"] == path for each in paths.values()))
    return found
