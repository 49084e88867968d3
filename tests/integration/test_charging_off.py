"""The switch on a deployed stack, thrown and released by the operator's command."""

import subprocess
import sys

from local.stack import ROOT
from tests.integration.shop import Shop, assert_renewed_once, assert_untouched, wait_until


def _turn(shop: Shop, *asked: str) -> str:
    """What the command says."""
    environment = {"AWS_CONFIG_FILE": str(shop.stack.aws_config_file), "AWS_PROFILE": "local", "NO_PROXY": "*"}
    command = [sys.executable, "scripts/charging.py", *asked]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _alarm(shop: Shop) -> str:
    [alarm] = shop.stack.client("cloudwatch").describe_alarms(AlarmNamePrefix="subscription-mgmt-charging-off")[
        "MetricAlarms"
    ]
    state: str = alarm["StateValue"]
    return state


def test_charging_is_turned_off_and_on_by_a_command(shop: Shop) -> None:
    """Off: a webhook is accepted, nothing is charged or written, and the alarm says so. On: the sweep that the command
    starts renews what waited, once."""
    waits = shop.subscribe()
    assert "wrong prices" in _turn(shop, "off", "--why", "wrong prices")
    try:
        end = shop.renew(waits)
        assert (end.state, end.payment["reason"]) == ("Success", "charging_is_off")
        assert_untouched(shop, waits)
        wait_until(lambda: _alarm(shop) == "ALARM")
    finally:
        assert "charging is on" in _turn(shop, "on")
    wait_until(lambda: [item["status"] for item in shop.ledger(waits)] == ["done"], seconds=60)
    assert_renewed_once(shop, waits)
