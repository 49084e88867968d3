"""docs/cost.md: the cost of 1,000,000 renewals on AWS, from measurements and published prices."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

from scripts.transformed import written

MILLION = 1_000_000
_VCPU_MB = 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
_GB = 1e9


@dataclass(frozen=True)
class Price:
    """A price in dollars for a number of units.

    read: where the number was read in November 2026; None: the number is from memory.
    """

    dollars: float
    units: float
    what: str
    source: str
    read: str | None

    @property
    def each(self) -> float:
        return self.dollars / self.units


_WHITEPAPER = "https://docs.aws.amazon.com/whitepapers/latest/best-practices-api-gateway-private-apis-integration"
PRICES = {
    "lambda request": Price(0.20, MILLION, "requests", "https://aws.amazon.com/lambda/pricing/", "copies of 2026"),
    "lambda GB-s": Price(0.0000166667, 1, "GB-second, x86", "https://aws.amazon.com/lambda/pricing/", "copies of 2026"),
    "lambda GB-s arm64": Price(
        0.0000133334, 1, "GB-second, arm64", "https://aws.amazon.com/lambda/pricing/", "copies of 2026"
    ),
    "express request": Price(
        1.00, MILLION, "executions, Express", "https://aws.amazon.com/step-functions/pricing/", "copies of 2026"
    ),
    "express GB-s": Price(
        0.00001667, 1, "GB-second, Express", "https://aws.amazon.com/step-functions/pricing/", "copies of 2026"
    ),
    "transition": Price(
        25.00, MILLION, "state transitions, Standard", "https://aws.amazon.com/step-functions/pricing/", "there"
    ),
    "rest request": Price(3.50, MILLION, "requests, REST API", f"{_WHITEPAPER}/cost-optimization.html", "there"),
    "http request": Price(1.00, MILLION, "requests, HTTP API", f"{_WHITEPAPER}/cost-optimization.html", "there"),
    "read": Price(
        0.125, MILLION, "read request units", "https://aws.amazon.com/dynamodb/pricing/on-demand/", "copies of 2025"
    ),
    "write": Price(
        0.625, MILLION, "write request units", "https://aws.amazon.com/dynamodb/pricing/on-demand/", "copies of 2025"
    ),
    "table GB": Price(0.25, 1, "GB-month in a table", "https://aws.amazon.com/dynamodb/pricing/on-demand/", None),
    "put": Price(0.005, 1000, "PUT requests", "https://aws.amazon.com/s3/pricing/", "copies of 2025"),
    "get": Price(0.0004, 1000, "GET requests", "https://aws.amazon.com/s3/pricing/", "copies of 2025"),
    "bucket GB": Price(0.023, 1, "GB-month in S3 Standard", "https://aws.amazon.com/s3/pricing/", "copies of 2025"),
    "mail": Price(0.10, 1000, "mails", "https://aws.amazon.com/ses/pricing/", None),
    "mail, Essentials": Price(
        0.16, 1000, "mails on plan Essentials", "https://aws.amazon.com/ses/pricing/", "copies of 2026"
    ),
    "attachment GB": Price(0.12, 1, "GB of attachments", "https://aws.amazon.com/ses/pricing/", None),
    "log GB": Price(0.50, 1, "GB of logs taken in", "https://aws.amazon.com/cloudwatch/pricing/", "copies of 2026"),
    "trace": Price(5.00, MILLION, "traces recorded", "https://aws.amazon.com/xray/pricing/", None),
    "bus entry": Price(1.00, MILLION, "events put on a bus", "https://aws.amazon.com/eventbridge/pricing/", None),
    "message": Price(0.40, MILLION, "SQS requests", "https://aws.amazon.com/sqs/pricing/", None),
}

# Assumed waiting times of calls, in ms: on the local stack nothing is far away, so waiting cannot be measured.
WAITS = {"dynamodb": 6.0, "s3": 30.0, "ses": 60.0, "states": 25.0, "secretsmanager": 20.0, "gateway": 500.0}
_EVENT_SECONDS = 0.02
"""How long each of the door's two functions is assumed to run for an event."""
_PUBLISHING_SECONDS = 0.02
"""How long EventPublisher is assumed to run for a record of a stream."""
_POSTING_SECONDS = 0.1
"""How long EventDeliverer is assumed to run for an event; most of the time is the answer of the application."""
_PAGE_SECONDS = 0.03
"""How long CustomerPage, and ProcessPayment for the page, are assumed to compute for a request, at 512 MB."""
_PAGE_START_SECONDS = 1.5
"""How long a cold start of CustomerPage is assumed to take."""
_COLD_SHARE = 0.01
_PER_SECOND = MILLION / 86_400  # spread over a day
_TRACED_SHARE = (1 + 0.05 * (_PER_SECOND - 1)) / _PER_SECOND  # X-Ray's default: a trace a second, and 5 % of the rest


