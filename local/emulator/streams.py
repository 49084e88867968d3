"""Delivers the records of DynamoDB streams to functions as Lambda does, in place of MiniStack's own delivery.

- An event source mapping, in short a mapping, names a stream and the function that receives the stream's records. Every
  mapping of a stream has a thread of its own. MiniStack serves queues and streams in a single loop, where a slow
  function would hold up the queues, too.
- The function's role must allow the four actions that read a stream.
- A function may report the first record that failed (`batchItemFailures`); Lambda continues from the reported record.
- Lambda splits a failed batch in two if the mapping says so, and retries with growing pauses until the mapping's limits
  (attempts, age) are reached. Lambda then sends a message about the batch to the destination for failures. The message
  holds no records, and is sent only if the function's role allows `sqs:SendMessage` (for a queue) or `sns:Publish`.
- The metric IteratorAge tells the age of the last record of every delivered batch. Tests can move the clock of the
  metrics on. If a test moves the clock on by an hour after the first attempt at a batch, the later attempts report an
  age that is an hour longer.

Sources: https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-errors.html,
https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html,
https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html.
"""

import contextvars
import threading
import time
from dataclasses import dataclass
from typing import Any

from local.emulator import metrics, roles

_READING = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams")
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 10.0
"""Seconds between two attempts at a batch."""

type _Mapping = dict[str, Any]
type _Records = list[dict[str, Any]]


@dataclass
class _Batch:
    """Records of a stream that are delivered together.

    start: the position of the first record. count: the number of records. attempts: the number of failed deliveries;
    a failed delivery that leads to a split does not count. At a split, both halves keep the number of attempts.
    """

    start: int
    count: int
    attempts: int = 0

    def halves(self) -> list["_Batch"]:
        half = self.count // 2
        return [_Batch(self.start, half, self.attempts), _Batch(self.start + half, self.count - half, self.attempts)]

    def after(self, records: int) -> "_Batch":
        return _Batch(self.start + records, self.count - records, self.attempts)


_readers: dict[str, "_Reader"] = {}


def apply() -> None:
    from ministack.services import lambda_svc

    def wake_readers() -> bool:
        """Wake the readers of the mappings with unread records. Start readers of new mappings, and end readers of
        deleted mappings.

        MiniStack's own loop calls this function after a write to a table and after each change of a queue, and at least
        once a second. A reader looks for records once a second by itself.
        """
        there = {mapping["UUID"] for *_, mapping in lambda_svc._iter_all_esms()}
        for gone in _readers.keys() - there:
            _readers.pop(gone)
        for account, region, mapping in lambda_svc._iter_all_esms():
            if ":dynamodb:" in mapping.get("EventSourceArn", ""):
                if mapping["UUID"] not in _readers:
                    _readers[mapping["UUID"]] = _Reader(account, region, mapping)
                    _readers[mapping["UUID"]].woken.set()
                    _readers[mapping["UUID"]].start()
                if _readers[mapping["UUID"]].unread():
                    _readers[mapping["UUID"]].woken.set()
        return False  # the readers deliver the records; after True, MiniStack's loop would call again without a pause

    lambda_svc._poll_dynamodb_streams = wake_readers


def unread() -> int:
    """Return the number of records that mappings still have to deliver."""
    return sum(reader.unread() for reader in list(_readers.values()))


