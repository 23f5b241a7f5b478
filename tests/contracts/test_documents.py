"""What the documents promise a stranger: short, commands first, links that lead somewhere, valid examples."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from neuron_operator.api.v1alpha1 import NeuronModel

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
LISTED = subprocess.check_output(["git", "ls-files", "*.md"], cwd=ROOT, text=True).split()


def test_readme_is_short_and_starts_with_the_two_commands() -> None:
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 150
    early = "\n".join(lines[:30])
    assert "make demo" in early
    assert "make test" in early


def test_readme_shows_a_small_valid_model() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    models = [block for block in blocks if "kind: NeuronModel" in block]
    assert models
    assert len(models[0].splitlines()) <= 12
    for model in models:
        NeuronModel.parse(yaml.safe_load(model))


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_example_is_a_valid_model(example: Path) -> None:
    bodies = [body for body in yaml.safe_load_all(example.read_text()) if body["kind"] == "NeuronModel"]
    assert bodies
    for body in bodies:
        NeuronModel.parse(body)


@pytest.mark.parametrize("document", LISTED)
def test_links_of_a_document_lead_somewhere(document: str) -> None:
    folder = (ROOT / document).parent
    targets = [target for target in LINK.findall((ROOT / document).read_text()) if "://" not in target]
    assert [target for target in targets if not (folder / target).exists()] == []


def test_every_target_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {name for document in LISTED for name in re.findall(r"`make ([a-z0-9-]+)", (ROOT / document).read_text())}
    assert named - targets == set()
