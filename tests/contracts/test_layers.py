"""Every module of the operator is on one side of the line that import-linter draws."""

import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "operator"
# What starts the others, and what both sides are given.
NEITHER = frozenset({"neuron_operator", "neuron_operator.__main__", "neuron_operator.settings"})


@pytest.fixture
def core() -> configparser.SectionProxy:
    rules = configparser.ConfigParser()
    rules.read(ROOT / ".importlinter")
    return rules["importlinter:contract:operator-core"]


def modules() -> set[str]:
    return {
        ".".join(path.relative_to(OPERATOR).with_suffix("").parts).removesuffix(".__init__")
        for path in (OPERATOR / "neuron_operator").rglob("*.py")
    }


def is_named(module: str, names: set[str]) -> bool:
    """By itself or with the package that it is in."""
    return any(module == name or module.startswith(f"{name}.") for name in names)


def test_every_module_decides_or_acts(core: configparser.SectionProxy) -> None:
    deciding, acting = (set(core[key].split()) for key in ("source_modules", "forbidden_modules"))
    packages = {module for module in modules() if any(other.startswith(f"{module}.") for other in modules())}
    unnamed = {module for module in modules() - NEITHER - packages if not is_named(module, deciding | acting)}
    assert sorted(unnamed) == []


def test_no_module_is_named_that_there_is_not(core: configparser.SectionProxy) -> None:
    named = {name for key in ("source_modules", "forbidden_modules") for name in core[key].split()}
    assert sorted(name for name in named if name.startswith("neuron_operator") and name not in modules()) == []
