"""DynamoDB, S3, SES and SQS in memory, as far as this project uses them, fast enough for thousands of renewals.

The fakes accept and return the values that boto3's clients do; `test_fake_aws.py` compares the fakes with moto's
answers.
"""

import io
import re
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from email.message import EmailMessage
from email.parser import BytesHeaderParser, BytesParser
from email.policy import default
from functools import cache, lru_cache
from heapq import heappop, heappush
from importlib.metadata import distribution
from itertools import count, dropwhile, islice
from operator import eq, ge, gt, lt
from pathlib import Path
from typing import Any
from zlib import crc32

from boto3.dynamodb.types import DYNAMODB_CONTEXT, TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError

type Item = dict[str, Any]
type Around = Callable[[str], Any]
type Place = tuple[str, tuple[str, str]]
"""A table, and the two keys of an item in the table."""

_TOKEN = re.compile(r"\s*(attribute_not_exists|attribute_exists|AND\b|OR\b|IN\b|<>|>=|>|<|=|[(),]|[#:\w.]+)")
_COMPARED: dict[str, Callable[[Any, Any], bool]] = {"<": lt, ">": gt, ">=": ge, "=": eq}
_serialize: Callable[[Any], Any] = TypeSerializer().serialize
_deserialize: Callable[[Any], Any] = TypeDeserializer().deserialize


def plain(item: Item) -> Item:
    return {name: value["S"] if "S" in value and len(value) == 1 else _plain(value) for name, value in item.items()}


def wire(item: Item) -> Item:
    return {name: {"S": value} if type(value) is str else _wire(value) for name, value in item.items()}


def _wire(value: Any) -> Item:
    """Serialize a value as boto3 does, but quickly: boto3 tries many types before it recognizes a text."""
    if type(value) is str:
        return {"S": value}
    if type(value) is Decimal and value.is_finite():
        return {"N": str(DYNAMODB_CONTEXT.create_decimal(value))}
    if type(value) is dict:
        return {"M": wire(value)}
    if type(value) is list:
        return {"L": [_wire(each) for each in value]}
    written: Item = _serialize(value)
    return written


def _plain(attribute: Item) -> Any:
    ((kind, value),) = attribute.items()
    if kind == "S":
        return value
    if kind == "M":
        return plain(value)
    if kind == "L":
        return [_plain(each) for each in value]
    return DYNAMODB_CONTEXT.create_decimal(value) if kind == "N" else _deserialize(attribute)


def _copied(value: Any) -> Any:
    """Copy an item, or a part of an item, so that a change of the copy leaves the original alone."""
    if type(value) is dict:
        return {name: _copied(each) for name, each in value.items()}
    if type(value) is list:
        return [_copied(each) for each in value]
    return set(value) if type(value) is set else value


def error(code: str, operation: str, status: int = 400, /, **more: Any) -> ClientError:
    response: Any = {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}, **more}
    return ClientError(response, operation)


def _canceled(reasons: Iterable[Item]) -> ClientError:
    return error("TransactionCanceledException", "TransactWriteItems", CancellationReasons=list(reasons))


@contextmanager
def _nothing_around(_name: str) -> Iterator[None]:
    yield


@cache
def _tokens(expression: str) -> list[str]:
    tokens: list[str] = _TOKEN.findall(expression)
    assert "".join(tokens) == re.sub(r"\s", "", expression), f"cannot read: {expression}"
    return tokens


@cache
def _hashed(hash_key: str, expression: str) -> str:
    """Return the placeholder of the hash key's value."""
    [token] = re.findall(rf"{hash_key} = (:\w+)", expression)
    return str(token)


