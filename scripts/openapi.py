#!/usr/bin/env python3
"""Writes docs/openapi.json and docs/api.md from the API's code: `.venv/bin/python -m scripts.openapi`.

The path of the mailed links to receipts belongs to another function (src/receipt_links), which has no models. The path
is described here.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

from subscriptions_api.app import app

ROOT = Path(__file__).parents[1]
JSON, PAGE = ROOT / "docs/openapi.json", ROOT / "docs/api.md"
_ABOUT = """Subscriptions, their renewals and their history. Requests are signed with AWS Signature Version 4, service
`execute-api`, and need the permission `execute-api:Invoke`. Errors are problem details (RFC 9457)."""


def _version() -> str:
    """Return the version of the project."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])


def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    made: dict[str, Any] = json.loads(
        app.get_openapi_json_schema(
            title="Subscriptions",
            version=_version(),
            openapi_version="3.1.0",
            description=" ".join(_ABOUT.split()),
        )
    )
    made["servers"] = [
        {
            "url": "https://{api}.execute-api.{region}.amazonaws.com/prod",
            "variables": {"api": {"default": "api-id"}, "region": {"default": "us-east-1"}},
        }
    ]
    made["components"]["securitySchemes"] = {
        "signature": {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": "AWS Signature Version 4",
            "x-amazon-apigateway-authtype": "awsSigv4",
        }
    }
    made["security"] = [{"signature": []}]
    # The resolver documents its own answer to a bad request. The API gives a different answer instead.
    for methods in made["paths"].values():
        for operation in methods.values():
            refusal = operation["responses"].get("422", {})
            if "application/json" in refusal.get("content", {}):
                del operation["responses"]["422"]
    for unused in ("HTTPValidationError", "ResponseValidationError", "ValidationError"):
        made["components"]["schemas"].pop(unused, None)
    listed = made["paths"]["/subscriptions/{subscription_id}/receipts"]["get"]["responses"]
    refusals = {name: listed[name] for name in _REFUSALS_OF_LINKS}
    refusals["404"] = refusals["404"] | {"description": "The link opens no receipt."}
    made["paths"]["/receipts/{token}"] = {"get": _receipt_link(refusals)}
    return made


_REFUSALS_OF_LINKS = ("404", "429", "500", "503")


def _receipt_link(refusals: dict[str, Any]) -> dict[str, Any]:
    """Return the description of the path to which the links in mails lead."""
    opened = "Redirects to the PDF. The address of the PDF is valid for five minutes."
    token = {"title": "Token", "type": "string"}
    return {
        "summary": "Open a receipt",
        "description": "The link in a mail leads here. The call needs no signature: the token is the proof.",
        "operationId": "openReceipt",
        "tags": ["Receipts"],
        "security": [],
        "parameters": [
            {
                "name": "token",
                "in": "path",
                "required": True,
                "description": "The token in the mailed link.",
                "schema": token,
            }
        ],
        "responses": {"302": {"description": opened}} | refusals,
    }


def page(made: dict[str, Any]) -> str:
    """Return the document as a page for people: every call with its parameters and answers."""
    lines = ["# API", "", made["info"]["description"], ""]
    for tag in dict.fromkeys(o["tags"][0] for methods in made["paths"].values() for o in methods.values()):
        lines += [f"## {tag}", ""]
        for path, methods in made["paths"].items():
            for method, operation in methods.items():
                if operation["tags"][0] == tag:
                    lines += _operation(path, method, operation)
    lines += ["## Schemas", ""]
    for name, schema in made["components"]["schemas"].items():
        lines += [f"### {name}", "", *_prose(schema), *_fields(schema)]
    return "\n".join(lines).rstrip() + "\n"


def _operation(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"### {operation['summary']}", "", f"`{method.upper()} {path}`", "", *_prose(operation)]
    parameters = [p for p in operation.get("parameters", []) if p["in"] != "path"]
    if parameters:
        lines += ["| parameter | in | meaning |", "|---|---|---|"]
        lines += [f"| `{p['name']}`{_required(p)} | {p['in']} | {p.get('description', '')} |" for p in parameters]
        lines += [""]
    body = operation.get("requestBody")
    if body:
        lines += [f"Body: {_link(body['content']['application/json']['schema'])}", ""]
    lines += ["| status | meaning | body |", "|---|---|---|"]
    for status, response in sorted(operation["responses"].items()):
        (schema,) = [content.get("schema", {}) for content in response.get("content", {"": {}}).values()]
        lines.append(f"| {status} | {response['description']} | {_link(schema)} |")
    return [*lines, ""]


def _fields(schema: dict[str, Any]) -> list[str]:
    required = schema.get("required", [])
    rows = [
        f"| `{name}`{'' if name in required else ' (optional)'} | {_type(field)} | {_bounds(field)} |"
        for name, field in schema.get("properties", {}).items()
    ]
    return ["| field | type | limits |", "|---|---|---|", *rows, ""] if rows else []


def _prose(described: dict[str, Any]) -> list[str]:
    text = " ".join(described.get("description", "").split())
    return [text, ""] if text else []


def _required(parameter: dict[str, Any]) -> str:
    return " (required)" if parameter.get("required") else ""


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return _link(field)
    if "anyOf" in field:
        return " or ".join(_type(each) for each in field["anyOf"])
    if field.get("type") == "array":
        return f"list of {_type(field['items'])}"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    return str(field.get("format") or field.get("type", "any"))


def _bounds(field: dict[str, Any]) -> str:
    told = [f"{label} {field[name]}" for name, label in _BOUNDS.items() if name in field]
    told += [f"`{field['pattern']}`".replace("|", "\\|")] if "pattern" in field else []
    told += [f"default `{field['default']}`"] if field.get("default") not in (None, "", []) else []
    return "; ".join(told)


_BOUNDS = {"minimum": "at least", "maximum": "at most", "minLength": "at least", "maxLength": "at most"}


def _link(schema: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f"[{name}](#{name.lower()})" if name else ""


if __name__ == "__main__":
    made = document()
    JSON.write_text(json.dumps(made, indent=2, sort_keys=True) + "\n")
    PAGE.write_text(page(made))
