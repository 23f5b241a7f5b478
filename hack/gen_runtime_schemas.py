"""Usage: hack/gen_runtime_schemas.py [--check]. Writes the JSON Schemas of model.json and of the termination message.

From the runtime's own types to docs/reference; --check changes nothing and fails naming what is stale.
"""

import json
import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from generated import write_or_check
from neuron_runtime.bundle import Manifest
from neuron_runtime.termination import MAX_BYTES, TerminationMessage

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
SCHEMAS: dict[str, tuple[type[BaseModel], str, str]] = {
    "bundle.schema.json": (
        Manifest,
        "model.json of a model bundle",
        "A bundle is a directory with model.json and the files it names; its digest is the sha256 of model.json.",
    ),
    "termination-message.schema.json": (
        TerminationMessage,
        "Termination message of the runtime",
        f"What a container of the runtime writes before it ends with an error, at most {MAX_BYTES} bytes.",
    ),
}
# model.json as it may be written by hand, the message as the runtime always writes it.
MODES: dict[str, Literal["validation", "serialization"]] = {
    "bundle.schema.json": "validation",
    "termination-message.schema.json": "serialization",
}


def rendered(name: str) -> str:
    model, title, description = SCHEMAS[name]
    schema = without_titles(model.model_json_schema(by_alias=True, mode=MODES[name]))
    about = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, "description": description}
    return json.dumps({**schema, **about}, indent=2, sort_keys=True) + "\n"


def without_titles(schema: Any) -> Any:
    """pydantic makes a title of every name, which tells nobody anything; a property called title is a mapping."""
    if isinstance(schema, list):
        return [without_titles(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: without_titles(value) for key, value in schema.items() if key != "title" or isinstance(value, dict)}


def main(arguments: list[str]) -> int:
    return write_or_check({REFERENCE / name: rendered(name) for name in SCHEMAS}, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
