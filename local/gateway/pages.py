"""The two pages that the gateway shows to customers, as HTML without scripts: the page for a new card, and the bank's
page for a payment that waits for the customer's confirmation.

    GET, POST /c/pay/{session}              the page for a new card: a test card, and how the customer acts
    GET, POST /bank/{payment}/{challenge}   the bank's page

A GET changes nothing. Stripe's own pages look different and ask for a card number; the ways in and out are Stripe's:
the customer comes back to the session's success_url or cancel_url, or to the payment's return_url with the parameters
payment_intent, payment_intent_client_secret and redirect_status
(docs.stripe.com/payments/3d-secure/authentication-flow).
"""

from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import parse_qs, quote, urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from local.gateway import checkout, intent_outcomes, wallet
from local.gateway.api import Api
from local.gateway.errors import GatewayError
from local.gateway.world import Call, Object, World

type _Form = dict[str, str]

_CARDS = (
    ("pm_card_visa", "Visa 4242: every payment succeeds"),
    ("pm_card_mastercard", "Mastercard 4444: every payment succeeds"),
    ("pm_card_authenticationRequiredOnSetup", "Visa 3155: the bank asks now, and never again"),
    ("pm_card_authenticationRequired", "Visa 3184: the bank asks now, and at each payment"),
    ("pm_card_chargeCustomerFail", "Visa 0341: is saved, and every payment is declined"),
    ("pm_card_chargeDeclined", "Visa 0002: the bank declines the card at once"),
    ("pm_card_chargeDeclinedExpiredCard", "Visa 0069: the card has expired"),
)
_STYLE = """
:root { color-scheme: light dark; }
* { box-sizing: border-box; }
body { margin: 0; font: 1rem/1.5 system-ui, sans-serif; color: #1a1f36; background: #f6f8fa; }
main { max-width: 28rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: .25rem 0 1rem; }
p { margin: 0 0 1rem; overflow-wrap: anywhere; }
fieldset { border: 1px solid #8792a2; border-radius: .5rem; margin: 0 0 1rem; padding: .25rem .75rem; }
legend { padding: 0 .25rem; font-weight: 600; }
label { display: flex; gap: .6rem; align-items: baseline; padding: .55rem 0; }
label + label { border-top: 1px solid #e3e8ee; }
input { flex: none; width: 1.1rem; height: 1.1rem; margin: 0; position: relative; top: .15rem; }
button { display: block; width: 100%; min-height: 3rem; margin: 0 0 .75rem; padding: .6rem 1rem; font: inherit;
  font-weight: 600; border-radius: .5rem; border: 1px solid #4b5563; background: #fff; color: #1a1f36; }
button.first { background: #4b3fd1; border-color: #4b3fd1; color: #fff; }
.banner { font-size: .875rem; background: #fff4d6; color: #4a3500; padding: .5rem 1rem; text-align: center; }
.fault { border-left: .25rem solid #b3261e; background: #fdeceb; color: #601410; padding: .6rem .8rem; }
.sum { font-size: 1.6rem; font-weight: 700; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e9f0; background: #14171f; }
  button { background: #1f2430; color: #e6e9f0; border-color: #8792a2; }
  button.first { background: #6d62f0; color: #000; }
  label + label { border-color: #2c3240; }
}
"""


def routes(api: Api) -> list[Route]:
    served = (("/c/pay/{id}", _card_page, _card_form), ("/bank/{id}/{challenge}", _bank_page, _bank_form))
    return [
        Route(path, _endpoint(api, handle), methods=[method])
        for path, page, form in served
        for method, handle in (("GET", page), ("POST", form))
    ]


def _endpoint(api: Api, handle: Callable[[Api, Request, _Form], Response]) -> Callable[[Request], Awaitable[Response]]:
    async def serve(request: Request) -> Response:
        given = parse_qs((await request.body()).decode("utf-8", "replace"))
        api.pass_time()
        try:
            return handle(api, request, {name: values[-1] for name, values in given.items()})
        except GatewayError as error:
            return _page("This page is not there", f"<p>{escape(str(error))}</p>", error.status)

    return serve


# The page for a new card


def _card_page(api: Api, request: Request, _form: _Form) -> Response:
    return _of_session(api.world.at_path("checkout.session", request.path_params["id"]))


def _card_form(api: Api, request: Request, form: _Form) -> Response:
    world = api.world
    session = world.at_path("checkout.session", request.path_params["id"])
    if session["status"] != "open":
        return _of_session(session)
    match form.get("act"):
        case "leave":
            return _back(session["cancel_url"]) if session["cancel_url"] else _of_session(session)
        case "expire":
            return _of_session(checkout.expire(world, Call(session["id"], {})))
        case "accept" | "refuse" | "save" as act:
            return _saved(world, session, form.get("card", ""), act)
    return _of_session(session, "Choose a card.")


