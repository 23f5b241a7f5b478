"""What the stories measured, printed after the last one."""

from dataclasses import dataclass, field

import pytest


@dataclass
class Summary:
    """Tables by title; each row a name and what was measured."""

    tables: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, table: str, row: str, measured: str) -> None:
        self.tables.setdefault(table, {})[row] = measured


SUMMARY = pytest.StashKey[Summary]()