class Condition:
    """A condition expression over an item: comparisons of paths and values, attribute_(not_)exists, AND, OR, IN."""

    def __init__(self, expression: str, names: dict[str, str], values: Item) -> None:
        self._tokens = _tokens(expression)
        self._names, self._values = names, values

    def holds(self, item: Item) -> bool:
        self._at, self._item = 0, item
        held = self._either()
        assert self._at == len(self._tokens), f"cannot read past {self._tokens[self._at :]}"
        return held

    def _next(self) -> str:
        self._at += 1
        return str(self._tokens[self._at - 1])

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _either(self) -> bool:
        held = self._both()
        while self._peek() == "OR":
            self._next()
            held = self._both() or held
        return held

    def _both(self) -> bool:
        held = self._one()
        while self._peek() == "AND":
            self._next()
            held = self._one() and held
        return held

    def _one(self) -> bool:
        token = self._next()
        if token == "(":
            held = self._either()
            assert self._next() == ")"
            return held
        if token in ("attribute_not_exists", "attribute_exists"):
            assert self._next() == "("
            missing = look_up(self._item, path(self._next(), self._names), _ABSENT) is _ABSENT
            assert self._next() == ")"
            return missing is (token == "attribute_not_exists")
        left, operator = self._value(token), self._next()
        if operator == "IN":
            assert self._next() == "("
            among = [self._value(self._next())]
            while self._next() == ",":
                among.append(self._value(self._next()))
            return left is not None and left in among
        right = self._value(self._next())
        if operator == "<>":
            return bool(left != right)
        alike = type(left) is type(right) or operator == "="  # values of different types are neither more nor less
        return left is not None and alike and bool(_COMPARED[operator](left, right))

    def _value(self, token: str) -> Any:
        return self._values[token] if token.startswith(":") else look_up(self._item, path(token, self._names))


# The list is read past moto, which takes a second to import.
_LIST = Path(str(distribution("moto").locate_file("moto/dynamodb/parsing/reserved_keywords.txt")))
_RESERVED = frozenset(_LIST.read_text().split())


def path(text: str, names: dict[str, str]) -> list[str]:
    return [names[part] if part.startswith("#") else part for part in _parts(text)]


@cache
def _parts(text: str) -> list[str]:
    parts = text.split(".")
    assert not {part.upper() for part in parts} & _RESERVED, f"a reserved word: {text}"
    return parts


_ABSENT = object()


def look_up(item: Any, parts: list[str], absent: Any = None) -> Any:
    """Return the value at the path, or `absent` where no value stands; DynamoDB's own null is a value."""
    for part in parts:
        item = item.get(part, absent) if isinstance(item, dict) else absent
    return item


_LARGE = 1_000
"""The number of items from which on the keys of a table are kept in order. Some tests change the items of smaller
tables without the client, and the kept order would then be out of date."""


