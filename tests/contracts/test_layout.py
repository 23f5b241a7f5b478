"""The folder named operator/ must never shadow the standard library's module of that name."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("folder", ["operator", "runtime", "hack", "tests", "tests/operator"])
def test_folder_is_not_a_package(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists()


def test_standard_operator_module_is_found_with_the_root_on_the_path() -> None:
    code = "import collections, operator; print(operator.add(1, 2))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": "."}, capture_output=True, text=True)
    assert ran.stdout.strip() == "3", ran.stderr