class _Reader(threading.Thread):
    """Delivers the records of a mapping in order, until the mapping is deleted."""

    def __init__(self, account: str, region: str, mapping: _Mapping) -> None:
        super().__init__(name=f"stream-{mapping['UUID']}", daemon=True)
        self.woken = threading.Event()
        self._account, self._region, self._mapping = account, region, mapping
        self._work: list[_Batch] = []
        self._ahead = 0.0
        self._context = contextvars.copy_context()

    def run(self) -> None:
        self._context.run(self._deliver_until_deleted)

    def unread(self) -> int:
        from ministack.services import dynamodb

        position = self._positions.get_scoped(self._account, self._region, self._mapping["UUID"])
        end = dynamodb.stream_end_position(self._table, account_id=self._account, region=self._region)
        return max(0, end - position) if position is not None and self._is_enabled() else 0

    @property
    def _table(self) -> str:
        return str(self._mapping["EventSourceArn"].split("/")[1])

    @property
    def _positions(self) -> Any:
        """Return the stream positions of all mappings.

        MiniStack sets the position when a mapping is created; `_next` sets a position that is missing.
        """
        from ministack.services import lambda_svc

        return lambda_svc._dynamodb_stream_positions

    def _is_enabled(self) -> bool:
        return bool(self._mapping.get("Enabled", True))

    def _deliver_until_deleted(self) -> None:
        from ministack.services import lambda_svc

        lambda_svc._request_account_id.set(self._account)
        lambda_svc._request_region.set(self._region)
        while _readers.get(self._mapping["UUID"]) is self:
            self.woken.wait(1)
            self.woken.clear()
            while self._is_enabled() and _readers.get(self._mapping["UUID"]) is self and (batch := self._next()):
                self._deliver(batch)

    def _next(self) -> _Batch | None:
        """Return the batch to deliver now, the first in `_work`; None if all records are delivered. Records that the
        stream has dropped are skipped.
        """
        from ministack.services import dynamodb, lambda_svc

        oldest, end = dynamodb.stream_start_position(self._table), dynamodb.stream_end_position(self._table)
        mapping = self._mapping
        with lambda_svc._dynamodb_stream_positions_lock:
            is_new = mapping["UUID"] not in self._positions
            start = (end if mapping.get("StartingPosition") == "LATEST" else oldest) if is_new else oldest
            position = max(start, self._positions.get(mapping["UUID"], 0))
            self._positions[mapping["UUID"]] = position
        self._work = [batch for batch in self._work if batch.start >= position]
        if not self._work and position < end:
            self._work = [_Batch(position, min(end - position, int(mapping.get("BatchSize", 100))))]
        return self._work[0] if self._work else None

    def _deliver(self, batch: _Batch) -> None:
        from ministack.services import dynamodb, lambda_svc

        function, config = lambda_svc._get_func_record_for_qualifier(
            self._mapping["FunctionName"], self._mapping.get("Qualifier")
        )
        if function is None or not all(
            roles.allows(config["Role"], action, self._mapping["EventSourceArn"]) for action in _READING
        ):
            self._mapping["LastProcessingResult"] = "PROBLEM: Lambda failed to assume your function execution role."
            time.sleep(_FIRST_PAUSE)
            return
        records = dynamodb.stream_records_since(self._table, batch.start, batch.count)
        wanted = lambda_svc._apply_filter_criteria(records, self._mapping)
        if not wanted:
            self._move_to(batch.after(batch.count))
            return
        if not batch.attempts:
            self._ahead = metrics.clock.ahead
        _record_age(config["FunctionName"], wanted, waited=metrics.clock.ahead - self._ahead)
        result = lambda_svc._execute_function(function, {"Records": wanted})
        failed = _first_failed(result, wanted, reports_failures=self._reports_failures())
        if failed is None:
            self._mapping["LastProcessingResult"] = "OK"
            self._move_to(batch.after(batch.count))
            return
        self._mapping["LastProcessingResult"] = "PROBLEM: Function call failed"
        self._try_again(batch.after(records.index(wanted[failed])), function, config["Role"], result)

    def _try_again(self, left: _Batch, function: dict[str, Any], role: str, result: dict[str, Any]) -> None:
        """Decide about the rest of a failed batch: deliver in halves, retry after a pause, or give up."""
        from ministack.services import dynamodb, lambda_svc

        self._move_to(left)
        if result.get("error") and left.count > 1 and self._mapping.get("BisectBatchOnFunctionError"):
            self._work[:1] = left.halves()
            return
        records = dynamodb.stream_records_since(self._table, left.start, left.count)
        left.attempts += 1
        if reason := self._reason_to_give_up(left, records):
            if self._may_tell_of_failures(role):
                lambda_svc._send_ddb_stream_failure_record(
                    self._mapping, function, records, self._mapping["EventSourceArn"], result, reason
                )
            self._move_to(left.after(left.count))
            return
        time.sleep(min(_FIRST_PAUSE * 2 ** (left.attempts - 1), _LONGEST_PAUSE))

    def _move_to(self, left: _Batch) -> None:
        """Record that all records before `left` are finished."""
        from ministack.services import lambda_svc

        self._work[:1] = [left] if left.count else []
        with lambda_svc._dynamodb_stream_positions_lock:
            self._positions[self._mapping["UUID"]] = left.start

    def _reports_failures(self) -> bool:
        return "ReportBatchItemFailures" in self._mapping.get("FunctionResponseTypes", [])

    def _reason_to_give_up(self, batch: _Batch, records: _Records) -> str | None:
        retries, age = (
            int(self._mapping.get(name, -1)) for name in ("MaximumRetryAttempts", "MaximumRecordAgeInSeconds")
        )
        if 0 <= retries < batch.attempts:
            return "RetryAttemptsExhausted"
        if 0 < age < time.time() - records[0]["dynamodb"]["ApproximateCreationDateTime"]:
            return "MaxRecordAgeExceeded"
        return None

    def _may_tell_of_failures(self, role: str) -> bool:
        destination = self._mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", "")
        action = "sqs:SendMessage" if ":sqs:" in destination else "sns:Publish"
        return bool(destination) and roles.allows(role, action, destination)


def _first_failed(result: dict[str, Any], records: _Records, *, reports_failures: bool) -> int | None:
    """Return the index of the first record that the function failed to process; None if all records succeeded.

    A report that names anything but records of the batch counts as a failure of the whole batch.
    """
    if result.get("error"):
        return 0
    body = result.get("body")
    if not reports_failures or not body:
        return None
    failures = body.get("batchItemFailures") if isinstance(body, dict) else None
    if not failures:
        return None
    numbers = [record["dynamodb"]["SequenceNumber"] for record in records]
    named = [each.get("itemIdentifier") if isinstance(each, dict) else None for each in failures]
    return min(numbers.index(number) for number in named) if set(named) <= set(numbers) else 0


def _record_age(function: str, records: _Records, waited: float) -> None:
    from ministack.services import cloudwatch

    age = 1000 * (time.time() + waited - records[-1]["dynamodb"]["ApproximateCreationDateTime"])
    cloudwatch.record_metric("AWS/Lambda", "IteratorAge", max(0.0, age), "Milliseconds", {"FunctionName": function})