@dataclass(frozen=True)
class Function:
    """The use of a function.

    cpu_ms: processor time for a renewal. waits_ms: time of waiting for calls in a renewal. start_ms: processor time of
    a cold start.
    """

    memory: int
    cpu_ms: float
    waits_ms: float
    start_ms: float

    @property
    def seconds(self) -> float:
        """The billed seconds of a renewal: the share of a processor grows with the memory."""
        share = min(1.0, self.memory / _VCPU_MB)
        return (self.cpu_ms + _COLD_SHARE * self.start_ms) / share / 1000 + self.waits_ms / 1000


@dataclass(frozen=True)
class Design:
    """The needs of a renewal. transitions: the states that the workflow enters, and its start."""

    functions: Mapping[str, Function]
    reads: float
    writes: float
    item_bytes: float
    receipt_bytes: float
    attachment_bytes: float
    gets: int
    function_log_bytes: float
    workflow_log_bytes: float
    transitions: int
    compute: str = "lambda GB-s"
    api: str = "rest request"
    standard: bool = False
    traced: float = _TRACED_SHARE

    @property
    def workflow_seconds(self) -> float:
        return sum(f.seconds for name, f in self.functions.items() if name != "webhook_handler")


def bill(design: Design) -> dict[str, float]:
    """Return the dollars for a million renewals, item by item; storage is for a month."""
    seconds = sum(f.memory / 1024 * f.seconds for f in design.functions.values())
    workflow = (
        design.transitions * PRICES["transition"].each
        if design.standard
        else PRICES["express request"].each
        + 64 / 1024 * ceil(design.workflow_seconds * 10) / 10 * PRICES["express GB-s"].each
    )
    logs = design.function_log_bytes + design.workflow_log_bytes
    one = {
        "API Gateway": PRICES[design.api].each,
        "Lambda, requests": len(design.functions) * PRICES["lambda request"].each,
        "Lambda, duration": seconds * PRICES[design.compute].each,
        "Step Functions": workflow,
        "DynamoDB, reads": design.reads * PRICES["read"].each,
        "DynamoDB, writes": design.writes * PRICES["write"].each,
        "S3, requests": PRICES["put"].each + design.gets * PRICES["get"].each,
        "storage, a month": (
            design.item_bytes / _GB * PRICES["table GB"].each + design.receipt_bytes / _GB * PRICES["bucket GB"].each
        ),
        "SES": PRICES["mail"].each + design.attachment_bytes / _GB * PRICES["attachment GB"].each,
        "CloudWatch Logs": logs / _GB * PRICES["log GB"].each,
        "X-Ray": design.traced * PRICES["trace"].each,
    }
    return {name: MILLION * dollars for name, dollars in one.items()}


def ours(measured: Mapping[str, Any]) -> Design:
    """Return our design, from results.json."""
    renewal = measured["renewals"]
    figures = renewal["in_flight"]["1"]
    functions = {
        name: Function(
            memory=measured["memory"][name],
            cpu_ms=figures[f"{name}_cpu_ms"],
            waits_ms=_waits(calls),
            start_ms=measured["start_up"][name]["cpu_ms"],
        )
        for name, calls in renewal["calls"].items()
    }
    return Design(
        functions=functions,
        reads=renewal["units"]["reads"],
        writes=renewal["units"]["writes"],
        item_bytes=1024 * renewal["units"]["item_kb"],
        receipt_bytes=renewal["receipt_bytes"],
        attachment_bytes=renewal["receipt_bytes"],
        gets=sum(calls.get("s3:GetObject", 0) for calls in renewal["calls"].values()),
        function_log_bytes=renewal["function_log_bytes"],
        workflow_log_bytes=renewal["workflow_log_bytes"],
        transitions=renewal["transitions"],
    )


