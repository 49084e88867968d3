"""The sandbox gateway for the tests."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from local import gateway
from local.gateway import DEFAULT_API_KEY, Gateway

_ends = ThreadPoolExecutor(8, "gateway ends")
"""The threads that end gateways. Python waits for these threads before the process ends."""


@contextmanager
def serving(api_key: str = DEFAULT_API_KEY) -> Iterator[Gateway]:
    """Run a sandbox gateway until the block ends. The gateway needs a fifth of a second to end: the next test runs
    meanwhile."""
    served = gateway.serving(api_key)
    try:
        yield served.__enter__()
    finally:
        _ends.submit(served.__exit__, None, None, None)
