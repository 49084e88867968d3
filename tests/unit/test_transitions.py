"""Status changes on request, and the changes allowed in every state."""

from datetime import date
from typing import Any

import pytest

from renewals.domain.transitions import Action, NotAllowed, Standing, changes, state

TODAY = date(2026, 2, 10)
ROWS: dict[str, dict[str, Any]] = {
    "active": {"status": "active", "renewal_date": "2026-02-28"},
    "ending": {"status": "active", "renewal_date": "2026-02-28", "cancel_at": "2026-02-28"},
    "past_due": {"status": "past_due", "renewal_date": "2026-01-31"},
    "paused": {"status": "paused", "renewal_date": "2026-02-28"},
    "unpaid": {"status": "unpaid", "renewal_date": "2026-01-31"},
    "canceled": {"status": "canceled", "renewal_date": "2026-01-31"},
    "ended": {"status": "active", "renewal_date": "2026-01-31", "cancel_at": "2026-01-31"},
    "Active": {"status": "Active", "renewal_date": "2026-02-28"},
    "": {},
}
NOW, THEN, PAUSE, RESUME, CARD = Action
DONE: dict[tuple[str, Action], dict[str, Any]] = {
    **{(name, NOW): {"status": "canceled"} for name in ("active", "ending", "past_due", "paused", "unpaid")},
    ("active", THEN): {"cancel_at": "2026-02-28"},
    ("active", PAUSE): {"status": "paused"},
    ("ending", RESUME): {"cancel_at": None},
    ("paused", RESUME): {"status": "active"},
    ("unpaid", RESUME): {"status": "active"},
    **{(name, CARD): {} for name in ("active", "ending", "past_due", "paused", "unpaid")},
}


@pytest.mark.parametrize("name", ROWS)
def test_states(name: str) -> None:
    """A row's status and end give its state; a row with an unknown status has no state."""
    assert state(ROWS[name], TODAY) == (name if name in set(Standing) else None)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("name", ROWS)
def test_what_may_follow_what(name: str, action: Action) -> None:
    """Every state accepts exactly the changes of the table; every other change is refused with the names of change and
    state."""
    if (name, action) in DONE:
        assert changes(ROWS[name], action, TODAY) == DONE[name, action]
    else:
        with pytest.raises(NotAllowed, match=f"cannot be {action.value}: "):
            changes(ROWS[name], action, TODAY)