def the_seeds(seed: Mapping[str, Any], measured: Mapping[str, Any]) -> Design:
    """Return the earlier design. Only the sum of its processor time is known, and is shared out by the number of
    calls."""
    cpu_ms = seed["in_flight"]["1"]["handlers_cpu_ms"]
    calls = seed["calls"]
    each = cpu_ms / sum(sum(of.values()) for of in calls.values())
    functions = {
        name: Function(
            memory=seed["memory"][name],
            cpu_ms=each * sum(of.values()),
            waits_ms=_waits(of),
            start_ms=seed["start_up_cpu_ms"][name],
        )
        for name, of in calls.items()
    }
    return Design(
        functions=functions,
        reads=seed["units"]["reads"],
        writes=seed["units"]["writes"],
        item_bytes=0,
        receipt_bytes=seed["receipt_bytes"],
        attachment_bytes=0,
        gets=0,
        function_log_bytes=measured["renewals"]["function_log_bytes"],
        workflow_log_bytes=measured["renewals"]["workflow_log_bytes"],
        transitions=seed["transitions"],
        traced=0,
    )


def _waits(calls: Mapping[str, int]) -> float:
    return sum(count * WAITS[call.partition(":")[0]] for call, count in calls.items())


def _with_memory(design: Design, memory: int) -> Design:
    functions = {name: replace(function, memory=memory) for name, function in design.functions.items()}
    return replace(design, functions=functions)


CHOICES: dict[str, Callable[[Design], Design]] = {
    "every function with 256 MB": lambda design: _with_memory(design, 256),
    "every function with 512 MB": lambda design: _with_memory(design, 512),
    "every function with 1,024 MB": lambda design: _with_memory(design, 1024),
    "every function with 1,769 MB, a whole processor": lambda design: _with_memory(design, _VCPU_MB),
    "arm64 instead of x86": lambda design: replace(design, compute="lambda GB-s arm64"),
    "a Standard workflow instead of Express": lambda design: replace(design, standard=True),
    "an HTTP API instead of REST": lambda design: replace(design, api="http request"),
    "the workflow logs errors only": lambda design: replace(design, workflow_log_bytes=0),
}

