"""Authorizes sending mail as SES does in its sandbox. The sender needs a permission on the identity of the sender, on
the identities of the recipients and on the configuration set; the sender's address is the condition key
`ses:FromAddress`.

GET  /_local/mails   [{"id", "to", "tags"}]: every accepted mail, with the message id, the recipients, and the tags of
                     the mail in the form of SES's events
"""

import base64
import itertools
from email.parser import BytesHeaderParser
from email.utils import parseaddr
from typing import Any

from local.emulator.patching import replace
from local.emulator.paths import Answer, answer_at, answer_in_json

_taken: list[dict[str, Any]] = []


def apply() -> None:
    from ministack import app
    from ministack.core import iam_actions
    from ministack.services import ses

    resource_arn = iam_actions.extract_resource_arn

    def resource_or_sender_arn(
        service: str, method: str, path: str, headers: Any, body: Any, query: Any, region: str, account: str
    ) -> str:
        sender = service == "ses" and _sender(
            iam_actions._query_param(query, "Source"), iam_actions._query_param(query, "RawMessage.Data")
        )
        if sender:
            identity, _ = ses._notification_identity(sender) or (parseaddr(sender)[1], None)
            return f"arn:aws:ses:{region}:{account}:identity/{identity}"
        found: str = resource_arn(service, method, path, headers, body, query, region, account)
        return found

    def other_arns(query: Any, region: str, account: str) -> list[str]:
        name = iam_actions._query_param(query, "ConfigurationSetName")
        named = [f"configuration-set/{name}"] if name else []
        addresses = ses._collect_list(query, "Destinations.member")
        named += [f"identity/{parseaddr(address)[1]}" for address in addresses]
        return [f"arn:aws:ses:{region}:{account}:{each}" for each in named]

    def from_address(query: Any) -> dict[str, str]:
        sender = _sender(iam_actions._query_param(query, "Source"), iam_actions._query_param(query, "RawMessage.Data"))
        return {"ses:fromaddress": parseaddr(sender)[1]} if sender else {}

    iam_actions.extract_resource_arn = resource_or_sender_arn
    replace(
        app,
        "_dispatch_service_request",
        {
            '                if service == "s3"\n                else None\n': """\
                if service == "s3"
                else from_address(routing_params) if service == "ses"
                else None
""",
            '            if service == "iot" and not denied:\n': """\
            if service == "ses" and not denied:
                for extra_arn in other_arns(routing_params, region, get_account_id()):
                    denied = denied or enforce(
                        access_key, iam_action, service, region,
                        resource_arn=extra_arn, service_context=service_context,
                    )
                    resource_arn = extra_arn
            if service == "iot" and not denied:
""",
        },
        other_arns=other_arns,
        from_address=from_address,
    )
    sent = '    logger.info("SES SendRawEmail: %s", msg_id)\n'
    replace(ses, "_send_raw_email", {sent: f"{sent}    note_mail(msg_id, params)\n"}, note_mail=_note)
    answer_at("/_local/mails", _tell_mails)


def _note(message_id: str, params: Any) -> None:
    from ministack.services.ses import _collect_list as listed
    from ministack.services.ses import _p as parameter

    members = map("Tags.member.{}".format, itertools.count(1))
    said = ((parameter(params, f"{member}.Name"), parameter(params, f"{member}.Value")) for member in members)
    tags = {name: [value] for name, value in itertools.takewhile(any, said)}
    _taken.append({"id": message_id, "to": listed(params, "Destinations.member"), "tags": tags})


async def _tell_mails(_method: str, _path: str, _body: bytes) -> Answer:
    return answer_in_json(_taken)


def _sender(source: str | None, message: str | None) -> str:
    """Return the sender's address: the parameter Source, or else the message's From; empty for unrelated calls."""
    if source or not message:
        return source or ""
    return str(BytesHeaderParser().parsebytes(base64.b64decode(message))["From"])
