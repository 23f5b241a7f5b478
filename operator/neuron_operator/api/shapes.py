"""Building blocks of the API types: the base model, bounded strings and lists, quantities, and list semantics. Pure.

Every string, list and map is bounded: the API server estimates the cost of CEL rules from the bounds and refuses a CRD
that may be too expensive.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel


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
    BeforeValidator(as_text),
    Field(
        max_length=32,
        pattern=r"^[0-9]+(\.[0-9]+)?([EPTGMk]i?|m)?$",
        json_schema_extra=INT_OR_STRING,
    ),
]
LabelValue = Annotated[str, StringConstraints(max_length=63, pattern=r"^([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?$")]
LabelKey = Annotated[str, StringConstraints(max_length=317)]
DnsLabel = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
DnsSubdomain = Annotated[
    str, StringConstraints(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
FilePath = Annotated[str, StringConstraints(min_length=1, max_length=1024)]


def keyed_by(*keys: str) -> dict[str, Any]:
    """Schema of a list whose items are known by these fields, so that server-side apply merges them one by one."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


AS_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}
ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
