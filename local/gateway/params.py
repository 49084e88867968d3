"""Request parameters: Stripe's form encoding, and strict checks of the decoded values.

The encoding nests with brackets (`card[number]=...`, `expand[0]=latest_charge`, `metadata[order]=7`). A `Spec` declares
the parameters of an operation, with a check for every name; undeclared parameters are unknown, and refused. Sources:
Stripe API reference, "Metadata", "Expanding Responses", "Pagination"; "Error codes" for parameter_unknown,
parameter_missing, parameter_invalid_empty, parameter_invalid_integer.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from local.gateway.errors import bad_parameter

Check = Callable[[Any, str], Any]
"""Takes the raw value and the full name of a parameter, and returns the usable value. Raises GatewayError 400."""
Spec = Mapping[str, Check]

_SEGMENT = re.compile(r"\[([^\[\]]*)\]")
_LONGEST = 5000


def decode(encoded: str) -> dict[str, Any]:
    """Decode `a[b]=1&c[]=2` to {"a": {"b": "1"}, "c": {"0": "2"}}. Only a value's check knows whether the value is a
    list.
    """
    decoded: dict[str, Any] = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        root = name.partition("[")[0]
        segments = [root, *_SEGMENT.findall(name[len(root) :])]
        _place(decoded, segments, value, name)
    return decoded


def _place(tree: dict[str, Any], segments: list[str], value: str, name: str) -> None:
    for segment in segments[:-1]:
        tree = tree.setdefault(segment, {})
        if not isinstance(tree, dict):
            raise bad_parameter(f"Invalid parameter: {name} is both a value and a hash", segments[0])
    tree[segments[-1] or str(len(tree))] = value


def check(params: Mapping[str, Any], spec: Spec, needed: Iterable[str] = (), within: str = "") -> dict[str, Any]:
    """Return the given parameters, checked. Raises 400 for an unknown, missing or invalid parameter."""

    def full(name: str) -> str:
        return f"{within}[{name}]" if within else name

    unknown = [full(name) for name in params if name not in spec]
    if unknown:
        plural = "s" if len(unknown) > 1 else ""
        message = f"Received unknown parameter{plural}: {', '.join(unknown)}"
        raise bad_parameter(message, unknown[0], "parameter_unknown")
    for name in needed:
        if name not in params:
            raise bad_parameter(f"Missing required param: {full(name)}.", full(name), "parameter_missing")
    return {name: spec[name](value, full(name)) for name, value in params.items()}


def text(value: Any, name: str) -> str | None:
    """Accept a string. An empty string unsets the parameter."""
    if not isinstance(value, str):
        raise bad_parameter(f"Invalid string: {value}", name)
    if len(value) > _LONGEST:
        message = f"Invalid string: {value[:20]}...; must be at most {_LONGEST} characters"
        raise bad_parameter(message, name)
    return value or None


def given(value: Any, name: str) -> str:
    """Accept a non-empty string, such as an id. The parameter cannot be unset."""
    checked = text(value, name)
    if checked is None:
        message = (
            f"You passed an empty string for '{name}'. We assume empty values are an attempt to unset a parameter;"
            f" however '{name}' cannot be unset. You should remove '{name}' from your request or supply a"
            " non-empty value."
        )
        raise bad_parameter(message, name, "parameter_invalid_empty")
    return checked


def integer(value: Any, name: str) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise bad_parameter(f"Invalid integer: {value}", name, "parameter_invalid_integer")
    return int(value)


def boolean(value: Any, name: str) -> bool:
    if value not in ("true", "false"):
        raise bad_parameter(f"Invalid boolean: {value}", name)
    return bool(value == "true")


def one_of(*choices: str) -> Check:
    def checked(value: Any, name: str) -> str:
        if value not in choices:
            raise bad_parameter(f"Invalid {name}: must be one of {', '.join(choices)}", name)
        return str(value)

    return checked


def list_of(each: Check) -> Check:
    def checked(value: Any, name: str) -> list[Any]:
        if not isinstance(value, dict) or list(value) != [str(position) for position in range(len(value))]:
            raise bad_parameter("Invalid array", name)
        return [each(item, f"{name}[{position}]") for position, item in value.items()]

    return checked


def fields(spec: Spec, needed: Iterable[str] = ()) -> Check:
    needed = tuple(needed)

    def checked(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise bad_parameter("Invalid object", name)
        return check(value, spec, needed, within=name)

    return checked


def metadata(value: Any, name: str) -> dict[str, str]:
    """Accept up to 50 keys of 40 characters with values of 500. An empty value deletes its key, {"": ""} deletes all
    keys.
    """
    if value == "":
        return {"": ""}
    if not isinstance(value, dict):
        raise bad_parameter("Invalid metadata: metadata must be a hash", name)
    if len(value) > 50:
        raise bad_parameter("Metadata can have at most 50 keys", name)
    for key, item in value.items():
        if not isinstance(item, str) or len(key) > 40 or len(item) > 500:
            message = "Metadata values must be strings of up to 500 characters, keys of up to 40"
            raise bad_parameter(message, f"{name}[{key}]")
    return dict(value)


def merge_metadata(current: Mapping[str, str], change: Mapping[str, str]) -> dict[str, str]:
    """Return the object's changed metadata: keys are merged, empty values removed."""
    if "" in change:
        return {}
    return {key: value for key, value in {**current, **change}.items() if value}


def time_range(value: Any, name: str) -> dict[str, int]:
    """Accept `created`: a moment, or the bounds gt, gte, lt, lte; in seconds since 1970."""
    if isinstance(value, dict):
        return check(value, dict.fromkeys(("gt", "gte", "lt", "lte"), integer), within=name)
    return {"gte": integer(value, name), "lte": integer(value, name)}


def page_size(value: Any, name: str) -> int:
    size = integer(value, name)
    if not 1 <= size <= 100:
        raise bad_parameter(f"Invalid {name}: must be between 1 and 100", name, "parameter_invalid_integer")
    return size


EXPAND: Spec = {"expand": list_of(given)}
PAGE: Spec = {**EXPAND, "limit": page_size, "starting_after": given, "ending_before": given}