@dataclass
class FakeDynamoDB:
    """Tables of items by their two keys. keys: table to the name of its range key. hash_keys: table to the name of its
    only key, for tables without a range key.

    A transaction holds all its items until the end, also items only checked. A concurrent write of a held item is
    refused: a transaction as TransactionCanceledException with reason TransactionConflict, a plain write as
    TransactionConflictException. Reads are served. A transaction naming an item twice is refused as invalid.
    https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html

    holds: the seconds for which a transaction holds its items while another thread runs; daemon threads, such as
    servers, do not count. busy: items held by a concurrent transaction, by table and keys, with the number of next
    writes that meet the transaction; for tests with a single thread. trouble: errors to raise at the next writes, in
    order. answers_lost: the client repeats every update, as after a lost answer. unanswered: the number of keys left
    out of the answer, for every next batch in turn. indexes: name to hash and range key. An item without both keys, or
    whose hash key is no text, is not in the index. stream: table, old and new image of every write from now on, in the
    order of the writes; None while no stream is read.
    """

    keys: dict[str, str]
    around: Around = _nothing_around
    indexes: dict[str, tuple[str, str]] = field(default_factory=dict)
    tables: dict[str, dict[tuple[str, str], Item]] = field(default_factory=dict)
    trouble: list[Exception] = field(default_factory=list)
    answers_lost: bool = False
    unanswered: list[int] = field(default_factory=list)
    holds: float = 0.004
    stream: list[tuple[str, Item | None, Item | None]] | None = None
    hash_keys: dict[str, str] = field(default_factory=dict)
    busy: dict[Place, int] = field(default_factory=dict)
    _held: set[Place] = field(default_factory=set)
    lock: threading.RLock = field(default_factory=threading.RLock)
    _indexed: dict[tuple[str, str], dict[str, list[Item]]] = field(default_factory=dict)
    _partitions: dict[str, tuple[dict[tuple[str, str], Item], int, dict[str, list[tuple[str, str]]]]] = field(
        default_factory=dict
    )

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for a copy, which gets a lock of its own."""
        return {name: value for name, value in vars(self).items() if name != "lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, lock=threading.RLock())

    def items(self, table: str) -> dict[tuple[str, str], Item]:
        return self.tables.setdefault(table, {})

    def query(self, **q: Any) -> Item:
        with self.around("dynamodb.Query"):
            if "IndexName" in q:
                return self._index_page(q)
            assert q["ConsistentRead"]
            wanted = plain(q["ExpressionAttributeValues"])[":id"]
            items = self.items(q["TableName"])
            found = [items[key] for key in self._partition(q["TableName"], wanted)]
            ordered = found if q["ScanIndexForward"] else found[::-1]
            if "ExclusiveStartKey" in q:  # the item with this key may have been deleted between two pages
                start = self._key(q["TableName"], plain(q["ExclusiveStartKey"]))
                after = gt if q["ScanIndexForward"] else lt
                ordered = [item for item in ordered if after(self._key(q["TableName"], item), start)]
            page = ordered[: q["Limit"]]
            if len(page) < q["Limit"]:
                return {"Items": [wire(item) for item in page]}
            last = {name: page[-1][name] for name in ("subscription_id", self.keys[q["TableName"]])}
            return {"Items": [wire(item) for item in page], "LastEvaluatedKey": wire(last)}

    def scan(self, **q: Any) -> Item:
        with self.around("dynamodb.Scan"):
            table, segment, segments = q["TableName"], q.get("Segment", 0), q.get("TotalSegments", 1)
            keys = sorted(
                key for key in self.items(table) if segments == 1 or crc32(key[0].encode()) % segments == segment
            )
            start = q.get("ExclusiveStartKey")
            keys = keys[bisect_right(keys, self._key(table, plain(start))) :] if start else keys
            page = [self.items(table)[key] for key in keys[: q["Limit"]]]
            return self._answer(q, page) | self._last(page[-1] if page else {}, table, more=len(page) == q["Limit"])

    def _index_page(self, q: Item) -> Item:
        table, (hash_key, range_key) = q["TableName"], self.indexes[q["IndexName"]]
        names, values = q.get("ExpressionAttributeNames", {}), plain(q["ExpressionAttributeValues"])
        condition = Condition(q["KeyConditionExpression"], names, values)
        found = self._in_index(table, q["IndexName"]).get(values[_hashed(hash_key, q["KeyConditionExpression"])], [])
        if not found:  # a sweep asks for dozens of days and shards, of which most are empty
            return self._answer(q, [])

        def order(item: Item) -> tuple[str, ...]:
            return (item[range_key], *self._key(table, item))

        start = q.get("ExclusiveStartKey")
        begin = bisect_right(found, order(plain(start)), key=order) if start else 0
        onwards: Iterator[Item] = islice(found, begin, None)
        if not q.get("ScanIndexForward", True):
            end = bisect_left(found, order(plain(start)), key=order) if start else len(found)
            onwards = dropwhile(lambda item: not condition.holds(item), islice(reversed(found), len(found) - end, None))
        page: list[Item] = []
        for item in onwards:
            if len(page) == q["Limit"] or not condition.holds(item):
                break
            page.append(item)
        last = self._last(page[-1] if page else {}, table, hash_key, range_key, more=len(page) == q["Limit"])
        if q["IndexName"] in _KEYS_ONLY:
            names_of_keys = ("subscription_id", self.keys[table], hash_key)
            page = [{name: item[name] for name in names_of_keys} for item in page]
        return self._answer(q, page) | last

    def _answer(self, q: Item, page: list[Item]) -> Item:
        """Return a scan's or an index query's answer for the items read."""
        if "FilterExpression" in q:
            values = plain(q.get("ExpressionAttributeValues", {}))
            narrowed = Condition(q["FilterExpression"], q.get("ExpressionAttributeNames", {}), values)
            matched = [item for item in page if narrowed.holds(item)]
        else:
            matched = page
        answer: Item = {"Count": len(matched), "ScannedCount": len(page)}
        if q.get("Select") != "COUNT":
            answer["Items"] = [wire(item) for item in matched]
        return answer

    def _last(self, item: Item, table: str, *index: str, more: bool) -> Item:
        """Return the last key of a full page, as DynamoDB does even where nothing follows."""
        keys = {self.hash_keys[table]} if table in self.hash_keys else {"subscription_id", self.keys[table]}
        names = {*keys, *index}
        return {"LastEvaluatedKey": wire({name: item[name] for name in names})} if more else {}

    def _in_index(self, table: str, index: str) -> dict[str, list[Item]]:
        """Return the index as it is now, hash key to items in order; the first read after a write builds the index
        anew."""
        if (table, index) not in self._indexed:
            hash_key, range_key = self.indexes[index]
            made: dict[str, list[Item]] = {}
            for item in self.items(table).values():
                if isinstance(item.get(hash_key), str) and range_key in item:
                    made.setdefault(item[hash_key], []).append(item)
            for items in made.values():
                items.sort(key=lambda item: (item[range_key], *self._key(table, item)))
            self._indexed[table, index] = made
        return self._indexed[table, index]

    def _partition(self, table: str, hash_key: str) -> list[tuple[str, str]]:
        """Return the keys of the items with this hash key, in order. The keys of a large table are sorted anew once
        items have come or gone: a search through all items at each query would take hours."""
        items = self.items(table)
        if len(items) < _LARGE:
            return sorted(key for key in items if key[0] == hash_key)
        sorted_of, count, partitions = self._partitions.get(table, (None, 0, {}))
        if sorted_of is not items or count != len(items):
            partitions = {}
            for key in sorted(items):
                partitions.setdefault(key[0], []).append(key)
            self._partitions[table] = items, len(items), partitions
        return partitions.get(hash_key, [])

    def get_item(self, **q: Any) -> Item:
        with self.around("dynamodb.GetItem"):
            assert q["ConsistentRead"]
            item = self.items(q["TableName"]).get(self._key(q["TableName"], plain(q["Key"])))
            return {"Item": wire(item)} if item else {}

    def batch_get_item(self, *, RequestItems: Item) -> Item:  # noqa: N803  (boto3's name)
        with self.around("dynamodb.BatchGetItem"):
            asked = [(table, plain(key)) for table, each in RequestItems.items() for key in each["Keys"]]
            assert all(each["ConsistentRead"] for each in RequestItems.values())
            keys = [(table, self._key(table, key)) for table, key in asked]
            assert 1 <= len(set(keys)) == len(keys) <= 100
            answered = len(keys) - self.unanswered.pop(0) if self.unanswered else len(keys)
            answer: Item = {"Responses": {table: [] for table in RequestItems}, "UnprocessedKeys": {}}
            for table, key in keys[:answered]:
                answer["Responses"][table] += [wire(self.items(table)[key])] if key in self.items(table) else []
            for table, unread in asked[answered:]:
                left = answer["UnprocessedKeys"].setdefault(table, RequestItems[table] | {"Keys": []})
                left["Keys"].append(wire(unread))
            return answer

    def update_item(self, **q: Any) -> Item:
        with self.around("dynamodb.UpdateItem"), self.lock:
            self._meet_trouble()
            if self._is_busy(self._place(q)):
                raise error("TransactionConflictException", "UpdateItem")
            if self.answers_lost:
                self._update(q)
            return self._update(q)

    def _update(self, q: Item) -> Item:
        old = self._item(q)
        if not self._holds(q, old):
            raise error("ConditionalCheckFailedException", "UpdateItem", 400, **({"Item": wire(old)} if old else {}))
        self._apply(q, old)
        return {}

    def _meet_trouble(self) -> None:
        if self.trouble:
            raise self.trouble.pop(0)

    def transact_write_items(self, *, TransactItems: list[Item]) -> None:  # noqa: N803  (boto3's name)
        with self.around("dynamodb.TransactWriteItems"):
            assert len(TransactItems) <= 100
            self._meet_trouble()
            actions = [next(iter(action.items())) for action in TransactItems]
            places = [self._place(body) for _, body in actions]
            if len(set(places)) < len(places):
                told = "Transaction request cannot include multiple operations on one item"
                raise error("ValidationException", "TransactWriteItems", message=told)
            with self._holding(places):
                self._transact(actions)

    def _transact(self, actions: list[tuple[str, Item]]) -> None:
        olds = [self._item(body) for _, body in actions]
        held = [self._holds(body, old) for (_, body), old in zip(actions, olds, strict=True)]
        if not all(held):
            raise _canceled(
                {"Code": "None"} if ok else {"Code": "ConditionalCheckFailed"} | ({"Item": wire(old)} if old else {})
                for ok, old in zip(held, olds, strict=True)
            )
        for (verb, body), old in zip(actions, olds, strict=True):
            if verb == "Put":
                self._put(body["TableName"], plain(body["Item"]))
            elif verb == "Update":
                self._apply(body, old)
            else:
                assert verb == "ConditionCheck"

    @contextmanager
    def _holding(self, places: list[Place]) -> Iterator[None]:
        """Hold the items of a transaction from its beginning to its end."""
        with self.lock:
            busy = [self._is_busy(place) for place in places]
            if any(busy):
                raise _canceled({"Code": "TransactionConflict" if each else "None"} for each in busy)
            self._held |= set(places)
        try:
            if any(not each.daemon for each in threading.enumerate() if each is not threading.current_thread()):
                time.sleep(self.holds)
            with self.lock:
                yield
        finally:
            with self.lock:
                self._held -= set(places)

    def _is_busy(self, place: Place) -> bool:
        """Tell whether a concurrent transaction is at work on the item."""
        left = self.busy.pop(place, 0)
        if left > 1:
            self.busy[place] = left - 1
        return left > 0 or place in self._held

    def put(self, table: str, item: Item) -> None:
        """Write an item past the client, as a person does."""
        self._put(table, plain(wire(item)))

    def delete(self, table: str, key: tuple[str, str]) -> None:
        """Delete an item past the client."""
        old = self.items(table).pop(key)
        if self.stream is not None:
            self.stream.append((table, old, None))
        self._indexed.clear()
        self._partitions.clear()

    def _key(self, table: str, item: Item) -> tuple[str, str]:
        if table in self.hash_keys:
            return item[self.hash_keys[table]], ""
        return item["subscription_id"], item[self.keys[table]]

    def _place(self, body: Item) -> Place:
        return body["TableName"], self._key(body["TableName"], plain(body.get("Key") or body["Item"]))

    def _item(self, body: Item) -> Item:
        table, key = self._place(body)
        return self.items(table).get(key, {})

    def _holds(self, body: Item, old: Item) -> bool:
        values = plain(body.get("ExpressionAttributeValues", {}))
        return Condition(body["ConditionExpression"], body.get("ExpressionAttributeNames", {}), values).holds(old)

    def _put(self, table: str, item: Item) -> None:
        key = self._key(table, item)
        if self.stream is not None and self.items(table).get(key) != item:  # a write without a change leaves no record
            self.stream.append((table, self.items(table).get(key), item))
        self.items(table)[key] = item
        self._indexed.clear()

    def _apply(self, body: Item, old: Item) -> Item:
        item: Item = _copied(old) or plain(body["Key"])
        names, values = body["ExpressionAttributeNames"], plain(body["ExpressionAttributeValues"])
        expression, _, adds = f" {body['UpdateExpression']}".partition(" ADD ")
        sets, _, removes = expression.partition(" REMOVE ")
        for term in filter(None, sets.removeprefix(" SET ").split(", ")):
            target, value = term.split(" = ")
            *parents, last = path(target, names)
            look_up(item, parents)[last] = values[value]
        for target in filter(None, removes.split(", ")):
            *parents, last = path(target, names)
            look_up(item, parents).pop(last, None)
        for term in filter(None, adds.split(", ")):
            target, value = term.split(" ")
            *parents, last = path(target, names)
            place = look_up(item, parents)
            place[last] = place.get(last, 0) + values[value]
        self._put(body["TableName"], item)
        return item


@dataclass
class FakeS3:
    """Objects by key, in a single bucket. trouble: errors to raise at the next puts, in order. presigned: the
    parameters of the last presigned address."""

    around: Around = _nothing_around
    objects: dict[str, Item] = field(default_factory=dict)
    trouble: list[Exception] = field(default_factory=list)
    presigned: Item = field(default_factory=dict)

    def put_object(self, **q: Any) -> Item:
        with self.around("s3.PutObject"):
            if self.trouble:
                raise self.trouble.pop(0)
            if q.get("IfNoneMatch") == "*" and q["Key"] in self.objects:
                raise error("PreconditionFailed", "PutObject", 412)
            self.objects[q["Key"]] = q
            return {}

    def head_object(self, **q: Any) -> Item:
        if q["Key"] not in self.objects:
            raise error("404", "HeadObject", 404)
        checksum = self.objects[q["Key"]].get("ChecksumSHA256") if q.get("ChecksumMode") == "ENABLED" else None
        return {"ChecksumSHA256": checksum} if checksum else {}

    def generate_presigned_url(self, operation: str, Params: Item, ExpiresIn: int) -> str:  # noqa: N803  (boto3's names)
        """Return a readable address that tells its object and how long the address is valid."""
        assert operation == "get_object"
        self.presigned = Params
        return f"https://s3.example/{Params['Bucket']}/{Params['Key']}?expires={ExpiresIn}"

    def get_object(self, **q: Any) -> Item:
        with self.around("s3.GetObject"):
            if q["Key"] not in self.objects:
                raise error("NoSuchKey", "GetObject", 404)
            return {"Body": io.BytesIO(self.objects[q["Key"]]["Body"])}


@lru_cache(512)
def _subject(mail: bytes) -> str:
    return str(BytesHeaderParser(policy=default).parsebytes(mail)["Subject"])


@lru_cache(512)
def _parsed(mail: bytes) -> EmailMessage:
    """Parse a mail once for all tests: parsing takes as long as a renewal."""
    return BytesParser(EmailMessage, policy=default).parsebytes(mail)


@dataclass
class FakeSES:
    """Sent mails, as handed over. trouble: errors to raise at the next sends, in order."""

    around: Around = _nothing_around
    sent: list[Item] = field(default_factory=list)
    trouble: list[BaseException] = field(default_factory=list)

    def send_raw_email(self, **q: Any) -> Item:
        with self.around("ses.SendRawEmail"):
            if self.trouble:
                raise self.trouble.pop(0)
            self.sent.append(q)
            return {"MessageId": f"message-{len(self.sent)}"}

    def mails(self) -> list[EmailMessage]:
        return [_parsed(q["RawMessage"]["Data"]) for q in self.sent]

    def subjects(self) -> list[str]:
        return [_subject(q["RawMessage"]["Data"]) for q in self.sent]


@dataclass(slots=True)
class Message:
    """A message of a queue. receipt: the handle of its latest receive."""

    body: str
    id: str
    receives: int = 0
    receipt: str = ""


_KEYS_ONLY = {"payment-method-index", "mail-address-index"}
"""The indexes whose items hold nothing but keys."""


class FakeSQS:
    """A standard queue and its dead letters, as the template makes them, over a clock that tests move.

    now: the clock, in seconds. trouble: the number of refused entries, for every next batch in turn. dead: the bodies
    of the dead letters. counted_late: the age, in seconds, of the counts that the queue reports; SQS's counts are
    approximate: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html
    """

    VISIBILITY_TIMEOUT = 1440
    MAX_RECEIVE_COUNT = 5
    MOST_IN_FLIGHT = 120_000
    """https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html"""
    LONGEST_HIDDEN = 12 * 3600
    LARGEST = 1024 * 1024

    def __init__(self, around: Around = _nothing_around, counted_late: float = 0) -> None:
        self.around = around
        self.counted_late = counted_late
        self.trouble: list[int] = []
        self.now = 0.0
        self.dead: list[str] = []
        self._waiting: deque[Message] = deque()
        self._hidden: dict[str, tuple[float, Message]] = {}  # by receipt
        self._ends: list[tuple[float, str]] = []  # a heap: the end of every receipt, unless changed since
        self._numbers = count()
        self._counts: deque[tuple[float, int, int]] = deque([(float("-inf"), 0, 0)])

    @property
    def waiting(self) -> int:
        """The number of messages that wait to be received."""
        return len(self._waiting)

    @property
    def hidden(self) -> int:
        """The number of messages that were received, and come back unless they are deleted."""
        return len(self._hidden)

    @property
    def soonest(self) -> float:
        """A moment before which no receive finds a message, unless a message is sent meanwhile."""
        if self._waiting:
            return self.now
        return self._ends[0][0] if self._ends else float("inf")

    @property
    def bodies(self) -> list[str]:
        """The bodies of the messages that wait to be received, oldest first."""
        return [message.body for message in self._waiting]

    @bodies.setter
    def bodies(self, bodies: list[str]) -> None:
        self._waiting = deque(Message(body, f"m-{next(self._numbers)}") for body in bodies)

    def move_clock(self, to: float) -> None:
        """Move the clock to a later moment; messages hidden until then become visible again."""
        self._counts.append((self.now, len(self._waiting), len(self._hidden)))
        while len(self._counts) > 1 and self._counts[1][0] <= self.now - self.counted_late:
            self._counts.popleft()
        self.now = to
        while self._ends and self._ends[0][0] <= to:
            ends, receipt = heappop(self._ends)
            if receipt in self._hidden and self._hidden[receipt][0] == ends:
                self._waiting.append(self._hidden.pop(receipt)[1])

    def send_message_batch(self, **q: Any) -> Item:
        with self.around("sqs.SendMessageBatch"):
            entries = q["Entries"]
            assert 1 <= len({entry["Id"] for entry in entries}) == len(entries) <= 10
            if sum(len(entry["MessageBody"].encode()) for entry in entries) > self.LARGEST:
                raise error("AWS.SimpleQueueService.BatchRequestTooLong", "SendMessageBatch")
            refused = entries[: self.trouble.pop(0)] if self.trouble else []
            for entry in entries:
                if entry not in refused:
                    self._waiting.append(Message(entry["MessageBody"], f"m-{next(self._numbers)}"))
            return {"Failed": [{"Id": entry["Id"], "Code": "InternalError"} for entry in refused]} if refused else {}

    def send_message(self, **q: Any) -> Item:
        with self.around("sqs.SendMessage"):
            if self.trouble and self.trouble.pop(0):
                raise error("ServiceUnavailable", "SendMessage", status=503)
            self._waiting.append(Message(q["MessageBody"], f"m-{next(self._numbers)}"))
            return {"MessageId": self._waiting[-1].id}

    def receive_message(self, **q: Any) -> Item:
        """Receive and hide the oldest waiting messages; a message received too often becomes a dead letter."""
        received: list[Item] = []
        while self._waiting and len(received) < q.get("MaxNumberOfMessages", 1):
            if len(self._hidden) >= self.MOST_IN_FLIGHT:
                break
            message = self._waiting.popleft()
            if message.receives >= self.MAX_RECEIVE_COUNT:
                self.dead.append(message.body)
                continue
            message.receives += 1
            message.receipt = f"{message.id}/{message.receives}"
            self._hide(message, self.VISIBILITY_TIMEOUT)
            attributes = {"ApproximateReceiveCount": str(message.receives)}
            received.append(
                {"MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body}
                | {"Attributes": attributes}
            )
        return {"Messages": received} if received else {}

    def change_message_visibility(self, **q: Any) -> None:
        receipt, seconds = q["ReceiptHandle"], q["VisibilityTimeout"]
        if not 0 <= seconds <= self.LONGEST_HIDDEN:
            raise error("InvalidParameterValue", "ChangeMessageVisibility")
        if receipt not in self._hidden:
            raise error("MessageNotInflight", "ChangeMessageVisibility")
        self._hide(self._hidden[receipt][1], seconds)

    def delete_message(self, **q: Any) -> None:
        self._hidden.pop(q["ReceiptHandle"], None)

    def get_queue_attributes(self, **q: Any) -> Item:
        with self.around("sqs.GetQueueAttributes"):
            visible, hidden = len(self._waiting), len(self._hidden)
            if self.counted_late:
                _, visible, hidden = next(each for each in reversed(self._counts) if self._is_old(each[0]))
            counts = {"": visible, "NotVisible": hidden, "Delayed": 0}
            every = {f"ApproximateNumberOfMessages{kind}": str(number) for kind, number in counts.items()}
            return {"Attributes": {name: every[name] for name in q["AttributeNames"]}}

    def _is_old(self, at: float) -> bool:
        return at <= self.now - self.counted_late

    def _hide(self, message: Message, seconds: float) -> None:
        if seconds:
            self._hidden[message.receipt] = self.now + seconds, message
            heappush(self._ends, (self.now + seconds, message.receipt))
        else:
            self._hidden.pop(message.receipt, None)
            self._waiting.append(message)
