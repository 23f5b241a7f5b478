"""Building blocks of the API types: the base model, bounded strings and lists, quantities, and list semantics. Pure.

Every string, list and map is bounded: the API server estimates the cost of CEL rules from the bounds and refuses a CRD
that may be too expensive.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    StringConstraints,
)
from pydantic.alias_generators import to_camel, to_snake
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from neuron_operator.api.rules import Rule


class ApiModel(BaseModel):
    """Immutable, camelCase on the wire. Unknown fields are dropped, as the API server drops them, unless asked."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)

    def wire(self) -> dict[str, Any]:
        """As Kubernetes writes it: camelCase, nothing that is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


INT_OR_STRING: dict[str, Any] = {"x-kubernetes-int-or-string": True}


def as_text(value: Any) -> Any:
    """A number as the string it stands for; for the few fields where Kubernetes takes either."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# YAML reads `cpu: 2` as a number and `cpu: 500m` as a string; both are quantities.
Quantity = Annotated[
    str,
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?(m|k|[MGTPE]|[KMGTPE]i)?$",
        json_schema_extra={**INT_OR_STRING, "minimum": 0},
    ),
    BeforeValidator(as_text),
]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")]
DNS_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_SUBDOMAIN = f"{DNS_LABEL}([.]{DNS_LABEL})*"
# As the API server reads it: a prefix of at most 253 characters, a name of at most 63.
QUALIFIED_KEY = f"({DNS_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?"
QUALIFIED_NAME = f"^{QUALIFIED_KEY}$"
LONGEST_PREFIX, LONGEST_KEY = 253, 317
LABEL_KEYS = Rule(
    f"self.all(k, k.size() <= {LONGEST_KEY} && k.indexOf('/') <= {LONGEST_PREFIX} && k.matches('{QUALIFIED_NAME}'))",
    "a key must look like name or example.com/name: letters, digits, -, _ and ., at most 63 of them in the name",
    lambda found: all(
        len(key) <= LONGEST_KEY and key.find("/") <= LONGEST_PREFIX and re.fullmatch(QUALIFIED_NAME, key)
        for key in found
    ),
)
LabelKey = Annotated[str, StringConstraints(min_length=1)]
DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=f"^{DNS_LABEL}$")]
DnsSubdomain = Annotated[str, StringConstraints(min_length=1, max_length=253, pattern=f"^{DNS_SUBDOMAIN}$")]
# With a letter in it, and without two hyphens in a row.
PORT_NAME = "^([a-z0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$"
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


@dataclass(frozen=True)
class Unique:
    """Items of a list are told apart by these fields (by themselves without any): no two may agree.

    In the CRD such a list is a map or a set, so that server-side apply merges it item by item.
    """

    keys: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        semantics = {"x-kubernetes-list-type": "map" if self.keys else "set"}
        keys = {"x-kubernetes-list-map-keys": list(self.keys)} if self.keys else {}
        return {**handler(schema), **semantics, **keys}

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        seen = set()
        for item in items:
            identity = tuple(getattr(item, to_snake(key)) for key in self.keys) or (item,)
            if identity in seen:
                message = f"{' '.join(map(str, identity))} is there twice: remove one"
                raise PydanticCustomError("duplicate", "{message}", {"message": message})
            seen.add(identity)
        return items


ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
