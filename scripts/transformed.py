"""The template in the form that CloudFormation receives: SAM's transformation of template.yaml.

`python -m scripts.transformed [TEMPLATE]` prints the transformed template.yaml, or TEMPLATE if given. Parameters stay
references unless values are given.
"""

import json
import logging
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = Path(__file__).parents[1] / "template.yaml"

type Json = Any


def written(path: Path = TEMPLATE) -> dict[str, Json]:
    """Return template.yaml, or a different template, with short-form functions spelled out. Callers may change the
    result.
    """
    template: dict[str, Json] = pickle.loads(_parsed(path.read_text()))  # noqa: S301  (our own)
    return template


@cache
def _parsed(text: str) -> bytes:
    """Parse the template, which takes a second. Returns the result pickled: a copy takes a third of deepcopy's time."""
    return pickle.dumps(yaml_parse(text))


def transformed(region: str, parameters: dict[str, str], template: dict[str, Json] | None = None) -> dict[str, Json]:
    """Return the whole transformed template, without calling AWS: SAM asks the session only for the region.

    template: the template to transform; None means template.yaml.
    """
    source, session = _packaged(template or written()), boto3.Session(region_name=region)
    result: dict[str, Json] = Translator({}, Parser(), boto_session=session).translate(source, parameters)
    return result


def _packaged(node: Json) -> Json:
    """Return the template as `sam package` leaves a template, with code in S3. The transform accepts no other form."""
    if isinstance(node, dict):
        code = ("CodeUri", "ContentUri", "DefinitionUri")
        return {key: "s3://bucket/key" if key in code else _packaged(value) for key, value in node.items()}
    return [_packaged(each) for each in node] if isinstance(node, list) else node


if __name__ == "__main__":
    logging.getLogger("samtranslator").setLevel(logging.ERROR)  # SAM warns of features that SAM could not ask AWS about
    named = [Path(argument) for argument in sys.argv[1:]]
    print(json.dumps(transformed("us-west-2", {}, written(*named)), indent=1))
