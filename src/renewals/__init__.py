"""The domain that every function shares: money, periods, subscriptions, the ledger and the gateway port."""

import gc
import os

# What a function makes while it starts, stays: to look for garbage in it is 5 % of a cold start.
# telemetry.observed switches the collector on again at the end of the first call.
if "LAMBDA_TASK_ROOT" in os.environ:
    gc.disable()
