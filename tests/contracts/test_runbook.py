"""The runbook has a page for whatever can be wrong, and says nothing that this release does not know."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from neuron_operator import names
from neuron_operator.api.conditions import NAMED_CONDITIONS, Reason
from neuron_operator.api.meanings import MEANINGS
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.reasons import RUNTIME_REASONS, has_page

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbook"
REASONS = [reason for reason in Reason if has_page(reason)]
LONGEST_LINES = 35
SECTIONS = ("Mostly because", "Confirm", "Do")
PROGRAMS = {"kubectl", "helm", "aws"}
FIELD = re.compile(r"\bspec((?:\.[a-z][A-Za-z]+)+)")
OF_OTHERS = re.compile(r"custom-columns='.*?'|--field-selector \S+|\bspec\.template\.\S+")
IN_CODE = re.compile(r"`((?:kubectl|helm|aws) [^`]+)`")


def page(reason: str) -> str:
    return (FOLDER / f"{reason}.md").read_text()


def section(reason: str, heading: str) -> str:
    return page(reason).split(f"## {heading}\n")[1].split("\n## ")[0]


def commands(reason: str) -> list[str]:
    return [line for block in re.findall(r"```sh\n(.*?)```", page(reason), re.DOTALL) for line in block.splitlines()]


def test_there_is_a_page_for_each_reason_and_none_besides() -> None:
    assert {path.stem for path in FOLDER.glob("*.md")} == {*REASONS, "README"}


def test_the_reasons_of_a_model_in_order_need_no_page() -> None:
    assert set(Reason) - set(REASONS) == {"Serving", "Suspended", "ScaledToZero", "Progressing"}
    assert set(RUNTIME_REASONS) <= set(REASONS)


def test_the_list_leads_to_each_page_with_the_meaning_of_its_reason() -> None:
    rows = [line for line in (FOLDER / "README.md").read_text().splitlines() if line.startswith("| [")]
    assert sorted(rows) == sorted(f"| [{reason}]({reason}.md) | {MEANINGS[reason].what} |" for reason in REASONS)


@pytest.mark.parametrize("reason", REASONS)
def test_a_page_begins_with_its_reason_and_what_that_means(reason: Reason) -> None:
    heading, meaning = page(reason).split("\n\n")[:2]
    assert heading == f"# {reason}"
    assert " ".join(meaning.split()) == MEANINGS[reason].what


@pytest.mark.parametrize("reason", REASONS)
def test_a_page_shows_what_one_sees(reason: Reason) -> None:
    header, row = re.findall(r"```text\n\$ kubectl get nm\n(.*)\n(.*)\n```", page(reason))[0]
    assert header.split() == ["NAME", "READY", "REASON", "CORES", "REPLICAS", "URL", "AGE"]
    is_beside = reason in [str(kind) for kind in NAMED_CONDITIONS]
    assert row.split()[1:3] == (["True", "Serving"] if is_beside else ["False", str(reason)])
    assert not is_beside or f"condition {reason}" in page(reason)


@pytest.mark.parametrize("reason", REASONS)
def test_a_page_is_short_and_whole(reason: Reason) -> None:
    assert len(page(reason).splitlines()) <= LONGEST_LINES
    assert tuple(re.findall(r"^## (.*)$", page(reason), re.MULTILINE)) == SECTIONS
    assert all(section(reason, heading).count("\n- ") >= 1 for heading in ("Mostly because", "Do"))
    assert "\n**It clears** " in page(reason)


@pytest.mark.parametrize("reason", REASONS)
def test_its_commands_can_be_pasted(reason: Reason) -> None:
    found = commands(reason)
    assert 2 <= len(found) <= 4
    for command in [*found, *IN_CODE.findall(page(reason).replace("\n  ", " "))]:
        words = shlex.split(command)
        assert words[0] in PROGRAMS
        # What a shell would read as its own has to be quoted.
        assert not re.search(r"[|;&<>()*?$\\]", re.sub(r"'[^']*'", "", command)), command


def test_no_two_pages_give_the_same_advice() -> None:
    for heading in SECTIONS:
        told = [section(reason, heading) for reason in REASONS]
        assert len(set(told)) == len(told), heading


def has_field(path: list[str]) -> bool:
    node = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    for name in path:
        node = node.get("items", node).get("properties", {}).get(name)
        if node is None:
            return False
    return True


@pytest.mark.parametrize("reason", REASONS)
def test_the_fields_it_names_exist(reason: Reason) -> None:
    named = {match.strip(".") for match in FIELD.findall(OF_OTHERS.sub("", page(reason)))}
    assert [path for path in named if not has_field(path.split("."))] == []


@pytest.mark.parametrize("reason", REASONS)
def test_the_variables_and_labels_it_names_exist(reason: Reason) -> None:
    known = (ROOT / "docs/reference/runtime-settings.md").read_text() + "".join(fetch_variables())
    variables = {name.removesuffix("_") for name in re.findall(r"NEURON_RUNTIME_[A-Z_]+", page(reason))}
    assert [name for name in variables if name not in known] == []
    assert set(re.findall(rf"{re.escape(names.GROUP)}/([a-z-]+)=", page(reason))) <= {"model"}


def fetch_variables() -> Iterator[str]:
    """What the options of `neuron-runtime fetch` are called in the environment."""
    text = (ROOT / "runtime/neuron_runtime/fetching/command.py").read_text()
    for flag, variable in re.findall(r'option\("--([a-z-]+)".*?(?:"([A-Z_]+)")?\)$', text, re.MULTILINE):
        yield f" NEURON_RUNTIME_{variable or flag.upper().replace('-', '_')} "


def test_the_linked_pages_are_those_that_the_schema_of_termination_messages_can_lead_to() -> None:
    schema = json.loads((ROOT / "docs/reference/termination-message.schema.json").read_text())
    assert {FOLDER / f"{reason}.md" for reason in schema["$defs"]["Reason"]["enum"]} <= set(FOLDER.glob("*.md"))


def test_the_chart_values_it_names_exist() -> None:
    values = yaml.safe_load((ROOT / "charts/neuron-serving/values.yaml").read_text())
    assert "schedulerName" in values["neuron"]
    assert "image" in values["runtime"]
