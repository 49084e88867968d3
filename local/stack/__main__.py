"""`python -m local.stack up|down`, run by `make up` and `make down`. PORT in the environment selects the stack.

EVENTS_URL in the environment is the address to which the stack posts events, http://127.0.0.1:<port> and a path.
"""

import json
import os
import re
import signal
import sys

from local.gateway_events import send_events
from local.progress import console
from local.sample import add_sample
from local.stack import ROOT, STACK_NAME, Stack, StackError, port_from_environment


def _run_once(stack: Stack) -> None:
    """Run the first sweep, audit and catch-up, over no data, so that the alarms for missing runs end."""
    nightly: list[tuple[str, object]]
    nightly = [("SweepFunctionName", {"sweep": "due"}), ("AuditFunctionName", {}), ("CatchUpFunctionName", {})]
    for function, event in nightly:
        stack.client("lambda").invoke(FunctionName=stack.outputs[function], Payload=json.dumps(event))


def _up(stack: Stack) -> None:
    ran_before = stack.runs
    try:
        stack.start()
        stack.deploy()
        send_events(stack)
        if not ran_before:
            _run_once(stack)
        add_sample(stack)
        stack.serve_console()
    except BaseException:
        if not ran_before:
            stack.stop()
        raise
    folder, bucket = stack.folder.relative_to(ROOT), stack.outputs["ReceiptsBucketName"]
    console.print(
        f"""
The stack runs on port {stack.port}. `make down PORT={stack.port}` ends it.

  console        {stack.outputs["ConsoleUrl"]}
  webhook        {stack.outputs["LocalWebhookUrl"]}
  events         {os.environ.get("EVENTS_URL") or "posted nowhere; EVENTS_URL in the environment names an address"}
  try it         PORT={stack.port} .venv/bin/python -m local.subscribe
  mails          {folder}/mail/
  receipts       in each mail, and in the bucket {bucket}
  outputs, logs  {folder}/outputs.json  {folder}/logs/

SAM, the AWS CLI and the commands of docs/runbook.md reach the stack with the profile `local`:

  export AWS_CONFIG_FILE={folder}/aws-config AWS_PROFILE=local
  .venv/bin/python -m scripts.oncall alarms        # the alarms that are on; docs/runbook.md says what to do
  .venv/bin/sam remote invoke ProcessPayment --stack-name {STACK_NAME} --event-file events/process_payment.json
  aws s3 ls --recursive s3://{bucket}""",
        soft_wrap=True,
    )


_ADDRESS = r"""(https://[^\s<>"]+|http://127\.0\.0\.1:[0-9]{1,5}[^\s<>"]*)?"""
"""The AllowedPattern of the template's parameter EventsUrl."""


def events_url() -> str:
    """Return EVENTS_URL, or nothing if EVENTS_URL is not set. Raises StackError if EVENTS_URL is no address."""
    url = os.environ.get("EVENTS_URL", "")
    if not re.fullmatch(_ADDRESS, url):
        raise StackError(f"EVENTS_URL must be http://127.0.0.1:<port>/<path> or an https address, not {url!r}")
    return url


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        url = events_url()
        stack = Stack(port_from_environment(), **({"EventsUrl": url} if url else {}))
        match sys.argv[1:]:
            case ["up"]:
                _up(stack)
            case ["down"]:
                stack.stop()
            case _:
                raise StackError("usage: python -m local.stack up|down, with PORT in the environment")
    except StackError as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
