"""Treats a request as sent over TLS unless the header x-forwarded-proto says http.

On AWS, all our requests use TLS. Without this rule, a bucket that demands TLS would refuse every request on this
machine.
"""

from local.emulator.patching import replace


def apply() -> None:
    from ministack import app

    told = 'headers.get("x-forwarded-proto", "").split(",")[0].strip().lower() == "https")'
    replace(app, "app", {told: told.replace('"")', '"https")')})