TEXT = """\
# Cost

Written by `make bench`, from the measurements of {date} ([performance.md](performance.md)) and the prices below, which
hold for us-west-2 and us-east-1 alike, without free tiers and discounts.

The table shows dollars for 1,000,000 renewals that arrive as webhooks, spread over a day. Stripe's own fee, about 2.9 %
and 30 cents of every charge, comes on top, and no choice in this design changes the fee.

{bill}

SES is priced for an account without a plan. Since 2026-07-21 new accounts are on plan Essentials, at ${essentials} for
a thousand mails (https://aws.amazon.com/ses/pricing/), which costs {more} dollars more in either design.
`aws sesv2 put-account-pricing-attributes --plan NONE` leaves the plan, and `python -m scripts.preflight` tells the plan
of your account.

The seed's design charges nobody, makes no PDF, checks no signature, and keeps no record but the record of the last
payment; the seed is priced as it stands. Our design spends more on DynamoDB (the claim, the payment's id before the
money moves, the record, the receipt, and the records before and after the mail), and on the time in which
ProcessPayment waits for two calls of Stripe: {gateway} of the dollars for Lambda's duration.

## The effect of single choices

Every line changes one choice and keeps the template's other choices: {memory};
x86, Express, REST.

{choices}

Processor time is assumed to be this machine's on either architecture; a function with less than 1,769 MB has a share of
a processor. The memory sizes were chosen by this table and by the duration of a renewal: {latency}.

- **arm64** saves a fifth of the cost of Lambda's duration, but layers with compiled parts would have to be built for
  arm64 (`--platform manylinux2014_aarch64`). The local stack and most laptops run on x86.
- **Standard** would run a workflow exactly once and keep its history for 90 days. The system needs neither, since the
  ledger makes a repeated run harmless.
- **HTTP API** has no X-Ray, no AWS WAF and no resource policies
  (https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-vs-rest.html), and saves only the amount in the
  table.
- **Logs** at level ALL tell the story of every execution. Where their cost matters, turn these logs off first.

## Renewals through the queue

A renewal found by the sweep costs no API Gateway and no webhook, but three requests to SQS and a worker that waits for
the workflow: {swept} dollars for 1,000,000 renewals, with {worker} dollars for the worker's waiting.

## Events of the gateway

Each renewal causes one event of the gateway at least. The door receives the event, and the worker knows the event
already: {events} dollars for 1,000,000 events. An event takes a request to the API, a run of either function
(assumed: {event_ms:.0f} ms each, at 512 MB and 256 MB), three requests to SQS and one consistent read of the ledger.
The few events that are news take a workflow in addition. Without an endpoint at Stripe nothing is spent.

## Events to your application

Each renewal tells one event, and makes no call for the event. A renewal leaves {records} records in the tables'
streams, which Lambda reads free of charge. The events of 1,000,000 renewals cost {told} dollars at most: {bus} for the
bus, {publisher} for a run of EventPublisher for each record (assumed: {record_ms:.0f} ms at 256 MB; fewer runs where
renewals run at once), and {publisher_reads} for two consistent reads for each event. With `EventsUrl`, {posted} dollars
are added: three requests to SQS and a run of EventDeliverer for each event (assumed: {posting_ms:.0f} ms at 256 MB).

## The customer page

Dollars for 1,000,000 customers, each from the link in a mail on; calls and units are counted in memory:

{visits}

A request to the page is a request to the API and a run of CustomerPage (assumed: {page_ms:.0f} ms at 512 MB, and the
waiting time for each call): 1,000,000 requests of customers who look cost {views} dollars. For a new card the page
waits for two runs of ProcessPayment, which call Stripe. On top come the mail that confirms a cancellation ({mails}
dollars for 1,000,000), and the renewal that is tried again with a new card. Customers who come alone meet a cold start
(assumed: {start_s} s): {starts} dollars for 1,000,000. Without customers nothing is spent.

## The cost of an idle month

Prices are from memory:

- {secrets} secrets at $0.40: ${secrets_cost:.2f}.
- {alarms} alarms, which look at {alarmed} metrics at $0.10: ${alarms_cost:.2f}. An alarm on a formula is billed for
  every metric in the formula.
- Custom metrics at $0.30 for every metric with data.
- API Gateway's detailed metrics (`MetricsEnabled`, as in the seed): five for every method that was called, at $0.30, so
  up to ${methods_cost:.2f} for the {methods} methods. The system does not read the detailed metrics, and the metrics of
  the stage are free: set `MetricsEnabled` to false if you do not look at single methods.

## How the costs are calculated

- The duration of a function is its processor time for a renewal, with one in flight, divided by its share of a
  processor, plus its waiting time for every call, in ms: {waits}.
  Waiting times are assumed, not measured, because on the local stack nothing is far away.
- {cold:.0%} of calls are cold starts, and billed for the start.
- {traced:.0%} of renewals are traced: X-Ray's default is a trace a second and 5 % of the rest. The seed traces none.
- DynamoDB's units are counted by DynamoDB's rules in a renewal in memory: {reads:.0f} read and {writes:.0f} write
  units, with indexes.
- Calls for one renewal, warm, as seen by the emulator: {calls}.
- Logs: {log_bytes:,.0f} bytes of the functions, {workflow_log_bytes:,.0f} bytes of the workflow.
- Only the sum of the seed's processor time is known, and is shared out by the number of calls; the seed's logs are
  assumed to be as large as ours.
- Keeping the artifacts costs nothing: {artifacts:.0f} MB of the 75 GB that Lambda keeps free of charge. Artifacts cost
  time when a cold start fetches them.

## Prices

The prices were collected in November 2026. AWS's own pages fill prices in by script: "copies" means that the number was
read in quotations of the page, from that year.

| $ | for | source | number read |
| --: | --- | --- | --- |
{prices}
"""


