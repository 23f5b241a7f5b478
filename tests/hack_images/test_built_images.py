"""The built images, entered as their own user; needs buildah and root, and downloads on the first run."""

import json
import subprocess
from collections.abc import Callable, Iterator

import pytest

from images.builds import Base, build, lookup
from images.catalog import IMAGES

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

LIMITS_MB = {"operator": 200, "runtime": 250}
IMPORTS = {
    "operator": "kopf, aiohttp, pydantic_settings, prometheus_client, yaml, neuron_operator.process",
    "runtime": "botocore.session, httptools, numpy, orjson, PIL.Image, tokenizers, uvicorn, uvloop, "
    "neuron_runtime.serving",
}
Enter = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module", params=sorted(LIMITS_MB))
def name(request: pytest.FixtureRequest) -> str:
    chosen = str(request.param)
    build(IMAGES[chosen], Base())
    return chosen


@pytest.fixture(scope="module")
def enter(name: str) -> Iterator[Enter]:
    """Run a command inside the image, as its user and with its environment."""
    container = subprocess.run(
        ["buildah", "from", IMAGES[name].tag_name], capture_output=True, text=True, check=True
    ).stdout.strip()

    def run(*command: str, env: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        given = [f"--env={one}" for one in env]
        whole = ["buildah", "run", "--isolation=chroot", *given, container, "--", *command]
        return subprocess.run(whole, capture_output=True, text=True, check=False)

    yield run
    subprocess.run(["buildah", "rm", container], capture_output=True, check=True)


def test_image_stays_small(name: str) -> None:
    built = lookup(IMAGES[name].tag_name)
    assert built is not None
    assert built.size_mb <= LIMITS_MB[name]


def test_command_answers_as_an_unprivileged_user_that_has_a_name(name: str, enter: Enter) -> None:
    assert enter("id", "-u").stdout.strip() == "65532"
    assert enter("python3", "-c", "import getpass; print(getpass.getuser())").stdout.strip() == "neuron"
    helped = enter(f"neuron-{name}", "--help")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert f"usage: neuron-{name}" in helped.stdout


def test_what_the_program_imports_is_there_and_compiled(name: str, enter: Enter) -> None:
    code = f"""
import {IMPORTS[name]}, json, os, sys
modules = [m for m in list(sys.modules.values()) if (getattr(m, "__file__", None) or "").startswith("/opt/")]
print(json.dumps([m.__file__ for m in modules if m.__file__.endswith(".py") and not os.path.exists(m.__cached__)]))
"""
    ran = enter("python3", "-c", code)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == []


def test_injected_pythonpath_adds_to_the_packages(enter: Enter) -> None:
    ran = enter(
        "python3", "-c", "import sys, pydantic; print('/from/plugin' in sys.path)", env=("PYTHONPATH=/from/plugin",)
    )
    assert ran.stdout.strip() == "True", ran.stderr


def test_nothing_of_the_build_is_left(enter: Enter) -> None:
    left = enter("sh", "-c", "ls -d /build /root/.cache /tmp/* 2>/dev/null; command -v pip pip3")
    assert left.stdout.strip() in ("", "/build")


def test_image_says_its_version_and_has_its_own_entry(name: str) -> None:
    inspected = subprocess.run(
        ["buildah", "inspect", "--type", "image", IMAGES[name].tag_name], capture_output=True, text=True, check=True
    )
    config = json.loads(inspected.stdout)["Docker"]["config"]
    assert config["Entrypoint"] == [f"neuron-{name}"]
    assert config["Labels"]["org.opencontainers.image.version"] == "0.1.0"
