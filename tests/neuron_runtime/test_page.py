"""The page at / as it is sent: names that look like markup stay text, the policy fits the file, the file ships."""

import base64
import hashlib
import json
import re
import shlex
import subprocess
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import pytest

from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.bundle import Task as TaskName
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.routes.page import render
from neuron_runtime.served_model import ServedModel

ROOT = Path(__file__).parents[2]
FILE = "runtime/neuron_runtime/page.html"
MODEL = simulated_model("mine", 4)
HOSTILE = '</script><script>alert(1)</script><!--<b title="x">\'&amp; {{facts}}'


class Read(HTMLParser):
    """Elements with their attributes, and the text of each kind of element, as a browser would read them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open = f"script {dict(attrs).get('id', '')}".strip() if tag == "script" else tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data

    @property
    def facts(self) -> Any:
        return json.loads(self.texts["script facts"])


def policy_of(model: ServedModel) -> dict[str, str]:
    sent = render(model).headers["content-security-policy"]
    return dict(directive.split(" ", 1) for directive in sent.split("; "))


@pytest.mark.parametrize("task", get_args(TaskName))
def test_the_script_is_told_the_model(task: TaskName) -> None:
    found = Read(render(replace(MODEL, task=task, version="7")).body)

    assert (found.facts["name"], found.facts["version"], found.facts["task"]) == ("mine", "7", task)
    assert found.facts["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 16]}]
    assert ("template", {"id": task}) in found.elements
    assert found.texts["title"].strip() == "mine"


def test_a_name_that_looks_like_markup_is_only_text() -> None:
    inputs = (TensorSpec(name=HOSTILE, datatype="FP32", shape=(-1, 2)),)
    buckets = (Bucket(file="b.pt", shapes={HOSTILE: (4, 2)}),)
    plain = Read(render(MODEL).body)
    found = Read(render(replace(MODEL, name=HOSTILE, inputs=inputs, buckets=buckets)).body)

    assert [tag for tag, _ in found.elements] == [tag for tag, _ in plain.elements]
    assert found.texts["title"].strip() == found.texts["h1"].strip() == HOSTILE
    assert found.facts["name"] == found.facts["inputs"][0]["name"] == HOSTILE


def test_the_command_for_a_shell_is_quoted() -> None:
    command = Read(render(replace(MODEL, name="a b'; $(reboot)")).body).texts["code"]

    assert shlex.split(command)[-1] == "http://localhost:8000/v2/models/a%20b%27%3B%20%24%28reboot%29/infer"


def test_the_policy_allows_the_one_script_and_the_one_style_sheet_and_nothing_from_elsewhere() -> None:
    policy = policy_of(MODEL)
    found = Read(render(MODEL).body)
    scripts = [attributes for tag, attributes in found.elements if tag == "script"]

    assert scripts == [{"type": "application/json", "id": "facts"}, {"type": "module"}]
    for directive, element in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(found.texts[element].encode()).digest()).decode()
        assert policy.pop(directive) == f"'sha256-{digest}'"
    assert policy.pop("img-src") == "data: blob:"
    assert policy.pop("connect-src") == "'self'"
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert set(policy) == {"default-src", "base-uri", "form-action", "frame-ancestors"}
    assert set(policy.values()) == {"'none'"}


def test_nothing_in_the_file_would_break_the_policy() -> None:
    found = Read(render(MODEL).body)

    for tag, attributes in found.elements:
        assert not [name for name in attributes if name == "style" or name.startswith("on")], tag
        assert not re.match(r"(https?:)?//", attributes.get("href") or attributes.get("src") or ""), tag


def test_the_example_is_of_the_smallest_shape() -> None:
    inputs = (TensorSpec(name="ids", datatype="INT64", shape=(-1, -1)),)
    buckets = tuple(Bucket(file=f"{size}.pt", shapes={"ids": (4, size)}) for size in (128, 32, 64))
    found = Read(render(replace(MODEL, inputs=inputs, buckets=buckets)).body)

    assert found.facts["example"] == [{"name": "ids", "shape": [1, 32], "datatype": "INT64"}]


@pytest.mark.parametrize(("datatype", "has_json"), [("FP16", False), ("BF16", False), ("INT64", True)])
def test_a_model_without_a_json_form_is_told_as_such(datatype: str, has_json: bool) -> None:
    outputs = (TensorSpec.model_validate({"name": "output", "datatype": datatype, "shape": (-1, 4)}),)

    assert Read(render(replace(MODEL, outputs=outputs)).body).facts["hasJson"] is has_json


def test_the_file_is_small() -> None:
    assert (ROOT / FILE).stat().st_size <= 25_000


def test_the_file_is_in_the_wheel() -> None:
    """Hatch takes every file of the packages that git does not ignore, unless the configuration says otherwise."""
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    ignored = subprocess.run(["git", "check-ignore", "-q", FILE], cwd=ROOT, check=False)

    assert hatch == {"targets": {"wheel": {"packages": ["operator/neuron_operator", "runtime/neuron_runtime"]}}}
    assert ignored.returncode == 1
