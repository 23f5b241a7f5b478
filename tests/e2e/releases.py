"""Brings two other releases into the cluster: the previous one, made of tests/fixtures/previous-release, and a next
one, made of the working tree, which renders pods in another way.
"""

import shutil
import zipfile
from pathlib import Path
from typing import Any, Final

from cluster import nodes
from cluster.commands import attempt
from cluster.settings import NODES, Settings
from demo import installation
from demo.kube import Kube
from images import shell
from images.builds import BUILDAH, Base, python_arguments
from images.catalog import PREFIX, Image, cache_dir

FIXTURE: Final = Path(__file__).parents[1] / "fixtures" / "previous-release"
CHART: Final = next(FIXTURE.glob("neuron-serving-*.tgz"))
WHEEL: Final = next(FIXTURE.glob("neuron_serving-*.whl"))
OPERATOR: Final = Image(
    "operator",
    f"{PREFIX}/operator:previous",
    "operator/Dockerfile",
    "the previous release",
    str(FIXTURE / "operator.txt"),
)
NEXT_OPERATOR: Final = Image(
    "operator", f"{PREFIX}/operator:next", "operator/Dockerfile", "the next release", "requirements/operator.txt"
)
# An environment variable more and a readiness probe that asks more often, by file.
NEXT_RENDERING: Final = {
    "operator/neuron_operator/render/runtime.py": {
        '_from_field("NODE_NAME", "spec.nodeName"),': (
            '_from_field("NODE_NAME", "spec.nodeName"), _value("NEXT", "yes"),'
        ),
        '"readinessProbe": {**ready, "periodSeconds": 2,': '"readinessProbe": {**ready, "periodSeconds": 1,',
    }
}
CRD: Final = "neuronmodels.neuron-serving.dev"


def load_previous_operator(folder: Path) -> None:
    """Build the previous operator's image in `folder`, laid out as its repository was, and bring it to the nodes."""
    (folder / "operator").mkdir()
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(
            folder / "operator", [name for name in wheel.namelist() if name.startswith("neuron_operator/")]
        )
    for name, source in {
        "operator/Dockerfile": FIXTURE / "Dockerfile",
        "requirements/operator.txt": FIXTURE / "operator.txt",
        "hack/images/install.py": installation.ROOT / "hack/images/install.py",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    _build_and_load(OPERATOR, folder)


def load_next_operator(folder: Path) -> None:
    """Build the working tree's operator with another rendering in `folder`, and bring it to the nodes."""
    shutil.copytree(installation.ROOT / "operator", folder / "operator", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements/operator.txt", "hack/images/install.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(installation.ROOT / name, folder / name)
    for name, changes in NEXT_RENDERING.items():
        text = (folder / name).read_text()
        for old, new in changes.items():
            assert text.count(old) == 1, f"{name} has {old!r} no more: the next release would render the same"
            text = text.replace(old, new)
        (folder / name).write_text(text)
    _build_and_load(NEXT_OPERATOR, folder)


def _build_and_load(image: Image, folder: Path) -> None:
    with shell.locked(cache_dir() / "images" / "lock"):
        tag, file = f"--tag={image.tag_name}", f"--file={folder / image.dockerfile}"
        shell.run([*BUILDAH, tag, file, *python_arguments(image, Base()), str(folder)])
    installation.tool("cluster", "load", image.tag_name)


def install(kube: Kube) -> None:
    """The previous release alone: nothing of another one stays, the definition included."""
    kube.run("helm", "uninstall", installation.RELEASE, "--namespace", installation.NAMESPACE, "--wait")
    kube.kubectl("delete", "crd", CRD, "--ignore-not-found")
    repository, tag = OPERATOR.tag_name.rsplit(":", 1)
    kube.run(
        "helm", "install", installation.RELEASE, str(CHART),
        "--namespace", installation.NAMESPACE, "--wait", "--timeout", "120s",
        "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
        "--set", f"runtime.image={installation.RUNTIME_IMAGE}",
    )  # fmt: skip


def name_image(settings: Settings, image: str, other: str) -> None:
    """Give an image that the nodes have a second name there."""
    for node in NODES:
        done = attempt(
            "ctr",
            "images",
            "tag",
            "--force",
            image,
            other,
            environment=nodes.environment_for_node_tools(settings, node),
        )
        assert done.returncode == 0, done.stderr


def known_fields(kube: Kube) -> set[str]:
    """Every field that the cluster's NeuronModel definition has, by its path."""
    (version,) = kube.get("crd", CRD)["spec"]["versions"]
    return set(_paths(version["schema"]["openAPIV3Schema"], ""))


def _paths(schema: dict[str, Any], path: str) -> list[str]:
    found = [path]
    for name, inner in schema.get("properties", {}).items():
        found += _paths(inner, f"{path}.{name}")
    return found + (_paths(schema["items"], f"{path}[]") if "items" in schema else [])
