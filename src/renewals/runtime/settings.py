"""Read the settings of a function from its environment variables, on first use.

Every setting of our own is read here. Variables of Lambda and of Powertools are read by the code in need of them.
"""

import os

from renewals.domain.errors import MissingSetting


def setting(name: str) -> str:
    """Return the environment variable `name`. Raises MissingSetting, with the name, if the variable is not set."""
    try:
        return os.environ[name]
    except KeyError:
        raise MissingSetting(name) from None
