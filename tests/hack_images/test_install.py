"""The script that fills an image: what it installs, keeps and prunes."""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from images.install import (
    USER_ID,
    Plan,
    add_user,
    compile_tree,
    in_base,
    install,
    paths_to_drop,
    pip_command,
    requirement_blocks,
    write_entry,
)

REQUIREMENTS = """\
numpy==2.4.6 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via neuron-serving (pyproject.toml)
Typing_Extensions==4.16.0 \\
    --hash=sha256:cc
"""


def test_requirement_blocks_keep_every_line_with_its_package() -> None:
    blocks = requirement_blocks(f"# a comment before the first package\n{REQUIREMENTS}")
    assert list(blocks) == ["numpy", "typing-extensions"]
    assert blocks["numpy"].count("--hash") == 2
    assert "".join(blocks.values()) == REQUIREMENTS


@pytest.mark.parametrize(("name", "expected"), [("pytest", True), ("no-such-distribution", False)])
def test_in_base_knows_what_is_installed(name: str, expected: bool) -> None:
    assert in_base(name) is expected


def test_pip_comes_from_its_wheel_and_stays_offline_where_wheels_are(tmp_path: Path) -> None:
    (tmp_path / "pip-26.3-py3-none-any.whl").touch()
    command = pip_command(tmp_path)
    assert command[1] == str(tmp_path / "pip-26.3-py3-none-any.whl" / "pip")
    assert "--no-index" in command


def test_pip_is_the_bases_own_and_downloads_where_no_wheels_are(tmp_path: Path) -> None:
    command = pip_command(tmp_path)
    assert command[1:3] == ["-m", "pip"]
    assert "--no-index" not in command


def test_dropped_services_spare_the_named_ones_and_loose_files(tmp_path: Path) -> None:
    for name in ("s3", "ec2"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data" / "endpoints.json").touch()
    assert paths_to_drop(tmp_path, ("data/*/",), ("data/s3",)) == [tmp_path / "data" / "ec2"]


def test_entry_becomes_the_module_without_the_working_directory_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(sys.executable)
    write_entry(tmp_path, "show", "json.tool")
    elsewhere = tmp_path / "json.py"
    elsewhere.write_text("raise SystemExit('the working directory is on the path')")
    shown = subprocess.run(
        [tmp_path / "bin" / "show"], input="{}", cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "{}"


def test_byte_code_is_used_whatever_the_time_stamps_say(tmp_path: Path) -> None:
    source = tmp_path / "thing.py"
    source.write_text("value = 1\n")
    compile_tree(tmp_path)
    source.write_text("value = 2\n")
    show = [sys.executable, "-c", "import thing; print(thing.value)"]
    imported = subprocess.run(show, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert imported.stdout.strip() == "1"


def test_user_gets_a_name_once(tmp_path: Path) -> None:
    for name in ("passwd", "group"):
        (tmp_path / name).write_text("root:x:0:0:root:/root:/bin/sh\n")
    add_user(tmp_path)
    add_user(tmp_path)
    assert (tmp_path / "passwd").read_text().count(f":x:{USER_ID}:{USER_ID}:") == 1
    assert (tmp_path / "group").read_text().count(f":x:{USER_ID}:") == 1


def wheel(folder: Path, name: str) -> str:
    """A wheel of one module and one test file; its sha256."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"name = {name!r}\n")
        archive.writestr(f"{name}/tests/test_it.py", "assert False\n")
        info = f"{name}-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.integration
def test_install_puts_pinned_wheels_in_front_of_the_base_and_leaves_kept_ones_to_it(tmp_path: Path) -> None:
    wheels, requirements, root = tmp_path / "wheels", tmp_path / "requirements.txt", tmp_path / "root"
    wheels.mkdir()
    requirements.write_text(f"ours==1.0 --hash=sha256:{wheel(wheels, 'ours')}\npytest==0.1 --hash=sha256:00\n")
    install(Plan(root, requirements, wheels, keep=("pytest",), drop=(), spare=()))
    (root / "src").mkdir()
    (root / "src" / "later.py").write_text("")
    found = subprocess.run(
        [root / "bin" / "python3", "-c", "import ours, later; print(ours.name, ours.__file__)"],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(tmp_path / "elsewhere")},
        check=True,
    )
    assert found.stdout.startswith("ours " + str(root))
    assert not list(root.rglob("test_it.py"))
    assert list(root.rglob("ours/__pycache__/*.pyc"))


@pytest.mark.integration
def test_install_refuses_a_wheel_with_another_hash(tmp_path: Path) -> None:
    wheels, requirements = tmp_path / "wheels", tmp_path / "requirements.txt"
    wheels.mkdir()
    wheel(wheels, "ours")
    requirements.write_text(f"ours==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(subprocess.CalledProcessError):
        install(Plan(tmp_path / "root", requirements, wheels, keep=(), drop=(), spare=()))
