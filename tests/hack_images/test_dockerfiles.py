"""What both Dockerfiles promise, read from their text; the built images are in test_built_images.py."""

import re
from fnmatch import fnmatch

import pytest

from images.catalog import IMAGES, REPOSITORY

PYTHON_IMAGES = [name for name, image in IMAGES.items() if image.requirements]


def instructions(name: str) -> list[str]:
    text = (REPOSITORY / IMAGES[name].dockerfile).read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [" ".join(one.split()) for one in "\n".join(lines).replace("\\\n", "").splitlines() if one.strip()]


@pytest.mark.parametrize("name", IMAGES)
def test_last_user_is_the_numeric_one_that_pods_demand(name: str) -> None:
    assert [one for one in instructions(name) if one.startswith("USER")][-1] == "USER 65532:65532"


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_default_base_is_pinned(name: str) -> None:
    bases = [one.removeprefix("ARG BASE_IMAGE=") for one in instructions(name) if one.startswith("ARG BASE_IMAGE=")]
    assert len(bases) == 1
    assert re.search(r":[\w.-]*\d[\w.-]*$", bases[0])


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_image_leaves_pythonpath_to_the_device_plugin(name: str) -> None:
    assert [one for one in instructions(name) if "PYTHONPATH" in one] == []


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_source_is_the_last_thing_copied_so_that_a_change_costs_seconds(name: str) -> None:
    after_copy = [one.split()[0] for one in instructions(name)][-3:]
    assert after_copy == ["COPY", "RUN", "USER"]


@pytest.mark.parametrize("name", PYTHON_IMAGES)
def test_build_context_holds_what_the_dockerfile_takes(name: str) -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    text = "\n".join(instructions(name))
    taken = re.findall(r"^COPY (\S+)", text, re.MULTILINE) + re.findall(r"bind,source=([^,]+)", text)
    assert len(taken) >= 3
    assert [one for one in taken if not any(fnmatch(one, f"{entry}*") for entry in allowed)] == []
    assert all((REPOSITORY / one).exists() for one in taken)
    assert all(one.startswith(entry) for one in taken for entry in allowed if fnmatch(one, f"{entry}*"))