def _saved(world: World, session: Object, card: str, act: str) -> Response:
    """Save the chosen card; first show the bank's question if the card asks for authentication."""
    if card not in dict(_CARDS):
        return _of_session(session, "Choose a card.")
    method = wallet.find_method(world, card)
    asks = world.cards[method["id"]].authentication != "never"
    try:
        if act == "save" and asks:
            return _bank_asks_for_card(card)
        if act == "refuse":
            checkout.fail_authentication(world, session["id"], method)
        checkout.give_card(world, session["id"], method, authenticated=asks)
    except GatewayError as declined:
        return _of_session(session, str(declined))
    return _back(session["success_url"].replace(checkout.SESSION_ID, session["id"]))


def _of_session(session: Object, fault: str = "") -> Response:
    if session["status"] == "complete":
        return _page("The card is saved", "<p>You may close this page.</p>")
    if session["status"] == "expired":
        return _page("This page has expired", "<p>Go back to the shop and start again. No card was saved.</p>")
    choices = "".join(
        f'<label><input type="radio" name="card" value="{name}"{" checked" if not at else ""}> {escape(said)}</label>'
        for at, (name, said) in enumerate(_CARDS)
    )
    leave = _button("leave", "Go back without a card") if session["cancel_url"] else ""
    acts = _button("save", "Save card", first=True) + leave + _button("expire", "Let the page time out")
    form = f'<form method="post"><fieldset><legend>Card</legend>{choices}</fieldset>{acts}</form>'
    return _page("Save a card for future payments", _fault(fault) + form)


def _bank_asks_for_card(card: str) -> Response:
    acts = _button("accept", "Confirm", first=True) + _button("refuse", "Refuse")
    kept = f'<input type="hidden" name="card" value="{escape(card)}">'
    return _page(
        "Your bank asks: is it you?",
        f'<p>The bank wants you to confirm that the card may be saved.</p><form method="post">{kept}{acts}</form>',
    )


# The bank's page


def _bank_page(api: Api, request: Request, _form: _Form) -> Response:
    world = api.world
    intent = world.at_path("payment_intent", request.path_params["id"])
    if not _is_open(world, intent, request):
        return _page("Nothing to confirm", "<p>This confirmation is over. Go back to the shop.</p>")
    acts = (
        _button("accept", "Confirm the payment", first=True)
        + _button("refuse", "Refuse")
        + _button("time_out", "Let the confirmation time out")
        + _button("abandon", "Walk away without an answer")
    )
    asked = f"{intent['amount']} {intent['currency'].upper()}"
    told = f'<p>A shop asks for this payment, in minor units:</p><p class="sum">{asked}</p>'
    return _page("Your bank asks: is it you?", f'{told}<form method="post">{acts}</form>')


def _bank_form(api: Api, request: Request, form: _Form) -> Response:
    world = api.world
    intent = world.at_path("payment_intent", request.path_params["id"])
    if not _is_open(world, intent, request):
        return _bank_page(api, request, form)
    if intent["id"] in world.busy:
        return _page("One moment", "<p>The payment is being changed at this moment. Try again.</p>", 409)
    back = intent["next_action"]["redirect_to_url"]["return_url"]
    match form.get("act"):
        case "accept":
            intent_outcomes.authenticate(world, intent["id"], succeeds=True)
        case "refuse":
            intent_outcomes.authenticate(world, intent["id"], succeeds=False)
        case "time_out":
            intent_outcomes.authenticate(world, intent["id"], succeeds=False)
            late = f'<p>The time for the confirmation is over. <a href="{escape(back)}">Back to the shop</a></p>'
            return _page("Too late", late)
        case "abandon":
            return _page("You walked away", "<p>The bank has no answer from you. You may close this page.</p>")
        case _:
            return _bank_page(api, request, form)
    went_well = intent["status"] in ("succeeded", "processing")
    told = {
        "payment_intent": intent["id"],
        "payment_intent_client_secret": intent["client_secret"],
        "redirect_status": "succeeded" if went_well else "failed",
    }
    return _back(f"{back}{'&' if '?' in back else '?'}{urlencode(told)}")


def _is_open(world: World, intent: Object, request: Request) -> bool:
    """Whether the challenge in the URL is the payment's latest challenge, and its time is not over."""
    latest = world.challenges.get(intent["id"])
    if latest is None or intent["status"] != "requires_action":
        return False
    redirects = intent["next_action"]["type"] == "redirect_to_url"
    return redirects and latest.name == request.path_params["challenge"] and world.now() < latest.until


# The parts of both pages


def _back(url: str) -> Response:
    return RedirectResponse(quote(url, safe=":/?#[]@!$&'()*+,;=%{}~"), 303)


def _button(act: str, said: str, *, first: bool = False) -> str:
    shown = ' class="first"' if first else ""
    return f'<button name="act" value="{act}"{shown}>{escape(said)}</button>'


def _fault(said: str) -> str:
    return f'<p class="fault" role="alert">{escape(said)}</p>' if said else ""


def _page(title: str, body: str, status: int = 200) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        '<header class="banner">Sandbox gateway: no real card, no real money</header>'
        f"<main><h1>{escape(title)}</h1>{body}</main></body></html>",
        status,
        {"Cache-Control": "no-store"},
    )
