"""Validation rules written once: as CEL for the API server and as a Python check for `render` and `explain`. Pure.

A Rule annotates a type (`Annotated[str, Rule(...)]`). The schema generator finds it as x-kubernetes-validations;
pydantic runs `holds`. A test puts the same objects through both and compares the messages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

KEY = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """`cel` and `holds` say the same; `message` says what is wrong and what to do."""

    cel: str
    message: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = dict(handler(schema))
        found[KEY] = [*found.get(KEY, []), self.wire()]
        return found

    def wire(self) -> dict[str, str]:
        return {"rule": self.cel, "message": self.message}

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise PydanticCustomError("rule", "{message}", {"message": self.message})
        return value
