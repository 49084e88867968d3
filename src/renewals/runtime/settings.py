"""The environment of a function: read here and nowhere else, when first asked for."""

import os

from renewals.domain.errors import MissingSetting


def setting(name: str) -> str:
    """The environment variable `name`. Raises MissingSetting, which names it, where it is not set."""
    try:
        return os.environ[name]
    except KeyError:
        raise MissingSetting(name) from None
