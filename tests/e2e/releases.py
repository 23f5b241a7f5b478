"""Brings the previous release into the cluster: the image and the chart made of tests/fixtures/previous-release."""

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
CRD: Final = "neuronmodels.neuron-serving.dev"


def load_operator(folder: Path) -> None:
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
    with shell.locked(cache_dir() / "images" / "lock"):
        tag, file = f"--tag={OPERATOR.tag_name}", f"--file={folder / OPERATOR.dockerfile}"
        shell.run([*BUILDAH, tag, file, *python_arguments(OPERATOR, Base()), str(folder)])
    installation.tool("cluster", "load", OPERATOR.tag_name)


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
