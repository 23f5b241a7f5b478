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
    command = [sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=ROOT, env={"PYTHONPATH": "."}, text=True).strip() == "3"