def write(measured: Mapping[str, Any], seed: Mapping[str, Any], folder: Path) -> None:
    """Write cost.md."""
    (folder / "cost.md").write_text(text(measured, seed))


def text(measured: Mapping[str, Any], seed: Mapping[str, Any]) -> str:
    """Return the document."""
    design, before = ours(measured), the_seeds(seed, measured)
    bills = bill(design), bill(before)
    totals = tuple(sum(each.values()) for each in bills)
    rows = [(name, f"{bills[0][name]:.2f}", f"{bills[1][name]:.2f}") for name in bills[0]]
    rows.append(("**together**", f"**{totals[0]:.2f}**", f"**{totals[1]:.2f}**"))
    payment = design.functions["process_payment"]
    waits_for_stripe = 2 * WAITS["gateway"] / 1000 * payment.memory / 1024 * PRICES["lambda GB-s"].each * MILLION
    memory = ", ".join(f"{name} {function.memory} MB" for name, function in design.functions.items())
    worker = (
        design.workflow_seconds * measured["memory"]["renewal_worker"] / 1024 * PRICES["lambda GB-s"].each * MILLION
    )
    records = measured["renewals"]["units"]["stream_records"]
    webhook = design.functions["webhook_handler"]
    saved = PRICES["rest request"].each + webhook.memory / 1024 * webhook.seconds * PRICES["lambda GB-s"].each
    return TEXT.format(
        **_standing(),
        essentials=f"{PRICES['mail, Essentials'].dollars:.2f}",
        more=f"{MILLION * (PRICES['mail, Essentials'].each - PRICES['mail'].each):.2f}",
        date=measured["measured"]["date"],
        bill=_table("| ours, $ | the seed's, $", rows),
        gateway=f"{waits_for_stripe:.2f}",
        memory=memory,
        choices=_table("| $ | against ours | a renewal lasts, ms", _choices(design, totals[0])),
        latency=f"{1000 * design.workflow_seconds:.0f} ms of which {2 * WAITS['gateway']:.0f} are Stripe's",
        swept=f"{totals[0] + worker + MILLION * (3 * PRICES['message'].each - saved):.2f}",
        worker=f"{worker:.2f}",
        events=f"{MILLION * _event():.2f}",
        event_ms=1000 * _EVENT_SECONDS,
        records=records,
        told=f"{MILLION * sum(telling(records).values()):.2f}",
        bus=f"{MILLION * telling(records)['bus']:.2f}",
        publisher=f"{MILLION * telling(records)['publisher']:.2f}",
        publisher_reads=f"{MILLION * telling(records)['reads']:.2f}",
        record_ms=1000 * _PUBLISHING_SECONDS,
        posted=f"{MILLION * posting():.2f}",
        posting_ms=1000 * _POSTING_SECONDS,
        visits=_table("| requests | reads | writes | $", _visits(measured["page"])),
        views=f"{MILLION * visiting(measured['page']['look']) / measured['page']['look']['requests']:.2f}",
        page_ms=1000 * _PAGE_SECONDS,
        mails=f"{MILLION * PRICES['mail'].each:.0f}",
        start_s=_PAGE_START_SECONDS,
        starts=f"{MILLION * _PAGE_START_SECONDS * 512 / 1024 * PRICES['lambda GB-s'].each:.2f}",
        waits=", ".join(f"{name} {wait:.0f}" for name, wait in WAITS.items()),
        cold=_COLD_SHARE,
        traced=_TRACED_SHARE,
        reads=design.reads,
        writes=design.writes,
        calls=", ".join(f"{call} {count}" for call, count in sorted(_all_calls(measured).items())),
        log_bytes=design.function_log_bytes,
        workflow_log_bytes=design.workflow_log_bytes,
        artifacts=sum(size["zip"] for name, size in measured["sizes"].items() if " " not in name) / 1e6,
        prices="\n".join(
            f"| {price.dollars:g} | {price.units:,.0f} {price.what} | {price.source} | {price.read or 'from memory'} |"
            for price in PRICES.values()
        ),
    )


