"""Kubernetes objects as YAML text for people: `render`, `crd`, and the generators."""

from collections.abc import Iterable, Mapping
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Anchors and aliases would save bytes and confuse readers."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(objects: Iterable[Mapping[str, Any]]) -> str:
    return yaml.dump_all(objects, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
