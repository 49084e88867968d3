"""The OpenAPI document in docs/ agrees with the code, and tells everything that a caller may meet."""

import json
import re
from typing import Any

from scripts.openapi import JSON, PAGE, document, page
from subscriptions_api import forms


def test_the_documents_are_current() -> None:
    """docs/openapi.json and docs/api.md are exactly what `python -m scripts.openapi` makes from the code."""
    made = document()
    assert json.loads(JSON.read_text()) == made
    assert PAGE.read_text() == page(made)


def test_every_error_is_a_problem() -> None:
    """Every refusal is documented as a problem and as nothing else, and the document has no answer that the API never
    gives."""
    made = document()
    for methods in made["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                kinds = {"2": ["application/json"], "3": []}.get(status[0], ["application/problem+json"])
                assert list(response.get("content", {})) == kinds
    assert not {"HTTPValidationError", "ValidationError"} & set(made["components"]["schemas"])


def test_every_reference_leads_to_a_schema_that_is_used() -> None:
    """The document refers to all of its schemas, and never to a missing schema."""
    made = document()
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(made)))
    assert referred == set(made["components"]["schemas"])


def test_no_amount_is_a_number() -> None:
    """All money in the document is decimal strings."""

    def amounts(node: Any) -> Any:
        if isinstance(node, dict):
            if "amount" in node.get("properties", {}):
                yield node["properties"]["amount"]
            for value in node.values():
                yield from amounts(value)
        elif isinstance(node, list):
            for value in node:
                yield from amounts(value)

    found = list(amounts(document()))
    assert found
    assert not any('"number"' in json.dumps(each) or '"integer"' in json.dumps(each) for each in found)


def test_each_pattern_has_a_sentence_for_the_caller() -> None:
    """Every pattern of the document has a sentence that a caller is answered in place of the pattern."""
    patterns = {json.loads(text) for text in re.findall(r'"pattern": ("(?:[^"\\]|\\.)*")', json.dumps(document()))}
    assert patterns
    assert patterns <= forms.SENTENCES.keys()