def _event() -> float:
    """Return the dollars for an event of the gateway that the ledger knows already."""
    seconds = _EVENT_SECONDS * (512 + 256) / 1024
    return (
        PRICES["rest request"].each
        + 2 * PRICES["lambda request"].each
        + seconds * PRICES["lambda GB-s"].each
        + 3 * PRICES["message"].each
        + PRICES["read"].each
    )


def telling(records: int) -> dict[str, float]:
    """Return the dollars for telling a renewal's event, item by item.

    Args:
        records: how many records of the tables' streams a renewal leaves. EventPublisher runs at most once for each.
    """
    run = PRICES["lambda request"].each + _PUBLISHING_SECONDS * 256 / 1024 * PRICES["lambda GB-s"].each
    return {"bus": PRICES["bus entry"].each, "publisher": records * run, "reads": 2 * PRICES["read"].each}


def posting() -> float:
    """Return the dollars for posting an event to the application, which takes the event at the first try."""
    run = PRICES["lambda request"].each + _POSTING_SECONDS * 256 / 1024 * PRICES["lambda GB-s"].each
    return 3 * PRICES["message"].each + run


def visiting(counted: Mapping[str, float]) -> float:
    """Return the dollars for a customer's visit of the customer page.

    Args:
        counted: what the visit causes, as benchmarks.page counts it. While ProcessPayment waits for the gateway, the
            page waits for ProcessPayment, and both are billed.
    """
    runs = counted["requests"] + counted["payment_runs"]
    waits = (counted["dynamodb"] * WAITS["dynamodb"] + 2 * counted["gateway"] * WAITS["gateway"]) / 1000
    return (
        counted["requests"] * PRICES["rest request"].each
        + runs * PRICES["lambda request"].each
        + (runs * _PAGE_SECONDS + waits) * 512 / 1024 * PRICES["lambda GB-s"].each
        + counted["reads"] * PRICES["read"].each
        + counted["writes"] * PRICES["write"].each
        + counted["messages"] * PRICES["message"].each
    )


def _visits(measured: Mapping[str, Mapping[str, float]]) -> Iterable[Sequence[str]]:
    acts = {"look": "looks", "cancel": "cancels", "update_card": "updates the payment method"}
    for name, said in acts.items():
        counted = measured[name]
        units = (f"{counted[kind]:.0f}" for kind in ("requests", "reads", "writes"))
        yield f"a customer who {said}", *units, f"{MILLION * visiting(counted):.2f}"


def _standing() -> dict[str, int | float]:
    """Return the number and the monthly cost of the template's resources that AWS bills by the month."""
    resources = written()["Resources"].values()
    alarms = [each["Properties"] for each in resources if each["Type"] == "AWS::CloudWatch::Alarm"]
    alarmed = sum(sum("MetricStat" in metric for metric in each.get("Metrics", [])) or 1 for each in alarms)
    secrets = sum(each["Type"] == "AWS::SecretsManager::Secret" for each in resources)
    functions = (each["Properties"] for each in resources if each["Type"] == "AWS::Serverless::Function")
    events = (event for each in functions for event in each.get("Events", {}).values())
    methods = sum(event["Type"] == "Api" for event in events)
    return {
        "secrets": secrets,
        "secrets_cost": 0.40 * secrets,
        "alarms": len(alarms),
        "alarmed": alarmed,
        "alarms_cost": 0.10 * alarmed,
        "methods": methods,
        "methods_cost": 5 * 0.30 * methods,
    }


def _choices(design: Design, total: float) -> Iterable[Sequence[str]]:
    for name, choose in CHOICES.items():
        chosen = choose(design)
        dollars = sum(bill(chosen).values())
        yield name, f"{dollars:.2f}", f"{dollars - total:+.2f}", f"{1000 * chosen.workflow_seconds:,.0f}"


def _all_calls(measured: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for calls in measured["renewals"]["calls"].values():
        for call, count in calls.items():
            found[call] = found.get(call, 0) + count
    return found


def _table(head: str, rows: Iterable[Sequence[str]]) -> str:
    columns = head.split("|")
    lines = [columns, ["---"] + ["--:"] * (len(columns) - 1), *rows]
    return "\n".join(f"| {' | '.join(cell.strip() for cell in line)} |" for line in lines)
