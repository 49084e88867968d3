"""A request counts as sent over TLS unless its header x-forwarded-proto says http.

On AWS all of ours are, and a bucket for TLS only would refuse every call on this machine.
"""

from local.emulator.patching import replace


def apply() -> None:
    from ministack import app

    told = 'headers.get("x-forwarded-proto", "").split(",")[0].strip().lower() == "https")'
    replace(app, "app", {told: told.replace('"")', '"https")')})
