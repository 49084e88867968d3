"""Idempotency keys, as Stripe documents them (docs.stripe.com/api/idempotent_requests).

- A repeated key with equal parameters and path receives the first answer again, even a 500.
- A repeated key with different parameters or a different path is an error, and so is a key that a running request uses.
- An answer is stored only after the endpoint has begun to execute. Keys live for 24 hours, on the sandbox's clock.
"""

from dataclasses import dataclass

from local.gateway.errors import GatewayError, bad_parameter

LIFETIME = 24 * 60 * 60


@dataclass(frozen=True)
class Answer:
    """The answer to the first request with a key, as sent; `request_id` belongs to the first request."""

    status: int
    body: bytes
    request_id: str


@dataclass
class _Entry:
    fingerprint: str
    since: int
    answer: Answer | None = None


class IdempotencyKeys:
    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}

    def begin(self, key: str, fingerprint: str, now: int) -> Answer | None:
        """Return the stored answer, or None; after None the caller holds the key until `keep` or `release`. Raises 400
        and 409.
        """
        if len(key) > 255:
            raise bad_parameter("Idempotency keys may be at most 255 characters long.", "Idempotency-Key")
        entry = self._entries.get(key)
        if entry is None or (entry.answer and entry.since + LIFETIME <= now):
            self._entries[key] = _Entry(fingerprint, now)
            return None
        if entry.fingerprint != fingerprint:
            message = (
                "Keys for idempotent requests can only be used with the same parameters they were first used with. Try"
                f" using a key other than '{key}' if you meant to execute a different request."
            )
            raise GatewayError(400, "idempotency_error", message, kept=False)
        if entry.answer is None:
            message = (
                "There is currently another in-progress request using this Idempotent Key (that probably means you"
                f" submitted twice, and the other request is still going through): {key}. Please try again later."
            )
            raise GatewayError(409, "idempotency_error", message, kept=False, code="idempotency_key_in_use")
        return entry.answer

    def keep(self, key: str, answer: Answer) -> None:
        self._entries[key].answer = answer

    def release(self, key: str) -> None:
        """Forget a key whose request stored no answer."""
        if self._entries[key].answer is None:
            del self._entries[key]

    def expire(self) -> int:
        """Forget every stored answer at once. Returns the number of forgotten answers."""
        finished = [key for key, entry in self._entries.items() if entry.answer]
        for key in finished:
            del self._entries[key]
        return len(finished)
